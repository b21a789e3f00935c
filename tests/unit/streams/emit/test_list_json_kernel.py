"""Numbers as text: what a JSON reader makes of it is the number, to six decimals."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.emit.list_json_kernel import MAX_NUMBER_BYTES, put_number


def text_of(value: float) -> bytes:
    out = np.full(64, ord("#"), np.uint8)
    end = put_number(out, 3, value)
    # nothing is written before it, nor beyond what a number may take
    assert set(out.tobytes()[:3] + out.tobytes()[3 + MAX_NUMBER_BYTES :]) == {ord("#")}
    return out.tobytes()[3:end]


@given(st.floats(-1e12, 1e12, exclude_min=True, exclude_max=True))
def test_every_number_reads_back_to_six_decimals(value: float) -> None:
    assert json.loads(text_of(value)) == pytest.approx(value, abs=5.1e-7, rel=1e-15)


@given(st.floats(allow_nan=False, allow_infinity=False, width=32))
def test_numbers_beyond_all_reason_are_still_numbers(value: float) -> None:
    assert json.loads(text_of(value)) == pytest.approx(value, abs=5.1e-7, rel=1e-12)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, b"0.0"),
        (-0.0, b"0.0"),
        (-1e-9, b"0.0"),
        (0.9999999, b"1.0"),
        (-0.25, b"-0.25"),
        (12.5, b"12.5"),
        (0.000001, b"0.000001"),
        (999.9999996, b"1000.0"),
        (np.nan, b"null"),
        (-np.inf, b"null"),
    ],
)
def test_numbers_are_as_short_as_they_can_be(value: float, text: bytes) -> None:
    assert text_of(value) == text
