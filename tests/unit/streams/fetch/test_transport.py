"""Acks by batch: what is committed never passes a record that is not acked, and an old ack settles nothing new."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.errors import KafkaConnectionError
from faust.transport.drivers import aiokafka as driver
from faust.types import TP
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.fetch.batch_consumer import Consumer, ConsumerThread
from streams.fetch.hooks import FetchHooks
from streams.fetch.record_batch import NO_EPOCH, RecordBatch
from streams.fetch.transport import BatchSchema
from tests.unit.streams.in_memory.fakes import bare_consumer

A, B, C = TP("clicks", 0), TP("clicks", 1), TP("clicks", 2)
D = TP("browses", 0)


def records(*offsets: int) -> list[Any]:
    return [SimpleNamespace(offset=offset, timestamp=1_500, timestamp_type=0) for offset in offsets]


@pytest.fixture
def consumer() -> Consumer:
    return bare_consumer(FetchHooks(epoch=7))


def deliver(consumer: Consumer, *offsets: int, tp: TP = A) -> RecordBatch:
    (batch,) = consumer._to_message(tp, consumer._register(tp, records(*offsets))).value
    return batch


def test_a_message_carries_its_batch_and_the_assignment_it_was_fetched_under(consumer: Consumer) -> None:
    message = consumer._to_message(A, consumer._register(A, records(3, 4, 9)))
    (batch,) = message.value
    assert (batch.tp, batch.first_offset, batch.last_offset, len(batch), batch.epoch) == (A, 3, 9, 3, 7)
    assert (batch.topic, batch.partition) == ("clicks", 0)
    assert (message.tp, message.offset, message.timestamp, message.generation_id) == (A, 9, 1.5, 3)


def test_nothing_is_committed_before_an_ack(consumer: Consumer) -> None:
    deliver(consumer, 0, 1)
    assert consumer._new_offset(A) is None
    assert consumer._new_offset(B) is None


def test_a_batch_with_gaps_is_committed_past_its_last_record(consumer: Consumer) -> None:
    deliver(consumer, 3, 7, 20).ack()
    assert consumer._new_offset(A) == 21
    assert consumer._new_offset(A) is None  # once


def test_gaps_between_batches_hold_nothing_back(consumer: Consumer) -> None:
    first, second = deliver(consumer, 0, 1), deliver(consumer, 100)
    asyncio.run(consumer._add_gap(A, 2, 99))
    first.ack()
    second.ack()
    assert consumer._new_offset(A) == 101


def test_acks_out_of_order_wait_for_the_earliest_batch(consumer: Consumer) -> None:
    first, second, third = (deliver(consumer, start, start + 1) for start in (0, 2, 4))
    third.ack()
    second.ack()
    assert consumer._new_offset(A) is None
    first.ack()
    assert consumer._new_offset(A) == 6


def test_partitions_are_acked_apart(consumer: Consumer) -> None:
    deliver(consumer, 0)
    deliver(consumer, 5, tp=B).ack()
    assert consumer._new_offset(A) is None
    assert consumer._new_offset(B) == 6


def test_an_acked_partition_is_one_that_fausts_commit_looks_at(consumer: Consumer) -> None:
    assert list(consumer._filter_tps_with_pending_acks()) == []
    deliver(consumer, 0).ack()
    assert list(consumer._filter_tps_with_pending_acks()) == [A]
    assert consumer._filter_committable_offsets([A]) == {A: 1}


def test_a_second_ack_does_nothing(consumer: Consumer) -> None:
    batch = deliver(consumer, 0)
    batch.ack()
    assert consumer._new_offset(A) == 1
    batch.ack()
    assert consumer._new_offset(A) is None


def test_what_faust_acks_commits_nothing(consumer: Consumer) -> None:
    message = consumer._to_message(A, consumer._register(A, records(0)))
    message.incref()
    message.ack(consumer)
    assert not message.value[0].acked
    assert consumer._new_offset(A) is None


def test_all_that_a_fetch_brought_is_one_message(consumer: Consumer, monkeypatch: pytest.MonkeyPatch) -> None:
    async def one_by_one(self: Any, timeout: float) -> AsyncIterator[tuple[TP, Any]]:
        for tp, offsets in ((A, (0, 1)), (D, (7,)), (A, (2,))):
            yield tp, self._to_message(tp, self._register(tp, records(*offsets)))

    async def fetch() -> list[tuple[TP, list[tuple[TP, int]]]]:
        return [(tp, [(one.tp, one.last_offset) for one in found.value]) async for tp, found in consumer.getmany(1.0)]

    monkeypatch.setattr(driver.Consumer, "getmany", one_by_one)
    assert asyncio.run(fetch()) == [(A, [(A, 1), (D, 7), (A, 2)])]


def test_a_fetch_that_brought_nothing_is_no_message(consumer: Consumer, monkeypatch: pytest.MonkeyPatch) -> None:
    async def nothing(self: Any, timeout: float) -> AsyncIterator[tuple[TP, Any]]:
        for nobody in ():
            yield nobody

    async def fetch() -> list[Any]:
        return [found async for found in consumer.getmany(1.0)]

    monkeypatch.setattr(driver.Consumer, "getmany", nothing)
    assert asyncio.run(fetch()) == []


def seek_back(consumer: Consumer, monkeypatch: pytest.MonkeyPatch, committed: int) -> None:
    async def sought(self: Any) -> dict[TP, int]:
        return {A: committed}

    monkeypatch.setattr(driver.Consumer, "seek_to_committed", sought)
    asyncio.run(consumer.perform_seek())


def test_an_ack_from_before_a_seek_does_not_ack_the_batch_read_again(
    consumer: Consumer, monkeypatch: pytest.MonkeyPatch
) -> None:
    stale = deliver(consumer, 0, 1)
    seek_back(consumer, monkeypatch, 0)
    deliver(consumer, 0, 1)
    stale.ack()
    assert consumer._new_offset(A) is None


def test_a_log_that_starts_over_is_not_taken_before_a_new_assignment(consumer: Consumer) -> None:
    """Regression: a topic created again under a running worker looked applied, by the offsets of its former id."""
    asked: list[str] = []
    consumer.rejoin = lambda: asked.append("rejoin")  # type: ignore[method-assign]
    deliver(consumer, 7, 8)
    assert deliver(consumer, 9).epoch == 7
    assert not asked
    consumer._thread.highwater = lambda tp: 2
    anew = deliver(consumer, 0, 1)
    assert anew.epoch != 7
    assert asked == ["rejoin"]


def test_records_read_again_after_a_seek_are_no_log_that_starts_over(
    consumer: Consumer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Regression: each rebalance could ask for another one, when a fetch from before its seek came after it."""
    consumer.rejoin = lambda: pytest.fail("asked for a rebalance")  # type: ignore[method-assign]
    seek_back(consumer, monkeypatch, 0)
    deliver(consumer, 5, 6)
    assert deliver(consumer, 0, 1, 2, 3, 4, 5, 6).epoch == 7


def test_a_batch_that_was_fetched_and_dropped_holds_back_all_later_commits(consumer: Consumer) -> None:
    """Regression: Faust drops what comes while its flow is stopped, and the next batch's ack passed over it."""
    consumer._register(A, records(0, 1, 2))
    deliver(consumer, 3).ack()
    assert consumer._new_offset(A) is None


def test_a_batch_from_before_a_seek_is_not_processed_after_it(
    consumer: Consumer, monkeypatch: pytest.MonkeyPatch
) -> None:
    stale = consumer._register(A, records(5, 6))
    seek_back(consumer, monkeypatch, 0)
    assert consumer._to_message(A, stale).value[0].epoch == NO_EPOCH
    assert deliver(consumer, 0, 1).epoch == 7


def test_after_a_seek_faust_drops_nothing_as_already_read(consumer: Consumer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Regression: after a seek a fetch may cut the log elsewhere; the dropped batch blocked all later commits."""
    seek_back(consumer, monkeypatch, 0)
    consumer._read_offset[A] = 2  # as Faust notes once a message is on its way
    assert consumer._read_offset[A] is None


def test_a_seek_that_fails_ends_in_a_new_assignment(consumer: Consumer, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    consumer.rejoin = lambda: asked.append("rejoin")  # type: ignore[method-assign]

    async def away(self: Any) -> dict[TP, int]:
        raise KafkaConnectionError

    monkeypatch.setattr(driver.Consumer, "seek_to_committed", away)
    deliver(consumer, 0)
    with pytest.raises(KafkaConnectionError):
        asyncio.run(consumer.perform_seek())
    assert asked == ["rejoin"]
    assert A in consumer._in_flight


def test_a_seek_goes_back_on_partitions_without_a_commit_too() -> None:
    """Regression: what was fetched and dropped before the first commit of a partition was never read again: lost."""
    sought: list[tuple[str, Any, int | None]] = []

    class Client:
        def assignment(self) -> set[TP]:
            return {A, B, C}

        async def committed(self, tp: TP) -> int | None:
            return {A: 12, B: 0, C: None}[tp]

        def seek(self, tp: TP, offset: int) -> None:
            sought.append(("seek", tp, offset))

        async def seek_to_beginning(self, *tps: TP) -> None:
            sought.extend(("beginning", tp, None) for tp in tps)

    thread = SimpleNamespace(_ensure_consumer=Client)
    found = asyncio.run(ConsumerThread._seek_to_committed(thread))  # type: ignore[arg-type]
    assert found == {A: 12, B: 0, C: None}
    assert set(sought) == {("seek", A, 12), ("seek", B, 0), ("beginning", C, None)}


def test_what_is_to_be_read_first_is_fetched_alone_until_its_end(
    consumer: Consumer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A command that is read again must come before the events that are."""
    asked: list[Any] = []
    positions = {A: 4}

    async def fetched(self: Any, active: Any, timeout: float) -> dict[TP, list[Any]]:
        asked.append(active)
        positions[A] += 1
        return {}

    async def behind(ends: dict[TP, int]) -> set[TP]:
        return {tp for tp, end in ends.items() if positions[tp] < end}

    async def ends(partitions: list[TP]) -> dict[TP, int]:
        return dict.fromkeys(partitions, 6)

    monkeypatch.setattr(driver.Consumer, "_getmany", fetched)
    monkeypatch.setattr(driver.Consumer, "assignment", lambda self: {A, D})
    consumer.app.fetch_hooks.read_first = {A.topic}
    consumer._thread.behind, consumer._thread.ends = behind, ends
    seek_back(consumer, monkeypatch, 4)
    for _ in range(3):
        asyncio.run(consumer._getmany({A, D}, 1.0))
    assert asked == [{A}, {A}, {A, D}]


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Any]]:
    seen: list[Any] = []

    async def revoked(self: Any, partitions: set[TP]) -> None:
        seen.append(("faust drops its state", {tp: self._new_offset(tp) for tp in partitions}))

    async def commit(self: Any, *_: Any, **__: Any) -> bool:
        seen.append(("commit", self._new_offset(A)))
        return True

    monkeypatch.setattr(driver.Consumer, "on_partitions_revoked", revoked)
    monkeypatch.setattr(driver.Consumer, "commit", commit)
    monkeypatch.setattr(driver.Consumer, "stop_flow", lambda self: seen.append("stop fetching"))
    return seen


def test_a_revocation_lets_the_app_ack_and_commits_before_faust_forgets(consumer: Consumer, calls: list[Any]) -> None:
    batch = deliver(consumer, 0, 1)
    deliver(consumer, 2)

    async def before_revoke(revoked: set[TP]) -> None:
        calls.append(("app", revoked))
        batch.ack()

    consumer.app.fetch_hooks.before_revoke = before_revoke
    asyncio.run(consumer.on_partitions_revoked({A}))
    assert calls == ["stop fetching", ("app", {A}), ("commit", 2), ("faust drops its state", {A: None})]


def test_an_ack_after_a_revocation_settles_nothing_of_the_next_assignment(consumer: Consumer, calls: list[Any]) -> None:
    stale = deliver(consumer, 0, 1)
    asyncio.run(consumer.on_partitions_revoked({A}))
    deliver(consumer, 0, 1)
    stale.ack()
    assert consumer._new_offset(A) is None


def test_a_commit_under_way_does_not_swallow_the_commit_of_a_hand_over(
    consumer: Consumer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Regression: Faust's commit returns without doing anything while an earlier one is under way."""
    committed: list[dict[TP, int]] = []

    async def force_commit(self: Any, *_: Any, **__: Any) -> bool:
        offsets = self._filter_committable_offsets(list(self._acked))
        await asyncio.sleep(0)
        committed.append(offsets)
        return True

    monkeypatch.setattr(driver.Consumer, "force_commit", force_commit)

    async def story() -> None:
        consumer.app.client_only = False
        consumer.loop = asyncio.get_running_loop()
        first, second = deliver(consumer, 0), deliver(consumer, 1)
        first.ack()
        periodic = asyncio.ensure_future(consumer.commit())
        await asyncio.sleep(0)
        second.ack()
        await consumer.commit_now()
        await periodic

    asyncio.run(story())
    assert committed == [{A: 1}, {A: 2}]


def test_a_fetch_is_cut_into_batches_of_the_bounded_size(consumer: Consumer, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fetched(self: Any, active: Any, timeout: float) -> dict[TP, list[Any]]:
        return {A: records(*range(5)), B: []}

    monkeypatch.setattr(driver.Consumer, "_getmany", fetched)
    consumer.app.fetch_hooks.max_batch_records = 2
    found = asyncio.run(consumer._getmany(None, 1.0))
    assert {tp: [[one.offset for one in batch.records] for batch in batches] for tp, batches in found.items()} == {
        A: [[0, 1], [2, 3], [4]]
    }
    assert list(consumer._in_flight[A]) == found[A]


def test_lags_count_from_the_first_record_that_is_not_done(consumer: Consumer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(driver.Consumer, "assignment", lambda self: {A, B})
    monkeypatch.setattr(driver.Consumer, "highwater", lambda self, tp: 50)
    deliver(consumer, 10, 11)
    consumer._committed_offset[B] = 45
    assert consumer.lags() == {A: 40, B: 5}


def test_a_partition_that_is_being_sought_does_not_end_the_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    """Regression: Faust's look for partitions without progress met one without a position, and crashed the consumer."""

    def assertion(self: Any, now: float, tp: TP) -> None:
        raise AssertionError

    monkeypatch.setattr(driver.AIOKafkaConsumerThread, "verify_event_path", assertion)
    ConsumerThread.verify_event_path(ConsumerThread.__new__(ConsumerThread), 0.0, A)


def test_the_schema_hands_a_batch_on_undecoded() -> None:
    batch = RecordBatch(A, records(1))
    app = SimpleNamespace(create_event=lambda *args: args)
    message = SimpleNamespace(value=batch, headers=())
    hand_on = BatchSchema(key_serializer="raw", value_serializer="raw").compile(app)
    assert asyncio.run(hand_on(message)) == (None, batch, (), message)


steps = st.lists(
    st.one_of(
        st.tuples(st.just("deliver"), st.integers(1, 4), st.integers(0, 3)),  # records, gap before
        st.tuples(st.just("drop"), st.integers(1, 4), st.integers(0, 3)),  # fetched, and dropped by Faust
        st.tuples(st.just("ack"), st.integers(0, 30), st.just(0)),
        st.tuples(st.just("commit"), st.just(0), st.just(0)),
        st.tuples(st.just("seek"), st.just(0), st.just(0)),
    ),
    max_size=40,
)


@settings(max_examples=150, deadline=None)
@given(steps)
def test_what_is_committed_never_passes_a_record_that_is_not_acked(drawn: list[tuple[str, int, int]]) -> None:
    consumer = bare_consumer(FetchHooks())
    log: list[int] = []  # offsets that the log holds
    position = 0  # the next of them to be fetched
    committed = 0
    delivered: list[Any] = []  # of any assignment
    current: list[Any] = []  # since the last seek
    for what, number, gap in drawn:
        if what in ("deliver", "drop"):
            while len(log) < position + number:
                log.append((log[-1] if log else -1) + 1 + gap)
            batch = deliver(consumer, *log[position : position + number])
            position += number
            if what == "deliver":
                delivered.append(batch)
            current.append(batch)
        elif what == "ack" and delivered:
            delivered[number % len(delivered)].ack()
        elif what == "seek":
            consumer._in_flight.clear()
            consumer._delivered.clear()
            position = sum(offset < committed for offset in log)
            current = []
        else:
            offset = consumer._new_offset(A)
            if offset is not None:
                assert offset > committed or not current
                committed = max(committed, offset)
        settled = {record.offset for batch in delivered if batch.acked for record in batch.records}
        assert all(offset in settled for offset in log if offset < committed)
        unacked = [batch.first_offset for batch in current if not batch.acked]
        assert committed <= min(unacked, default=committed)
