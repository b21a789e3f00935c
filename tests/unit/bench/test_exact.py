"""The GPU's benchmark runs where there is no GPU as well, on few items."""

import pytest

from encoders.runtime import Runtime
from tests.bench.exact import exact, main


def test_it_times_three_ways_and_two_give_the_same_lists() -> None:
    found = exact("cpu", 6_000, repeats=1)
    assert found["same"] == 1.0
    assert all(found[name] > 0 for name in ("two_stages_us", "one_top_k_us", "plain_us"))


def test_a_gpu_that_is_not_there_is_said_in_a_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    if Runtime("auto").is_cuda:
        pytest.skip("there is one")
    assert main([]) == 1
    assert "The device is set to cuda" in capsys.readouterr().err
