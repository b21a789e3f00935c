"""The wall clock, in the unit that prefstream uses everywhere."""

import time


def now_ms() -> int:
    """UTC milliseconds since 1970."""
    return time.time_ns() // 1_000_000
