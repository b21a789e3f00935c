"""TODO"""

from typing import NamedTuple


class PendingEvent(NamedTuple):
    """An event that left the recents before its item's vector was known."""

    item: int
    type: int
    time_ms: int
    id: int
