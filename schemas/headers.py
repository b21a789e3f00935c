"""Reads Kafka record headers: pairs of a name and bytes, in order; names may repeat."""

from collections.abc import Iterable

from schemas.errors import DecodeError, DecodeReason
from schemas.fields import MAX_INT64

PREFIX = "prefstream-"
CONTENT_TYPE = "content-type"
JSON_CONTENT_TYPE = "application/json"

Headers = list[tuple[str, bytes]]
# headers from any Kafka client; some clients give None for a record without headers
AnyHeaders = Iterable[tuple[str, bytes | None]] | None


def find(headers: AnyHeaders, name: str) -> bytes | None:
    """Value of a header, or None; if the name repeats, of the last header, as Kafka's ``lastHeader``."""
    last = None
    for key, value in headers or ():
        if key == name:
            last = value
    return last


def content_type(headers: AnyHeaders) -> str | None:
    """Content type of a record, for ``codec.decode``; None without the header. Broken bytes give an unknown type."""
    value = find(headers, CONTENT_TYPE)
    return None if value is None else value.decode("utf-8", "replace")


def text(headers: AnyHeaders, name: str) -> str:
    """Text of a header; ``DecodeError`` (malformed) if it is missing or not UTF-8."""
    value = find(headers, name)
    if value is None:
        raise DecodeError(DecodeReason.MALFORMED, name, f"the record has no header `{name}`, which is required here")
    try:
        return value.decode()
    except UnicodeDecodeError as error:
        raise DecodeError(DecodeReason.MALFORMED, name, f"the header `{name}` is not UTF-8: {error}") from error


def number(headers: AnyHeaders, name: str, smallest: int = 0) -> int:
    """Integer of a header, from ``smallest`` to the largest int64; ``DecodeError`` (malformed) if there is none."""
    digits = text(headers, name)
    # int() alone would accept " 1_0 ", Arabic digits, and megabytes of digits
    if not (digits.removeprefix("-").isdecimal() and digits.isascii() and len(digits) <= 20):
        raise DecodeError(
            DecodeReason.MALFORMED, name, f"the header `{name}` is {digits[:40]!r}, not a decimal integer"
        )
    value = int(digits)
    if not smallest <= value <= MAX_INT64:
        detail = f"the header `{name}` is {value}, outside of {smallest} to {MAX_INT64}"
        raise DecodeError(DecodeReason.MALFORMED, name, detail)
    return value
