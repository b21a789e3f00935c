"""Headers of a dead letter: they say why the record was refused. Its key and value are kept byte for byte."""

from typing import Annotated, Final

from msgspec import Meta, Struct

from schemas import headers as kafka
from schemas.errors import MAX_DETAIL_CHARS, MAX_FIELD_CHARS, DecodeReason
from schemas.fields import MAX_INT64, Offset, Partition
from schemas.headers import PREFIX, AnyHeaders, Headers

REASON_HEADER: Final = PREFIX + "reason"
FIELD_HEADER: Final = PREFIX + "field"
DETAIL_HEADER: Final = PREFIX + "detail"
SOURCE_TOPIC_HEADER: Final = PREFIX + "source-topic"
SOURCE_PARTITION_HEADER: Final = PREFIX + "source-partition"
SOURCE_OFFSET_HEADER: Final = PREFIX + "source-offset"
SOURCE_TIMESTAMP_HEADER: Final = PREFIX + "source-timestamp"

# field of DeadLetter -> its header
DEAD_LETTER_HEADERS: Final = {
    "reason": REASON_HEADER,
    "detail": DETAIL_HEADER,
    "source_topic": SOURCE_TOPIC_HEADER,
    "source_partition": SOURCE_PARTITION_HEADER,
    "source_offset": SOURCE_OFFSET_HEADER,
    "source_timestamp_ms": SOURCE_TIMESTAMP_HEADER,
    "field": FIELD_HEADER,
}
_OWN_HEADERS: Final = frozenset(DEAD_LETTER_HEADERS.values())

NO_TIMESTAMP_MS: Final = -1  # Kafka clients give it for a record without a timestamp


class DeadLetter(Struct, kw_only=True, frozen=True, gc=False):
    """Why a record was refused and where it was read."""

    # a str, because a newer release may run beside this one and know more reasons
    reason: Annotated[str, Meta(description=f"Why: {', '.join(DecodeReason)}.")]
    detail: Annotated[str, Meta(max_length=MAX_DETAIL_CHARS, description="The reason as a sentence.")]
    source_topic: Annotated[str, Meta(description="Topic that the record was read from.")]
    source_partition: Annotated[Partition, Meta(description="Partition that the record was read from.")]
    source_offset: Annotated[Offset, Meta(description="Offset that the record was read at.")]
    source_timestamp_ms: Annotated[
        int,
        Meta(
            ge=NO_TIMESTAMP_MS,
            le=MAX_INT64,
            description="The record's Kafka timestamp, in milliseconds since 1970-01-01 UTC; -1 when it had none.",
        ),
    ]
    field: (
        Annotated[str, Meta(max_length=MAX_FIELD_CHARS, description="Path of the field at fault, such as price.")]
        | None
    ) = None

    def to_headers(self, original: AnyHeaders = ()) -> list[tuple[str, bytes | None]]:
        """The record's own headers (its content type among them), then those of the dead letter."""
        mine: Headers = [
            (REASON_HEADER, self.reason.encode()),
            (DETAIL_HEADER, self.detail.encode()),
            (SOURCE_TOPIC_HEADER, self.source_topic.encode()),
            (SOURCE_PARTITION_HEADER, b"%d" % self.source_partition),
            (SOURCE_OFFSET_HEADER, b"%d" % self.source_offset),
            (SOURCE_TIMESTAMP_HEADER, b"%d" % self.source_timestamp_ms),
        ]
        if self.field is not None:
            mine.append((FIELD_HEADER, self.field.encode()))
        return original_headers(original) + mine

    @classmethod
    def from_headers(cls, headers: AnyHeaders) -> "DeadLetter":
        """Read the headers of a dead letter; ``DecodeError`` (malformed) if a header is missing or broken."""
        headers = list(headers or ())
        has_field = kafka.find(headers, FIELD_HEADER) is not None
        return cls(
            reason=kafka.text(headers, REASON_HEADER),
            detail=kafka.text(headers, DETAIL_HEADER),
            source_topic=kafka.text(headers, SOURCE_TOPIC_HEADER),
            source_partition=kafka.number(headers, SOURCE_PARTITION_HEADER),
            source_offset=kafka.number(headers, SOURCE_OFFSET_HEADER),
            source_timestamp_ms=kafka.number(headers, SOURCE_TIMESTAMP_HEADER, smallest=NO_TIMESTAMP_MS),
            field=kafka.text(headers, FIELD_HEADER) if has_field else None,
        )


def original_headers(headers: AnyHeaders) -> list[tuple[str, bytes | None]]:
    """Headers that the record had before it became a dead letter; a replay sends these."""
    return [(name, value) for name, value in headers or () if name not in _OWN_HEADERS]
