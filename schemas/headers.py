"""Kafka record headers: pairs of a name and bytes, in order, names may repeat."""

from collections.abc import Iterable

from schemas.errors import DecodeError, DecodeReason
from schemas.fields import MAX_INT64

PREFIX = "prefstream-"
CONTENT_TYPE = "content-type"
JSON_CONTENT_TYPE = "application/json"

Headers = list[tuple[str, bytes]]
# as the Kafka clients give them; some give None for a record without headers
AnyHeaders = Iterable[tuple[str, bytes | None]] | None


def find(headers: AnyHeaders, name: str) -> bytes | None:
    """The value of a header, of the last one where the name repeats (as Kafka's ``lastHeader``)."""
    found = None
    for key, value in headers or ():
        if key == name:
            found = value
    return found


def content_type(headers: AnyHeaders) -> str | None:
    """The record's content type, for ``codec.decode``; None when it names none. Broken bytes name an unknown one."""
    value = find(headers, CONTENT_TYPE)
    return None if value is None else value.decode("utf-8", "replace")


def text(headers: AnyHeaders, name: str) -> str:
    """The text of a header that must be there."""
    value = find(headers, name)
    if value is None:
        raise DecodeError(DecodeReason.MALFORMED, name, f"the record has no header `{name}`, which is required here")
    try:
        return value.decode()
    except UnicodeDecodeError as error:
        raise DecodeError(DecodeReason.MALFORMED, name, f"the header `{name}` is not UTF-8: {error}") from error


def number(headers: AnyHeaders, name: str, smallest: int = 0) -> int:
    """The decimal integer of a header that must be there, from ``smallest`` to the largest int64."""
    digits = text(headers, name)
    # int() alone would take " 1_0 " and Arabic digits, and megabytes of them
    if not (digits.removeprefix("-").isdecimal() and digits.isascii() and len(digits) <= 20):
        raise DecodeError(
            DecodeReason.MALFORMED, name, f"the header `{name}` is {digits[:40]!r}, not a decimal integer"
        )
    value = int(digits)
    if not smallest <= value <= MAX_INT64:
        detail = f"the header `{name}` is {value}, outside of {smallest} to {MAX_INT64}"
        raise DecodeError(DecodeReason.MALFORMED, name, detail)
    return value
