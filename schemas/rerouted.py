"""Headers of a re-routed event: it came on another partition than its user's and was written again, to `rerouted`."""

from typing import Annotated, Final

from msgspec import Meta, Struct

from schemas import headers as kafka
from schemas.dead_letter import NO_TIMESTAMP_MS
from schemas.fields import MAX_INT64, Offset, Partition
from schemas.headers import PREFIX, AnyHeaders, Headers

# other names than in dead_letter.py, because a re-routed event can become a dead letter and then has both
ORIGIN_TOPIC_HEADER: Final = PREFIX + "origin-topic"
ORIGIN_TOPIC_ID_HEADER: Final = PREFIX + "origin-topic-id"
ORIGIN_PARTITION_HEADER: Final = PREFIX + "origin-partition"
ORIGIN_OFFSET_HEADER: Final = PREFIX + "origin-offset"
ORIGIN_TIMESTAMP_HEADER: Final = PREFIX + "origin-timestamp"
ORIGIN_COUNTS_HEADER: Final = PREFIX + "origin-counts"

# field of Rerouted -> its header
REROUTED_HEADERS: Final = {
    "topic": ORIGIN_TOPIC_HEADER,
    "topic_id": ORIGIN_TOPIC_ID_HEADER,
    "partition": ORIGIN_PARTITION_HEADER,
    "offset": ORIGIN_OFFSET_HEADER,
    "timestamp_ms": ORIGIN_TIMESTAMP_HEADER,
    "counts": ORIGIN_COUNTS_HEADER,
}
_OWN_HEADERS: Final = frozenset(REROUTED_HEADERS.values())


class Rerouted(Struct, kw_only=True, frozen=True, gc=False):
    """Where a re-routed event was read first; applied offsets are kept by this topic and partition."""

    topic: Annotated[str, Meta(description="Topic that the event was read from first.")]
    topic_id: Annotated[str, Meta(description="Kafka's id of that topic; a topic that is created anew has another id.")]
    partition: Annotated[Partition, Meta(description="Partition that the event was read from first.")]
    offset: Annotated[Offset, Meta(description="Offset that the event was read at first.")]
    timestamp_ms: (
        Annotated[
            int,
            Meta(
                ge=NO_TIMESTAMP_MS,
                le=MAX_INT64,
                description="Kafka timestamp of the record that was read first, in milliseconds since 1970-01-01 UTC; "
                "-1 when it had none. The event's time is judged by it. Release 0.1.0 did not write the header: the "
                "record's own timestamp is then that of the first record.",
            ),
        ]
        | None
    ) = None
    counts: Annotated[
        str,
        Meta(
            description="The partition counts of the inputs by which the workers on the way chose partitions, such as "
            "`4` or `4>8`. Records of one path come in their order. Release 0.1.0 did not write the header."
        ),
    ] = ""

    def to_headers(self, original: AnyHeaders = ()) -> list[tuple[str, bytes | None]]:
        """The record's own headers (its content type among them), then where it was read."""
        mine: Headers = [
            (ORIGIN_TOPIC_HEADER, self.topic.encode()),
            (ORIGIN_TOPIC_ID_HEADER, self.topic_id.encode()),
            (ORIGIN_PARTITION_HEADER, b"%d" % self.partition),
            (ORIGIN_OFFSET_HEADER, b"%d" % self.offset),
        ]
        if self.timestamp_ms is not None:
            mine.append((ORIGIN_TIMESTAMP_HEADER, b"%d" % self.timestamp_ms))
        if self.counts:
            mine.append((ORIGIN_COUNTS_HEADER, self.counts.encode()))
        return [*own_headers(original), *mine]

    @classmethod
    def from_headers(cls, headers: AnyHeaders) -> "Rerouted":
        """Read the headers of a re-routed event; ``DecodeError`` (malformed) if a header is missing or broken."""
        headers = list(headers or ())
        has_counts = kafka.find(headers, ORIGIN_COUNTS_HEADER) is not None
        has_timestamp = kafka.find(headers, ORIGIN_TIMESTAMP_HEADER) is not None
        return cls(
            topic=kafka.text(headers, ORIGIN_TOPIC_HEADER),
            topic_id=kafka.text(headers, ORIGIN_TOPIC_ID_HEADER),
            partition=kafka.number(headers, ORIGIN_PARTITION_HEADER),
            offset=kafka.number(headers, ORIGIN_OFFSET_HEADER),
            timestamp_ms=(
                kafka.number(headers, ORIGIN_TIMESTAMP_HEADER, smallest=NO_TIMESTAMP_MS) if has_timestamp else None
            ),
            counts=kafka.text(headers, ORIGIN_COUNTS_HEADER) if has_counts else "",
        )


def own_headers(headers: AnyHeaders) -> list[tuple[str, bytes | None]]:
    """Headers that the event had before it was re-routed."""
    return [(name, value) for name, value in headers or () if name not in _OWN_HEADERS]
