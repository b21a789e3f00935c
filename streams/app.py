"""The composition root: a worker and all its parts, wired, started and stopped in order."""

import asyncio
import logging
import signal
import time
from typing import Any

import faust
import numpy as np
import structlog
from confluent_kafka import Message

from encoders.graph import RankingGraph
from encoders.index import ItemIndex
from encoders.items import ItemEncoder
from encoders.runtime import Runtime
from schemas.events import EVENT_TYPES
from streams.agents import add_agents
from streams.catalog import CatalogEncoder
from streams.checkpoint import Checkpoint
from streams.clients import check_broker, faust_options, make_admin, make_producer, make_tail_consumer
from streams.decoding import Decoder
from streams.emitter import Emitter
from streams.health import HealthServer
from streams.index_updates import IndexUpdates
from streams.log_ends import LogEnds
from streams.metrics import Metrics
from streams.ownership import Ownership
from streams.parts import load_encoder, make_store, profile_shape, table_capacity, uses_simulator
from streams.pipeline import Pipeline
from streams.profiles import ProfileTable
from streams.ranking import Rules
from streams.recommend import Recommender
from streams.settings import Settings
from streams.simulator import Simulator
from streams.tail import Tail
from streams.topic_ids import TopicIds
from streams.topics import CATALOG, TRENDING, TopicNames, check_inputs, partition_counts, wanted_topics
from streams.trending import Trending, decode_published
from streams.update import SumsConfig

log = structlog.get_logger(__name__)


class ConsumerFailed(Exception):
    """Faust gave up; the message says why."""


class Worker:
    """One worker. ``start`` and ``stop`` once; ``run`` does both around a wait for a signal or a failure."""

    def __init__(self, settings: Settings, simulator: Simulator | None = None) -> None:
        """Read the encoder and lay out memory; nothing is connected yet.

        Raises `SettingsError` or `EncoderError` with a sentence each.
        """
        if uses_simulator(settings):
            simulator = simulator or Simulator()
            kafka = settings.kafka.model_copy(update={"bootstrap_servers": simulator.address})
            settings = settings.model_copy(update={"kafka": kafka})
        self.settings = settings
        self.simulator = simulator
        self.metrics = Metrics(settings.namespace)
        self.names = TopicNames(settings.namespace)
        self.encoder = load_encoder(settings)
        manifest = self.encoder.manifest
        self._version = manifest.version
        self._runtime = Runtime(settings.encoder.device, settings.encoder.threads)
        self.metrics.provider(self._runtime.provider)
        shape = profile_shape(settings, self.encoder)
        self.table = ProfileTable(table_capacity(settings, shape), shape)
        self.index = ItemIndex(manifest.dimension)
        self.trending = Trending(settings.ranking.trending_half_life_s, [1.0, 0.5, 4.0])
        self.store = make_store(settings)
        self._admin = make_admin(settings.kafka)
        fixed_id = simulator.id if simulator is not None else None
        self._topic_ids = TopicIds(self._admin, self.names, fixed_id)
        self.ownership = Ownership(
            self.store, self.table, self.trending, self._admin, self.names, self._topic_ids, self.metrics, self.fail
        )
        self._failure: BaseException | None = None
        self._finished = asyncio.Event()
        self._started = False
        self._tasks: list[asyncio.Task[None]] = []
        self.port = 0

    def fail(self, error: BaseException) -> None:
        """Stop the worker because of an error that no retry can mend."""
        if self._failure is None:
            self._failure = error
            if self._started:
                self._pipeline.accepting = False
            log.error("the worker stops", problem=str(error), exc_info=_unexpected(error))
        self._finished.set()

    async def run(self) -> None:
        """Work until SIGTERM or SIGINT, or until something fails; the failure is raised."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._finished.set)
        try:
            starting = asyncio.create_task(self.start())
            finished = asyncio.create_task(self._finished.wait())
            await asyncio.wait({starting, finished}, return_when=asyncio.FIRST_COMPLETED)
            if starting.done():
                starting.result()
                await finished
            else:
                starting.cancel()
                await asyncio.gather(starting, return_exceptions=True)
        finally:
            await self.stop()
        if self._failure is not None:
            raise self._failure

    async def start(self) -> None:
        """Connect, read what there is to read, join the group.

        Raises `BrokerUnavailable`, `TopicsError` or `StoreError`, each with a sentence.
        """
        settings = self.settings
        log.info("encoder", version=self._version, provider=self._runtime.provider, why=self._runtime.reason or None)
        self._health = HealthServer(settings.server.host, settings.server.port, self.metrics, self._problem)
        self.port = await self._health.start()
        log.info("health server", host=settings.server.host, port=self.port)
        await asyncio.to_thread(check_broker, self._admin, settings.kafka)
        await asyncio.to_thread(self._check_topics)
        await self.store.open()
        await self._wire()
        await self._catch_up()
        self._app = self._make_app()
        self._started = True
        await self._app.start()
        self._tasks.append(asyncio.create_task(self._guard(self._checkpoint.run_forever(settings.checkpoint.interval_s))))
        self._tasks.append(asyncio.create_task(self._guard(self._housekeeping())))
        self._tasks.append(asyncio.create_task(self._guard(self._watch_app())))
        log.info("worker started", port=self.port, broker=settings.kafka.bootstrap_servers, store=settings.store.kind)

    def _check_topics(self) -> None:
        wanted = [topic.topic for topic in wanted_topics(self.settings, self._version)]
        if self.simulator is not None:
            self.simulator.create_topics(wanted)
        check_inputs(partition_counts(self._admin, self.names.inputs), self.names)

    async def _wire(self) -> None:
        settings, kafka = self.settings, self.settings.kafka
        manifest = self.encoder.manifest
        self._emitter = Emitter(make_producer(kafka), self.names)
        self._catalog_emitter = Emitter(make_producer(kafka), self.names)
        self._updates = IndexUpdates(manifest.dimension, self._version)
        vectors_topic = self.names.item_vectors(self._version)
        self._vectors_tail = Tail(vectors_topic, lambda: make_tail_consumer(kafka), self._updates.collect)
        self._trending_tail = Tail(self.names.full(TRENDING), lambda: make_tail_consumer(kafka), self._see_trending)
        self._log_ends = LogEnds(make_tail_consumer(kafka))
        self._checkpoint = Checkpoint(
            self.table,
            self.store,
            self._emitter,
            self.ownership,
            self.trending,
            self.metrics,
            self._version,
            int(kafka.input_retention_h * 3600),
            self._rejoin,
        )
        graph = RankingGraph(self._runtime, self.encoder)
        seen = settings.ranking.recently_seen_events if settings.ranking.recently_seen == "exclude" else 0
        rules = Rules(settings.ranking.exclude_purchased_days, seen)
        recommender = Recommender(
            self.table, self.index, graph, self.trending, self._emitter, self.metrics, rules, settings.ranking.k
        )
        self._pipeline = Pipeline(
            self.table,
            self.store,
            Decoder(self.names, self._topic_ids, kafka.input_partitioner, settings.profiles.max_future_s),
            self.index,
            self._updates,
            graph,
            recommender,
            self.trending,
            self._emitter,
            self._checkpoint,
            self.ownership,
            self.metrics,
            SumsConfig(
                np.array(manifest.half_lives_s, np.float64),
                np.array([manifest.type_weights[kind] for kind in EVENT_TYPES], np.float32),
            ),
            settings.checkpoint.max_dirty_users,
            self._log_ends,
        )
        catalog_id = await self._topic_ids.one(self.names.full(CATALOG))
        item_encoder = ItemEncoder(self._runtime, self.encoder)
        self._catalog = CatalogEncoder(item_encoder, self._catalog_emitter, self.metrics, vectors_topic, catalog_id)

    async def _catch_up(self) -> None:
        """Read item vectors and trending counts up to where they end now: ranking starts with a full index."""
        tails = [self._vectors_tail, self._trending_tail]
        for tail in tails:
            tail.start()
        said = time.monotonic()
        while not all(tail.caught_up.is_set() for tail in tails):
            await asyncio.sleep(0.02)
            self._updates.apply(self.index)
            if time.monotonic() - said > 2.0:
                said = time.monotonic()
                log.info("reading item vectors", items=len(self.index))
        self._updates.apply(self.index)
        self.metrics.items(len(self.index))

    def _make_app(self) -> faust.App:
        settings = self.settings
        settings.data_dir.mkdir(parents=True, exist_ok=True)
        app = faust.App(
            settings.group,
            **faust_options(settings.kafka),
            broker_commit_interval=settings.checkpoint.interval_s,
            topic_disable_leader=True,
            topic_allow_declare=False,
            store="memory://",
            web_enabled=False,
            stream_wait_empty=False,
            stream_buffer_maxsize=16,
            datadir=str(settings.data_dir / "faust"),
        )
        app.max_batch_records = settings.kafka.max_batch_records
        app.epoch = 0
        app.before_revoke = self._hand_over
        app.after_assign = self._take_over
        add_agents(app, self.names, self._pipeline.process, self._catalog.process, self.fail)
        app.finalize()
        return app

    def _rejoin(self) -> None:
        self._app.consumer.rejoin()

    async def _take_over(self, assigned: set[Any]) -> None:
        inputs = set(self.names.inputs)
        self.ownership.assign({tp.partition for tp in assigned if tp.topic in inputs})
        self._app.epoch = self.ownership.epoch
        self._pipeline.accepting = True

    async def _hand_over(self, revoked: set[Any]) -> None:
        """Finish the batch in hand, save and ack, so that the next owner has nothing to do again."""
        if self._failure is None:
            await self._save_all(self.settings.kafka.session_timeout_s * 0.8)
        self.ownership.revoke()

    async def _save_all(self, within_s: float) -> None:
        self._pipeline.accepting = False
        try:
            async with asyncio.timeout(within_s):
                while not await self._checkpoint.run():
                    await asyncio.sleep(0.05)
        except TimeoutError:
            log.warning("handing over unsaved: the next owner reads these events again", seconds=within_s)
        except Exception as error:
            self.fail(error)

    async def _commit(self) -> None:
        try:
            async with asyncio.timeout(self.settings.kafka.session_timeout_s * 0.5):
                await self._app.consumer.commit()
        except TimeoutError:
            log.warning("the broker did not take the last offsets: the next owner reads these events again")

    async def _watch_app(self) -> None:
        """Faust's services stop without a word to us when one of them crashes."""
        while not self._app.crashed:
            await asyncio.sleep(0.2)
        raise ConsumerFailed(
            f"The Kafka consumer failed: {self._app.crash_reason!r}. Nothing is lost: what was not acked is read again "
            "when the worker is started again."
        )

    async def _guard(self, work: Any) -> None:
        try:
            await work
        except asyncio.CancelledError:
            raise
        except Exception as error:
            self.fail(error)

    async def _housekeeping(self) -> None:
        """What has to go on while no event comes: the lag, and an index that doesn't wait for the next event."""
        while True:
            await asyncio.sleep(1.0)
            async with self._checkpoint.boundary:
                self._pipeline.apply_index_updates()
            self.metrics.users(len(self.table), self.table.dirty_count)
            for tp, lag in self._app.consumer.lags().items():
                self.metrics.lag(tp.topic, tp.partition, lag)

    def _see_trending(self, messages: list[Message]) -> None:
        for message in messages:
            counts = decode_published(message.value()) if message.value() else None
            if counts is not None:
                self.trending.publish_seen(counts)

    def _problem(self) -> str | None:
        if self._failure is not None:
            return str(self._failure)
        if not self._started:
            return "starting"
        if not self.ownership.ready:
            return "no partitions assigned yet, or no term from the store"
        return None

    async def stop(self) -> None:
        """Hand over cleanly and let go of everything; a worker that never started is let go of too."""
        if self._started:
            self._started = False
            # after a failure a batch may be half in the table: what is saved and acked stays as it is
            if self._failure is None:
                await self._save_all(self.settings.kafka.session_timeout_s * 0.8)
                await self._commit()
            self.ownership.revoke()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            await self._app.stop()
        for tail in (getattr(self, "_vectors_tail", None), getattr(self, "_trending_tail", None)):
            if tail is not None:
                await asyncio.to_thread(tail.stop)
        for emitter in (getattr(self, "_emitter", None), getattr(self, "_catalog_emitter", None)):
            if emitter is not None:
                await asyncio.to_thread(emitter.close)
        if hasattr(self, "_log_ends"):
            self._log_ends.close()
        await self.store.close()
        if hasattr(self, "_health"):
            await self._health.stop()
        log.info("worker stopped")


def _unexpected(error: BaseException) -> bool:
    """Whether an error is a bug to be traced, not one of ours that says all there is to say."""
    return not type(error).__module__.startswith(("streams", "encoders", "schemas")) or logging.root.level <= logging.DEBUG
