"""Recognises values that are no plain JSON in UTF-8, so that an error can name their format."""

from typing import Final

_MAGIC: Final = b"\x00"
_SCHEMA_ID_BYTES: Final = 4
_HEAD: Final = 1 + _SCHEMA_ID_BYTES
_MARKS: Final = (
    (b"\xff\xfe\x00\x00", "UTF-32"),
    (b"\x00\x00\xfe\xff", "UTF-32"),
    (b"\xff\xfe", "UTF-16"),
    (b"\xfe\xff", "UTF-16"),
    (b"{\x00", "UTF-16"),
    (b"\x00{", "UTF-16"),
    (b"\x1f\x8b", "gzip"),
    (b"(\xb5/\xfd", "zstd"),
    (b"PAR1", "Parquet"),
    (b"Obj\x01", "an Avro file"),
)


def format_name(value: bytes) -> str | None:
    """Name the format of a value that is no JSON in UTF-8; None if it is not known.

    >>> format_name('{"a": 1}'.encode("utf-16"))
    'UTF-16'
    >>> format_name(b"\\x00\\x00\\x00\\x00\\x07\\x04u1")
    "Confluent's wire format (schema id 7 of a Schema Registry)"
    """
    for mark, name in _MARKS:
        if value.startswith(mark):
            return name
    if value.startswith(_MAGIC) and len(value) > _HEAD:
        schema_id = int.from_bytes(value[1:_HEAD], "big")
        return f"Confluent's wire format (schema id {schema_id} of a Schema Registry)"
    return None


def without_schema_id(value: bytes) -> bytes | None:
    """Return the JSON behind the schema id of Confluent's wire format; None if no JSON object is there.

    >>> without_schema_id(b'\\x00\\x00\\x00\\x00\\x07{"a": 1}')
    b'{"a": 1}'
    """
    if value.startswith(_MAGIC) and value[_HEAD:].lstrip()[:1] == b"{":
        return value[_HEAD:]
    return None
