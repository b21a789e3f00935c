"""Offers on their way into the index."""

from typing import Any

import numpy as np
import pytest

from encoders.index.item_index import ItemIndex
from schemas.ids import id_hashes
from streams.catalog.offer_updates import OfferUpdates
from streams.monitoring.metrics import Metrics
from tests.unit.streams.catalog.records import message


@pytest.fixture
def index() -> ItemIndex:
    index = ItemIndex(2)
    index.put(["a", "b"], np.eye(2))
    return index


def available(index: ItemIndex, *messages: Any) -> list[bool]:
    """Whether a and b are available after these offers."""
    updates = OfferUpdates(Metrics())
    updates.collect(list(messages))
    updates.apply(index)
    assert updates.waiting == 0
    return index.available(index.rows(id_hashes(["a", "b"]))).tolist()


def test_an_offer_withdraws_its_item_and_a_tombstone_gives_it_back(index: ItemIndex) -> None:
    withdrawn = b'{"item_id": "a", "available": false, "price": 9.5, "currency": "EUR", "availability": {"de": false}}'
    assert available(index, message("offers", b"a", withdrawn)) == [False, True]
    assert available(index, message("offers", b"a", None)) == [True, True]


@pytest.mark.parametrize("key", [b"a", b'"a"', b'{"item_id":"a"}'])
def test_the_key_may_have_any_form(index: ItemIndex, key: bytes) -> None:
    assert available(index, message("offers", key, b'{"item_id": "a", "available": false}')) == [False, True]
    assert available(index, message("offers", key, None)) == [True, True]


def test_the_last_offer_of_a_batch_holds(index: ItemIndex) -> None:
    offers = [message("offers", b"a", b'{"item_id": "a", "available": %s}' % word) for word in (b"false", b"true")]
    assert available(index, *offers) == [True, True]
    assert available(index, *reversed(offers)) == [False, True]


def test_an_optional_field_that_is_wrong_costs_only_itself(index: ItemIndex) -> None:
    odd = b'{"item_id": "a", "available": "false", "price": "much", "currency": 7, "availability": {"de": "perhaps"}}'
    assert available(index, message("offers", b"a", odd)) == [False, True]


@pytest.mark.parametrize(
    ("key", "value"),
    [
        (b"a", b"no json"),
        (b"a", b'{"available": false}'),
        (b"b", b'{"item_id": "a", "available": false}'),
        (None, b'{"item_id": "a", "available": false}'),
        (None, None),
        (b"\xff", None),
    ],
)
def test_a_record_that_is_no_offer_is_counted_and_changes_nothing(
    index: ItemIndex, key: bytes | None, value: bytes | None
) -> None:
    metrics = Metrics()
    updates = OfferUpdates(metrics)
    updates.collect([message("offers", key, value), message("offers", b"b", b'{"item_id": "b", "available": false}')])
    updates.apply(index)
    assert index.available(index.rows(id_hashes(["a", "b"]))).tolist() == [True, False]
    for outcome in ("refused", "read"):
        labels = {"namespace": "", "outcome": outcome}
        assert metrics.registry.get_sample_value("prefstream_offers_total", labels) == 1
