"""How far the catalog is encoded for an encoder version."""

import asyncio
import time
from typing import Any

import structlog
from confluent_kafka import Consumer, KafkaException, TopicPartition

from streams.kafka.clients import make_tail_consumer
from streams.kafka.topics import CATALOG, TopicNames
from streams.settings import Settings

log = structlog.get_logger(__name__)

_AGAIN_S = 0.5


def catalog_consumer(settings: Settings, version: str) -> Consumer:
    """A consumer of the group that encodes the catalog for a version."""
    kafka = settings.kafka
    return make_tail_consumer(
        kafka,
        **{
            "group.id": catalog_group(settings.group, version),
            "session.timeout.ms": int(kafka.session_timeout_s * 1000),
            "heartbeat.interval.ms": int(kafka.heartbeat_interval_s * 1000),
            "enable.partition.eof": True,
        },
    )


class CatalogProgress:
    """Tells whether the catalog is encoded for a version; asks the broker each time."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    async def covers(self, version: str, ends: list[int], patience_s: float = 0.0) -> bool:
        """Whether all that lay before these end offsets is encoded; see `CatalogOffsets.covers`.

        ``patience_s`` is how long a broker that can't tell (yet) is asked again. A broker that stays silent has not
        said that the catalog is encoded.
        """
        until = time.monotonic() + patience_s
        while True:
            try:
                return await asyncio.to_thread(self._covers, version, ends)
            except KafkaException as error:
                why = error.args[0].str()
                log.warning("how far the catalog is encoded is not known", encoder=version, problem=why)
            if time.monotonic() > until:
                return False
            await asyncio.sleep(_AGAIN_S)

    def _covers(self, version: str, ends: list[int]) -> bool:
        catalog = TopicNames(self._settings.namespace).full(CATALOG)
        progress = CatalogOffsets(catalog_consumer(self._settings, version), catalog)
        try:
            return progress.covers(ends)
        finally:
            progress.close()


def catalog_group(group: str, version: str) -> str:
    """The consumer group of one encoder version on the catalog."""
    return f"{group}.catalog-{version}"


class CatalogOffsets:
    """How far a version has encoded the catalog, by its group's committed offsets; asks, never joins."""

    def __init__(self, consumer: Consumer, catalog: str) -> None:
        """``consumer`` has the version's group as its own."""
        self._consumer, self._catalog = consumer, catalog

    def look(self) -> tuple[dict[int, int], dict[int, int]]:
        """Committed offset (-1: none) and end offset of each partition; `KafkaException` if the broker is silent."""
        found: Any = self._consumer.list_topics(self._catalog, timeout=5.0).topics[self._catalog]
        parts = [TopicPartition(self._catalog, number) for number in found.partitions]
        ends = {part.partition: self._consumer.get_watermark_offsets(part, timeout=5.0)[1] for part in parts}
        return {part.partition: max(-1, part.offset) for part in self._consumer.committed(parts, timeout=5.0)}, ends

    def covers(self, wanted: list[int]) -> bool:
        """Whether what lay before these end offsets (by partition) is encoded; with none, whether anything is.

        A catalog that was made again ends earlier than it did: then its present end counts.
        """
        committed, ends = self.look()
        if not wanted:
            return any(offset > 0 for offset in committed.values()) or not any(ends.values())
        return all(
            max(0, committed.get(number, 0)) >= min(end, ends.get(number, 0)) for number, end in enumerate(wanted)
        )

    def close(self) -> None:
        """Let go of the connection."""
        self._consumer.close()
