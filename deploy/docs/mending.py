"""The page of what is refused and what is mended. The product's own readers say what becomes of each example."""

import json
from typing import Any, Final

import msgspec

from deploy.docs.markdown import code, table
from deploy.docs.markdown import page as whole_page
from schemas.actions import Action
from schemas.catalog import CatalogItem, Offer
from schemas.codec import decode_input
from schemas.command import ProfileCommand
from schemas.errors import DecodeError
from schemas.events import Browse, Click, Purchase
from schemas.headers import JSON_CONTENT_TYPE

INTRO: Final = """\
Producers differ. So a reader of events, actions, items and offers takes what is plain, and refuses only what can't be
used:

- **Essential** are the user, the item, the type and the time of an event, its `event_id`, the id of an item, and the
  `title` of an item that is available. A record without one of them is refused: it becomes a
  [dead letter](topics.md#dead-letters), byte for byte, with the reason.
- **Every other field costs only itself.** If its meaning is plain, it is mended. If not, it is left out, and the record
  counts. Fields that are left out or cut are counted by `prefstream_field_faults_total` with topic, field and reason.
  The log has one line for each kind and hour, and `prefstream dlq fields` lists samples.
- `null` is absent. Unknown fields are ignored.
- The verdict depends on the record alone. So a replay gives the same verdict.

Commands (`profile-commands`) are not mended: they must be right as they are."""

_EVENT: Final = {"event_id": "e1", "user_id": "ann", "item_id": "tea-1", "event_time_ms": 1_760_000_000_000}
_ORDER: Final = {"event_id": "o1", "user_id": "ann", "event_time_ms": 1_760_000_000_000}
_ITEM: Final = {"item_id": "tea-1", "title": "Smoky Lapsang"}
_HIDE: Final = {"action": "hide", "event_id": "h1", "user_id": "ann", "event_time_ms": 1_760_000_000_000}

MENDED: Final[tuple[tuple[type[Any], dict[str, Any], dict[str, Any]], ...]] = (
    (Click, _EVENT, {"event_time_ms": 1_760_000_000}),
    (Click, _EVENT, {"event_time_ms": 1.76e12}),
    (Click, _EVENT, {"event_time_ms": 1_760_000_000_000_000}),
    (Click, _EVENT, {"event_time_ms": 1_760_000_000_000_000_000}),
    (Click, _EVENT, {"event_time_ms": "2025-10-09T10:53:20+02:00"}),
    (Click, _EVENT, {"item_id": 4711}),
    (Click, _EVENT, {"session_id": 123, "position": "3"}),
    (Click, _EVENT, {"list": None}),
    (Purchase, _EVENT, {"price": "9.50", "currency": "usd", "quantity": "2.0"}),
    (Purchase, _EVENT, {"quantity": 0.45}),
    (CatalogItem, _ITEM, {"brand": None}),
    (CatalogItem, _ITEM, {"description": ["of the first flush", "smoked"]}),
    (CatalogItem, _ITEM, {"category": "Tea"}),
    (CatalogItem, _ITEM, {"attributes": {"size": 42, "organic": True}}),
    (CatalogItem, {"item_id": "tea-1"}, {"available": "false"}),
    (Offer, {"item_id": "tea-1"}, {"available": 0, "availability": {"de": "true"}}),
    (Action, _HIDE, {"brand": "Leaf", "until_ms": 1_770_000_000}),
)
"""The message class, the fields around, and the fields of the example: these are mended without a loss."""

LEFT_OUT: Final[tuple[tuple[type[Any], dict[str, Any], dict[str, Any]], ...]] = (
    (Click, _EVENT, {"position": "first"}),
    (Click, _EVENT, {"position": float("nan")}),
    (Browse, _EVENT, {"dwell_ms": -5}),
    (Purchase, _EVENT, {"price": "9,50"}),
    (Purchase, _EVENT, {"currency": "dollar"}),
    (Purchase, _ORDER, {"items": [{"item_id": "tea-1"}, {"quantity": 2}]}),
    (CatalogItem, _ITEM, {"brand": {"name": "Leaf"}}),
    (CatalogItem, _ITEM, {"image_vector": [0.5, None]}),
    (CatalogItem, _ITEM, {"description": "x" * 70_000}),
    (CatalogItem, {"item_id": "tea-1"}, {"available": False, "price": "much"}),
    (Action, _HIDE, {"brand": "Leaf", "until_ms": "tomorrow"}),
)

REFUSED: Final[tuple[tuple[type[Any], bytes | dict[str, Any] | None, str], ...]] = (
    (Click, {name: value for name, value in _EVENT.items() if name != "item_id"}, "no item"),
    (Click, _EVENT | {"user_id": None}, "no user"),
    (Click, _EVENT | {"item_id": ["tea-1"]}, "a list as item"),
    (Click, _EVENT | {"user_id": ""}, "an empty id"),
    (Click, _EVENT | {"event_time_ms": "yesterday"}, "no time"),
    (Click, _EVENT | {"event_time_ms": 29_333_333}, "minutes: before March 1973, if they were seconds"),
    (Purchase, _ORDER | {"items": [{"quantity": 2}]}, "an order without any item"),
    (CatalogItem, {"item_id": "tea-1"}, "an item without a title"),
    (Action, _HIDE, "a hide of nothing"),
    (ProfileCommand, {"command": "forget", "user_id": "ann", "requested_ms": "1760000000000"}, "a command, not mended"),
    (Click, None, "no value"),
    (Click, b"\x00\x00\x00\x00\x07\x06ann", "Avro with a schema id"),
    (Click, json.dumps(_EVENT).encode("utf-16"), "UTF-16"),
    (Click, b"\x1f\x8b\x08\x00", "gzip within the value"),
)

OTHER: Final = """\
- An event that is more than [`profiles.max_future_s`](settings.md#profiles) later than its record's Kafka timestamp is
  refused (`time-in-future`).
- JSON behind the schema id of Confluent's wire format is read, as far as it is an object.
- The key of a `catalog` or `offers` record must name the item: as plain text, in quotes, as an object with `item_id`,
  or behind a schema id ([forms](../how-to/send-events-and-items.md#keys-and-partitions)).
- An entry of a list or map that is wrong costs only that entry: a line of an order, an item of an impression, a
  category, an attribute. An order without any sound line is refused, and so is one with more than 1,000 lines.
- `prefstream replay`, `train` and `evaluate` read their files by the same rules. They report what they leave out."""


def page() -> str:
    """Return the text of the page."""
    return whole_page(
        "What is refused, what is mended",
        INTRO,
        "## Mended",
        table(("message", "you send", "it is read as"), [_mended(*example) for example in MENDED]),
        "## Left out or cut",
        "The record counts. The field is absent.",
        table(("message", "you send", "what is counted"), [_left_out(*example) for example in LEFT_OUT]),
        "## Refused",
        table(("message", "what is wrong", "reason", "detail"), [_refused(*example) for example in REFUSED]),
        "## What else to know",
        OTHER,
    )


def _sent(fields: dict[str, Any]) -> str:
    text = json.dumps(fields, ensure_ascii=False)
    return code(text if len(text) <= 80 else f"{text[:40]}...")


def _name(kind: type[Any]) -> str:
    return {"CatalogItem": "item", "ProfileCommand": "command"}.get(kind.__name__, kind.__name__.lower())


def _mended(kind: type[Any], around: dict[str, Any], fields: dict[str, Any]) -> tuple[str, ...]:
    message, faults = decode_input(kind, json.dumps(around | fields).encode())
    assert not faults, f"{fields} is not mended: {faults}"
    read = {name: msgspec.to_builtins(getattr(message, name)) for name, value in fields.items() if value is not None}
    return _name(kind), _sent(fields), _sent(read) if read else "absent"


def _left_out(kind: type[Any], around: dict[str, Any], fields: dict[str, Any]) -> tuple[str, ...]:
    _, faults = decode_input(kind, json.dumps(around | fields).encode())
    assert faults, f"{fields} is read as it is"
    return _name(kind), _sent(fields), ", ".join(f"`{fault.field}`: `{fault.reason}`" for fault in faults)


def _refused(kind: type[Any], value: bytes | dict[str, Any] | None, what: str) -> tuple[str, ...]:
    data = json.dumps(value).encode() if isinstance(value, dict) else value
    try:
        decode_input(kind, data, JSON_CONTENT_TYPE)
    except DecodeError as error:
        return _name(kind), what, code(error.reason), error.detail
    raise AssertionError(f"{what} is not refused")
