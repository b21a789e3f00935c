"""Turns bytes into messages and back. Any bytes give a message or a ``DecodeError``.

The content type of a record chooses its decoder from ``FORMATS``; a record without a content type is JSON.
"""

import contextlib
import functools
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar

import msgspec

from schemas.actions import ACTION_CLASSES, Action, ActionType, Hide
from schemas.catalog import CatalogItem, Offer
from schemas.errors import DecodeError, DecodeReason
from schemas.events import EVENT_CLASSES, EVENT_TYPES, Event, EventType
from schemas.explain import explain
from schemas.headers import JSON_CONTENT_TYPE
from schemas.mending import Defaults, Mended, as_bool, mend
from schemas.times import event_time_ms
from schemas.wire_formats import without_schema_id

T = TypeVar("T")
E = TypeVar("E", Event, Action)
Decoder = Callable[[bytes], Any]


def _json_decoder(struct_type: type) -> Decoder:
    return msgspec.json.Decoder(struct_type).decode


# media type -> function that makes a decoder for a message class
FORMATS: Final[dict[str, Callable[[type], Decoder]]] = {JSON_CONTENT_TYPE: _json_decoder}
_CHARSETS: Final = frozenset({"utf-8", "utf8", "us-ascii"})


@functools.lru_cache(maxsize=512)  # bounded, because senders choose the content types
def decoder(struct_type: type, content_type: str | None = None) -> Decoder:
    """Function that reads ``struct_type`` from bytes. It raises msgspec's errors; ``decode`` turns them into our own.

    Raises
    ------
    DecodeError
        With the reason ``unsupported-content-type``.
    """
    media_type, _, parameters = (JSON_CONTENT_TYPE if content_type is None else content_type).lower().partition(";")
    make = FORMATS.get(media_type.strip())
    if make is None or not _is_utf8(parameters):
        detail = f"the content type is {content_type!r}; this release reads {', '.join(sorted(FORMATS))} in UTF-8"
        raise DecodeError(DecodeReason.UNSUPPORTED_CONTENT_TYPE, None, detail)
    return make(struct_type)


def _is_utf8(parameters: str) -> bool:
    for parameter in parameters.split(";"):
        name, _, value = parameter.partition("=")
        if name.strip() == "charset" and value.strip().strip('"') not in _CHARSETS:
            return False
    return True


def decode(struct_type: type[T], value: bytes | None, content_type: str | None = None) -> T:
    """Read one message.

    Parameters
    ----------
    struct_type : type
        The message class, such as ``Click``.
    value : bytes or None
        The record's value. Fields that the class does not have are ignored.
    content_type : str or None
        The record's ``content-type`` header; None is JSON.

    Raises
    ------
    DecodeError
        With the reason, the path of the field at fault, and a sentence.
    """
    if value is None:
        detail = f"the record has no value where a {struct_type.__name__} was expected"
        raise DecodeError(DecodeReason.NULL_VALUE, None, detail)
    read = decoder(struct_type, content_type)  # type: ignore[arg-type]  # mypy: a generic type is not Hashable
    try:
        return read(value)  # type: ignore[no-any-return]
    # ValueError: msgspec's errors, and UnicodeDecodeError. RecursionError: brackets that are nested thousands deep.
    except (ValueError, RecursionError) as error:
        raise explain(struct_type, value, error) from error


def _no_defaults(_: Mapping[str, Any]) -> Mapping[str, Any]:
    return {}


def decode_mending(
    struct_type: type,
    value: bytes | None,
    content_type: str | None = None,
    defaults: Defaults = _no_defaults,
) -> Mended:
    """Read one message as `decode`; an optional field that is wrong costs only itself.

    The errors of such fields come with the message. ``defaults`` is given the fields of the JSON, and returns values
    for required fields that may be absent.
    """
    if value is None:
        return Mended(decode(struct_type, value, content_type), [])  # raises
    read = decoder(struct_type, content_type)
    with contextlib.suppress(ValueError, RecursionError):  # mending explains what it can't mend
        return Mended(read(value), [])
    return mend(struct_type, without_schema_id(value) or value, defaults)


def decode_catalog_item(value: bytes | None, content_type: str | None = None) -> Mended:
    """Read a catalog item. An item that is not available needs no field but its id."""
    return decode_mending(CatalogItem, value, content_type, _of_withdrawal)


def _of_withdrawal(fields: Mapping[str, Any]) -> Mapping[str, Any]:
    return {"title": ""} if as_bool(fields.get("available")) is False else {}


def decode_event(event_type_code: int, value: bytes | None, content_type: str | None = None) -> Mended:
    """Read the event whose type has this code (``CLICK``, ``BROWSE`` or ``PURCHASE``), with its time in ms."""
    return decode_input(EVENT_CLASSES[event_type_code], value, content_type)


def decode_input(struct_type: type, value: bytes | None, content_type: str | None = None) -> Mended:
    """Read a message that others write: events, actions, items and offers are mended, commands must be right."""
    if issubclass(struct_type, Event):
        event, faults = decode_mending(struct_type, value, content_type)
        return Mended(with_time_in_ms(event), faults)
    if struct_type is CatalogItem:
        return decode_catalog_item(value, content_type)
    if struct_type is Action:
        return decode_action(value, content_type)
    if struct_type is Offer:
        return decode_mending(Offer, value, content_type)
    return Mended(decode(struct_type, value, content_type), [])


class _Tagged(msgspec.Struct, gc=False):
    """The field of an action that says which action it is."""

    action: ActionType


def decode_action(value: bytes | None, content_type: str | None = None) -> Mended:
    """Read and mend an action, with its times in ms."""
    kind = decode_mending(_Tagged, value, content_type).message.action
    action, faults = decode_mending(ACTION_CLASSES[kind], value, content_type)
    action = with_time_in_ms(action)
    if isinstance(action, Hide) and action.until_ms:  # 0: it ends now
        try:
            until_ms: int | None = event_time_ms(action.until_ms, "until_ms")
        except DecodeError as error:
            until_ms, faults = None, [*faults, error]
        action = msgspec.structs.replace(action, until_ms=until_ms)
    return Mended(action, faults)


def with_time_in_ms(event: E) -> E:
    """Return an event with its time in milliseconds; `DecodeError` if its time has no known unit."""
    time_ms = event_time_ms(event.event_time_ms, "event_time_ms")
    return event if time_ms == event.event_time_ms else msgspec.structs.replace(event, event_time_ms=time_ms)


def encode(obj: Any) -> bytes:
    """Write a message as JSON. A float that is not finite becomes null, which readers refuse."""
    return _encoder.encode(obj)


_encoder: Final = msgspec.json.Encoder()


class Line(msgspec.Struct, gc=False):
    """The field of a line that says which event it is."""

    type: EventType


def decode_line(line: bytes) -> Mended:
    """Read and mend one line of an events file: the fields of an event and its ``type``, as one JSON object.

    >>> line = b'{"type": "click", "event_id": "e", "user_id": "u", "item_id": "i", "event_time_ms": 1760000000}'
    >>> decode_line(line).message.event_time_ms
    1760000000000
    """
    return decode_event(EVENT_TYPES.index(decode(Line, line).type), line)
