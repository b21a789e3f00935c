"""What the catalog encoder writes for the changes of a batch, in their order."""

import json
import threading
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from schemas.catalog import CatalogItem, ItemVector
from schemas.codec import decode
from streams.catalog.catalog_encoder import CatalogEncoder, KnownVectors
from streams.monitoring.metrics import Metrics
from tests.unit.streams.catalog.records import message

DEADLINE_S = 20.0
KNOWN: KnownVectors = {"known": (np.array([7, 8], np.float32), 0.5)}


def encode_with_bias(items: list[CatalogItem]) -> Any:
    """An encoder whose vectors tell the length of the title; it does not know an item without one."""
    lengths = np.array([len(item.title) for item in items], np.float32)
    return np.repeat(lengths[:, None], 2, axis=1), lengths > 0, np.zeros(len(items), np.float32)


class Kafka:
    """A catalog of one batch, and the vectors that are written."""

    def __init__(self, *records: tuple[bytes, Any]) -> None:
        values = [None if value is None else json.dumps(value).encode() for _, value in records]
        self._messages = [
            message("catalog", key, value, offset)
            for offset, ((key, _), value) in enumerate(zip(records, values, strict=True))
        ]
        self.written: list[tuple[str, bytes | None]] = []
        self.refused: list[Any] = []
        self.committed = threading.Event()

    def subscribe(self, _: Any) -> None: ...
    def assignment(self) -> list[Any]:
        return []

    def close(self) -> None: ...
    def consume(self, *_: Any, **__: Any) -> list[Any]:
        messages, self._messages = self._messages, []
        return messages

    def commit(self, **_: Any) -> None:
        self.committed.set()

    def item_vector(self, _: str, item_id: str, value: bytes | None) -> None:
        self.written.append((item_id, value))

    def refuse(self, refused: list[Any]) -> None:
        self.refused += refused

    def swap(self) -> Any:
        return SimpleNamespace(wait=lambda _: True)


def written(*records: tuple[bytes, Any]) -> tuple[list[Any], Kafka]:
    """Item, first component of the vector (None: removed), and whether it is available, of each record written."""
    kafka, failed = Kafka(*records), list[BaseException]()
    encoder: Any = SimpleNamespace(
        encode_with_bias=encode_with_bias, encoder=SimpleNamespace(manifest=SimpleNamespace(version="v1"))
    )
    asked: list[str] = []

    def known_vectors(item_ids: list[str]) -> KnownVectors:
        asked.extend(item_ids)
        return {item: KNOWN[item] for item in item_ids if item in KNOWN}

    catalog = CatalogEncoder(
        encoder=encoder,
        make_consumer=lambda: kafka,  # type: ignore[arg-type, return-value]
        emitter=kafka,  # type: ignore[arg-type]
        metrics=Metrics(),
        catalog="catalog",
        catalog_id="id",
        vectors_topic="vectors",
        known_vectors=known_vectors,
        fail=failed.append,
    )
    catalog.start()
    assert kafka.committed.wait(DEADLINE_S), failed
    catalog.stop()
    changes = []
    for item, value in kafka.written:
        vector = None if value is None else decode(ItemVector, value)
        shown = None if vector is None else (float(np.frombuffer(vector.vector, "<f4")[0]), vector.available)
        changes.append((item, shown))
    return changes, kafka


FULL = {"item_id": "a", "title": "four"}


def test_changes_of_an_item_are_written_in_their_order() -> None:
    """Regression: removals of a batch were written before its vectors, so the item came back."""
    changes, _ = written((b"a", FULL), (b"a", None), (b"b", None), (b"b", {"item_id": "b", "title": "x"}))
    assert changes == [("a", (4.0, True)), ("a", None), ("b", None), ("b", (1.0, True))]


@pytest.mark.parametrize(
    "withdrawal",
    [
        {"available": False},
        {"available": "false", "title": None, "price": "much", "brand": {}, "image_vector": [None]},
        {"available": 0, "title": ""},
    ],
)
def test_a_withdrawal_needs_no_other_field_and_keeps_the_vector(withdrawal: dict[str, Any]) -> None:
    changes, kafka = written(
        (b"known", {"item_id": "known", **withdrawal}), (b"a", FULL), (b"a", {"item_id": "a", **withdrawal})
    )
    assert changes == [("known", (7.0, False)), ("a", (4.0, True)), ("a", (4.0, False))]
    assert kafka.refused == []


def test_a_withdrawal_of_an_item_without_a_vector_writes_none() -> None:
    changes, kafka = written(
        (b"new", {"item_id": "new", "available": False}),
        (b"known", None),
        (b"known", {"item_id": "known", "available": False}),
    )
    assert changes == [("new", None), ("known", None), ("known", None)]
    assert kafka.refused == []


def test_a_withdrawn_item_with_its_texts_is_encoded() -> None:
    assert written((b"known", {"item_id": "known", "title": "xy", "available": False}))[0] == [("known", (2.0, False))]


@pytest.mark.parametrize("key", [b'"a"', b'{"item_id": "a"}', b"\x00\x00\x00\x00\x07\x02a"])
def test_a_removal_may_have_a_key_in_another_form(key: bytes) -> None:
    assert written((key, FULL), (key, None))[0] == [("a", (4.0, True)), ("a", None)]


def test_a_removal_whose_key_names_no_item_is_refused() -> None:
    changes, kafka = written((b'{"id": "a"}', None), (b"a", FULL))
    assert changes == [("a", (4.0, True))]
    assert [refused.record.offset for refused in kafka.refused] == [0]
