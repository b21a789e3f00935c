"""Numbers as JSON text, an array at a time: a thousand floats cost what one call of a formatter does."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

DECIMALS = 6
"""Of scores and shares as sent: what lies beyond is rounding of float32."""

Text = NDArray[np.uint8]

_THOUSAND = np.array([f"{n:03d}".encode() for n in range(1000)], "S3").view(np.uint8).reshape(1000, 3)
_SPACE = ord(" ")


def decimal_text(values: NDArray[np.floating[Any]]) -> Text:
    """Numbers with six decimals, right-aligned with spaces, which JSON allows around a number.

    Parameters
    ----------
    values : finite floats of any shape S

    Returns
    -------
    uint8 array of shape (*S, W), ASCII; W is what the longest number takes

    >>> decimal_text(np.array([1.5, -0.25])).tobytes()
    b' 1.500000-0.250000'
    """
    millionths = np.rint(values.astype(np.float64) * 10**DECIMALS)
    if np.abs(millionths).max(initial=0) >= 1 << 62:  # beyond int64: rare enough to be slow
        return _any_text(values)
    units = millionths.astype(np.int64)
    negative = units < 0
    np.abs(units, out=units)
    thousands, low = np.divmod(units, 1000)
    whole, high = np.divmod(thousands, 1000)
    front = _whole_text(whole, negative)
    width = front.shape[-1]
    text = np.empty((*values.shape, width + 1 + DECIMALS), np.uint8)
    text[..., :width] = front
    text[..., width] = ord(".")
    text[..., width + 1 : width + 4] = _THOUSAND[high]
    text[..., width + 4 :] = _THOUSAND[low]
    return text


def _whole_text(whole: NDArray[np.int64], negative: NDArray[np.bool_]) -> Text:
    """Whole parts, right-aligned, a minus before the negative ones."""
    digits = len(str(int(whole.max(initial=0))))
    width = digits + bool(negative.any())
    text = np.full((*whole.shape, width), _SPACE, np.uint8)
    text[..., -1] = ord("0") + whole % 10
    length = np.ones(whole.shape, np.intp)
    for place in range(2, digits + 1):
        whole = whole // 10
        some = whole > 0
        text[..., -place] = np.where(some, ord("0") + whole % 10, _SPACE)
        length += some
    if width > digits or negative.any():
        where = np.nonzero(negative)
        text[(*where, width - 1 - length[where])] = ord("-")
    return text


def _any_text(values: NDArray[np.floating[Any]]) -> Text:
    texts = np.char.mod(f"%.{DECIMALS}f", values).astype("S")
    width = texts.dtype.itemsize
    return np.char.rjust(texts, width).view(np.uint8).reshape(*values.shape, width)
