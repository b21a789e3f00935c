"""The consumer inside Faust: what it delivers, what it commits and when, and what a seek or a revocation leaves."""

import asyncio
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.errors import KafkaConnectionError
from aiokafka.structs import OffsetAndMetadata
from faust.transport.consumer import Fetcher
from faust.transport.drivers import aiokafka as driver
from faust.types import TP

from streams.fetch.consumer_thread import ConsumerThread
from streams.fetch.events_lost import EventsLost
from streams.fetch.hooks import FetchHooks
from streams.fetch.record_batch import NO_EPOCH, RecordBatch
from streams.kafka.topic_ids import BrokerSilent
from tests.unit.streams.fetch.consumer_on_a_log import BROWSES_0 as D
from tests.unit.streams.fetch.consumer_on_a_log import CLICKS_0 as A
from tests.unit.streams.fetch.consumer_on_a_log import CLICKS_1 as B
from tests.unit.streams.fetch.consumer_on_a_log import LogConsumer, make_consumer, records

C = TP("clicks", 2)
EPOCH = 7


@pytest.fixture
async def consumer() -> LogConsumer:
    return await make_consumer(FetchHooks(epoch=EPOCH))


async def test_a_message_carries_its_batch_and_the_assignment_it_was_fetched_under(consumer: LogConsumer) -> None:
    consumer.app.consumer_generation_id = 3
    (message,) = await consumer.fetch({A: records(3, 4, 9)})
    (batch,) = message.value
    assert (batch.tp, batch.first_offset, batch.last_offset, len(batch), batch.epoch) == (A, 3, 9, 3, EPOCH)
    assert (batch.topic, batch.partition) == ("clicks", 0)
    assert (message.tp, message.offset, message.timestamp, message.generation_id) == (A, 9, 1.5, 3)


async def test_nothing_is_committed_before_an_ack(consumer: LogConsumer) -> None:
    batch = await consumer.deliver(0, 1)
    assert await consumer.committed() == {}
    batch.ack()
    assert await consumer.committed() == {A: 2}
    assert await consumer.committed() == {}  # once


async def test_gaps_between_batches_hold_nothing_back(consumer: LogConsumer) -> None:
    for batch in (await consumer.deliver(0, 1), await consumer.deliver(100)):
        batch.ack()
    assert await consumer.committed() == {A: 101}


async def test_partitions_are_committed_apart(consumer: LogConsumer) -> None:
    await consumer.deliver(0)
    (await consumer.deliver(5, tp=B)).ack()
    assert await consumer.committed() == {B: 6}


async def test_what_faust_acks_commits_nothing(consumer: LogConsumer) -> None:
    (message,) = await consumer.fetch({A: records(0)})
    consumer.track_message(message)
    message.incref()
    message.ack(consumer)
    assert not message.value[0].acked
    assert not consumer.unacked
    assert await consumer.committed() == {}


async def test_all_that_a_fetch_brought_is_one_message(consumer: LogConsumer) -> None:
    consumer.app.fetch_hooks.max_batch_records = 2
    (message,) = await consumer.fetch({A: records(0, 1, 2), D: records(7), B: []})
    assert message.tp in (A, D)
    batches = [(batch.tp, [record.offset for record in batch.records]) for batch in message.value]
    assert sorted(batches) == [(D, [7]), (A, [0, 1]), (A, [2])]
    for batch in message.value:
        batch.ack()
    assert await consumer.committed() == {A: 3, D: 8}


async def test_a_fetch_that_brought_nothing_is_no_message(consumer: LogConsumer) -> None:
    assert await consumer.fetch({}) == []
    assert await consumer.fetch({A: []}) == []


async def test_an_ack_from_before_a_seek_does_not_ack_the_batch_read_again(consumer: LogConsumer) -> None:
    stale = await consumer.deliver(0, 1)
    await consumer.seek_back(0)
    await consumer.deliver(0, 1)
    stale.ack()
    assert await consumer.committed() == {}


async def test_a_log_that_starts_over_is_not_taken_before_a_new_assignment(consumer: LogConsumer) -> None:
    """Regression: a topic created again under a running worker looked applied, by the offsets of its former id."""
    await consumer.deliver(7, 8)
    assert (await consumer.deliver(9)).epoch == EPOCH
    assert consumer.rejoins == 0
    consumer.log_thread.end = 2
    anew = await consumer.deliver(0, 1)
    assert anew.epoch == NO_EPOCH
    assert consumer.rejoins == 1


async def test_records_read_again_after_a_seek_are_no_log_that_starts_over(consumer: LogConsumer) -> None:
    """Regression: each rebalance could ask for another one, when a fetch from before its seek came after it."""
    await consumer.seek_back(0)
    await consumer.deliver(5, 6)
    assert (await consumer.deliver(0, 1, 2, 3, 4, 5, 6)).epoch == EPOCH
    assert consumer.rejoins == 0


async def test_a_batch_that_was_fetched_and_dropped_holds_back_all_later_commits(consumer: LogConsumer) -> None:
    """Regression: Faust drops what comes while its flow is stopped, and the next batch's ack passed over it."""
    consumer.app.fetch_hooks.max_batch_records = 1
    consumer.log_thread.looked_at = consumer.stop_flow  # while the first of two batches is delivered
    (message,) = await consumer.fetch({A: records(0, 1)})
    (first,) = message.value
    consumer.log_thread.looked_at = consumer.resume_flow
    consumer.resume_flow()
    first.ack()
    (await consumer.deliver(2)).ack()
    assert await consumer.committed() == {A: 1}


async def test_a_batch_from_before_a_seek_is_not_processed_after_it(consumer: LogConsumer) -> None:
    consumer.log_thread.looked_at = consumer.in_flight.clear  # as a seek does
    stale = await consumer.deliver(5, 6)
    consumer.log_thread.looked_at = lambda: None
    assert stale.epoch == NO_EPOCH
    assert (await consumer.deliver(0, 1)).epoch == EPOCH


async def test_after_a_seek_faust_drops_nothing_as_already_read(consumer: LogConsumer) -> None:
    """Regression: after a seek a fetch may cut the log elsewhere; the dropped batch blocked all later commits."""
    received: list[int] = []
    enough = asyncio.Event()

    async def receive(message: Any) -> None:
        received.append(message.offset)
        if len(received) == 1:
            await consumer.seek_back(0)  # when it returns, Faust notes that offset 2 is read
        else:
            enough.set()

    consumer.callback = receive
    consumer.log_thread.fetches += [{A: records(0, 1, 2)}, {A: records(0, 1)}, {A: records(2)}]
    fetcher = Fetcher(consumer.app)
    async with asyncio.timeout(10), fetcher:
        await enough.wait()
    assert received[:2] == [2, 1]


async def test_a_seek_that_fails_ends_in_a_new_assignment(
    consumer: LogConsumer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(*_: Any) -> dict[TP, int]:
        raise KafkaConnectionError

    monkeypatch.setattr(consumer.log_thread, "seek_to_committed", away)
    batch = await consumer.deliver(0)
    with pytest.raises(KafkaConnectionError):
        await consumer.perform_seek()
    assert consumer.rejoins == 1
    batch.ack()  # is in flight still
    assert await consumer.committed() == {A: 1}


class Client:
    """What aiokafka's consumer would answer."""

    def __init__(self) -> None:
        self.sought: set[tuple[str, Any, int | None]] = set()
        self.committed = {A: OffsetAndMetadata(12, "id-1"), B: OffsetAndMetadata(0, ""), C: OffsetAndMetadata(-1, "")}
        self._coordinator = self
        self._subscription = SimpleNamespace(subscription=None)

    def assignment(self) -> set[TP]:
        return {A, B, C}

    async def fetch_committed_offsets(self, tps: list[TP]) -> dict[TP, OffsetAndMetadata]:
        return {tp: self.committed[tp] for tp in tps}

    def seek(self, tp: TP, offset: int) -> None:
        self.sought.add(("seek", tp, offset))

    async def seek_to_beginning(self, *tps: TP) -> None:
        self.sought |= {("beginning", tp, None) for tp in tps}

    async def end_offsets(self, tps: list[Any]) -> dict[Any, int]:
        return {tp: 10 + tp.partition for tp in tps}

    async def position(self, tp: Any) -> int:
        return 10


class InlineThread(ConsumerThread):
    """The product's thread, run by the caller and with a client that a test made."""

    def __init__(self, consumer: LogConsumer, client: Client) -> None:
        super().__init__(consumer, loop=consumer.loop, beacon=consumer.beacon)
        self.client = client

    def _ensure_consumer(self) -> Client:
        return self.client

    async def call_thread(self, function: Callable[..., Any], *arguments: Any) -> Any:
        return await function(*arguments)


async def test_a_seek_goes_back_on_partitions_without_a_commit_too(consumer: LogConsumer) -> None:
    """Regression: what was fetched and dropped before the first commit of a partition was never read again: lost."""
    client = Client()
    offsets = await InlineThread(consumer, client).seek_to_committed()
    assert offsets == {A: 12, B: 0, C: None}
    assert client.sought == {("seek", A, 12), ("seek", B, 0), ("beginning", C, None)}


async def test_an_offset_that_was_committed_for_a_deleted_topic_of_the_same_name_counts_as_none(
    consumer: LogConsumer,
) -> None:
    """A late commit could outlive the topic: then a worker that starts would miss the new topic's first events."""
    client = Client()
    thread = InlineThread(consumer, client)
    assert await thread.seek_to_committed({"clicks": "id-1"}) == {A: 12, B: 0, C: None}
    assert await thread.seek_to_committed({"clicks": "id-2"}) == {A: None, B: 0, C: None}
    assert ("beginning", A, None) in client.sought
    assert thread.topic_ids == {"clicks": "id-2"}


async def test_a_position_beyond_a_transaction_marker_is_committed_once_all_before_it_is_acked(
    consumer: LogConsumer,
) -> None:
    await consumer.seek_back(0)
    batch = await consumer.deliver(0, 1)
    consumer.log_thread.read_to = {A: 5}
    await consumer.fetch({})
    assert await consumer.committed() == {}
    batch.ack()
    assert await consumer.committed() == {A: 5}
    await consumer.fetch({})
    assert await consumer.committed() == {}  # once


async def test_a_position_from_before_a_seek_is_not_committed(consumer: LogConsumer) -> None:
    await consumer.seek_back(3)
    consumer.log_thread.read_to = {A: 7}
    await consumer.fetch({})
    stale = consumer.log_thread.progress
    consumer.log_thread.read_to = {}
    await consumer.seek_back(3)
    consumer.log_thread.progress = stale
    await consumer.fetch({})
    assert await consumer.committed() == {}


async def test_a_revocation_forgets_the_positions_until_the_next_seek(consumer: LogConsumer) -> None:
    await consumer.seek_back(3)
    await consumer.on_partitions_revoked({A})
    await consumer.on_partitions_assigned({A})
    consumer.resume_flow()
    consumer.log_thread.read_to = {A: 9}
    await consumer.fetch({})
    assert await consumer.committed() == {}


@pytest.mark.parametrize(
    ("position", "words"),
    [
        (
            3,
            ("read on at offset 3 of partition 0 of clicks", "holds offsets 7 to 8", "3 to 6 were deleted", "earliest"),
        ),
        (12, ("offset 12", "holds offsets 7 to 8", "may be lost", "older copy", "latest")),
    ],
)
async def test_a_position_that_the_log_does_not_hold_ends_the_worker_with_a_sentence(
    consumer: LogConsumer, position: int, words: tuple[str, ...]
) -> None:
    """Regression: the consumer went on at the first record that is left, without a word."""
    consumer.app.fetch_hooks.ask_again_s = 0.0
    lost: list[Exception] = []
    consumer.app.fetch_hooks.lost = lost.append
    await consumer.seek_back(position)
    consumer.log_thread.refused, consumer.log_thread.held = {A: position}, (7, 9)
    await consumer.fetch({})
    (error,) = lost
    assert isinstance(error, EventsLost)
    assert all(word in str(error) for word in (*words, "group 'test'", "--topic clicks:0", "--bootstrap-server"))
    assert consumer.rejoins == 0


async def test_a_position_in_a_topic_that_was_created_again_asks_for_a_new_assignment(consumer: LogConsumer) -> None:
    consumer.app.fetch_hooks.ask_again_s = 0.0
    answers = [{"clicks": "id-1"}, {"clicks": "id-1"}, {"clicks": "id-2"}]

    async def ask() -> dict[str, str]:
        return answers.pop(0)

    consumer.app.fetch_hooks.ask_topic_ids = ask
    await consumer.seek_back(12)
    consumer.log_thread.refused = {A: 12}
    await consumer.fetch({})
    assert consumer.rejoins == 1
    assert not answers


async def test_a_broker_that_does_not_tell_topic_ids_keeps_no_one_from_reading(consumer: LogConsumer) -> None:
    async def ask() -> dict[str, str]:
        raise BrokerSilent

    consumer.app.fetch_hooks.ask_topic_ids = ask
    await consumer.seek_back(12)
    assert consumer.log_thread.topic_ids == {}
    assert (await consumer.deliver(12)).epoch == EPOCH


async def test_a_partition_is_behind_until_it_is_read_up_to_its_end(consumer: LogConsumer) -> None:
    thread = InlineThread(consumer, Client())
    ends = await thread.ends({A, B})
    assert ends == {A: 10, B: 11}
    assert await thread.behind(ends) == {B}


async def test_what_is_to_be_read_first_is_fetched_alone_until_its_end(consumer: LogConsumer) -> None:
    """A command that is read again must come before the events that are."""
    thread = consumer.log_thread
    consumer.app.fetch_hooks.read_first = {D.topic}
    thread.end = 6
    await consumer.perform_seek()
    for position in (4, 5, 6):
        thread.positions[D] = position
        await consumer.fetch({})
    assert thread.asked == [{D}, {D}, {A, B, D}]


async def test_a_revocation_lets_the_app_ack_and_commits_before_faust_forgets() -> None:
    story: list[Any] = []

    async def before_revoke(revoked: set[tuple[str, int]]) -> None:
        story.append(("app", revoked, consumer.flow_active))
        batch.ack()

    def faust_drops(revoked: set[TP]) -> None:
        story.append(("faust drops its state", revoked, dict(consumer.log_thread.committed)))

    consumer = await make_consumer(FetchHooks(before_revoke=before_revoke), faust_drops)
    batch = await consumer.deliver(0, 1)
    await consumer.deliver(2)
    await consumer.on_partitions_revoked({A})
    assert story == [("app", {A}, False), ("faust drops its state", {A}, {A: 2})]


async def test_a_seek_during_a_hand_over_does_not_lose_its_acks() -> None:
    async def before_revoke(revoked: set[tuple[str, int]]) -> None:
        await consumer.perform_seek()  # as Faust does when a fetch returns while its flow is stopped
        batch.ack()

    consumer = await make_consumer(FetchHooks(before_revoke=before_revoke))
    batch = await consumer.deliver(0, 1)
    await consumer.on_partitions_revoked({A})
    assert consumer.log_thread.committed == {A: 2}


async def test_an_ack_after_a_revocation_settles_nothing_of_the_next_assignment(consumer: LogConsumer) -> None:
    stale = await consumer.deliver(0, 1)
    await consumer.on_partitions_revoked({A})
    await consumer.on_partitions_assigned({A})
    consumer.resume_flow()
    await consumer.deliver(0, 1)
    stale.ack()
    assert await consumer.committed() == {}


async def test_a_commit_under_way_does_not_swallow_the_commit_of_a_hand_over(
    consumer: LogConsumer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Regression: Faust's commit returns without doing anything while an earlier one is under way."""
    committed: list[dict[TP, int]] = []
    answer = asyncio.Event()

    async def commit(offsets: dict[TP, int]) -> bool:
        committed.append(dict(offsets))
        await answer.wait()
        return True

    monkeypatch.setattr(consumer.log_thread, "commit", commit)
    first, second = await consumer.deliver(0), await consumer.deliver(1)
    first.ack()
    periodic = asyncio.create_task(consumer.commit())
    while not committed:
        await asyncio.sleep(0)
    second.ack()
    hand_over = asyncio.create_task(consumer.commit_now())
    await asyncio.sleep(0)
    answer.set()
    await asyncio.wait_for(asyncio.gather(periodic, hand_over), 5)
    assert committed == [{A: 1}, {A: 2}]


async def test_a_fetch_is_cut_into_batches_of_the_bounded_size(consumer: LogConsumer) -> None:
    consumer.app.fetch_hooks.max_batch_records = 2
    (message,) = await consumer.fetch({A: records(*range(5))})
    batches: list[RecordBatch] = message.value
    assert [[record.offset for record in batch.records] for batch in batches] == [[0, 1], [2, 3], [4]]
    assert all(batch in consumer.in_flight for batch in batches)


async def test_lags_count_from_the_first_record_that_is_not_done(consumer: LogConsumer) -> None:
    await consumer.seek_back(45, tp=B)
    consumer.log_thread.end = 50
    await consumer.deliver(10, 11)
    assert consumer.lags() == {A: 40, B: 5}
    consumer.log_thread.read_to = {B: 50}  # beyond transaction markers
    await consumer.fetch({})
    assert consumer.lags() == {A: 40, B: 0}


async def test_a_partition_that_is_being_sought_does_not_end_the_worker(
    consumer: LogConsumer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Regression: Faust's look for partitions without progress met one without a position, and crashed the consumer."""

    def assertion(self: Any, now: float, tp: TP) -> None:
        raise AssertionError

    monkeypatch.setattr(driver.AIOKafkaConsumerThread, "verify_event_path", assertion)
    consumer.verify_event_path(0.0, A)
