"""Events into profiles: whatever way they are cut into batches, the state is that of the plain model."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from encoders.index.item_index import ItemIndex
from schemas.ids import id_hash
from streams.kafka.log_id import LogId
from streams.state.profile_shape import ProfileShape
from streams.state.profile_table import ProfileTable
from streams.state.profile_update import OUTCOMES, Applied, apply_batch, fold_pending
from tests.strategies import cuts
from tests.unit.streams.profile_model import (
    CONFIG,
    DIMENSION,
    OWN,
    PARTITION,
    SHAPE,
    Ev,
    Models,
    applied_offsets_of,
    assert_profile,
    batch_of,
    identity,
    know,
    make_table,
)

USERS = ("anna", "ben", "cleo")
ITEMS = ("red", "green", "blue", "grey", "pink")
FOREIGN = (LogId("clicks", "id-1", 0), LogId("clicks", "id-0", PARTITION), LogId("browses", "id-1", 7))

plain = st.tuples(
    st.sampled_from(USERS),
    st.sampled_from(ITEMS),
    st.integers(0, 2),  # type
    st.integers(0, 60).map(lambda s: s * 1_000),  # few times: ties, and late events
    st.none() | st.integers(1, SHAPE.duplicate_window),  # repeats the id so many counted events back
    st.none() | st.sampled_from(FOREIGN),
    st.just(()) | st.sets(st.sampled_from(ITEMS)).map(sorted),  # further lines of an order
)


def history(drawn: list[tuple]) -> list[list[Ev]]:
    """Records in order of arrival, each with its lines, with repeats of ids that are still in their user's window."""
    offsets, records = dict.fromkeys((OWN, *FOREIGN), 0), []
    counted: dict[str, list[list[Ev]]] = {user: [] for user in USERS}  # records whose identity is new
    for number, (user, item, kind, time_ms, back, source, more) in enumerate(drawn):
        origin = source or OWN
        offsets[origin] += 2  # gaps are usual
        if back is not None and back <= len(counted[user]):  # at most `duplicate_window` back
            record = [replace(line, offset=offsets[origin], source=origin) for line in counted[user][-back]]
        else:
            items = [item, *(one for one in more if one != item)] if kind == 2 else [item]
            record = order(user, items, f"e{number}", time_ms, offsets[origin], origin, kind)
            counted[user].append(record)
        records.append(record)
    return records


def flat(records: Sequence[list[Ev]]) -> list[Ev]:
    return [line for record in records for line in record]


def order(
    user: str, items: Sequence[str], name: str, time_ms: int, offset: int, source: LogId = OWN, kind: int = 2
) -> list[Ev]:
    """The lines of an order in one record."""
    return [
        Ev(user, item, name, kind, time_ms, offset, source, continues=place > 0) for place, item in enumerate(items)
    ]


def counts(applied: Applied) -> dict[str, int]:
    """How many events had each outcome."""
    return {OUTCOMES[code]: int((applied.outcome == code).sum()) for code in np.unique(applied.outcome)}


def run(table: ProfileTable, index: ItemIndex, events: list[Ev]) -> Applied:
    for user in dict.fromkeys(event.user for event in events):
        if user not in table.slot_of:
            table.find([])  # a tick, as every batch has
            table.allocate([user], PARTITION, 1)
    return apply_batch(table, batch_of(events), table.find([event.user for event in events]), index, CONFIG)


def assert_all(table: ProfileTable, models: Models) -> None:
    for user, model in models.items():
        assert_profile(table, table.slot_of[user], model)


@settings(max_examples=80, deadline=None)
@given(st.lists(plain, min_size=1, max_size=60), st.data())
def test_any_cut_into_batches_gives_the_state_of_the_plain_model(drawn: list[tuple], data: st.DataObject) -> None:
    events = history(drawn)
    table, index, models = make_table(), ItemIndex(DIMENSION), Models()
    know(index, ITEMS)
    for piece in data.draw(cuts(len(events))):
        run(table, index, flat(events[piece]))
    models.take(flat(events), {*ITEMS})
    assert_all(table, models)


@settings(max_examples=80, deadline=None)
@given(st.lists(plain, min_size=2, max_size=50), st.data())
def test_a_replay_from_any_earlier_place_changes_nothing(drawn: list[tuple], data: st.DataObject) -> None:
    events = history(drawn)
    table, index, models = make_table(), ItemIndex(DIMENSION), Models()
    know(index, ITEMS[:3])
    done = 0
    while done < len(events):
        back = data.draw(st.integers(0, done), label="read again from")
        done = data.draw(st.integers(done + 1, len(events)), label="read up to")
        for piece in data.draw(cuts(done - back)):
            run(table, index, flat(events[back:done][piece]))
    models.take(flat(events), {*ITEMS[:3]})
    assert_all(table, models)


@settings(max_examples=80, deadline=None)
@given(st.lists(plain, min_size=1, max_size=50), st.data())
def test_items_that_become_known_later_count_as_if_known_before(drawn: list[tuple], data: st.DataObject) -> None:
    events = history(drawn)
    table, index, models = make_table(), ItemIndex(DIMENSION), Models()
    know(index, ["red"])
    known = {"red"}
    for piece in data.draw(cuts(len(events))):
        run(table, index, flat(events[piece]))
        models.take(flat(events[piece]), known)
        learnt = data.draw(st.sets(st.sampled_from(ITEMS)), label="known now") - known
        if learnt:
            know(index, sorted(learnt))
            known |= learnt
            hashes = {id_hash(item) for item in learnt}
            waited = sum(event[2] in learnt for model in models.values() for event in model.pending)
            assert fold_pending(table, hashes, index, CONFIG) == waited
            for model in models.values():
                model.learn(learnt)
        assert_all(table, models)
    assert {hashed for hashed, slots in table.pending.slots_by_item.items() if slots} == {
        id_hash(event[2]) for model in models.values() for event in model.pending
    }


@settings(max_examples=60, deadline=None)
@given(st.lists(plain, min_size=1, max_size=40), st.data())
def test_fences_survive_a_change_of_the_topics_ids(drawn: list[tuple], data: st.DataObject) -> None:
    events = history(drawn)
    table, index, models = make_table(), ItemIndex(DIMENSION), Models()
    know(index, ITEMS)
    for piece in data.draw(cuts(len(events))):
        run(table, index, flat(events[piece]))
        table.set_logs(
            data.draw(
                st.lists(
                    st.sampled_from([("clicks", "id-0"), ("clicks", "id-1"), ("browses", "id-1"), ("purchases", "x")]),
                    unique=True,
                )
            )
        )
        run(table, index, flat(events[: piece.stop]))  # all of it again
    models.take(flat(events), {*ITEMS})
    assert_all(table, models)
    for user, model in models.items():
        assert applied_offsets_of(table, table.slot_of[user]) == model.applied_offsets


def clicks(count: int, user: str = "anna", first: int = 0, step_ms: int = 1_000) -> list[Ev]:
    return [Ev(user, ITEMS[n % 5], f"e{n}", n % 3, n * step_ms, n) for n in range(first, first + count)]


@pytest.mark.parametrize("count", [1, 7, 8, 9, 16, 17, 64, 200])
def test_many_events_of_one_user_in_one_batch(count: int) -> None:
    table, index, models = make_table(), ItemIndex(DIMENSION), Models()
    know(index, ITEMS)
    events = clicks(count) + clicks(2, "ben")
    applied = run(table, index, events)
    models.take(events, {*ITEMS})
    assert_all(table, models)
    assert applied.events.tolist() == list(range(count + 2))
    assert counts(applied) == {"applied": len(applied.outcome)}


def test_what_became_of_a_batch_is_counted() -> None:
    table, index = make_table(), ItemIndex(DIMENSION)
    run(table, index, clicks(3))
    again = [*clicks(3), Ev("anna", ITEMS[1], "e1", 1, 9_000, 3), Ev("anna", "red", "e9", 0, 9_000, 4)]
    applied = run(table, index, again)
    assert applied.events.tolist() == [4]
    assert (counts(applied)["replayed"], counts(applied)["duplicate"]) == (3, 1)


@pytest.mark.parametrize("one_batch", [True, False])
def test_a_repeat_at_the_end_of_the_window_is_a_duplicate_and_one_far_beyond_it_is_not(one_batch: bool) -> None:
    window = SHAPE.duplicate_window
    for distance, duplicate in ((1, True), (window, True), (window + 8, False)):
        table, index = make_table(), ItemIndex(DIMENSION)
        events = clicks(distance)
        repeat = Ev("anna", "red", "e0", 0, 0, distance)
        for piece in [[*events, repeat]] if one_batch else [[event] for event in [*events, repeat]]:
            run(table, index, piece)
        assert int(table.duplicates[0]) == int(duplicate), distance
        assert int(table.applied[0].sum()) == distance + (not duplicate)


def test_an_id_whose_hash_is_zero_is_no_duplicate_of_the_rings_blanks() -> None:
    table, index = make_table(), ItemIndex(DIMENSION)
    slots = table.allocate(["anna"], PARTITION, 1)
    batch = batch_of([Ev("anna", "red", "any", 0, 5, 0)])
    batch.record_ids[0] = 0
    assert apply_batch(table, batch, slots, index, CONFIG).events.tolist() == [0]
    run(table, index, clicks(SHAPE.duplicate_window - 1, first=1))
    batch.offsets[0] = 100
    assert (
        counts(apply_batch(table, batch, slots, index, CONFIG))["duplicate"] == 1
    )  # the ring is full: no blanks any more


def test_pending_is_bounded_and_what_it_drops_is_counted() -> None:
    shape = ProfileShape(history=1, dimension=DIMENSION, half_lives=2, duplicate_window=8, purchases=1, pending=2)
    table, index = make_table(shape=shape), ItemIndex(DIMENSION)
    run(table, index, [Ev("anna", item, item, 0, 1_000 * n, n) for n, item in enumerate(ITEMS)])
    slot = table.slot_of["anna"]
    assert {event.item for event in table.pending.by_slot[slot]} == {id_hash("blue"), id_hash("grey")}
    assert table.pending_dropped[slot] == 2
    assert {hashed for hashed, slots in table.pending.slots_by_item.items() if slots} == {
        id_hash("blue"),
        id_hash("grey"),
    }


def test_a_late_event_older_than_all_recents_goes_straight_into_the_sums() -> None:
    table, index, models = make_table(), ItemIndex(DIMENSION), Models()
    know(index, ITEMS)
    events = [*clicks(6, first=10), Ev("anna", "red", "late", 2, 1, 99)]
    for event in events:
        run(table, index, [event])
    models.take(events, {*ITEMS})
    assert_all(table, models)
    assert identity("late", 2, "red") not in table.ids[table.slot_of["anna"]]


def test_an_item_whose_vector_was_taken_back_waits_like_an_unknown_one() -> None:
    table, index = make_table(), ItemIndex(DIMENSION)
    know(index, ITEMS)
    run(table, index, clicks(3))
    index.remove(["red"])
    run(table, index, clicks(3, first=3))
    slot = table.slot_of["anna"]
    assert [event.item for event in table.pending.by_slot[slot]] == [id_hash("red")]
    assert fold_pending(table, {id_hash("red")}, index, CONFIG) == 0
    know(index, ["red"])
    assert fold_pending(table, {id_hash("red")}, index, CONFIG) == 1
    assert slot not in table.pending.by_slot
    assert table.dirty[slot]


def test_rows_of_free_places_stay_unknown_when_another_user_has_more_events() -> None:
    """Regression: blanks of the merge had row 0, and so the first item of the index was left out for such users."""
    table, index = make_table(), ItemIndex(DIMENSION)
    know(index, ITEMS)
    run(table, index, [*clicks(1, "ben"), *clicks(3, "anna")])
    slot = table.slot_of["ben"]
    assert table.rows[slot].tolist() == [index.row("red"), -1, -1]


def test_the_first_log_of_a_slot_is_fenced_in_the_fast_path_as_in_the_slow_one() -> None:
    """Regression: a re-routed batch of one log may hold an offset twice, when the re-routing was replayed."""
    window = SHAPE.duplicate_window
    table, index = make_table(), ItemIndex(DIMENSION)
    events = clicks(window + 20)
    run(table, index, [*events, *events])
    slot = table.slot_of["anna"]
    assert int(table.applied[slot].sum()) == len(events)
    assert int(table.duplicates[slot]) == 0


def test_an_empty_batch_and_a_wholly_replayed_one_change_nothing() -> None:
    table, index = make_table(), ItemIndex(DIMENSION)
    run(table, index, clicks(4))
    table.dirty[:] = False
    before = {
        name: getattr(table, name).copy() for name in ("items", "times", "sums", "applied", "applied_offsets", "seen")
    }
    assert len(run(table, index, clicks(4)).events) == 0
    assert len(run(table, index, []).events) == 0
    assert not table.dirty.any()
    for name, values in before.items():
        assert np.array_equal(getattr(table, name), values), name


def test_a_user_with_five_thousand_events_stays_within_the_promised_error() -> None:
    table, index, models = make_table(), ItemIndex(DIMENSION), Models()
    know(index, ITEMS)
    events = clicks(5_000, step_ms=3)
    for start in range(0, 5_000, 500):
        run(table, index, events[start : start + 500])
    models.take(events, {*ITEMS})
    assert_profile(table, table.slot_of["anna"], models["anna"])


def states(table: ProfileTable, *names: str) -> dict[str, list]:
    slot = table.slot_of["anna"]
    return {name: getattr(table, name)[slot].tolist() for name in names}


STATE = ("times", "ids", "items", "types", "applied", "purchased_items", "purchased_times", "sums", "total_weight")


def test_an_order_whose_lines_share_an_event_id_counts_line_by_line_and_as_purchased() -> None:
    """Regression: the second line was dropped as a duplicate, and its item was recommended to its buyer."""
    table, index = make_table(), ItemIndex(DIMENSION)
    know(index, ITEMS)
    lines = [Ev("anna", "red", "o1", 2, 1_000, 0), Ev("anna", "blue", "o1", 2, 1_000, 1)]
    assert counts(run(table, index, lines)) == {"applied": 2}
    assert sorted(table.purchased_items[0].tolist()) == sorted(map(id_hash, ("red", "blue")))
    again = [replace(line, offset=line.offset + 2) for line in lines]
    assert counts(run(table, index, again)) == {"duplicate": 2}


def test_a_click_and_a_purchase_with_one_id_both_count() -> None:
    """Regression: the purchase was dropped as a duplicate."""
    table, index = make_table(), ItemIndex(DIMENSION)
    run(table, index, [Ev("anna", "red", "e1", 0, 1_000, 0), Ev("anna", "red", "e1", 2, 2_000, 1)])
    assert table.applied[0].tolist() == [1, 0, 1]


@settings(max_examples=60, deadline=None)
@given(st.permutations(ITEMS), st.integers(1, len(ITEMS)), st.lists(plain, max_size=8), st.data())
def test_an_order_counts_like_a_record_a_line_whatever_comes_when(
    items: list[str], count: int, others: list[tuple], data: st.DataObject
) -> None:
    """Also with more lines than the history holds, and with other events of the same time."""
    shape = replace(SHAPE, duplicate_window=100, purchases=4)
    index = ItemIndex(DIMENSION)
    know(index, ITEMS)
    beside = [[replace(record[0], user="anna", id=f"x{n}")] for n, record in enumerate(history(others))]
    found = []
    for whole in (True, False):
        lines = order("anna", items[:count], "o1", 7_000, 0)
        records = [lines] if whole else [[replace(line, continues=False)] for line in lines]
        arriving = data.draw(st.permutations([*beside, *records]))
        table = make_table(shape=shape)
        for offset, record in enumerate(arriving):
            run(table, index, [replace(line, offset=offset, source=OWN) for line in record])
        found.append(states(table, *STATE))
        assert table.seen_count[0] == len(arriving)
    for name, values in found[0].items():
        assert np.allclose(values, found[1][name], rtol=1e-4) if name in STATE[-2:] else values == found[1][name], name


def test_an_order_of_a_hundred_lines_that_is_sent_twice_counts_a_hundred_lines_once() -> None:
    """The window counts records: 100 lines push nothing out of it."""
    table, index = make_table(), ItemIndex(DIMENSION)
    items = [f"item-{number}" for number in range(100)]
    click = Ev("anna", "red", "before", 0, 500, 0)
    run(table, index, [click, *order("anna", items, "o1", 1_000, 1)])
    again = [*order("anna", items[::-1], "o1", 1_000, 2), replace(click, offset=3)]
    assert counts(run(table, index, again)) == {"duplicate": 101}
    assert table.applied[0].tolist() == [1, 0, 100]
    assert table.duplicates[0] == 2
    assert table.seen_count[0] == 2


@pytest.mark.parametrize("source", [OWN, LogId("clicks", "id-1", 0)], ids=["read directly", "rerouted"])
def test_the_lines_of_an_order_are_applied_together_and_replayed_together(source: LogId) -> None:
    table, index = make_table(), ItemIndex(DIMENSION)
    lines = order("anna", list(ITEMS), "o1", 1_000, 5, source)
    assert counts(run(table, index, lines)) == {"applied": 5}
    assert counts(run(table, index, lines)) == {"replayed": 5}
    assert table.offsets.get(0, source) == 6


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(ITEMS), st.integers(0, 30)), min_size=1, max_size=40), st.data())
def test_purchases_are_remembered_by_item_in_any_order_of_arrival(drawn: list[tuple], data: st.DataObject) -> None:
    """Regression: the same milk 32 times pushed the television out, which was then recommended again."""
    table, index = make_table(shape=replace(SHAPE, purchases=3, duplicate_window=64)), ItemIndex(DIMENSION)
    events = [Ev("anna", item, f"e{n}", 2, time_s * 1_000, 0) for n, (item, time_s) in enumerate(drawn)]
    for offset, event in enumerate(data.draw(st.permutations(events))):
        run(table, index, [replace(event, offset=offset)])
    latest = {item: max(time_s for other, time_s in drawn if other == item) for item, _ in drawn}
    expected = sorted(((time_s * 1_000, id_hash(item)) for item, time_s in latest.items()), reverse=True)[:3]
    found = zip(table.purchased_times[0].tolist(), table.purchased_items[0].tolist(), strict=True)
    assert [entry for entry in found if entry[1]] == expected


def test_a_purchase_that_is_pushed_out_while_it_is_excluded_is_counted() -> None:
    table, index = make_table(), ItemIndex(DIMENSION)  # room for two items
    events = [
        Ev("anna", item, f"e{n}", 2, n * 1_000, n) for n, item in enumerate(["red", "red", "blue", "grey", "pink"])
    ]
    slots = table.allocate(["anna"], PARTITION, 1)
    late = [Ev("anna", "green", f"late-{time_ms}", 2, time_ms, time_ms) for time_ms in (1_500, 2_000)]
    dropped = [
        apply_batch(table, batch_of([event]), slots, index, CONFIG, 2_000.0).purchases_dropped
        for event in [*events, *late]
    ]
    # red (1 s) is pushed out at 3 s, blue (2 s) at 4 s; the late one is 2.5 s old, the next 2 s
    assert dropped == [0, 0, 0, 1, 1, 0, 1]
    assert (
        apply_batch(table, batch_of([Ev("anna", "teal", "x", 2, 2_000, 9_000)]), slots, index, CONFIG).purchases_dropped
        == 0
    )
