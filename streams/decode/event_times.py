"""The verdict on an event's time. The record's own timestamp decides, never a clock: a replay judges the same."""

import numpy as np

from schemas.errors import DecodeError, DecodeReason
from schemas.times import NO_TIME, no_time
from streams.arrays import Int64Array


def wrong_times(times_ms: Int64Array, written_ms: Int64Array, max_future_ms: int) -> dict[int, DecodeError]:
    """Find the events whose time is in the future or no time at all.

    Parameters
    ----------
    times_ms : (n,), the events' times in milliseconds; `NO_TIME` where a number is no time of any unit
    written_ms : (n,), the Kafka timestamps of their records in milliseconds; negative where a record has none
    max_future_ms : how far an event's time may lie after the timestamp

    Returns
    -------
    the error of each refused event, by its index
    """
    unknown = times_ms == NO_TIME
    early = (written_ms >= 0) & (times_ms > written_ms + max_future_ms)
    wrong = early | unknown
    if not wrong.any():
        return {}
    errors = {}
    for index in np.flatnonzero(wrong).tolist():
        if unknown[index]:
            errors[index] = no_time("event_time_ms")
            continue
        detail = (
            f"event_time_ms {times_ms[index]} is {(times_ms[index] - written_ms[index]) / 1000:.0f} s after the "
            f"record was written; at most {max_future_ms / 1000:.0f} s are allowed (profiles.max_future_s)"
        )
        errors[index] = DecodeError(DecodeReason.TIME_IN_FUTURE, "event_time_ms", detail)
    return errors
