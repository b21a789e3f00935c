"""Paces recorded events: at the speed at which they happened, or a multiple of it."""

import time
from collections.abc import Callable

_SLICE_S = 0.2


class ReplayClock:
    """Maps event times to a clock; the first event is due at once."""

    def __init__(
        self, speed: float, wait: Callable[[float], object], clock: Callable[[], float] = time.monotonic
    ) -> None:
        """``speed`` is seconds of event time per second of the clock; ``wait`` is called with at most 0.2 s."""
        self._speed = speed
        self._wait = wait
        self._clock = clock
        self._origin: tuple[float, int] | None = None

    def wait_until(self, event_time_ms: int) -> None:
        """Wait until the event is due; returns at once for an event whose time has passed."""
        if self._origin is None:
            self._origin = self._clock(), event_time_ms
        start, first_ms = self._origin
        due = start + (event_time_ms - first_ms) / 1000.0 / self._speed
        while (left := due - self._clock()) > 0:
            self._wait(min(left, _SLICE_S))
