"""Where the logs end, to tell a profile that is ahead of its log (which was cut) from one that is just up to date."""

import time

import structlog
from confluent_kafka import Consumer, TopicPartition

from streams.kafka.log_id import LogId

log = structlog.get_logger(__name__)

_TIMEOUT_S = 2.0
_QUIET_S = 10.0  # how long a broker that did not answer is not asked again


class LogEnds:
    """End offsets, asked for only when the last answer is too small to settle the question."""

    def __init__(self, consumer: Consumer) -> None:
        self._consumer = consumer
        self._ends: dict[LogId, int] = {}
        self._quiet_until = 0.0

    def __call__(self, source: LogId, at_least: int) -> int:
        """The end offset of a log, fresh if the one known is below ``at_least``."""
        known = self._ends.get(source, -1)
        if known >= at_least:
            return known
        if time.monotonic() < self._quiet_until:
            return at_least
        try:
            _, end = self._consumer.get_watermark_offsets(
                TopicPartition(source.topic, source.partition), timeout=_TIMEOUT_S
            )
        except Exception as error:  # a broker that is away proves nothing: the next load asks again
            log.warning("the end of a log is not known", topic=source.topic, problem=str(error))
            self._quiet_until = time.monotonic() + _QUIET_S
            return at_least
        self._ends[source] = end
        return int(end)

    def close(self) -> None:
        """Let go of the connection."""
        self._consumer.close()
