"""Keeps logs away from the live table."""

import contextlib
import io
import logging
import sys
from collections import deque
from collections.abc import Iterator

from streams.monitoring.logs import set_up_logging
from streams.settings import Logging


class KeptLines(io.TextIOBase):
    """A stream that holds back the last hundred pieces written to it."""

    def __init__(self) -> None:
        self._kept: deque[str] = deque(maxlen=100)

    def write(self, text: str) -> int:
        """Hold a piece back; the oldest goes when there are too many."""
        self._kept.append(text)
        return len(text)

    def take(self) -> str:
        """What was held back; it is held no longer."""
        text = "".join(self._kept)
        self._kept.clear()
        return text


@contextlib.contextmanager
def quiet_logs(hold_back: bool) -> Iterator[None]:
    """Log warnings and errors only; held back until the end where they would tear a screen."""
    set_up_logging(Logging(level="warning"))
    kept = KeptLines()
    if hold_back:
        for handler in logging.getLogger().handlers:
            if isinstance(handler, logging.StreamHandler):
                handler.setStream(kept)
    try:
        yield
    finally:
        sys.stderr.write(kept.take())
