"""A worker of the product's own parts, without a broker, a clock or a thread."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
from faust.types import TP

from encoders.index.item_index import ItemIndex
from streams.checkpoint.checkpointer import Checkpointer
from streams.checkpoint.erased_users import Tombstones
from streams.checkpoint.gate import Gate
from streams.checkpoint.group_contract import GroupContract
from streams.checkpoint.ownership import GroupAssignment, Ownership
from streams.clock import now_ms
from streams.decode.decoder import Decoder
from streams.decode.misplaced_records import MisplacedRecords
from streams.features.contract import Feature, FeatureContext
from streams.features.running import RunningFeatures
from streams.fetch.in_flight import InFlightBatches
from streams.fetch.record_batch import RecordBatch
from streams.kafka.log_id import LogId
from streams.kafka.topic_ids import TopicIds
from streams.monitoring.metrics import Metrics
from streams.pipeline.batch_pipeline import BatchPipeline
from streams.pipeline.batch_queue import BatchQueue
from streams.pipeline.profile_loader import ProfileLoader
from streams.quality.observer import COLUMNS, QualityObserver
from streams.rank.exclusions import Exclusions
from streams.rank.loaded_encoder import ActiveEncoder, LoadedEncoder
from streams.settings import Settings
from streams.state.profile_table import ProfileTable
from streams.state.state import State
from streams.state.trending import Trending
from tests.still_feed import StillFeed
from tests.unit.streams.in_memory.fakes import FakeEmitter
from tests.unit.streams.in_memory.world import (
    ENCODER,
    EVENT_TOPICS,
    ITEMS,
    MICRO_BATCH_RECORDS,
    NAMES,
    ROWS_AT_ONCE,
    SHAPE,
    TOMBSTONES_AFTER_S,
    World,
    turns,
)
from tests.unit.streams.profile_model import CONFIG, DIMENSION, vector_of


class SimWorker:
    """A worker of real parts: transport's acks, ownership, table, pipeline, checkpoint."""

    def __init__(
        self,
        world: World,
        *,
        max_dirty_users: int = 1_000,
        paced_rows_s: float = 2_000,
        count_every_s: float = 0.1,
        many_records: int = 500,
        log_end: Callable[[LogId, int], int] | None = None,
        group: GroupContract | None = None,
        features: Sequence[Feature] = (),
        group_assignment: GroupAssignment | None = None,
    ) -> None:
        self.world = world
        world.workers.append(self)
        self.metrics = Metrics()
        self.in_flight = InFlightBatches()
        self.epoch = 0
        self.state = State(ProfileTable(64, SHAPE, COLUMNS), Trending(3_600, [1.0, 0.5, 4.0], now_ms))
        self.table, self.trending = self.state.table, self.state.trending
        index = ItemIndex(DIMENSION)
        index.put(ITEMS, np.array([vector_of(item) for item in ITEMS], np.float32))
        ranker: Any = SimpleNamespace(encoder=SimpleNamespace(manifest=SimpleNamespace(version=ENCODER)))
        self.active = ActiveEncoder(
            LoadedEncoder(version=ENCODER, index=index, ranker=ranker, sums=CONFIG), StillFeed()
        )
        self.emitter = FakeEmitter(world)
        emitter: Any = self.emitter
        self.errors: list[BaseException] = []
        topic_ids = TopicIds(world.admin, NAMES, "topics-of-this-life")
        self.gate = Gate()
        self.ownership = Ownership(
            store=world.store,
            state=self.state,
            gate=self.gate,
            admin=world.admin,
            names=NAMES,
            topic_ids=topic_ids,
            metrics=self.metrics,
            fail=self.errors.append,
            group=group,
            group_assignment=group_assignment,
            rejoin=self._supersede,
        )
        self.superseded = False
        self.row_life_s = 3_600
        self.checkpoint = Checkpointer(
            state=self.state,
            store=world.store,
            emitter=emitter,
            ownership=self.ownership,
            metrics=self.metrics,
            encoder_version=lambda: ENCODER,
            forget_after_s=lambda: self.row_life_s,
            tombstones=Tombstones(TOMBSTONES_AFTER_S, lambda: world.now_s),
            superseded=self._supersede,
            rows_at_once=ROWS_AT_ONCE,
            paced_rows_s=paced_rows_s,
        )
        context = FeatureContext(
            settings=Settings(),
            state=self.state,
            active=self.active,
            exclusions=Exclusions(),
            metrics=self.metrics,
            group_release=lambda: self.ownership.group.lowest,
        )
        works = {"quality": QualityObserver(context), **{feature.name: feature.start(context) for feature in features}}
        preference_vectors: Any = None
        self.recommender: Any = SimpleNamespace(refresh=lambda events, slots, causes, term: None)
        self.pipeline = BatchPipeline(
            state=self.state,
            active=self.active,
            decoder=Decoder(NAMES, topic_ids, "murmur2"),
            loader=ProfileLoader(
                table=self.table,
                store=world.store,
                active=self.active,
                preference_vectors=preference_vectors,
                metrics=self.metrics,
                log_end=log_end or world.log_end,
            ),
            recommender=self.recommender,
            emitter=emitter,
            checkpointer=self.checkpoint,
            ownership=self.ownership,
            gate=self.gate,
            metrics=self.metrics,
            misplaced=MisplacedRecords("murmur2", {}),
            features=RunningFeatures(works, self.metrics),
            excluded_ms=1e9,
            max_dirty_users=max_dirty_users,
            count_every_s=count_every_s,
            many_records=many_records,
        )
        self.assigned: frozenset[int] = frozenset()
        self.positions: dict[TP, int] = {}
        self.queue = BatchQueue(MICRO_BATCH_RECORDS, NAMES.events)
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
            TP(topic, number)
            for topic in (*EVENT_TOPICS, "rerouted", "profile-commands", "actions")
            for number in self.assigned
        ]

    def fetch(self, tp: TP, most: int) -> None:
        """Read on in one log; the batch waits in the agent's queue."""
        records = [one for one in self.world.logs[tp] if one.offset >= self.positions[tp]][:most]
        if records:
            batch = RecordBatch(tp, records, self.epoch)
            self.in_flight.add(batch)
            self.positions[tp] = batch.last_offset + 1
            self.queue.add(batch)

    def work(self) -> None:
        """Let the pipeline take its next micro-batch, if the users of the last are in memory."""
        if self.processing is None or self.processing.done() or self.entered:
            micro_batch = self.queue.take()
            if micro_batch:
                self.entered = False
                self.processing = self.start(self.pipeline.process(micro_batch, self._enter))

    def _enter(self) -> None:
        self.entered = True

    def commit(self) -> None:
        """What Faust does every second; Kafka takes offsets of members only."""
        for tp in self.partitions():
            offset = self.in_flight.take_acked(tp)
            if offset is not None and self.world.member(self, tp.partition):
                self.world.committed[tp] = max(self.world.committed[tp], offset)

    def drop_assignment(self) -> None:
        self.ownership.revoke()
        self.queue = BatchQueue(MICRO_BATCH_RECORDS, NAMES.events)
        self.in_flight.clear()  # records beyond the committed offsets are read again
        self.assigned = frozenset()

    def take_assignment(self, partitions: frozenset[int]) -> None:
        self.drop_assignment()
        self.assigned = partitions
        self.ownership.assign(set(partitions))
        self.epoch = self.ownership.epoch
        self.superseded = False
        self.positions = {tp: self.world.committed[tp] for tp in self.partitions()}

    async def hand_over(self) -> None:
        """Finish the batch in hand, save, ack, commit: as the worker does when it is asked for its partitions."""
        self.gate.close()
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
