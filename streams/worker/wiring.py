"""What stands between the consumer and the outside: the parts that a batch runs through, wired up."""

import asyncio
from collections.abc import Callable

import structlog
from confluent_kafka import Message
from confluent_kafka.admin import AdminClient

from encoders.artifact.registry import EncoderRegistry
from encoders.index.item_index import ItemIndex
from encoders.runtime import Runtime
from schemas.events import EVENT_TYPES
from streams.checkpoint.checkpointer import Checkpointer
from streams.checkpoint.ownership import Ownership
from streams.decode.decoder import Decoder
from streams.emit.producer import Emitter
from streams.kafka.clients import make_tail_consumer
from streams.kafka.compacted_topic_reader import CompactedTopicReader
from streams.kafka.log_ends import LogEnds
from streams.kafka.topic_ids import BrokerSilent, TopicIds
from streams.kafka.topics import TRENDING, TopicNames
from streams.monitoring.metrics import Metrics
from streams.pipeline.batch_pipeline import BatchPipeline
from streams.pipeline.batch_queue import BatchQueue
from streams.pipeline.recommender import Recommender
from streams.quality.list_statistics import ListStatistics
from streams.quality.online_quality import OnlineQuality
from streams.rank.candidate_search import CandidateSearch
from streams.rank.exclusions import Exclusions
from streams.rank.loaded_encoder import ActiveEncoder, LoadedEncoder
from streams.retry import Backoff
from streams.settings import Settings
from streams.state.profile_table import ProfileTable
from streams.state.trending import Trending, decode_published
from streams.stores.base import ProfileStore
from streams.versions.activations import Activations
from streams.versions.hot_swap import HotSwap
from streams.versions.item_vector_feed import ItemVectorFeed
from streams.worker.sizing import profile_shape, table_capacity

log = structlog.get_logger(__name__)

_LONGEST_TTL_S = 20 * 365 * 86_400
"""Cassandra takes no longer time to live."""


class Wiring:
    """Holds the state and the parts that change it. Made once the broker and the store answer."""

    def __init__(
        self,
        settings: Settings,
        space: LoadedEncoder,
        shelf: EncoderRegistry,
        versions: Activations,
        runtime: Runtime,
        store: ProfileStore,
        admin: AdminClient,
        metrics: Metrics,
        topic_ids: TopicIds,
        catalog_id: str,
        fail: Callable[[BaseException], None],
        rejoin: Callable[[], None],
    ) -> None:
        """``space`` serves first; ``catalog_id`` is Kafka's id of the catalog; ``fail`` may be called in a thread."""
        kafka = settings.kafka
        names = TopicNames(settings.namespace)
        shape = profile_shape(settings, space.graph.encoder)
        weights = settings.ranking.trending_weights
        self.table = ProfileTable(table_capacity(settings, shape), shape)
        metrics.users(lambda: len(self.table), lambda: self.table.dirty_count)
        self._serving = ActiveEncoder(space)
        self.trending = Trending(
            settings.ranking.trending_half_life_s, [float(getattr(weights, kind)) for kind in EVENT_TYPES]
        )
        self._metrics = metrics
        self._rejoin = rejoin
        self._topic_ids = topic_ids
        state_lock = asyncio.Lock()
        self.ownership = Ownership(
            store, self.table, self.trending, admin, names, topic_ids, metrics, fail, state_lock, self._settle
        )
        watched = {"error_cb": lambda error: metrics.broker_error(error.name())}
        self._trending_tail = CompactedTopicReader(
            names.full(TRENDING), lambda: make_tail_consumer(kafka, **watched), self._see_trending
        )
        self._log_ends = LogEnds(make_tail_consumer(kafka))
        self._emitter = Emitter.connect(kafka, names, **watched)
        self.checkpoint = Checkpointer(
            self.table,
            store,
            self._emitter,
            self.ownership,
            self.trending,
            metrics,
            self._serving,
            min(max(1, int(kafka.input_retention_h * 3600)), _LONGEST_TTL_S),
            rejoin,
            state_lock,
        )
        seen = settings.ranking.recently_seen_events if settings.ranking.recently_seen == "exclude" else 0
        rules = Exclusions(settings.ranking.exclude_purchased_days, seen)
        self._quality = OnlineQuality(self.table, self._serving, self.trending, rules, metrics.quality)
        self._statistics = ListStatistics(self._serving, metrics.quality)
        recommender = Recommender(
            self.table,
            self._serving,
            self.trending,
            self._emitter,
            metrics,
            rules,
            settings.ranking.k,
            self._quality,
            self._statistics,
        )
        self.intake = BatchQueue(kafka.max_batch_records, names.events)
        self.pipeline = BatchPipeline(
            self.table,
            store,
            Decoder(names, self._topic_ids, kafka.input_partitioner, settings.profiles.max_future_s),
            self._serving,
            recommender,
            self.trending,
            self._emitter,
            self.checkpoint,
            self.ownership,
            metrics,
            settings.checkpoint.max_dirty_users,
            self._log_ends,
            self._quality,
            self._statistics,
        )
        self.candidates = CandidateSearch(settings.ranking, runtime, self.table, self._serving, metrics)
        self.swap = HotSwap(
            settings,
            shelf,
            versions,
            runtime,
            self._serving,
            ItemVectorFeed(settings, space, runtime, metrics, catalog_id, fail),
            self.table,
            lambda other: profile_shape(settings, other.graph.encoder),
            recommender,
            self.candidates,
            state_lock,
            metrics,
            catalog_id,
            fail,
        )

    @property
    def index(self) -> ItemIndex:
        """The items of the version that serves."""
        return self._serving.space.index

    async def _settle(self) -> None:
        await self.swap.settle()

    async def catch_up(self) -> None:
        """Read item vectors and trending counts up to where they end now: ranking starts with a full index."""
        self._trending_tail.start()
        self.swap.feed.start_encoding()
        await self.swap.feed.read()
        await self.candidates.prepare(self._serving.space)
        await self.swap.fit_former()
        while not self._trending_tail.caught_up.is_set():
            await asyncio.sleep(0.02)
        self._metrics.items(len(self.index))

    async def save_all(self, within_s: float) -> None:
        """Finish the batch in hand, save and ack; begin no other. Past the deadline the rest is replayed by others."""
        self.pipeline.accepting = False
        backoff = Backoff(0.05, 1.0)
        try:
            async with asyncio.timeout(within_s):
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
            async with self.checkpoint.state_lock:
                self.pipeline.apply_index_updates()
                found = self._serving.space.candidates
                if found is not None:  # else the next event would wait for all that came since the last one
                    await asyncio.to_thread(found.clusters.refresh, self.index)
                self._quality.look_at_trending()
                self._quality.publish()
                self._statistics.publish()
            self._metrics.index_lag(self.swap.feed.index_lag)

    def _see_trending(self, messages: list[Message]) -> None:
        for message in messages:
            counts = decode_published(message.value()) if message.value() else None
            if counts is not None:
                self.trending.publish_seen(counts)

    async def close(self) -> None:
        """Stop reading and send what is left; the state is not saved here."""
        await asyncio.to_thread(self._trending_tail.stop)
        await asyncio.to_thread(self.swap.feed.close)
        await asyncio.to_thread(self._emitter.close)
        self._log_ends.close()
