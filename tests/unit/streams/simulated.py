"""A shop in memory: logs, a group, a store and workers of the product's own parts, moved one step at a time.

No clock, no thread, no network: a step is some turns of the event loop, and everything outside (the store, Kafka's
confirmations, who owns what) does what the test says, when it says it.
"""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Mapping, Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any
from unittest import mock

import msgspec
import numpy as np
from faust.transport.drivers import aiokafka as driver
from faust.types import TP

from encoders.index.item_index import ItemIndex
from schemas.events import EVENT_CLASSES
from streams.catalog.index_updates import IndexUpdates
from streams.checkpoint import checkpointer
from streams.checkpoint.checkpointer import Checkpointer
from streams.checkpoint.ownership import Ownership
from streams.checkpoint.stored_profile import ProfileState, decode_state
from streams.decode.decoder import Decoder
from streams.decode.partitioner import partitions_of
from streams.fetch.batch_consumer import Consumer
from streams.fetch.hooks import FetchHooks
from streams.kafka.topic_ids import TopicIds
from streams.kafka.topics import TopicNames
from streams.monitoring.metrics import Metrics
from streams.pipeline.batch_pipeline import BatchPipeline
from streams.pipeline.batch_queue import BatchQueue
from streams.quality.list_statistics import ListStatistics
from streams.quality.online_quality import OnlineQuality
from streams.rank.exclusions import Exclusions
from streams.rank.loaded_encoder import ActiveEncoder, LoadedEncoder
from streams.state.profile_shape import ProfileShape
from streams.state.profile_table import ProfileTable
from streams.state.trending import Trending
from streams.stores.base import Owner, StoredProfile, StoreUnavailable, Term
from streams.stores.write_pace import WritePace
from tests.unit.streams.profile_model import CONFIG, DIMENSION, vector_of

NAMES = TopicNames()
# a window that no repeat falls out of, however the topics are read in turns
SHAPE = ProfileShape(history=3, dimension=DIMENSION, half_lives=2, duplicate_window=500, purchases=2, pending=1_000)
PARTITIONS = 2
ENCODER = "v1"
EVENT_TOPICS = ("clicks", "browses", "purchases")
ITEMS = ("red", "green", "blue", "grey")
GROUP_RECORDS = 5
"""Of batches that are processed together: some batches are larger, some groups are of several."""
ROWS_AT_ONCE = 2
# of a save: some take several calls of the store
TURNS = 60
"""Turns of the loop that finish whatever is not waiting for the outside."""


class MemoryStore:
    """A profile store whose calls fail, or wait, when told to: one that waits may be done when its worker is dead."""

    def __init__(self) -> None:
        self.rows: dict[str, StoredProfile] = {}
        self.held_owners: dict[int, Owner] = {}
        self.last_term = 0
        self.broken = False
        self.holding = False
        self._held: list[asyncio.Future[bool]] = []
        self.trending: dict[int, tuple[int, bytes]] = {}
        self.pace: WritePace | None = None  # of the last save
        self.saves: list[int] = []  # rows of each

    def release(self, succeed: bool) -> None:
        """Let the saves that wait happen, or fail."""
        held, self._held = self._held, []
        for one in held:
            if not one.done():
                one.set_result(succeed)

    def _check(self) -> None:
        if self.broken:
            raise StoreUnavailable("the store is away")

    async def open(self) -> None: ...

    async def close(self) -> None: ...

    async def take_term(self, worker: str, partitions: Sequence[int]) -> Term:
        self._check()
        self.last_term += 1
        replaced = {p: self.held_owners[p].term for p in partitions if p in self.held_owners}
        self.held_owners |= {p: Owner(p, self.last_term, worker) for p in partitions}
        return Term(self.last_term, replaced)

    async def owners(self, partitions: Sequence[int]) -> dict[int, Owner]:
        self._check()
        return {p: self.held_owners[p] for p in partitions if p in self.held_owners}

    async def load(self, user_ids: Sequence[str]) -> dict[str, StoredProfile]:
        self._check()
        found = {user: self.rows[user] for user in user_ids if user in self.rows}
        await asyncio.sleep(0)  # what else goes on may change rows meanwhile
        return found

    async def save(self, rows: Sequence[StoredProfile], pace: WritePace | None = None) -> None:
        self._check()
        self.pace = pace
        self.saves.append(len(rows))
        if self.holding:
            waiting = asyncio.get_running_loop().create_future()
            self._held.append(waiting)
            try:
                done = await asyncio.shield(waiting)
            except asyncio.CancelledError:
                # whoever waits has gone, the request has not
                waiting.add_done_callback(lambda held: self._write(rows) if held.result() else None)
                raise
            if not done:
                self._write(rows[: len(rows) // 2])  # a failed save may have been written in part
                raise StoreUnavailable("the store did not answer in time")
        self._write(rows)

    def _write(self, rows: Sequence[StoredProfile]) -> None:
        for row in rows:
            held = self.rows.get(row.user_id)
            if held is None or row.version > held.version:
                self.rows[row.user_id] = row

    async def delete(self, user_ids: Sequence[str], version: int) -> None:
        raise NotImplementedError("the worker deletes by saving")

    async def save_trending(self, states: Mapping[int, bytes], version: int) -> None:
        self._check()
        for partition, state in states.items():
            if version > self.trending.get(partition, (0, b""))[0]:
                self.trending[partition] = (version, state)

    async def load_trending(self, partitions: Sequence[int]) -> dict[int, bytes]:
        self._check()
        return {p: self.trending[p][1] for p in partitions if p in self.trending}

    async def scan(self) -> AsyncIterator[StoredProfile]:
        for row in list(self.rows.values()):
            yield row


class FakeDeliveries:
    """Confirmed once the emitter says that Kafka takes records."""

    def __init__(self, emitter: "FakeEmitter") -> None:
        self._emitter = emitter
        self.produced = 0

    @property
    def confirmed(self) -> bool:
        return self._emitter.confirming

    def wait(self, timeout_s: float) -> bool:
        return self.confirmed


class FakeEmitter:
    """Notes what is produced; re-routed records go into the world's logs, as they would on Kafka."""

    def __init__(self, world: "World") -> None:
        self._world = world
        self.confirming = True
        self.tombstones: list[str] = []
        self.refused: list[Any] = []

    def swap(self) -> FakeDeliveries:
        return FakeDeliveries(self)

    def recommend(self, user_id: str, value: bytes | None) -> None:
        if value is None:
            self.tombstones.append(user_id)

    def refuse(self, refused: Sequence[Any]) -> None:
        self.refused += refused

    def reroute(self, misplaced: Sequence[Any]) -> None:
        for one in misplaced:
            headers = tuple(one.origin.to_headers(one.record.headers))
            self._world.append(TP("rerouted", one.partition), one.record.value, headers)

    def trending(self, counts: Mapping[int, bytes]) -> None: ...


async def _no_ends(partitions: Any) -> dict[TP, int]:
    return {}


def bare_consumer(hooks: FetchHooks) -> Consumer:
    """The product's consumer without a broker behind it: its own parts are made, of Faust's those that acks need."""

    def without_broker(self: Any, app: Any) -> None:
        self.app = app
        self._acked = defaultdict(list)
        self._unacked_messages = set()
        self._committed_offset = defaultdict(lambda: None)
        self._commit_fut = None
        self._stopped = SimpleNamespace(is_set=lambda: False)
        self._crashed = self._stopped
        self._thread = SimpleNamespace(highwater=lambda tp: 1 << 40, assignment=set, ends=_no_ends)

    with mock.patch.object(driver.Consumer, "__init__", without_broker):
        return Consumer(SimpleNamespace(fetch_hooks=hooks, consumer_generation_id=3))


class SimWorker:
    """A worker of real parts: transport's acks, ownership, table, pipeline, checkpoint."""

    def __init__(self, world: "World") -> None:
        self.world = world
        world.workers.append(self)
        self.metrics = Metrics()
        self.hooks = FetchHooks()
        self.consumer = bare_consumer(self.hooks)
        self.table = ProfileTable(64, SHAPE)
        self.index = ItemIndex(DIMENSION)
        self.index.put(ITEMS, np.array([vector_of(item) for item in ITEMS], np.float32))
        graph = SimpleNamespace(encoder=SimpleNamespace(manifest=SimpleNamespace(version=ENCODER)))
        self.serving = ActiveEncoder(
            LoadedEncoder(ENCODER, self.index, IndexUpdates(DIMENSION, ENCODER), graph, CONFIG)  # type: ignore[arg-type]
        )
        self.emitter = FakeEmitter(world)
        self.trending = Trending(3_600, [1.0, 0.5, 4.0])
        self.errors: list[BaseException] = []
        topic_ids = TopicIds(world.admin, NAMES, "topics-of-this-life")  # type: ignore[arg-type]
        self.ownership = Ownership(
            world.store,
            self.table,
            self.trending,
            world.admin,
            NAMES,
            topic_ids,
            self.metrics,
            self.errors.append,
            state_lock := asyncio.Lock(),
        )
        self.superseded = False
        checkpointer._ROWS_AT_ONCE = ROWS_AT_ONCE
        self.checkpoint = Checkpointer(
            self.table,
            world.store,
            self.emitter,  # type: ignore[arg-type]
            self.ownership,
            self.trending,
            self.metrics,
            self.serving,
            3_600,
            self._supersede,
            state_lock,
        )
        self.pipeline = BatchPipeline(
            self.table,
            world.store,
            Decoder(NAMES, topic_ids, "murmur2"),
            self.serving,
            SimpleNamespace(refresh=lambda events, slots, causes, term: None),  # type: ignore[arg-type]
            self.trending,
            self.emitter,  # type: ignore[arg-type]
            self.checkpoint,
            self.ownership,
            self.metrics,
            1_000,
            lambda source, at_least: len(world.logs[TP(source.topic, source.partition)]) * 2 + 1,
            OnlineQuality(self.table, self.serving, self.trending, Exclusions(), self.metrics.quality),
            ListStatistics(self.serving, self.metrics.quality),
        )
        self.assigned: frozenset[int] = frozenset()
        self.positions: dict[TP, int] = {}
        self.intake = BatchQueue(GROUP_RECORDS, NAMES.events)
        self.tasks: set[asyncio.Task[Any]] = set()
        self.processing: asyncio.Task[Any] | None = None
        self.entered = False

    def _supersede(self) -> None:
        self.superseded = True

    def start(self, work: Awaitable[Any]) -> asyncio.Task[Any]:
        async def done() -> Any:
            return await work

        task = self.world.loop.create_task(done())
        self.tasks.add(task)
        return task

    def partitions(self) -> list[TP]:
        return [
            TP(topic, number) for topic in (*EVENT_TOPICS, "rerouted", "profile-commands") for number in self.assigned
        ]

    def fetch(self, tp: TP, most: int) -> None:
        """Read on in one log; the batch waits in the agent's queue."""
        records = [one for one in self.world.logs[tp] if one.offset >= self.positions[tp]][:most]
        if records:
            batch = self.consumer._register(tp, records)
            self.positions[tp] = records[-1].offset + 1
            self.intake.add(*self.consumer._to_message(tp, batch).value)

    def work(self) -> None:
        """Let the pipeline take its next group of batches, if the users of the last are in memory."""
        if self.processing is None or self.processing.done() or self.entered:
            group = self.intake.take()
            if group:
                self.entered = False
                self.processing = self.start(self.pipeline.process(group, self._enter))

    def _enter(self) -> None:
        self.entered = True

    def commit(self) -> None:
        """What Faust does every second; Kafka takes offsets of members only."""
        for tp in list(self.consumer._acked):
            offset = self.consumer._new_offset(tp)
            if offset is not None and self.world.member(self, tp.partition):
                self.world.committed[tp] = max(self.world.committed[tp], offset)

    def drop_assignment(self) -> None:
        self.ownership.revoke()
        self.intake = BatchQueue(GROUP_RECORDS, NAMES.events)
        self._lose_acks()
        self.assigned = frozenset()

    def _lose_acks(self) -> None:
        """As a revocation and a seek do: what was read beyond the committed offsets is read again."""
        self.consumer._in_flight.clear()
        self.consumer._delivered.clear()

    def take_assignment(self, partitions: frozenset[int]) -> None:
        self.drop_assignment()
        self.assigned = partitions
        self.ownership.assign(set(partitions))
        self.hooks.epoch = self.ownership.epoch
        self.pipeline.accepting = True
        self.superseded = False
        self._lose_acks()
        self.positions = {tp: self.world.committed[tp] for tp in self.partitions()}

    async def hand_over(self) -> None:
        """Finish the batch in hand, save, ack, commit: as the worker does when it is asked for its partitions."""
        self.pipeline.accepting = False
        for _ in range(3):
            saving = self.start(self.checkpoint.run())
            await turns()
            if saving.done() and not saving.exception() and saving.result():
                break
            saving.cancel()
            await turns()
        self.commit()

    def kill(self) -> None:
        for task in self.tasks:
            task.cancel()
        self.ownership.revoke()


def right_partition(user: str) -> int:
    return int(partitions_of([user], PARTITIONS, "murmur2")[0])


async def turns(count: int = TURNS) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


@dataclass
class World:
    """The outside of the workers."""

    loop: asyncio.AbstractEventLoop
    store: MemoryStore = field(default_factory=MemoryStore)
    logs: defaultdict[TP, list[Any]] = field(default_factory=lambda: defaultdict(list))
    committed: defaultdict[TP, int] = field(default_factory=lambda: defaultdict(int))
    owner: dict[int, SimWorker] = field(default_factory=dict)
    sent: dict[str, tuple[str, int]] = field(default_factory=dict)  # event id -> user, type
    workers: list[SimWorker] = field(default_factory=list)

    def __post_init__(self) -> None:
        topics = {name: SimpleNamespace(error=None, partitions=range(PARTITIONS)) for name in NAMES.inputs}
        self.admin: Any = SimpleNamespace(list_topics=lambda *_, **__: SimpleNamespace(topics=topics))

    def member(self, worker: SimWorker, partition: int) -> bool:
        return self.owner.get(partition) is worker

    def append(self, tp: TP, value: bytes | None, headers: tuple[Any, ...] = ()) -> None:
        offset = self.logs[tp][-1].offset + (2 if len(self.logs[tp]) % 3 == 0 else 1) if self.logs[tp] else 0
        self.logs[tp].append(
            SimpleNamespace(
                topic=tp.topic,
                partition=tp.partition,
                offset=offset,
                timestamp=1_700_000_000_000 + sum(map(len, self.logs.values())),  # no two at once
                timestamp_type=0,
                key=None,
                value=value,
                headers=headers,
            )
        )

    def produce(self, user: str, kind: int, time_ms: int, event_id: str | None = None, misplaced: bool = False) -> str:
        name = event_id or f"e{len(self.sent)}"
        self.sent.setdefault(name, (user, kind))
        event = EVENT_CLASSES[kind](event_id=name, user_id=user, item_id=ITEMS[time_ms % 4], event_time_ms=time_ms)
        right = right_partition(user)
        partition = (right + 1) % PARTITIONS if misplaced else right
        self.append(TP(EVENT_TOPICS[kind], partition), msgspec.json.encode(event))
        return name

    def states(self) -> dict[str, ProfileState]:
        return {user: decode_state(row.state, user) for user, row in self.store.rows.items()}

    def expected(self) -> dict[str, list[int]]:
        counts: dict[str, list[int]] = {}
        for user, kind in self.sent.values():
            counts.setdefault(user, [0, 0, 0])[kind] += 1
        return counts
