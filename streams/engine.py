"""What stands between the consumer and the outside: the parts that a batch runs through, wired up."""

import asyncio
import time
from collections.abc import Callable

import numpy as np
import structlog
from confluent_kafka import Message
from confluent_kafka.admin import AdminClient

from encoders.graph import RankingGraph
from encoders.index import ItemIndex
from encoders.items import ItemEncoder
from encoders.manifest import Encoder
from encoders.runtime import Runtime
from schemas.events import EVENT_TYPES
from streams.catalog import CatalogEncoder
from streams.checkpoint import Checkpoint
from streams.clients import make_producer, make_tail_consumer
from streams.decoding import Decoder
from streams.emitter import Emitter
from streams.index_updates import IndexUpdates
from streams.list_statistics import ListStatistics
from streams.log_ends import LogEnds
from streams.metrics import Metrics
from streams.online_quality import OnlineQuality
from streams.ownership import Ownership
from streams.parts import profile_shape, table_capacity
from streams.pipeline import Pipeline
from streams.profiles import ProfileTable
from streams.ranking import Rules
from streams.recommend import Recommender
from streams.retry import Backoff
from streams.settings import Settings
from streams.stores.base import ProfileStore
from streams.tail import Tail
from streams.topic_ids import BrokerSilent, TopicIds
from streams.topics import CATALOG, TRENDING, TopicNames
from streams.trending import Trending, decode_published
from streams.update import SumsConfig

log = structlog.get_logger(__name__)

_SAID_EVERY_S = 2.0
_LONGEST_TTL_S = 20 * 365 * 86_400
"""Cassandra takes no longer time to live."""


class Engine:
    """Holds the state and the parts that change it. Made once the broker and the store answer."""

    def __init__(
        self,
        settings: Settings,
        encoder: Encoder,
        runtime: Runtime,
        store: ProfileStore,
        admin: AdminClient,
        metrics: Metrics,
        simulator_id: str | None,
        fail: Callable[[BaseException], None],
        rejoin: Callable[[], None],
    ) -> None:
        kafka, manifest = settings.kafka, encoder.manifest
        names = TopicNames(settings.namespace)
        shape = profile_shape(settings, encoder)
        weights = settings.ranking.trending_weights
        self.table = ProfileTable(table_capacity(settings, shape), shape)
        self.index = ItemIndex(manifest.dimension)
        self.trending = Trending(
            settings.ranking.trending_half_life_s, [float(getattr(weights, kind)) for kind in EVENT_TYPES]
        )
        self._metrics = metrics
        self._rejoin = rejoin
        self._topic_ids = TopicIds(admin, names, simulator_id)
        boundary = asyncio.Lock()
        self.ownership = Ownership(
            store, self.table, self.trending, admin, names, self._topic_ids, metrics, fail, boundary
        )
        self._updates = IndexUpdates(manifest.dimension, manifest.version)
        vectors_topic = names.item_vectors(manifest.version)
        watched = {"error_cb": lambda error: metrics.broker_error(error.name())}
        self._tails = [
            Tail(vectors_topic, lambda: make_tail_consumer(kafka, **watched), self._updates.collect),
            Tail(names.full(TRENDING), lambda: make_tail_consumer(kafka, **watched), self._see_trending),
        ]
        self._log_ends = LogEnds(make_tail_consumer(kafka))
        self._emitter = Emitter(make_producer(kafka, **watched), names)
        self._catalog_emitter = Emitter(make_producer(kafka, **watched), names)
        self.checkpoint = Checkpoint(
            self.table,
            store,
            self._emitter,
            self.ownership,
            self.trending,
            metrics,
            manifest.version,
            min(max(1, int(kafka.input_retention_h * 3600)), _LONGEST_TTL_S),
            rejoin,
            boundary,
        )
        graph = RankingGraph(runtime, encoder)
        seen = settings.ranking.recently_seen_events if settings.ranking.recently_seen == "exclude" else 0
        rules = Rules(settings.ranking.exclude_purchased_days, seen)
        metrics.quality.begin(manifest.version)
        self._quality = OnlineQuality(self.table, self.index, self.trending, rules, metrics.quality)
        self._statistics = ListStatistics(self.index, metrics.quality)
        recommender = Recommender(
            self.table,
            self.index,
            graph,
            self.trending,
            self._emitter,
            metrics,
            rules,
            settings.ranking.k,
            self._quality,
            self._statistics,
        )
        self.pipeline = Pipeline(
            self.table,
            store,
            Decoder(names, self._topic_ids, kafka.input_partitioner, settings.profiles.max_future_s),
            self.index,
            self._updates,
            graph,
            recommender,
            self.trending,
            self._emitter,
            self.checkpoint,
            self.ownership,
            metrics,
            SumsConfig(
                np.array(manifest.half_lives_s, np.float64),
                np.array([manifest.type_weights[kind] for kind in EVENT_TYPES], np.float32),
            ),
            settings.checkpoint.max_dirty_users,
            self._log_ends,
            self._quality,
            self._statistics,
        )
        self._catalog_topic = names.full(CATALOG)
        self.catalog = CatalogEncoder(ItemEncoder(runtime, encoder), self._catalog_emitter, metrics, vectors_topic)

    async def catch_up(self) -> None:
        """Read item vectors and trending counts up to where they end now: ranking starts with a full index."""
        self.catalog.topic_id = await self._topic_ids.one(self._catalog_topic)
        for tail in self._tails:
            tail.start()
        said = time.monotonic()
        while self._updates.waiting or not all(tail.caught_up.is_set() for tail in self._tails):
            await asyncio.sleep(0.002 if self._updates.waiting else 0.02)
            self._updates.apply(self.index)
            if time.monotonic() - said > _SAID_EVERY_S:
                said = time.monotonic()
                log.info("reading item vectors", items=len(self.index))
        self._metrics.items(len(self.index))

    async def save_all(self, within_s: float) -> None:
        """Finish the batch in hand, save and ack; begin no other. Past the deadline the rest is replayed by others."""
        self.pipeline.accepting = False
        backoff = Backoff(0.05, 1.0)
        try:
            async with asyncio.timeout(within_s):
                await self.catalog.pause(self.ownership.epoch)
                while not await self.checkpoint.run():
                    await backoff.sleep()
        except TimeoutError:
            log.warning("handing over unsaved: the next owner reads these events again", seconds=within_s)

    async def watch_topics(self, every_s: float) -> None:
        """Ask for a new assignment, and so for new ids, where an input was deleted and made again."""
        while True:
            await asyncio.sleep(every_s)
            try:
                if not self.ownership.ready:
                    continue
                if await self._topic_ids.changed():
                    log.warning("an input topic was deleted and made again: its events count anew")
                    self._rejoin()
                elif await self.ownership.count_changed():
                    log.warning("the input topics have grown: asking for a new assignment")
                    self._rejoin()
            except BrokerSilent as error:
                log.warning("the topics can't be looked at", problem=str(error))

    async def housekeeping(self) -> None:
        """What must not wait for the next event: an index that follows the catalog, figures of memory."""
        while True:
            await asyncio.sleep(1.0)
            async with self.checkpoint.boundary:
                self.pipeline.apply_index_updates()
                self._quality.look_at_trending()
                self._statistics.publish()
            self._metrics.index_lag(self._tails[0].lag + self._updates.waiting)
            self._metrics.users(len(self.table), self.table.dirty_count)

    def _see_trending(self, messages: list[Message]) -> None:
        for message in messages:
            counts = decode_published(message.value()) if message.value() else None
            if counts is not None:
                self.trending.publish_seen(counts)

    async def close(self) -> None:
        """Stop reading and send what is left; the state is not saved here."""
        for tail in self._tails:
            await asyncio.to_thread(tail.stop)
        for emitter in (self._emitter, self._catalog_emitter):
            await asyncio.to_thread(emitter.close)
        self._log_ends.close()
