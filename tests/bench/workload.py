"""What every part of the bench works on: seeded events of Zipf or uniform users, items spread as by a trained model."""

import json
from typing import Any, Literal

import msgspec
import numpy as np
from faust.types import TP
from numpy.typing import NDArray

from streams.fetch.record_batch import Record, RecordBatch
from tests.e2e.oracle import Sent

DIMENSION = 64
HISTORY = 20
K = 20
USERS = 100_000
ZIPF = 1.0
BATCH = 2_000
TOPIC_OF = {"click": "clicks", "browse": "browses", "purchase": "purchases"}

Users = Literal["zipf", "uniform"]


def item_ids(count: int) -> list[str]:
    """Ids as shops have them: a prefix and a number."""
    return [f"item-{number:07d}" for number in range(count)]


def item_vectors(count: int, seed: int = 7, dimension: int = DIMENSION) -> NDArray[np.float32]:
    """Unit vectors in clusters within clusters, with popular directions, never uniform noise.

    A trained item space has categories, sub-categories in them and items close about those: three levels whose lengths
    halve, in a space whose coordinates fall off as 1 / sqrt(rank).
    """
    rng = np.random.default_rng(seed)
    scale = (1.0 / np.sqrt(np.arange(1, dimension + 1))).astype(np.float32)
    vectors = np.zeros((count, dimension), np.float32)
    parents = np.zeros(1, np.int64)
    for level, groups in enumerate((max(4, count // 2_000), max(16, count // 40), count)):
        parent = parents[rng.integers(0, len(parents), groups)] if level else np.zeros(groups, np.int64)
        own = rng.standard_normal((groups, dimension), np.float32) * scale * np.float32(0.7**level)
        vectors = own if level == 0 else vectors[parent] + own
        parents = np.arange(groups)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors


def user_numbers(kind: Users, count: int, seed: int, users: int = USERS) -> NDArray[np.int64]:
    """Which user each of ``count`` events is of."""
    rng = np.random.default_rng(seed)
    if kind == "uniform":
        return rng.integers(0, users, count)
    cumulated = np.cumsum(1.0 / np.arange(1, users + 1) ** ZIPF)
    return np.searchsorted(cumulated, rng.random(count) * cumulated[-1])


def events(kind: Users, count: int, items: int, seed: int, now_ms: int, users: int = USERS) -> list[Sent]:
    """Events of one second after the other, 30 % clicks, 60 % browses, 10 % purchases; items by Zipf as well."""
    rng = np.random.default_rng(seed + 1)
    who = user_numbers(kind, count, seed, users).tolist()
    what = user_numbers("zipf", count, seed + 2, items).tolist()
    types = rng.choice(["click", "browse", "purchase"], count, p=[0.3, 0.6, 0.1]).tolist()
    return [
        Sent(f"e{seed}-{number}", f"user-{user}", f"item-{item:07d}", type_, now_ms + number)
        for number, (user, item, type_) in enumerate(zip(who, what, types, strict=True))
    ]


def event_json(event: Sent) -> bytes:
    """An event as a shop's producer sends it."""
    return msgspec.json.encode(
        {
            "event_id": event.event_id,
            "user_id": event.user_id,
            "item_id": event.item_id,
            "event_time_ms": event.time_ms,
            "session_id": f"s-{event.user_id}",
        }
    )


_ODD_FIELDS: tuple[dict[str, Any], ...] = (
    {"position": "3"},
    {"session_id": 123},
    {"list": ["home"]},
    {"recommendation_id": None, "position": -1},
    {"event_time_ms": "2026-01-31T09:30:00Z"},
)


def make_odd(batch: RecordBatch, every: int) -> None:
    """Give one record in ``every`` a field that has to be mended, or left out."""
    for number, record in enumerate(batch.records[::every]):
        value = json.loads(record.value or b"") | _ODD_FIELDS[number % len(_ODD_FIELDS)]
        record.value = json.dumps(value).encode()


def record_batch(events: list[Sent], topic: str, offset: int, now_ms: int) -> RecordBatch:
    """Events as the consumer hands them over, undecoded: partition 0 of a topic, from ``offset`` on."""
    records = [
        Record(
            topic=topic,
            partition=0,
            offset=offset + place,
            timestamp=now_ms,
            timestamp_type=0,
            key=event.user_id.encode(),
            value=event_json(event),
            headers=(),
        )
        for place, event in enumerate(events)
    ]
    return RecordBatch(TP(topic, 0), records)
