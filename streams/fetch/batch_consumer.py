"""Faust's aiokafka consumer, changed to deliver batches, and the thread in which it talks to the broker."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Collection, Mapping
from typing import Any, NamedTuple

import structlog
from aiokafka import TopicPartition
from aiokafka.consumer.group_coordinator import ConnectionGroup, ConsumerProtocol
from aiokafka.errors import IllegalStateError, KafkaError
from aiokafka.protocol.admin import DescribeGroupsRequest
from aiokafka.structs import OffsetAndMetadata
from faust.transport.drivers import aiokafka as driver
from faust.types import TP
from faust.types.tuples import ConsumerMessage, Message

from streams.fetch.aiokafka_patches import patch_consumers, readable_end
from streams.fetch.events_lost import EventsLost
from streams.fetch.hooks import FetchHooks
from streams.fetch.in_flight import InFlightBatches
from streams.fetch.record_batch import NO_EPOCH, RecordBatch
from streams.kafka.topic_ids import BrokerSilent

log = structlog.get_logger(__name__)

_NO_SEEK = -1
_ASK_AGAIN_S = 0.5
_ASK_TIMES = 4
"""How often the ids of topics are asked for before a position outside its log is taken for a loss: a broker may not
know yet that the topic is a new one."""


class Progress(NamedTuple):
    """How far the consumer has read."""

    seek: int
    """Number of the last seek: positions of before another seek are out of date."""
    positions: Mapping[TP, int]
    """By partition: no record below was left out, and the record there is not handed over yet."""


class ConsumerThread(driver.AIOKafkaConsumerThread):  # type: ignore[misc]
    """The thread in which the aiokafka consumer talks to the broker."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.progress = Progress(0, {})
        """As of the last fetch or seek. Replaced as a whole, so that another thread may read it."""
        self.topic_ids: Mapping[str, str] = {}
        """Ids of the topics as of the last seek; each committed offset keeps the id of its topic as metadata."""
        self._seeks = 0
        self._states: list[tuple[TP, Any]] = []
        self._states_of: Any = None

    def _create_worker_consumer(self, transport: Any) -> Any:
        patch_consumers()
        consumer = super()._create_worker_consumer(transport)
        # Faust sets 1.5 s. A broker answers as soon as a record comes. But the simulator always waits the whole time,
        # and so does every broker for partitions that were paused when the fetch was sent.
        wait_ms = self.app.fetch_hooks.fetch_max_wait_ms
        if wait_ms is not None:
            consumer._fetch_max_wait_ms = wait_ms
        # Faust has no settings for these two
        consumer._isolation_level = "read_committed"
        consumer._auto_offset_reset = "none"
        commit = consumer.commit

        async def commit_with_ids(offsets: Mapping[TopicPartition, OffsetAndMetadata]) -> None:
            ids = self.topic_ids
            await commit({tp: OffsetAndMetadata(at.offset, ids.get(tp.topic, "")) for tp, at in offsets.items()})

        consumer.commit = commit_with_ids
        return consumer

    def highwater(self, tp: TP) -> int | None:
        """Return the offset up to which a partition can be read; None if no fetch has told it yet."""
        subscription = self._ensure_consumer()._subscription.subscription
        assignment = subscription.assignment if subscription is not None else None
        state = assignment.state_value(TopicPartition(*tp)) if assignment is not None else None
        end: int | None = None if state is None else readable_end(state)
        return end

    async def _fetch_records(self, consumer: Any, *args: Any, **kwargs: Any) -> Any:
        records = await super()._fetch_records(consumer, *args, **kwargs)
        self.progress = Progress(self._seeks, self._positions(consumer))
        return records

    def _positions(self, consumer: Any) -> dict[TP, int]:
        subscription = consumer._subscription.subscription
        assignment = subscription.assignment if subscription is not None else None
        if assignment is None:
            return {}
        if assignment is not self._states_of:
            self._states_of = assignment
            self._states = [(TP(*tp), assignment.state_value(tp)) for tp in assignment.tps]
        return {tp: state.position for tp, state in self._states if state.has_valid_position}

    async def take_out_of_range(self) -> dict[TP, int]:
        """Return the positions that the broker has refused since the last call."""
        refused = self._ensure_consumer()._fetcher.out_of_range
        if not refused:
            return {}
        taken: dict[TP, int] = await self.call_thread(self._take, refused)
        return taken

    async def _take(self, refused: dict[TopicPartition, int]) -> dict[TP, int]:
        taken = {TP(*tp): position for tp, position in refused.items()}
        refused.clear()
        return taken

    async def span(self, tp: TP) -> tuple[int, int]:
        """Return the first offset of a partition's log and its end."""
        consumer = self._ensure_consumer()
        partition = TopicPartition(*tp)
        starts = await self.call_thread(consumer.beginning_offsets, [partition])
        ends = await self.call_thread(consumer.end_offsets, [partition])
        return starts[partition], ends[partition]

    def verify_event_path(self, now: float, tp: TP) -> None:
        """Check a partition for missing progress, as Faust does, but not during a seek.

        A partition has no position during a seek, and an assertion of aiokafka fails.
        """
        with contextlib.suppress(AssertionError):
            super().verify_event_path(now, tp)

    async def seek_to_committed(self, topic_ids: Mapping[str, str] | None = None) -> Mapping[TP, int | None]:
        """Go back to the committed offsets, and return them; a partition without one goes back to its beginning.

        aiokafka's own method does not move a partition without a committed offset: records that were fetched and then
        dropped would not be read again. An offset that was committed for another topic id counts as none.
        """
        offsets: Mapping[TP, int | None] = await self.call_thread(self._seek_to_committed, topic_ids or {})
        return offsets

    async def _seek_to_committed(self, topic_ids: Mapping[str, str]) -> Mapping[TP, int | None]:
        consumer = self._ensure_consumer()
        partitions = list(consumer.assignment())
        committed = await consumer._coordinator.fetch_committed_offsets(partitions)
        offsets = {partition: _valid(partition.topic, committed.get(partition), topic_ids) for partition in partitions}
        self._seeks += 1
        for partition, offset in offsets.items():
            if offset is not None:
                consumer.seek(partition, offset)
        fresh = [partition for partition, offset in offsets.items() if offset is None]
        if fresh:
            await consumer.seek_to_beginning(*fresh)
        self.topic_ids = topic_ids
        self._seeks += 1  # a fetch may have returned while the beginnings were asked for
        self.progress = Progress(self._seeks, self._positions(consumer))
        return {TP(partition.topic, partition.partition): offset for partition, offset in offsets.items()}

    async def ends(self, partitions: Collection[TP]) -> dict[TP, int]:
        """Return the present end offset of each partition."""
        consumer = self._ensure_consumer()
        end_offsets = await self.call_thread(consumer.end_offsets, [TopicPartition(*tp) for tp in partitions])
        return {tp: end_offsets[tp] for tp in partitions}

    async def behind(self, ends: Mapping[TP, int]) -> set[TP]:
        """Return the partitions that are not read up to these end offsets yet."""
        partitions: set[TP] = await self.call_thread(self._behind, dict(ends))
        return partitions

    async def _behind(self, ends: Mapping[TP, int]) -> set[TP]:
        consumer = self._ensure_consumer()
        return {tp for tp, end in ends.items() if await consumer.position(TopicPartition(*tp)) < end}

    async def group_assignment(self) -> list[set[TP]] | None:
        """Ask which partitions each member of the consumer group has; None while the group shares them out.

        Raises `KafkaError` if the broker does not answer.
        """
        members: list[set[TP]] | None = await self.call_thread(self._group_assignment)
        return members

    async def _group_assignment(self) -> list[set[TP]] | None:
        consumer = self._ensure_consumer()
        coordinator = consumer._coordinator
        if coordinator.coordinator_id is None:
            return None
        request = DescribeGroupsRequest([coordinator.group_id])
        answer = await consumer._client.send(coordinator.coordinator_id, request, group=ConnectionGroup.COORDINATION)
        ((error, _, state, _, _, members, *_),) = answer.groups
        if error or state != "Stable":
            return None
        assignments = [ConsumerProtocol.ASSIGNMENT.decode(member[4]).partitions() for member in members if member[4]]
        return [{TP(*tp) for tp in assignment} for assignment in assignments]


def _valid(topic: str, committed: OffsetAndMetadata | None, topic_ids: Mapping[str, str]) -> int | None:
    """Return a committed offset; None if there is none, or it was committed for another topic of this name."""
    if committed is None or committed.offset < 0:
        return None
    known = topic_ids.get(topic, "")
    if known and committed.metadata and committed.metadata != known:
        log.warning("the topic was deleted and created again: reading from its beginning", topic=topic)
        return None
    return int(committed.offset)


class _NothingRead(dict[TP, None]):
    """Stands in for the offsets that Faust remembers to drop messages it has read: here no message is ever dropped."""

    def __missing__(self, tp: TP) -> None:
        return None

    def __setitem__(self, tp: TP, offset: object) -> None:
        pass

    def update(self, *_: Any, **__: Any) -> None:
        pass


class Consumer(driver.Consumer):  # type: ignore[misc]
    """Delivers batches, and commits the offsets of acked batches; its `FetchHooks` are ``app.fetch_hooks``."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._read_offset = _NothingRead()
        self.in_flight = InFlightBatches()
        """The batches that are not committed yet."""
        self._first: dict[TP, int] = {}  # partitions to read up to these end offsets before all others
        self._handing_over = False
        self._last_seek = _NO_SEEK  # number of the thread's seek after which the batches of before it were dropped
        self._hooks: FetchHooks = self.app.fetch_hooks

    def _new_consumer_thread(self) -> ConsumerThread:
        return ConsumerThread(self, loop=self.loop, beacon=self.beacon)

    async def _getmany(self, active_partitions: set[TP] | None, timeout: float) -> Mapping[TP, list[RecordBatch]]:
        first = self._first
        if first:
            try:
                behind = await self._thread.behind(first)
            except IllegalStateError:
                return {}  # a rebalance is under way
            for tp in first.keys() - behind:
                del first[tp]
            active_partitions = behind & (active_partitions or behind) or active_partitions
        fetched = await super()._getmany(active_partitions, timeout)
        size = self._hooks.max_batch_records
        batches = {
            tp: [self._register(tp, records[start : start + size]) for start in range(0, len(records), size)]
            for tp, records in fetched.items()
            if records
        }
        progress = self._thread.progress
        if progress.seek == self._last_seek:  # else these positions are of before a seek
            for tp, position in progress.positions.items():
                if self.in_flight.read_to(tp, position):
                    self._look_at(tp)
        if not batches:
            await self._check_range()
        return batches

    async def _check_range(self) -> None:
        """Report records that have to be read next and are not in their log any more."""
        for tp, position in (await self._thread.take_out_of_range()).items():
            # in a topic that was deleted and created again, the position means nothing: the next seek sees to it
            known = self._thread.topic_ids.get(tp.topic)
            for _ in range(_ASK_TIMES):
                if (await self._topic_ids()).get(tp.topic) != known:
                    self.rejoin()
                    return
                await asyncio.sleep(_ASK_AGAIN_S)
            start, end = await self._thread.span(tp)
            self._hooks.lost(
                EventsLost(
                    topic=tp.topic,
                    partition=tp.partition,
                    position=position,
                    start=start,
                    end=end,
                    group=self.app.conf.id,
                    servers=",".join(f"{url.host}:{url.port}" for url in self.app.conf.broker),
                )
            )

    def _register(self, tp: TP, records: list[Any]) -> RecordBatch:
        batch = RecordBatch(tp, records, self._hooks.epoch, self._look_at)
        fetched = self.in_flight.last_fetched(tp)
        if batch.first_offset <= fetched and (self.highwater(tp) or 0) <= fetched:
            # The offsets start over, and the log ends before the last fetched offset: so this is no second reading
            # after a seek, but the topic was deleted and created again. Under the former topic id its events would look
            # as if they were applied already. So they are not processed until a new assignment has asked for the ids.
            batch.epoch = NO_EPOCH
            self.rejoin()
        self.in_flight.add(batch)
        return batch

    def _look_at(self, tp: TP) -> None:
        self._acked[tp]  # adds the key, which is enough for Faust's commit to look at this partition

    async def getmany(self, timeout: float) -> AsyncIterator[tuple[TP, ConsumerMessage]]:
        """Yield all batches of a fetch as one message, whose value is the list of the batches."""
        messages = [message async for _, message in super().getmany(timeout)]
        if messages:
            first = messages[0]
            first.value = [batch for message in messages for batch in message.value]
            yield first.tp, first

    def _to_message(self, tp: TP, batch: RecordBatch) -> ConsumerMessage:
        if batch not in self.in_flight:
            batch.epoch = NO_EPOCH  # a seek came in between: these records are fetched again
        last = batch.records[-1]
        return ConsumerMessage(
            tp.topic,
            tp.partition,
            last.offset,
            None if last.timestamp is None else last.timestamp / 1000.0,
            last.timestamp_type,
            (),
            None,
            [batch],
            None,
            0,
            0,
            tp,
            generation_id=self.app.consumer_generation_id,
        )

    def ack(self, message: Message) -> bool:
        """Forget the message and ack nothing: only batches are acked, so Faust can't commit an offset by a message."""
        self._unacked_messages.discard(message)
        return False

    async def _add_gap(self, tp: TP, offset_from: int, offset_to: int) -> None:
        """Do nothing: gaps need no book-keeping, see `streams.fetch.transport`."""

    def _new_offset(self, tp: TP) -> int | None:
        """Return the offset to commit; None if there is none."""
        return self.in_flight.take_acked(tp)

    async def seek_to_committed(self) -> Mapping[TP, int | None]:
        """Go back to the committed offsets of the topics as they are now."""
        offsets: Mapping[TP, int | None] = await self._thread.seek_to_committed(await self._topic_ids())
        return offsets

    async def _topic_ids(self) -> Mapping[str, str]:
        """Ask for the present ids of the topics; empty if the broker does not answer."""
        try:
            return await self._hooks.ask_topic_ids()
        except BrokerSilent as error:
            log.warning("the topic ids are not known", problem=str(error))
            return {}

    async def perform_seek(self) -> None:
        """Go back to the committed offsets: later records are read again, in new batches.

        Does nothing during a hand-over. Faust calls this when a fetch returns while the flow is stopped, which happens
        during a hand-over too; then the acks of the hand-over would find no batch. The next assignment seeks anyway.
        """
        if self._handing_over:
            return
        try:
            await super().perform_seek()
            sought = self._thread.progress
            partitions = [tp for tp in self.assignment() if tp.topic in self._hooks.read_first]
            self._first = await self._thread.ends(partitions) if partitions else {}
        except IllegalStateError:
            raise  # another rebalance is under way
        except Exception:
            # Faust goes on without the seek, and the batches that it dropped would stay in flight for ever
            if not self.should_stop:
                self.rejoin()
            raise
        self.in_flight.clear(sought.positions)
        self._last_seek = sought.seek

    async def commit_now(self) -> None:
        """Commit the offsets of all batches acked so far.

        Waits for a commit that is under way: Faust's ``commit`` does nothing meanwhile.
        """
        await self.maybe_wait_for_commit_to_finish()
        await self.commit()

    async def on_partitions_revoked(self, revoked: set[TP]) -> None:
        """Hand partitions over: let the app drain, checkpoint and ack; then commit; only then drop the ack state."""
        if revoked:
            self.stop_flow()
            self._handing_over = True
            try:
                await self._hooks.before_revoke({*revoked})
                await self.commit_now()
            finally:
                self._handing_over = False
        self._last_seek = _NO_SEEK  # positions count again after the seek of the next assignment
        self.in_flight.drop(revoked)
        await super().on_partitions_revoked(revoked)

    async def on_partitions_assigned(self, assigned: set[TP], generation_id: int = 0) -> None:
        """Tell the app which partitions it owns now, then let Faust go on."""
        await self._hooks.after_assign({*assigned})
        await super().on_partitions_assigned(assigned, generation_id)

    def lags(self) -> dict[TP, int]:
        """Return the number of records not processed yet, for each assigned partition whose end offset is known.

        Records of open transactions do not count: they can't be read yet.
        """
        lags = {}
        for tp in self.assignment():
            end = self.highwater(tp)
            first = self.in_flight.first_offset(tp)
            done = self.in_flight.position(tp) if first is None else first
            if end is not None and done is not None:
                lags[tp] = max(0, end - done)
        return lags

    async def group_assignment(self) -> list[set[TP]] | None:
        """Ask which partitions each member of the consumer group has; None while the group shares them out.

        Raises `BrokerSilent` if the broker does not answer.
        """
        try:
            members: list[set[TP]] | None = await self._thread.group_assignment()
        except KafkaError as error:
            raise BrokerSilent(f"The broker did not describe the consumer group: {error!r}.") from error
        return members

    def rejoin(self) -> None:
        """Ask the consumer group for a new assignment, e.g. after another member took the partitions of this one."""
        thread = self._thread
        consumer = thread._ensure_consumer()
        thread.thread_loop.call_soon_threadsafe(consumer._coordinator.request_rejoin)
