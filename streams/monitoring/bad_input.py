"""Counts and logs records that are refused, and fields that are left out because they are wrong."""

from collections.abc import Callable
from time import monotonic
from typing import Any

from streams.monitoring.hourly_log import HourlyLog
from streams.monitoring.metrics import Metrics


class BadInput:
    """Tells an operator what is wrong with the input: a metric for each case, a line an hour for each kind."""

    def __init__(self, metrics: Metrics, clock: Callable[[], float] = monotonic) -> None:
        self._metrics, self._hourly = metrics, HourlyLog(clock)

    def refused(self, record: Any, reason: str, field: str | None, detail: str) -> None:
        """Tell that a record became a dead letter."""
        self._metrics.dead_letter(record.topic, reason)
        sentence = "a record was refused and is a dead letter now: see `prefstream dlq list`"
        self._warn(sentence, record, reason, message_field(field), detail)

    def skipped(self, record: Any, reason: str, field: str | None, detail: str) -> None:
        """Tell that a record of a topic that every worker reads was refused; it becomes no dead letter."""
        sentence = "a record was refused and changes nothing: correct it at its source"
        self._warn(sentence, record, reason, message_field(field), detail)

    def fault(self, record: Any, reason: str, field: str | None, detail: str) -> None:
        """Tell that a record is used without one of its fields, or with a part of it."""
        name = message_field(field)
        self._metrics.field_fault(record.topic, name, reason)
        sentence = "a record is used without a field that is wrong: see `prefstream dlq fields`"
        self._warn(sentence, record, reason, name, detail)

    def _warn(self, sentence: str, record: Any, reason: str, field: str, detail: str) -> None:
        at = f"{record.partition}:{record.offset}"
        self._hourly.warn(
            sentence,
            (record.topic, field, reason),
            topic=record.topic,
            record=at,
            reason=reason,
            field=field,
            detail=detail,
        )


def message_field(path: str | None) -> str:
    """Return the message's own field of a path: the names of attributes are the sender's, and without number.

    >>> message_field("attributes.size"), message_field("category[3]"), message_field(None)
    ('attributes', 'category', '')
    """
    return (path or "").partition(".")[0].partition("[")[0]
