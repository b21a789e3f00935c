"""What may be committed: it never passes a record that is not acked, and an old ack settles nothing new."""

from types import SimpleNamespace
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from streams.fetch.in_flight import InFlightBatches
from streams.fetch.record_batch import RecordBatch

A, B = ("clicks", 0), ("clicks", 1)


def fetch(in_flight: InFlightBatches, *offsets: int, tp: tuple[str, int] = A) -> RecordBatch:
    records: list[Any] = [SimpleNamespace(offset=offset) for offset in offsets]
    batch = RecordBatch(tp, records)
    in_flight.add(batch)
    return batch


def test_nothing_is_committed_before_an_ack() -> None:
    in_flight = InFlightBatches()
    fetch(in_flight, 0, 1)
    assert in_flight.take_acked(A) is None
    assert in_flight.take_acked(B) is None


def test_a_batch_with_gaps_is_committed_past_its_last_record_once() -> None:
    in_flight = InFlightBatches()
    fetch(in_flight, 3, 7, 20).ack()
    assert in_flight.take_acked(A) == 21
    assert in_flight.take_acked(A) is None


def test_gaps_between_batches_hold_nothing_back() -> None:
    in_flight = InFlightBatches()
    for batch in (fetch(in_flight, 0, 1), fetch(in_flight, 100)):
        batch.ack()
    assert in_flight.take_acked(A) == 101


def test_acks_out_of_order_wait_for_the_earliest_batch() -> None:
    in_flight = InFlightBatches()
    first, second, third = (fetch(in_flight, start, start + 1) for start in (0, 2, 4))
    third.ack()
    second.ack()
    assert in_flight.take_acked(A) is None
    assert in_flight.first_offset(A) == 0
    first.ack()
    assert in_flight.take_acked(A) == 6
    assert in_flight.first_offset(A) is None


def test_partitions_are_acked_apart() -> None:
    in_flight = InFlightBatches()
    fetch(in_flight, 0)
    fetch(in_flight, 5, tp=B).ack()
    assert in_flight.take_acked(A) is None
    assert in_flight.take_acked(B) == 6


def test_a_second_ack_does_nothing() -> None:
    in_flight = InFlightBatches()
    batch = fetch(in_flight, 0)
    batch.ack()
    assert in_flight.take_acked(A) == 1
    batch.ack()
    assert in_flight.take_acked(A) is None


def test_after_a_seek_an_old_ack_settles_nothing_and_offsets_may_come_again() -> None:
    in_flight = InFlightBatches()
    stale = fetch(in_flight, 0, 1)
    assert in_flight.last_fetched(A) == 1
    in_flight.clear()
    assert in_flight.last_fetched(A) == -1
    again = fetch(in_flight, 0, 1)
    assert stale not in in_flight
    assert again in in_flight
    stale.ack()
    assert in_flight.take_acked(A) is None


def test_partitions_that_are_taken_away_are_forgotten_and_others_are_not() -> None:
    in_flight = InFlightBatches()
    gone, kept = fetch(in_flight, 5), fetch(in_flight, 7, tp=B)
    in_flight.drop({A})
    gone.ack()
    kept.ack()
    assert (in_flight.last_fetched(A), in_flight.last_fetched(B)) == (-1, 7)
    assert (in_flight.take_acked(A), in_flight.take_acked(B)) == (None, 8)


def test_a_position_is_committed_once_no_batch_is_left() -> None:
    in_flight = InFlightBatches()
    in_flight.clear({A: 3, B: 9})
    assert (in_flight.take_acked(A), in_flight.position(A)) == (None, 3)  # where the seek led is no news
    batch = fetch(in_flight, 3, 4)
    assert in_flight.read_to(A, 7)
    assert not in_flight.read_to(A, 7)
    assert in_flight.take_acked(A) is None
    batch.ack()
    assert in_flight.take_acked(A) == 7
    assert in_flight.take_acked(A) is None
    assert in_flight.read_to(A, 8)
    in_flight.drop({A})
    assert (in_flight.take_acked(A), in_flight.position(A), in_flight.position(B)) == (None, None, 9)


steps = st.lists(
    st.one_of(
        st.tuples(st.just("deliver"), st.integers(1, 4), st.integers(0, 3)),  # records, gap before
        st.tuples(st.just("drop"), st.integers(1, 4), st.integers(0, 3)),  # fetched, and dropped by Faust
        st.tuples(st.just("ack"), st.integers(0, 30), st.just(0)),
        st.tuples(st.just("markers"), st.integers(1, 3), st.just(0)),  # offsets that no record has
        st.tuples(st.just("commit"), st.just(0), st.just(0)),
        st.tuples(st.just("seek"), st.just(0), st.just(0)),
    ),
    max_size=40,
)


@settings(max_examples=150, deadline=None)
@given(steps)
def test_what_is_committed_never_passes_a_record_that_is_not_acked(drawn: list[tuple[str, int, int]]) -> None:
    in_flight = InFlightBatches()
    log: list[int] = []  # offsets that the log holds
    position = 0  # the next of them to be fetched
    end = 0  # of the log, beyond its markers
    committed = 0
    delivered: list[Any] = []  # of any assignment
    current: list[Any] = []  # since the last seek
    for action, number, gap in drawn:
        if action in ("deliver", "drop"):
            while len(log) < position + number:
                log.append(end + gap)
                end = log[-1] + 1
            batch = fetch(in_flight, *log[position : position + number])
            position += number
            in_flight.read_to(A, end if position == len(log) else batch.last_offset + 1)
            if action == "deliver":
                delivered.append(batch)
            current.append(batch)
        elif action == "ack" and delivered:
            delivered[number % len(delivered)].ack()
        elif action == "markers":
            end += number
            if position == len(log):
                in_flight.read_to(A, end)
        elif action == "seek":
            in_flight.clear({A: committed})
            position = sum(offset < committed for offset in log)
            current = []
        else:
            offset = in_flight.take_acked(A)
            if offset is not None:
                assert offset > committed or not current
                committed = max(committed, offset)
        settled = {record.offset for batch in delivered if batch.acked for record in batch.records}
        assert all(offset in settled for offset in log if offset < committed)
        unacked = [batch.first_offset for batch in current if not batch.acked]
        assert committed <= min(unacked, default=committed)
