"""What is popular: decayed counts by partition, and their sum."""

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.state.trending import Trending, TrendingLimits, decode_published

HOUR_MS = 3_600_000
WEIGHTS = [1.0, 0.5, 4.0]


NOW_MS = 250_000_000_000_000  # the schema ends soon after


def make(**limits: int) -> Trending:
    return Trending(3_600, WEIGHTS, lambda: NOW_MS, TrendingLimits(top_every_ms=0, **limits))


def count(counts: Trending, events: list[tuple[str, int, int]], partition: int = 0) -> None:
    counts.count(
        np.full(len(events), partition, np.int32),
        [item for item, _, _ in events],
        np.array([kind for _, kind, _ in events], np.uint8),
        np.array([time_ms for *_, time_ms in events], np.int64),
    )


def publish(counts: Trending, to: Trending) -> None:
    for taken in counts.take_changed().values():
        seen = decode_published(taken.encode())
        assert seen is not None
        to.publish_seen(seen)


event = st.tuples(st.sampled_from("abc"), st.integers(0, 2), st.integers(0, 80 * HOUR_MS))


@settings(max_examples=40, deadline=None)
@given(st.lists(st.lists(event, min_size=1, max_size=5), min_size=1, max_size=5), st.data())
def test_counts_are_decayed_sums_over_all_partitions(
    batches: list[list[tuple[str, int, int]]], data: st.DataObject
) -> None:
    counts, reader = make(), make()
    for batch in batches:
        count(counts, batch, partition=data.draw(st.integers(0, 2)))
    publish(counts, reader)
    everything = [one for batch in batches for one in batch]
    newest = max(time_ms for *_, time_ms in everything)
    expected: dict[str, float] = {}
    for item, kind, time_ms in everything:
        expected[item] = expected.get(item, 0.0) + WEIGHTS[kind] * 2.0 ** (-(newest - time_ms) / HOUR_MS)
    largest = max(expected.values())
    top = reader.top()
    assert dict(top) == pytest.approx({item: value / largest for item, value in expected.items()}, rel=1e-6)
    assert [score for _, score in top] == sorted((score for _, score in top), reverse=True)
    assert top[0][1] == 1.0


def test_ties_are_broken_by_id_so_that_all_workers_rank_alike() -> None:
    counts, reader = make(), make()
    count(counts, [("b", 0, 5), ("a", 0, 5), ("c", 0, 5)])
    publish(counts, reader)
    assert [item for item, _ in reader.top()] == ["a", "b", "c"]


def test_nothing_counted_is_nothing_popular() -> None:
    counts = make()
    count(counts, [])
    assert counts.top() == []
    assert counts.take_changed() == {}


def test_a_later_publication_of_a_partition_replaces_the_earlier_one() -> None:
    counts, reader = make(), make()
    count(counts, [("a", 0, 0)])
    publish(counts, reader)
    assert [item for item, _ in reader.top()] == ["a"]
    count(counts, [("b", 2, 0)])
    publish(counts, reader)
    assert reader.top() == [("b", 1.0), ("a", 0.25)]


def test_only_changed_partitions_are_taken_and_a_failed_save_gives_them_back() -> None:
    counts = make()
    count(counts, [("a", 0, 0)], partition=0)
    count(counts, [("a", 0, 0)], partition=1)
    taken = counts.take_changed()
    assert taken.keys() == {0, 1}
    assert counts.take_changed() == {}
    counts.mark_changed(taken)
    again = counts.take_changed()
    assert {p: one.encode() for p, one in again.items()} == {p: one.encode() for p, one in taken.items()}
    counts.release_all_but([1])
    counts.mark_changed(taken)
    assert counts.take_changed().keys() == {1}


def test_a_saved_state_is_gone_on_from() -> None:
    counts, successor, reader = make(), make(), make()
    count(counts, [("a", 2, 0), ("b", 0, HOUR_MS)])
    successor.adopt(0, counts.take_changed()[0].encode())
    assert successor.take_changed() == {}
    count(successor, [("b", 0, HOUR_MS)])
    publish(successor, reader)
    assert dict(reader.top()) == pytest.approx({"a": 1.0, "b": 1.0})


@pytest.mark.parametrize("state", [b"", b"\xff", b"{}", b'{"partition":0,"time_ms":0,"items":[["a",-1]]}'])
def test_a_state_that_cannot_be_read_is_counted_anew(state: bytes) -> None:
    """Regression: it ended the task that takes the worker's term."""
    counts = make()
    counts.adopt(0, state)
    assert decode_published(state) is None
    count(counts, [("a", 0, 0)])
    assert counts.take_changed().keys() == {0}


def test_a_time_ahead_of_the_clock_counts_as_now_and_counts_far_ahead_are_not_believed() -> None:
    counts, reader = make(), make()
    count(counts, [("a", 0, 2 * NOW_MS), ("b", 0, NOW_MS)])
    taken = counts.take_changed()[0].encode()
    seen = decode_published(taken)
    assert seen is not None
    assert (seen.time_ms, seen.items) == (NOW_MS, [("a", 1.0), ("b", 1.0)])
    ahead = msgspec.structs.replace(seen, time_ms=NOW_MS + 2 * HOUR_MS)
    reader.publish_seen(ahead)
    reader.adopt(0, msgspec.json.encode(ahead))
    assert reader.top() == []


def test_a_released_partition_is_forgotten() -> None:
    counts = make()
    count(counts, [("a", 0, 0)], partition=3)
    counts.release_all_but([])
    assert counts.take_changed() == {}
    count(counts, [("b", 0, 0)], partition=3)
    assert msgspec.json.decode(counts.take_changed()[3].encode())["items"] == [["b", 1.0]]


def test_a_very_popular_item_can_still_be_read() -> None:
    """Regression: counts stood at an old time, at which an event of today weighs 2 ** 32 times as much."""
    counts = make()
    count(counts, [("a", 0, 0)])
    count(counts, [("a", 0, int(31.9 * HOUR_MS))] * 20_000)
    for _ in range(5):
        count(counts, [("a", 2, int(31.9 * HOUR_MS))] * 20_000)
    seen = decode_published(counts.take_changed()[0].encode())
    assert seen is not None
    assert dict(seen.items)["a"] == pytest.approx(420_000, rel=1e-6)


def test_what_is_rare_is_dropped_at_the_bound_and_what_is_popular_stays() -> None:
    counts = make(prune_at=50, kept=10)
    count(counts, [("hit", 0, 0)] * 3 + [("song", 0, 0)] * 2)
    for batch in range(20):
        count(counts, [(f"rare-{batch}-{n}", 0, 0) for n in range(20)], partition=batch % 3)
        assert len(counts.ranked()) <= 50
    assert [item for item, _ in counts.ranked()[:2]] == ["hit", "song"]
    count(counts, [("hit", 0, 0), ("late", 2, 0)], partition=1)
    assert counts.ranked()[:3] == [("hit", 1.0), ("late", 1.0), ("song", 0.5)]


def test_only_the_largest_counts_are_published_and_the_owner_knows_the_rest() -> None:
    """Regression: owners, too, summed only what is published: an item that is 201st everywhere was popular nowhere."""
    counts, reader = make(published=2), make(published=2)
    for partition in (0, 1):
        loved = [(f"loved-{partition}-{n}", 0, 0) for n in range(2)] * 3
        count(counts, [*loved, *[("everywhere", 0, 0)] * 2], partition=partition)
    assert counts.ranked()[0] == ("everywhere", 1.0)
    count(reader, [("everywhere", 0, 0), ("loved-0-1", 0, 0)], partition=2)
    publish(counts, reader)
    assert reader.ranked()[:2] == [("loved-0-1", 1.0), ("loved-0-0", 0.75)]
    assert "everywhere" in dict(reader.ranked())


def test_as_many_are_ranked_as_a_list_can_need() -> None:
    counts, reader = make(ranked=3), make(ranked=3)
    count(counts, [("d", 2, 0), ("c", 0, 0), ("b", 0, 0), ("a", 0, 0), ("e", 1, 0)])
    assert counts.ranked() == [("d", 1.0), ("a", 0.25), ("b", 0.25)]
    count(reader, [("e", 2, 0), ("e", 0, 0), ("z", 1, 0)], partition=1)
    publish(counts, reader)
    assert reader.ranked() == [("e", 1.0), ("d", pytest.approx(4 / 5.5)), ("a", pytest.approx(1 / 5.5))]


def test_a_partition_whose_saved_counts_are_empty_is_owned_and_released_like_any() -> None:
    counts = make()
    counts.adopt(0, b'{"partition":0,"time_ms":5,"items":[]}')
    assert counts.ranked() == []
    counts.release_all_but([])
    count(counts, [("a", 0, 0)])
    assert counts.ranked() == [("a", 1.0)]


def test_an_event_of_long_ago_and_one_far_ahead_break_nothing() -> None:
    counts, reader = make(), make()
    count(counts, [("old", 0, 0), ("new", 0, NOW_MS)])
    count(counts, [("old", 0, 0)])
    publish(counts, reader)
    assert reader.top() == [("new", 1.0)]
