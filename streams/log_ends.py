"""Where the logs end, to tell a profile that is ahead of its log (which was cut) from one that is just up to date."""

import structlog
from confluent_kafka import Consumer, TopicPartition

from streams.profiles import Source

log = structlog.get_logger(__name__)


class LogEnds:
    """End offsets, asked for only when the last answer is too small to settle the question."""

    def __init__(self, consumer: Consumer) -> None:
        self._consumer = consumer
        self._ends: dict[Source, int] = {}

    def __call__(self, source: Source, at_least: int) -> int:
        """The end offset of a log, fresh if the one known is below ``at_least``."""
        known = self._ends.get(source, -1)
        if known >= at_least:
            return known
        try:
            _, end = self._consumer.get_watermark_offsets(TopicPartition(source.topic, source.partition), timeout=5.0)
        except Exception as error:  # a broker that is away proves nothing: the next load asks again
            log.warning("the end of a log is not known", topic=source.topic, problem=str(error))
            return at_least
        self._ends[source] = end
        return int(end)

    def close(self) -> None:
        """Let go of the connection."""
        self._consumer.close()
