"""Records of every topic that others write, mutated from valid ones: in their fields and in their bytes."""

import gzip
import json
import random
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from schemas.rerouted import Rerouted
from streams.kafka.topics import TopicNames

TOPICS = (
    *("clicks", "browses", "purchases", "actions"),
    *("rerouted", "profile-commands", "catalog", "offers"),
)
USERS, ITEMS = 300, 200
_UNTOUCHED = 0.2
"""Share of the records that stay as they are."""

_ODD_VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1, 7, 0.45, 1.5, 1e300, float("nan"), float("inf"), 2**31, 2**63, -(2**63) - 1, 10**30),
    *("", " ", "x", "9.50", "2.0", "1_0", "NaN", "usd", "EUR\n", "true", "0", "maybe"),
    *("\x00", "\u202e", "a\u0301" * 200),
    *("x" * 257, "x" * 70_000, "2025-01-01T00:00:00+02:00", "2025-01-01", "yesterday", "١٢"),
    *(1_760_000_000, 1_760_000_000_000_000, 1_760_000_000_000_000_000, 1.76e12, "1760000000", 29_333_333),
    *([], [None], [[]], ["a", "b"], ["a", {}], [0.5] * 9, {}, {"a": 1}, {"item_id": "i1"}, [{"item_id": "i1"}]),
)
_CONTENT_TYPES = (
    b"application/json; charset=utf-8",
    b"APPLICATION/JSON",
    b"application/avro",
    b"\xff",
    b"",
    b"x" * 500,
)
_ODD_NAMES = ("item_id", "items", "user_id", "available", "event_time_ms", "brand", "", "ü", "__proto__", "action")


class Record(NamedTuple):
    """A record as it is produced."""

    topic: str
    user: str
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...]


def records(seed: int, count: int, now_ms: int, names: TopicNames) -> Iterator[Record]:
    """Yield ``count`` records, about as many of each topic."""
    rng = random.Random(seed)
    for number in range(count):
        yield _record(rng, TOPICS[number % len(TOPICS)], number, now_ms, names)


def _record(rng: random.Random, topic: str, number: int, now_ms: int, names: TopicNames) -> Record:
    origin = rng.choice(("clicks", "browses", "purchases", "actions")) if topic == "rerouted" else topic
    message = _EXAMPLES[origin](rng, number, now_ms)
    user = str(message.get("user_id", ""))
    key = str(message.get("item_id", "")) if topic in ("catalog", "offers") else user
    headers: tuple[tuple[str, bytes], ...] = ()
    if topic == "rerouted":
        place = {"topic": names.full(origin), "topic_id": "fuzz", "partition": rng.randrange(4), "offset": number}
        from_ = Rerouted(**place, timestamp_ms=now_ms)
        headers = tuple(from_.to_headers(()))
    if rng.random() < _UNTOUCHED:
        return Record(topic, user, key.encode(), json.dumps(message).encode(), headers)
    if rng.random() < 0.6:
        message = _odd_fields(rng, message)
    value: bytes | None = json.dumps(message, ensure_ascii=rng.random() < 0.5).encode("utf-8", "surrogatepass")
    if rng.random() < 0.4:
        value = _odd_bytes(rng, value or b"")
    return Record(
        topic, user, _odd_key(rng, key, topic not in ("catalog", "offers")), value, _odd_headers(rng, headers)
    )


def _event(rng: random.Random, number: int, now_ms: int) -> dict[str, Any]:
    return {
        "event_id": f"e{number}",
        "user_id": f"u{rng.randrange(USERS)}",
        "item_id": f"i{rng.randrange(ITEMS)}",
        "event_time_ms": now_ms - rng.randrange(10**8),
    }


def _click(rng: random.Random, number: int, now_ms: int) -> dict[str, Any]:
    return _event(rng, number, now_ms) | {"list": "home", "position": 3, "intent": "cart", "session_id": "s1"}


def _browse(rng: random.Random, number: int, now_ms: int) -> dict[str, Any]:
    return _event(rng, number, now_ms) | {"dwell_ms": 900, "recommendation_id": "1-2"}


def _purchase(rng: random.Random, number: int, now_ms: int) -> dict[str, Any]:
    event = _event(rng, number, now_ms)
    if rng.random() < 0.5:
        return event | {"quantity": 2, "price": 9.5, "currency": "EUR"}
    del event["item_id"]
    lines = [{"item_id": f"i{rng.randrange(ITEMS)}", "quantity": 0.5} for _ in range(rng.randrange(1, 5))]
    return event | {"items": lines}


def _action(rng: random.Random, number: int, now_ms: int) -> dict[str, Any]:
    kind = rng.choice(("refund", "cart_removal", "hide", "consent", "impression"))
    more: dict[str, Any] = {
        "hide": {"until_ms": now_ms, "brand": "Leaf", "category": "Tea"},
        "consent": {"given": False, "purpose": "ads"},
        "impression": {"items": ["i1", "i2"], "placement": "home"},
    }.get(kind, {})
    return _event(rng, number, now_ms) | {"action": kind} | more


def _command(rng: random.Random, _: int, now_ms: int) -> dict[str, Any]:
    return {"command": "forget", "user_id": f"u{rng.randrange(USERS)}", "requested_ms": now_ms}


def _item(rng: random.Random, _: int, __: int) -> dict[str, Any]:
    return {
        "item_id": f"i{rng.randrange(ITEMS)}",
        "title": "Green Sencha",
        "description": "of the first flush",
        "category": ["Tea", "Green"],
        "brand": "Leaf",
        "price": 9.5,
        "currency": "EUR",
        "attributes": {"size": "100 g"},
        "available": rng.random() < 0.9,
    }


def _offer(rng: random.Random, _: int, __: int) -> dict[str, Any]:
    item = f"i{rng.randrange(ITEMS)}"
    return {
        "item_id": item,
        "available": rng.random() < 0.8,
        "availability": {"de": True},
        "price": 8,
        "currency": "EUR",
    }


_EXAMPLES: dict[str, Callable[[random.Random, int, int], dict[str, Any]]] = {
    "clicks": _click,
    "browses": _browse,
    "purchases": _purchase,
    "actions": _action,
    "profile-commands": _command,
    "catalog": _item,
    "offers": _offer,
}
"""For each topic, a function that makes a valid message."""


def _odd_fields(rng: random.Random, message: dict[str, Any]) -> dict[str, Any]:
    """Drop, replace, rename, nest or add fields."""
    odd = dict(message)
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        name = rng.choice(list(odd)) if odd else "x"
        match rng.randrange(8):
            case 0:
                odd.pop(name, None)
            case 1:
                odd[rng.choice(_ODD_NAMES)] = odd.pop(name, None)
            case 2:
                odd[name] = [odd.get(name)]
            case 3:
                odd[rng.choice(_ODD_NAMES)] = rng.choice(_ODD_VALUES)
            case _:
                odd[name] = rng.choice(_ODD_VALUES)
    return odd


def _odd_bytes(rng: random.Random, value: bytes) -> bytes | None:
    """Flip, cut, insert or double bytes; or another format around or instead of them."""
    data = bytearray(value)
    for _ in range(rng.choice((1, 1, 2, 5))):
        place = rng.randrange(len(data) + 1)
        match rng.randrange(13):
            case 0:
                return None
            case 1:
                return bytes(rng.randbytes(4)).join((b"\x00", value))
            case 2:
                return value.decode("utf-8", "replace").encode(rng.choice(("utf-16", "utf-16-le", "utf-32")))
            case 3:
                return gzip.compress(value)
            case 4:
                return b"\xef\xbb\xbf" + value
            case 5:
                return b"[" * rng.choice((1, 3_000)) + value
            case 6 | 7:
                del data[place : place + rng.randrange(1, 20)]
            case 8 | 9:
                data[place:place] = rng.randbytes(rng.randrange(1, 5))
            case 10:
                data[place:place] = data[place : place + rng.randrange(1, 10)]
            case _:
                if place < len(data):
                    data[place] ^= 1 << rng.randrange(8)
    return bytes(data)


def _odd_key(rng: random.Random, key: str, may_lack: bool) -> bytes | None:
    """Write a key in another form, or none. Kafka itself refuses records without a key on compacted topics."""
    match rng.randrange(12):
        case 0:
            return None if may_lack else b""
        case 1:
            return json.dumps(key).encode()
        case 2:
            return json.dumps({"item_id": key, "user_id": key}).encode()
        case 3:
            return b"\x00" + rng.randbytes(4) + key.encode()
        case 4:
            return rng.randbytes(rng.randrange(0, 30))
    return key.encode()


def _odd_headers(rng: random.Random, headers: tuple[tuple[str, bytes], ...]) -> tuple[tuple[str, bytes], ...]:
    match rng.randrange(12):
        case 0:
            return (*headers, ("content-type", rng.choice(_CONTENT_TYPES)))
        case 1 if headers:
            dropped = rng.randrange(len(headers))
            return headers[:dropped] + headers[dropped + 1 :]
        case 2 if headers:
            name, _ = headers[0]
            return ((name, rng.randbytes(5)), *headers[1:])
    return headers
