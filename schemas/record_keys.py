"""Reads the id from a record's key, in the forms that producers write.

A key is the id as plain text, or as JSON (a text in quotes, or an object with the id), as REST proxies and Kafka
Connect write it; with a schema id in front, it is of a Schema Registry's serializer.
"""

from typing import Any, Final

import msgspec

from schemas.errors import DecodeError, DecodeReason
from schemas.wire_formats import format_name, without_schema_id

_HEAD: Final = 5
"""Bytes of Confluent's wire format in front of the payload."""
_MAX_SHOWN: Final = 80


def id_of_key(key: bytes, field: str) -> str:
    """Return the id that a key names; ``field`` is the id's field in an object, such as ``item_id``.

    Raises `DecodeError` (malformed) if the key has another form.

    >>> [id_of_key(key, "item_id") for key in (b"i10", b'"i10"', b'{"item_id": "i10"}', b"10")]
    ['i10', 'i10', 'i10', '10']
    >>> id_of_key(b"\\x00\\x00\\x00\\x00\\x07\\x06i10", "item_id")
    'i10'
    """
    if key[:1] == b"\x00":
        return _of_registry(key, field)
    if key[:1] not in (b'"', b"{"):
        return _text(key)
    return _of_json(key, field)


def _of_registry(key: bytes, field: str) -> str:
    payload = key[_HEAD:]
    if without_schema_id(key) is not None or (payload[:1] == b'"' and payload.endswith(b'"')):
        return _of_json(payload, field)
    # an Avro text: its length as a zigzag varint, then its bytes
    if payload and payload[0] % 2 == 0 and payload[0] // 2 == len(payload) - 1 < 64:
        return _text(payload[1:])
    raise _unreadable(key, f"it looks like {format_name(key) or 'binary data'}: send the id as plain text")


def _of_json(key: bytes, field: str) -> str:
    try:
        named: Any = msgspec.json.decode(key)
    except ValueError:
        return _text(key)  # an id that only begins like JSON
    if isinstance(named, dict) and "payload" in named:  # Connect's converter with its schema
        named = named["payload"]
    if isinstance(named, dict):
        named = named.get(field)
    if isinstance(named, int) and not isinstance(named, bool):
        return str(named)
    if not isinstance(named, str) or not named:
        raise _unreadable(key, f"expected the id as plain text, as a text of JSON, or as an object with `{field}`")
    return named


def _text(key: bytes) -> str:
    try:
        return key.decode()
    except UnicodeDecodeError:
        raise _unreadable(key, "it is not UTF-8") from None


def _unreadable(key: bytes, why: str) -> DecodeError:
    return DecodeError(DecodeReason.MALFORMED, None, f"the key {key[:_MAX_SHOWN]!r} names no id: {why}")
