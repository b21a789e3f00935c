"""Waits so that recorded events come as they came, or any number of times faster."""

import time
from collections.abc import Callable

_SLICE_S = 0.2


class ReplayClock:
    """Event times mapped to a clock: the first event is due at once."""

    def __init__(
        self, speed: float, wait: Callable[[float], object], clock: Callable[[], float] = time.monotonic
    ) -> None:
        """``speed`` is event seconds a second; ``wait`` is called with at most 0.2 s at a time."""
        self._speed = speed
        self._wait = wait
        self._clock = clock
        self._origin: tuple[float, int] | None = None

    def until(self, event_time_ms: int) -> None:
        """Return when the event is due; one that is late is due at once."""
        if self._origin is None:
            self._origin = self._clock(), event_time_ms
        start, first_ms = self._origin
        due = start + (event_time_ms - first_ms) / 1000.0 / self._speed
        while (left := due - self._clock()) > 0:
            self._wait(min(left, _SLICE_S))
