"""BLAS, which numpy multiplies matrices with, kept from taking cores that nobody gave it."""

from threadpoolctl import threadpool_limits


def one_blas_thread() -> None:
    """Have BLAS work in the thread that asks, from now on, in this process.

    OpenBLAS shares the product of a large group's vectors out to all cores, which gains nothing, and its threads then
    spin for a tenth of a second: while groups follow each other, on every core there is.
    """
    threadpool_limits(1, user_api="blas")
