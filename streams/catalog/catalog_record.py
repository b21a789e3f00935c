"""A record of the topics `catalog` and `offers`, and the check of its key."""

from typing import NamedTuple

from confluent_kafka import Message

from schemas.errors import DecodeError, DecodeReason
from schemas.record_keys import id_of_key


class CatalogRecord(NamedTuple):
    """A record of these topics, with the attribute names that `dead_letter` reads."""

    topic: str
    partition: int
    offset: int
    timestamp: int | None
    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes]]

    @classmethod
    def of(cls, message: Message) -> "CatalogRecord":
        """Convert librdkafka's message."""
        kind, timestamp = message.timestamp()
        return cls(
            str(message.topic()),
            int(message.partition() or 0),
            int(message.offset() or 0),
            timestamp if kind else None,
            message.key(),
            message.value(),
            list(message.headers() or []),
        )


def check_key(key: bytes | None, item_id: str) -> None:
    """Check that the key names the item: compaction goes by key, and a tombstone has nothing else."""
    if not key or id_of_key(key, "item_id") != item_id:
        shown = f"the key {key[:80]!r}" if key else "no key"
        detail = f"the record of item {item_id[:80]!r} has {shown}: the key must be the item's id"
        raise DecodeError(DecodeReason.MALFORMED, "item_id", detail)
