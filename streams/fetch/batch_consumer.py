"""Faust's aiokafka consumer, changed to deliver batches."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Any

import structlog
from aiokafka.errors import IllegalStateError, KafkaError
from faust.transport.drivers import aiokafka as driver
from faust.types import TP
from faust.types.tuples import ConsumerMessage, Message

from streams.fetch.consumer_thread import ConsumerThread
from streams.fetch.events_lost import EventsLost
from streams.fetch.hooks import FetchHooks
from streams.fetch.in_flight import InFlightBatches
from streams.fetch.record_batch import NO_EPOCH, RecordBatch
from streams.kafka.topic_ids import BrokerSilent

log = structlog.get_logger(__name__)

_NO_SEEK = -1
_ASK_TIMES = 4
"""How often the ids of topics are asked for before a position outside its log is taken for a loss: a broker may not
know yet that the topic is a new one."""


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
                await asyncio.sleep(self._hooks.ask_again_s)
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
