"""The verdict on an event's time. The record's own timestamp decides, never a clock: a replay judges the same."""

import numpy as np

from schemas.errors import DecodeError, DecodeReason
from streams.arrays import Int64Array

_DECADE_MS = 10 * 365 * 86_400_000


def wrong_times(times_ms: Int64Array, written_ms: Int64Array, max_future_ms: int) -> dict[int, DecodeError]:
    """Find the events whose time is in the future or in seconds.

    Parameters
    ----------
    times_ms : (n,), the events' times
    written_ms : (n,), the Kafka timestamps of their records; negative where a record has none
    max_future_ms : how far an event's time may lie after the timestamp

    Returns
    -------
    the error of each refused event, by its index
    """
    early = (written_ms >= 0) & (times_ms > written_ms + max_future_ms)
    in_seconds = (written_ms > 2 * _DECADE_MS) & (np.abs(times_ms * 1000 - written_ms) < _DECADE_MS)
    wrong = early | in_seconds
    if not wrong.any():
        return {}
    errors = {}
    for index in np.flatnonzero(wrong).tolist():
        if early[index]:
            detail = (
                f"event_time_ms {times_ms[index]} is {(times_ms[index] - written_ms[index]) / 1000:.0f} s after the "
                f"record was written; at most {max_future_ms / 1000:.0f} s are allowed (profiles.max_future_s)"
            )
            errors[index] = DecodeError(DecodeReason.TIME_IN_FUTURE, "event_time_ms", detail)
        else:
            detail = f"event_time_ms {times_ms[index]} looks like seconds since 1970: multiply it by 1000"
            errors[index] = DecodeError(DecodeReason.OUT_OF_RANGE, "event_time_ms", detail)
    return errors
