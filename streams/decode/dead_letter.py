"""Records that can't be used and their dead letters, and records that are used without some of their fields."""

from dataclasses import dataclass
from typing import Any

from schemas.dead_letter import DeadLetter
from schemas.errors import DecodeError


@dataclass(frozen=True)
class Refused:
    """A record that can't be used, and its dead letter."""

    record: Any
    letter: DeadLetter


@dataclass(frozen=True)
class Fault:
    """A record that is used without one of its fields, and the error of the field."""

    record: Any
    error: DecodeError


def dead_letter(record: Any, error: DecodeError) -> DeadLetter:
    """Return the dead letter of a record that ``error`` makes unusable."""
    return DeadLetter(
        reason=str(error.reason),
        field=error.field,
        detail=error.detail,
        source_topic=record.topic,
        source_partition=record.partition,
        source_offset=record.offset,
        source_timestamp_ms=-1 if record.timestamp is None else record.timestamp,
    )
