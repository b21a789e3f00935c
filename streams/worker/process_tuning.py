"""Tunes the process of a worker: Python's garbage collector, and BLAS, which multiplies matrices."""

import gc

from threadpoolctl import threadpool_limits

_NEW_OBJECTS = 10_000
"""Number of new objects, still in use, after which the collector checks the young objects. With Python's default of
700, it checked each fetch's records several times, which took up to half of the time of reading them. A larger number
would make each check longer."""
_YOUNG_LOOKS = 20
_OLD_LOOKS = 100


def one_blas_thread() -> None:
    """Make BLAS compute in the calling thread, from now on, in the whole process."""
    # OpenBLAS spreads the product of a large micro-batch's vectors over all cores, which gains nothing. Its threads
    # then spin for a tenth of a second: while micro-batches follow each other, they keep every core busy
    threadpool_limits(1, user_api="blas")


def collect_rarely() -> None:
    """Exclude all present objects from garbage collection, and collect rarely; call once long-lived objects exist."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(_NEW_OBJECTS, _YOUNG_LOOKS, _OLD_LOOKS)
