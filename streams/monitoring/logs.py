"""Structured logs: coloured text on a terminal, JSON lines elsewhere.

The log records of the libraries are written in the same format.
"""

import logging
import re
import sys
import time

import structlog

from streams.settings import Logging

_REPEAT_AFTER_S = 30.0
_CHILDREN = {
    "aiokafka": ["aiokafka.conn", "aiokafka.client", "aiokafka.cluster", "aiokafka.consumer.group_coordinator"],
    "cassandra": ["cassandra.cluster", "cassandra.pool", "cassandra.connection"],
}  # a logger's filter does not apply to its children, so each child gets one too


class _Throttle(logging.Filter):
    """Drops a message that was logged less than 30 s ago: clients repeat their messages while a server is away."""

    def __init__(self) -> None:
        super().__init__()
        self._logged_at: dict[tuple[str, str], float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        # repeats of a message differ only in digits (ports, times, attempts)
        kind = (record.name, re.sub(r"\d+", "", record.getMessage())[:80])
        now = time.monotonic()
        if now - self._logged_at.get(kind, -_REPEAT_AFTER_S) < _REPEAT_AFTER_S:
            return False
        if len(self._logged_at) > 1_000:
            self._logged_at.clear()
        self._logged_at[kind] = now
        return True


def set_up_logging(settings: Logging) -> None:
    """Write the logs of prefstream and of the libraries to stderr, in one format."""
    text = settings.format == "text" or (settings.format == "auto" and sys.stderr.isatty())
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]
    renderer: structlog.typing.Processor = (
        structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty()) if text else structlog.processors.JSONRenderer()
    )
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(settings.level.upper())
    for name in ("librdkafka", "aiokafka", "cassandra"):
        for child in (name, *_CHILDREN.get(name, ())):
            logging.getLogger(child).addFilter(_Throttle())
    # to an operator the libraries' INFO messages are debugging details
    for name in ("aiokafka", "faust", "mode", "cassandra", "streams.fetch.transport"):
        if settings.level != "debug":
            logging.getLogger(name).setLevel(logging.WARNING)
