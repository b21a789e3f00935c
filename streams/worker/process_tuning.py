"""Settings of the process that a worker runs in: Python's garbage collector, and BLAS, which multiplies matrices."""

import gc

from threadpoolctl import threadpool_limits

_NEW_OBJECTS = 10_000
"""Objects that came and did not go, after which the collector looks at the young ones. By default 700: it looked
through each fetch's records several times, for up to half of what reading them costs. More would make a look longer."""
_YOUNG_LOOKS = 20
_OLD_LOOKS = 100


def one_blas_thread() -> None:
    """Have BLAS work in the thread that asks, from now on, in this process.

    OpenBLAS shares the product of a large group's vectors out to all cores, which gains nothing, and its threads then
    spin for a tenth of a second: while groups follow each other, on every core there is.
    """
    threadpool_limits(1, user_api="blas")


def collect_rarely() -> None:
    """Leave out of every later look what is here now, and look seldom; call when the long-lived objects are there."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(_NEW_OBJECTS, _YOUNG_LOOKS, _OLD_LOOKS)
