"""Asks for the end offsets of logs, to recognise a profile that is ahead of its log: then the log was cut.

Without the end offset such a profile looks like a profile that is up to date.
"""

import time

import structlog
from confluent_kafka import Consumer, TopicPartition

from streams.kafka.log_id import LogId

log = structlog.get_logger(__name__)

_TIMEOUT_S = 2.0
_QUIET_S = 10.0  # after a broker did not answer, it is not asked again for so long


class LogEnds:
    """Remembers end offsets, and asks the broker only if the remembered offset is too small for the caller."""

    def __init__(self, consumer: Consumer) -> None:
        self._consumer = consumer
        self._ends: dict[LogId, int] = {}
        self._quiet_until = 0.0

    def __call__(self, source: LogId, at_least: int) -> int:
        """Return the end offset of a log, or an earlier answer if that is at least ``at_least``.

        Returns ``at_least`` if the broker does not answer.
        """
        known = self._ends.get(source, -1)
        if known >= at_least:
            return known
        if time.monotonic() < self._quiet_until:
            return at_least
        try:
            _, end = self._consumer.get_watermark_offsets(
                TopicPartition(source.topic, source.partition), timeout=_TIMEOUT_S
            )
        except Exception as error:  # an unreachable broker proves nothing: a later load asks again
            log.warning("could not read the end offset of a log", topic=source.topic, problem=str(error))
            self._quiet_until = time.monotonic() + _QUIET_S
            return at_least
        self._ends[source] = end
        return int(end)

    def close(self) -> None:
        """Close the connection."""
        self._consumer.close()
