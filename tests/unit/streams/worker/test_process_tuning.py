"""BLAS keeps to the thread that asks."""

from threadpoolctl import ThreadpoolController

from streams.worker.process_tuning import one_blas_thread


def test_blas_has_one_thread_from_then_on() -> None:
    blas = ThreadpoolController().select(user_api="blas")
    assert blas.lib_controllers, "numpy came with none, so nothing is tested here"
    with blas.limit(limits=2):  # puts back what there was
        one_blas_thread()
        assert {one["num_threads"] for one in blas.info()} == {1}
