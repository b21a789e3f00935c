"""Recognises the unit of a time by its value alone: seconds, milli-, micro- or nanoseconds since 1970, or ISO 8601.

The times of one unit lie in an interval of their own, so the units can't be mixed up between 1973 and 2262.
"""

import math
from datetime import UTC, datetime
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from schemas.errors import DecodeError, DecodeReason
from schemas.fields import MAX_INT64

# first value of each unit: 3 March 1973, and for seconds up to the year 5138
_FROM_S: Final = 10**8
_FROM_MS: Final = 10**11
_FROM_US: Final = 10**14
_FROM_NS: Final = 10**17
NO_TIME: Final = -1
EXPECTED: Final = (
    "a time since 1973: seconds, milliseconds, microseconds or nanoseconds since 1970-01-01 UTC, or ISO 8601 such as "
    "2026-01-31T09:30:00Z"
)


def times_ms(times: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Convert times of any unit to milliseconds.

    Parameters
    ----------
    times : int64 array of shape (n,)
        Seconds, milli-, micro- or nanoseconds since 1970-01-01 UTC; each entry in a unit of its own.

    Returns
    -------
    int64 array of shape (n,)
        UTC milliseconds; `NO_TIME` for an entry of no unit. The input itself if all entries are milliseconds.

    Examples
    --------
    >>> times_ms(np.array([1_760_000_000, 1_760_000_000_000, 1_760_000_000_000_000, 5])).tolist()
    [1760000000000, 1760000000000, 1760000000000, -1]
    """
    if len(times) == 0 or (times.min() >= _FROM_MS and times.max() < _FROM_US):
        return times
    units = [times >= _FROM_NS, times >= _FROM_US, times >= _FROM_MS, times >= _FROM_S]
    return np.select(units, [times // 10**6, times // 10**3, times, times * 10**3], NO_TIME)


def time_ms(value: Any) -> int:
    """Convert one time of any form to UTC milliseconds.

    Parameters
    ----------
    value : int, float or str
        A number of seconds, milli-, micro- or nanoseconds, also as text, or a time in ISO 8601. A time without a zone
        is UTC.

    Raises
    ------
    ValueError
        The value is none of these.

    Examples
    --------
    >>> time_ms("2025-10-09T10:53:20+02:00"), time_ms(1.76e12), time_ms("1760000000")
    (1760000000000, 1760000000000, 1760000000000)
    """
    if isinstance(value, str):
        value = _number(value.strip())
    if isinstance(value, datetime):
        return round((value if value.tzinfo else value.replace(tzinfo=UTC)).timestamp() * 1000)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(value)
    if _FROM_S <= value < _FROM_MS:
        return round(value * 1000)  # a fraction of a second counts
    if not _FROM_MS <= value <= MAX_INT64:
        raise ValueError(value)
    if value < _FROM_US:
        return int(value)
    return int(value) // (10**3 if value < _FROM_NS else 10**6)


def event_time_ms(value: Any, field: str) -> int:
    """Convert the time of a field; `DecodeError` if it is no time."""
    try:
        return time_ms(value)
    except (ValueError, OverflowError):
        raise no_time(field) from None


def no_time(field: str) -> DecodeError:
    """Return the error of a field that is no time; without the value, so that many such lines have one reason."""
    return DecodeError(DecodeReason.OUT_OF_RANGE, field, f"`{field}` is no time; expected {EXPECTED}")


def _number(text: str) -> int | float | datetime:
    if text.isascii() and text.isdecimal():
        return int(text[:20])
    try:
        return float(text)
    except ValueError:
        return datetime.fromisoformat(text)
