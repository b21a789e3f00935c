"""Tells how far the catalog is encoded for an encoder version."""

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
    """Make a consumer of the group that encodes the catalog for a version."""
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
        """Tell whether all records before these end offsets are encoded; see `CatalogOffsets.covers`.

        A broker that can't answer yet is asked again for ``patience_s`` seconds. If it never answers, the result is
        False.
        """
        until = time.monotonic() + patience_s
        while True:
            try:
                return await asyncio.to_thread(self._covers, version, ends)
            except KafkaException as error:
                problem = error.args[0].str()
                log.warning("the broker can't tell how far the catalog is encoded", encoder=version, problem=problem)
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
    """Name the consumer group that encodes the catalog for a version."""
    return f"{group}.catalog-{version}"


class CatalogOffsets:
    """Tells how far a version has encoded the catalog, from its group's committed offsets. Never joins the group."""

    def __init__(self, consumer: Consumer, catalog: str) -> None:
        """``consumer`` is one of the version's group; see `catalog_consumer`."""
        self._consumer, self._catalog = consumer, catalog

    def look(self) -> tuple[dict[int, int], dict[int, int]]:
        """Read each partition's committed offset (-1: none) and its end; `KafkaException` if the broker is silent."""
        metadata: Any = self._consumer.list_topics(self._catalog, timeout=5.0).topics[self._catalog]
        parts = [TopicPartition(self._catalog, number) for number in metadata.partitions]
        ends = {part.partition: self._consumer.get_watermark_offsets(part, timeout=5.0)[1] for part in parts}
        return {part.partition: max(-1, part.offset) for part in self._consumer.committed(parts, timeout=5.0)}, ends

    def covers(self, wanted: list[int]) -> bool:
        """Tell whether all records before these end offsets are encoded.

        ``wanted`` holds an end offset for each partition. If it is empty, the result tells whether any record is
        encoded, or the catalog has none. A catalog that was deleted and created again may end before a wanted offset:
        then its present end counts.
        """
        committed, ends = self.look()
        if not wanted:
            return any(offset > 0 for offset in committed.values()) or not any(ends.values())
        return all(
            max(0, committed.get(number, 0)) >= min(end, ends.get(number, 0)) for number, end in enumerate(wanted)
        )

    def close(self) -> None:
        """Close the connection."""
        self._consumer.close()
