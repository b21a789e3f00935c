"""Item vectors on their way into the index, and where logs end."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from encoders.index.item_index import ItemIndex
from schemas.catalog import ItemVector
from schemas.codec import encode
from schemas.ids import id_hash
from streams.catalog.index_updates import IndexUpdates
from streams.kafka.log_ends import LogEnds
from streams.kafka.log_id import LogId

VERSION = "v1"


def message(item: str, values: list[float] | None, **changes: Any) -> Any:
    fields = {"item_id": item, "encoder_version": VERSION, "source_topic_id": "cat", "source_offset": 1} | changes
    body = None if values is None else encode(ItemVector(vector=np.array(values, "<f4").tobytes(), **fields))
    return raw(body, item.encode())


def raw(value: bytes | None, key: bytes | None = b"k") -> Any:
    return SimpleNamespace(value=lambda: value, key=lambda: key, offset=lambda: 3)


@pytest.fixture
def index() -> ItemIndex:
    return ItemIndex(2)


def apply(index: ItemIndex, *messages: Any) -> set[int]:
    updates = IndexUpdates(2, VERSION)
    updates.collect(list(messages))
    changed = updates.apply(index)
    assert updates.apply(index) == set()
    return changed


def vector(index: ItemIndex, item: str) -> list[float]:
    return index.gather(np.array([index.row(item)]))[0].tolist()


def test_vectors_come_in_and_their_items_are_named(index: ItemIndex) -> None:
    assert apply(index, message("a", [1, 2]), message("b", [3, 4], bias=0.5)) == {id_hash("a"), id_hash("b")}
    assert (vector(index, "a"), vector(index, "b")) == ([1, 2], [3, 4])


def test_updates_of_one_item_happen_in_their_order(index: ItemIndex) -> None:
    first = [message("a", [1, 2]), message("a", None), message("a", [5, 6], source_offset=2)]
    apply(index, *first)
    assert vector(index, "a") == [5, 6]
    apply(index, message("a", [7, 8], source_offset=3), message("a", None))
    assert index.row("a") == -1


def test_a_stale_vector_that_comes_with_a_newer_one_does_not_replace_it(index: ItemIndex) -> None:
    """Regression: a slow former owner of the catalog's partition published after the new one, and won."""
    apply(index, message("a", [5, 6], source_offset=5), message("a", [3, 4], source_offset=3))
    assert vector(index, "a") == [5, 6]


def test_a_withdrawn_item_keeps_its_vector_and_is_not_recommended(index: ItemIndex) -> None:
    apply(index, message("a", [1, 2], available=False))
    assert vector(index, "a") == [1, 2]
    assert not index.available(np.array([index.row("a")]))[0]


@pytest.mark.parametrize(
    "bad",
    [
        raw(b"{}"),
        raw(b"\xff\xfe"),
        raw(None, key=None),
        message("a", [1, 2, 3]),
        message("a", [1, 2], encoder_version="v2"),
        message("a", [float("nan"), 2]),
    ],
)
def test_what_cannot_be_used_is_left_out_and_the_rest_comes_in(index: ItemIndex, bad: Any) -> None:
    apply(index, bad, message("b", [3, 4]))
    assert (len(index), index.row("a")) == (1, -1)


class FakeConsumer:
    """Answers with an end, or not at all."""

    def __init__(self, end: int | None) -> None:
        self.end, self.asked = end, 0

    def get_watermark_offsets(self, part: Any, timeout: float) -> tuple[int, int]:
        self.asked += 1
        if self.end is None:
            raise TimeoutError("away")
        return 0, self.end


LOG = LogId("clicks", "id", 0)


def test_an_end_is_asked_for_only_when_the_last_answer_settles_nothing() -> None:
    consumer = FakeConsumer(10)
    ends = LogEnds(consumer)  # type: ignore[arg-type]
    assert (ends(LOG, 5), ends(LOG, 10), consumer.asked) == (10, 10, 1)
    consumer.end = 20
    assert (ends(LOG, 11), consumer.asked) == (20, 2)
    assert (ends(LOG, 25), consumer.asked) == (20, 3)


def test_a_broker_that_is_away_proves_nothing_and_is_not_asked_for_every_user() -> None:
    """Regression: each user of a batch waited for the broker anew, with the event loop."""
    consumer = FakeConsumer(None)
    ends = LogEnds(consumer)  # type: ignore[arg-type]
    assert [ends(LOG, n) for n in (5, 6, 7)] == [5, 6, 7]
    assert consumer.asked == 1
