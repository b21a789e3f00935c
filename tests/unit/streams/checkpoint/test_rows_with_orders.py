"""Recorded rows of before and after orders and identities: a record that is sent again is recognised in both."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from encoders.index.item_index import ItemIndex
from schemas.ids import id_hash
from streams.checkpoint.profile_rows import encode_rows, fill_slot
from streams.checkpoint.snapshot import take_snapshot
from streams.checkpoint.stored_profile import decode_state
from streams.state.decayed_sums import NO_TIME
from streams.state.profile_shape import ProfileShape
from streams.state.profile_table import ProfileTable
from streams.state.profile_update import OUTCOMES, apply_batch
from streams.stores.base import StoredProfile
from tests.unit.streams.profile_model import CONFIG, DIMENSION, PARTITION, Ev, batch_of, identity, make_table

ROWS = Path(__file__).parents[3] / "golden" / "v0.1.0" / "rows"
SHAPE = ProfileShape(history=20, dimension=DIMENSION, half_lives=2)
INDEX = ItemIndex(DIMENSION)
T = 1_700_000_000_000

# the events of `before-identities`, which the last commit before identities wrote
BEFORE = [
    Ev("ann", "milk", "c1", 0, T, 3),
    Ev("ann", "milk", "o1", 2, T + 1_000, 4),
    Ev("ann", "tv", "o2", 2, T + 2_000, 5),
    Ev("ann", "milk", "o3", 2, T + 3_000, 6),
    Ev("ann", "tea", "b1", 1, T + 4_000, 7),
]
# those of `orders`: a click and two records of one order, whose ids are the same, and an order in one record
ORDERS = [
    Ev("ann", "milk", "o1", 0, T, 3),
    Ev("ann", "milk", "o1", 2, T + 1_000, 4),
    Ev("ann", "tea", "o1", 2, T + 1_000, 5),
    Ev("ann", "tv", "o2", 2, T + 2_000, 6),
    Ev("ann", "milk", "o2", 2, T + 2_000, 6, continues=True),
]


def table_of(state: bytes | None) -> ProfileTable:
    """A table with Ann: from a row, or blank."""
    table = make_table(shape=SHAPE)
    table.allocate(["ann"], PARTITION, 1)
    if state is not None:
        fill_slot(table, 0, StoredProfile("ann", PARTITION, 1, state, b"", b"", b"", "v1", 0), "v1", INDEX, np.ones(2))
    return table


def outcomes(table: ProfileTable, events: list[Ev]) -> list[str]:
    applied = apply_batch(table, batch_of(events), np.zeros(len(events), np.intp), INDEX, CONFIG)
    return [OUTCOMES[code] for code in applied.outcome]


def purchases(table: ProfileTable) -> list[tuple[int, int]]:
    pairs = zip(table.purchased_times[0].tolist(), table.purchased_items[0].tolist(), strict=True)
    return [pair for pair in pairs if pair[0] != NO_TIME]


def written(table: ProfileTable) -> bytes:
    return encode_rows(take_snapshot(table, np.array([0]), "v1"), 1, 60)[0].state


@pytest.mark.parametrize(("name", "events"), [("before-identities", BEFORE), ("orders", ORDERS)])
def test_a_record_that_is_sent_again_to_a_recorded_row_counts_once(name: str, events: list[Ev]) -> None:
    """An upgrade in between changes nothing: rows of before know the hashes of event ids alone."""
    table = table_of((ROWS / f"{name}.msgpack").read_bytes())
    assert outcomes(table, events) == ["replayed"] * len(events)
    again = [replace(event, offset=event.offset + 10) for event in events]
    assert outcomes(table, again) == ["duplicate"] * len(events)
    assert purchases(table)[0] == max((event.time_ms, id_hash(event.item)) for event in events if event.type == 2)


def test_after_the_upgrade_new_records_are_recognised_by_their_identity() -> None:
    table = table_of((ROWS / "before-identities.msgpack").read_bytes())
    lines = [Ev("ann", "cup", "o9", 2, T + 5_000, 8), Ev("ann", "pot", "o9", 2, T + 5_000, 9)]
    assert outcomes(table, lines) == ["applied", "applied"]
    assert outcomes(table, [replace(line, offset=line.offset + 9) for line in lines]) == ["duplicate", "duplicate"]
    assert table.seen[0, : table.seen_count[0]].tolist() == [
        *(id_hash(event.id) for event in BEFORE),
        *(identity("o9", 2, line.item) for line in lines),
    ]


def test_purchases_of_one_item_in_a_row_of_before_are_merged() -> None:
    """Regression: the same milk 32 times pushed the television out of a row."""
    table = table_of((ROWS / "before-identities.msgpack").read_bytes())
    assert purchases(table) == [(T + 3_000, id_hash("milk")), (T + 2_000, id_hash("tv"))]


def test_the_row_with_orders_is_what_this_release_writes() -> None:
    table = table_of(None)
    outcomes(table, ORDERS)
    now, recorded = (decode_state(row, "ann") for row in (written(table), (ROWS / "orders.msgpack").read_bytes()))
    for name in ("recents", "purchased_items", "purchased_times", "seen_ids", "fences", "counters"):
        assert getattr(now, name) == getattr(recorded, name), name
    assert purchases(table) == sorted(
        [(T + 2_000, id_hash("milk")), (T + 2_000, id_hash("tv")), (T + 1_000, id_hash("tea"))], reverse=True
    )
    assert table.seen[0, : table.seen_count[0]].tolist() == [
        identity("o1", 0, "milk"),
        identity("o1", 2, "milk"),
        identity("o1", 2, "tea"),
        identity("o2", 2, "tv", "milk"),
    ]
