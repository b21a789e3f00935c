"""Numbers as text: what a JSON reader makes of it is the number, to six decimals."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.number_text import decimal_text


def parsed(values: list[float]) -> list[float]:
    text = decimal_text(np.array(values))
    return [json.loads(bytes(row)) for row in text]


@given(st.lists(st.floats(-1e15, 1e15), min_size=1, max_size=20))
def test_every_number_reads_back_to_six_decimals(values: list[float]) -> None:
    for value, found in zip(values, parsed(values), strict=True):
        assert found == pytest.approx(value, abs=5.1e-7, rel=1e-15)


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ([0.0], b"0.000000"),
        ([-0.0], b"0.000000"),
        ([-1e-9], b"0.000000"),
        ([0.9999999], b"1.000000"),
        ([-0.25, 1.5], b"-0.250000 1.500000"),
        ([12.5, -3.0, 0.000001], b" 12.500000 -3.000000  0.000001"),
        ([999.9999996], b"1000.000000"),
    ],
)
def test_numbers_stand_right_aligned(values: list[float], text: bytes) -> None:
    assert decimal_text(np.array(values)).tobytes() == text


def test_numbers_beyond_all_reason_are_still_numbers() -> None:
    assert parsed([1e30, -2.5]) == [1e30, -2.5]
    assert decimal_text(np.empty((2, 0))).shape[:2] == (2, 0)
