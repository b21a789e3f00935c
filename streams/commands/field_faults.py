"""Finds the optional fields that are wrong in the latest records of a topic, with a sample of each kind."""

from collections.abc import Iterable
from typing import Any

import msgspec

from schemas.codec import decode_input
from schemas.errors import DecodeError
from schemas.headers import content_type
from streams.display_text import safe_bytes

_LONGEST_SAMPLE = 80


class FieldFault(msgspec.Struct, kw_only=True):
    """A kind of fault: what is wrong with a field of a topic."""

    topic: str
    field: str
    reason: str
    count: int
    place: str
    """Partition and offset of the latest record of this kind."""
    value: str
    """What that record has there, cut to 80 characters."""
    detail: str


def field_faults(topic: str, message_type: type[Any], messages: Iterable[Any]) -> list[FieldFault]:
    """Return the kinds of faults in records of a topic, the most frequent first.

    Records that can't be used at all are not told: they are dead letters.

    Parameters
    ----------
    topic : short name of the topic
    message_type : class of its messages
    messages : its records, as librdkafka hands them over
    """
    found: dict[tuple[str, str], FieldFault] = {}
    for message in messages:
        try:
            _, faults = decode_input(message_type, message.value(), content_type(message.headers()))
        except DecodeError:
            continue
        for fault in faults:
            field = str(fault.field)
            known = found.get((field, fault.reason))
            found[field, fault.reason] = FieldFault(
                topic=topic,
                field=field,
                reason=fault.reason,
                count=1 if known is None else known.count + 1,
                place=f"{message.partition()}:{message.offset()}",
                value=_sample(message.value(), field),
                detail=fault.detail,
            )
    return sorted(found.values(), key=lambda fault: (-fault.count, fault.field, fault.reason))


def _sample(value: bytes, field: str) -> str:
    """Return what a record has in a field; the whole record, cut, if that can't be found."""
    name = field.partition(".")[0].partition("[")[0]
    try:
        data = msgspec.json.encode(msgspec.json.decode(value)[name])
    except (ValueError, KeyError, TypeError, RecursionError):
        data = value
    text = safe_bytes(data[: 4 * _LONGEST_SAMPLE])
    return text if len(text) <= _LONGEST_SAMPLE else f"{text[: _LONGEST_SAMPLE - 1]}…"
