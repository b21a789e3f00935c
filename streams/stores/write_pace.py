"""Spreads work over time, so that other work in between does not have to wait until all of it is done."""

import threading
import time
from collections.abc import Callable


class WritePace:
    """Spreads the parts of a piece of work evenly over ``over_s`` seconds, until `hurry` is called.

    With ``over_s`` = 0 it is hurried from the start.
    """

    def __init__(self, over_s: float = 0.0, clock: Callable[[], float] = time.monotonic) -> None:
        """``clock`` returns seconds that never run backwards."""
        self._over_s, self._clock = over_s, clock
        self._parts, self._done, self._start = 1, 0, clock()
        self.waited_s = 0.0
        """Seconds that `done` has waited so far."""
        self._hurried = threading.Event()
        if over_s == 0.0:
            self.hurry()

    @property
    def parts(self) -> int:
        """Number of parts that the work has."""
        return self._parts

    @property
    def hurried(self) -> bool:
        """Whether the rest of the work is done without waiting."""
        return self._hurried.is_set()

    def hurry(self) -> None:
        """Stop waiting. May be called in any thread, even before the work begins."""
        self._hurried.set()

    def begin(self, parts: int) -> None:
        """Begin work that has ``parts`` parts: the time runs from now."""
        self._parts, self._done, self._start = parts, 0, self._clock()

    def done(self, parts: int) -> None:
        """Note that ``parts`` more parts are done, and wait until the next part is due; after the last one do not wait.

        Blocks the calling thread.
        """
        self._done += parts
        if self._done >= self._parts:
            return
        now = self._clock()
        left_s = self._start + self._over_s * self._done / self._parts - now
        if left_s > 0:
            self._hurried.wait(left_s)
            self.waited_s += self._clock() - now
        elif -left_s > self._over_s:
            self.hurry()  # late by more than ``over_s``: the rest does not wait any more
