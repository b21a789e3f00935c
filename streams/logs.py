"""Structured logs: text with colours on a terminal, JSON lines elsewhere; the libraries' own records join in."""

import logging
import sys

import structlog

from streams.settings import Logging


def set_up_logging(settings: Logging) -> None:
    """Send prefstream's and the libraries' logs to stderr in one format."""
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
    # their info is an operator's debug
    for name in ("aiokafka", "faust", "mode", "cassandra", "streams.transport"):
        if settings.level != "debug":
            logging.getLogger(name).setLevel(logging.WARNING)
