"""The records of a fetch, with no more to them than is read: half of what making aiokafka's own costs."""

from typing import Any

import msgspec
from aiokafka.consumer import fetcher

Headers = tuple[tuple[str, bytes | None], ...]


class Record(msgspec.Struct, gc=False):
    """A record of a topic-partition, undecoded; the fields are those of `aiokafka.ConsumerRecord`."""

    topic: str
    partition: int
    offset: int
    timestamp: int | None  # UTC ms, -1 = unknown
    timestamp_type: int | None
    key: bytes | None
    value: bytes | None
    headers: Headers


class _LightRecords(fetcher.PartitionRecords):  # type: ignore[misc]  # aiokafka ships no types
    def _consumer_record(self, tp: Any, record: Any) -> Record:
        return Record(
            tp.topic,
            tp.partition,
            record.offset,
            record.timestamp,
            record.timestamp_type,
            record.key,
            record.value,
            tuple(record.headers),
        )


def read_light_records() -> None:
    """Have aiokafka's consumers bring `Record`s, in this process; they are not to have deserializers."""
    fetcher.PartitionRecords = _LightRecords
