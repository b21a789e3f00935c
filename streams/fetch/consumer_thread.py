"""The thread in which Faust's aiokafka consumer talks to the broker."""

import contextlib
from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

import structlog
from aiokafka import TopicPartition
from aiokafka.consumer.group_coordinator import ConnectionGroup, ConsumerProtocol
from aiokafka.protocol.admin import DescribeGroupsRequest
from aiokafka.structs import OffsetAndMetadata
from faust.transport.drivers import aiokafka as driver
from faust.types import TP

from streams.fetch.aiokafka_patches import patch_consumers, readable_end

log = structlog.get_logger(__name__)


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
