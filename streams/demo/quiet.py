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
    """A stream that keeps the last hundred texts that were written to it."""

    def __init__(self) -> None:
        self._kept: deque[str] = deque(maxlen=100)

    def write(self, text: str) -> int:
        """Keep a text; if there are too many, the oldest is dropped."""
        self._kept.append(text)
        return len(text)

    def take(self) -> str:
        """Return the texts that were kept, and empty the stream."""
        text = "".join(self._kept)
        self._kept.clear()
        return text


@contextlib.contextmanager
def quiet_logs(hold_back: bool) -> Iterator[None]:
    """Log only warnings and errors; ``hold_back`` prints them at the end, so that they don't disturb the live table."""
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
