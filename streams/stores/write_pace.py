"""Work that is spread over a time, so that what is done beside it does not wait for all of it."""

import threading
import time


class WritePace:
    """Spreads the parts of one piece of work evenly over ``over_s`` seconds, or until somebody is in a hurry."""

    def __init__(self, over_s: float = 0.0) -> None:
        self._over_s = over_s
        self._parts, self._done, self._start = 1, 0, time.monotonic()
        self.waited_s = 0.0
        """Seconds spent in ``keep``."""
        self._hurried = threading.Event()
        if over_s == 0.0:
            self.hurry()

    @property
    def hurried(self) -> bool:
        """Whether the rest is to be done as fast as it can be."""
        return self._hurried.is_set()

    def hurry(self) -> None:
        """Wait no more; from any thread, and before the work begins too."""
        self._hurried.set()

    def begin(self, parts: int) -> None:
        """The work begins now, of so many parts."""
        self._parts, self._done, self._start = parts, 0, time.monotonic()

    def keep(self, parts: int) -> None:
        """So many more of them are done: wait until the next one is due, if there is one. Blocks the calling thread."""
        self._done += parts
        if self._done >= self._parts:
            return
        now = time.monotonic()
        left_s = self._start + self._over_s * self._done / self._parts - now
        if left_s > 0:
            self._hurried.wait(left_s)
            self.waited_s += time.monotonic() - now
        elif -left_s > self._over_s:
            self.hurry()  # it takes twice as long as it was to
