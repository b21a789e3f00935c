"""A command to forget removes what was written up to it, in whatever order the topics are read."""

from dataclasses import replace
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from encoders.index.item_index import ItemIndex
from schemas.ids import id_hash
from streams.checkpoint.profile_rows import encode_rows, fill_slot
from streams.checkpoint.snapshot import take_snapshot
from streams.state.decayed_sums import NO_TIME
from streams.state.profile_table import ProfileTable
from streams.state.profile_update import apply_batch
from tests.unit.streams.profile_model import CONFIG, DIMENSION, PARTITION, SHAPE, Ev, batch_of, identity, make_table

# the times of events are the times when they were written: see `batch_of`
written = st.lists(st.integers(1, 1_000), min_size=1, max_size=SHAPE.history, unique=True)


def recents_of(table: ProfileTable) -> list[tuple[int, ...]]:
    rows = zip(*(getattr(table, name)[0].tolist() for name in ("times", "ids", "items", "types")), strict=True)
    return [row for row in rows if row[0] != NO_TIME]


def purchased_of(table: ProfileTable) -> list[tuple[int, ...]]:
    rows = zip(table.purchased_times[0].tolist(), table.purchased_items[0].tolist(), strict=True)
    return [row for row in rows if row[0] != NO_TIME]


@settings(max_examples=200, deadline=None)
@given(times=written, commands=st.lists(st.integers(0, 1_100), max_size=3), data=st.data())
def test_what_stays_does_not_depend_on_the_order_of_reading(times: list[int], commands: list[int], data: Any) -> None:
    events = [Ev("anna", f"item-{n}", f"e{n}", n % 3, time_ms, n) for n, time_ms in enumerate(times)]
    table, index = make_table(), ItemIndex(DIMENSION)
    table.allocate(["anna"], PARTITION, 1)
    offset = 0
    for read in data.draw(st.permutations([*events, *commands])):
        if isinstance(read, int):
            table.wipe(0, read)
        else:
            offset += 1
            one = batch_of([Ev(read.user, read.item, read.id, read.type, read.time_ms, offset)])
            apply_batch(table, one, np.array([0]), index, CONFIG)
    last = max(commands, default=0)
    stay = sorted((e for e in events if e.time_ms > last), key=lambda e: e.time_ms, reverse=True)
    assert recents_of(table) == [(e.time_ms, identity(e.id, e.type, e.item), id_hash(e.item), e.type) for e in stay]
    assert purchased_of(table) == [(e.time_ms, id_hash(e.item)) for e in stay if e.type == 2]
    assert table.applied[0].sum() == len(events)
    assert bool(table.forgotten[0]) is (bool(commands) and not stay)
    # the same after the way to the store and back
    table.dirty[0] = True
    [row] = encode_rows(take_snapshot(table, np.array([0]), "v1"), 1, 60)
    loaded = make_table()
    loaded.allocate(["anna"], PARTITION, 1)
    fill_slot(loaded, 0, row, "v1", index, CONFIG.half_life_s)
    loaded.wipe(0, 500)
    table.wipe(0, 500)
    assert recents_of(loaded) == recents_of(table)


def test_an_event_without_a_time_goes_with_any_command() -> None:
    """Regression: it counted as written after every command, so that a user of such events was never forgotten."""
    table, event = make_table(), batch_of([Ev("anna", "red", "e1", 2, 50, 0)])
    table.allocate(["anna"], PARTITION, 1)
    event.written[:] = 0
    apply_batch(table, event, np.array([0]), ItemIndex(DIMENSION), CONFIG)
    table.wipe(0, 1)
    assert (recents_of(table), purchased_of(table), bool(table.forgotten[0])) == ([], [], True)


def test_what_stays_of_an_order_is_remembered_by_item_and_recognised_when_it_is_sent_again() -> None:
    table, index = make_table(), ItemIndex(DIMENSION)
    table.allocate(["anna"], PARTITION, 1)
    order = [Ev("anna", item, "o1", 2, 50, 0, continues=place > 0) for place, item in enumerate(("red", "blue"))]
    again = Ev("anna", "red", "o2", 2, 60, 1)
    apply_batch(table, batch_of([*order, again]), np.zeros(3, np.intp), index, CONFIG)
    table.wipe(0, 40)
    assert purchased_of(table) == [(60, id_hash("red")), (50, id_hash("blue"))]
    resent = [replace(event, offset=9) for event in order] + [replace(again, offset=10)]
    apply_batch(table, batch_of(resent), np.zeros(3, np.intp), index, CONFIG)
    assert (table.applied[0].tolist(), table.duplicates[0]) == ([0, 0, 3], 2)
