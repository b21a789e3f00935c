"""Headers of a re-routed event: it came on another partition than its user's and was written again, to `rerouted`."""

from typing import Annotated, Final

from msgspec import Meta, Struct

from schemas import headers as kafka
from schemas.fields import Offset, Partition
from schemas.headers import PREFIX, AnyHeaders, Headers

# other names than in dead_letter.py, because a re-routed event can become a dead letter and then has both
ORIGIN_TOPIC_HEADER: Final = PREFIX + "origin-topic"
ORIGIN_TOPIC_ID_HEADER: Final = PREFIX + "origin-topic-id"
ORIGIN_PARTITION_HEADER: Final = PREFIX + "origin-partition"
ORIGIN_OFFSET_HEADER: Final = PREFIX + "origin-offset"

# field of Rerouted -> its header
REROUTED_HEADERS: Final = {
    "topic": ORIGIN_TOPIC_HEADER,
    "topic_id": ORIGIN_TOPIC_ID_HEADER,
    "partition": ORIGIN_PARTITION_HEADER,
    "offset": ORIGIN_OFFSET_HEADER,
}
_OWN_HEADERS: Final = frozenset(REROUTED_HEADERS.values())


class Rerouted(Struct, kw_only=True, frozen=True, gc=False):
    """Where a re-routed event was read first; applied offsets are kept by this topic and partition."""

    topic: Annotated[str, Meta(description="Topic that the event was read from first.")]
    topic_id: Annotated[str, Meta(description="Kafka's id of that topic; a topic that is created anew has another id.")]
    partition: Annotated[Partition, Meta(description="Partition that the event was read from first.")]
    offset: Annotated[Offset, Meta(description="Offset that the event was read at first.")]

    def to_headers(self, original: AnyHeaders = ()) -> list[tuple[str, bytes | None]]:
        """The record's own headers (its content type among them), then where it was read."""
        mine: Headers = [
            (ORIGIN_TOPIC_HEADER, self.topic.encode()),
            (ORIGIN_TOPIC_ID_HEADER, self.topic_id.encode()),
            (ORIGIN_PARTITION_HEADER, b"%d" % self.partition),
            (ORIGIN_OFFSET_HEADER, b"%d" % self.offset),
        ]
        return [(name, value) for name, value in original or () if name not in _OWN_HEADERS] + mine

    @classmethod
    def from_headers(cls, headers: AnyHeaders) -> "Rerouted":
        """Read the headers of a re-routed event; ``DecodeError`` (malformed) if a header is missing or broken."""
        headers = list(headers or ())
        return cls(
            topic=kafka.text(headers, ORIGIN_TOPIC_HEADER),
            topic_id=kafka.text(headers, ORIGIN_TOPIC_ID_HEADER),
            partition=kafka.number(headers, ORIGIN_PARTITION_HEADER),
            offset=kafka.number(headers, ORIGIN_OFFSET_HEADER),
        )
