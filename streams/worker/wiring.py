"""The composition root of a worker's parts: the state, the stages that change it, and the background work."""

import asyncio
import time
from collections.abc import Callable

import structlog
from confluent_kafka import Message
from confluent_kafka.admin import AdminClient

from encoders.artifact.manifest import Encoder
from encoders.index.item_index import ItemIndex
from encoders.runtime import Runtime
from schemas.contract import IDENTITIES
from schemas.events import EVENT_TYPES
from streams.checkpoint.checkpointer import Checkpointer
from streams.checkpoint.erased_users import Tombstones, time_to_live_s
from streams.checkpoint.gate import Gate
from streams.checkpoint.group_contract import GroupContract
from streams.checkpoint.ownership import GroupAssignment, Ownership
from streams.clock import now_ms
from streams.decode.decoder import Decoder
from streams.decode.misplaced_records import MisplacedRecords
from streams.emit.producer import Emitter
from streams.features.contract import Feature, FeatureContext
from streams.features.running import RunningFeatures
from streams.kafka.clients import make_tail_consumer
from streams.kafka.compacted_topic_reader import CompactedTopicReader
from streams.kafka.log_ends import LogEnds
from streams.kafka.retention import InputRetention
from streams.kafka.topic_ids import BrokerSilent, TopicIds
from streams.kafka.topics import TRENDING, TopicNames
from streams.monitoring.metrics import Metrics
from streams.pipeline.batch_pipeline import BatchPipeline
from streams.pipeline.batch_queue import BatchQueue
from streams.pipeline.profile_loader import ProfileLoader
from streams.pipeline.recommender import Recommender
from streams.rank.candidate_search import CandidateSearch
from streams.rank.exclusions import DAY_MS, Exclusions
from streams.rank.loaded_encoder import ActiveEncoder, LoadedEncoder
from streams.rank.preference_vectors import PreferenceVectors
from streams.retry import Backoff
from streams.settings import Settings
from streams.state.profile_table import ProfileTable
from streams.state.state import State
from streams.state.trending import Trending, decode_published
from streams.stores.base import ProfileStore, StoreError
from streams.versions.encoder_catalogue import EncoderCatalogue
from streams.versions.hot_swap import HotSwap
from streams.versions.item_vector_feed import ItemVectorFeed
from streams.versions.map_fitting import MapFitter
from streams.worker.sizing import profile_shape, table_capacity

log = structlog.get_logger(__name__)

_REFRESH_EVERY_S = 1.0
_LEAST_PAUSE_S = 0.005

_TOMBSTONE_SESSIONS = 2
"""Session timeouts after which the list of a worker that had lost its partitions must have arrived."""


class Wiring:
    """Holds the state and the parts that change it. Made once the broker and the store answer."""

    def __init__(
        self,
        *,
        settings: Settings,
        loaded: LoadedEncoder,
        catalogue: EncoderCatalogue,
        features: list[Feature],
        runtime: Runtime,
        store: ProfileStore,
        admin: AdminClient,
        metrics: Metrics,
        topic_ids: TopicIds,
        catalog_id: str,
        fail: Callable[[BaseException], None],
        rejoin: Callable[[], None],
        group_assignment: GroupAssignment | None,
    ) -> None:
        """Make all parts; nothing is started yet.

        Parameters
        ----------
        loaded : the encoder that is active first
        catalog_id : Kafka's id of the catalog topic
        fail : ends the worker, and may be called in a thread
        rejoin : asks the group for a new assignment
        group_assignment : asks which partitions the members of the group have
        """
        kafka, ranking = settings.kafka, settings.ranking
        names = TopicNames(settings.namespace)
        watched = {"error_cb": lambda error: metrics.broker_error(error.name())}
        shape = profile_shape(settings, loaded.artifact)
        columns = [column for feature in features for column in feature.columns]
        weights = [float(getattr(ranking.trending_weights, kind)) for kind in EVENT_TYPES]
        self.state = State(
            ProfileTable(table_capacity(settings, shape, columns), shape, columns),
            Trending(ranking.trending_half_life_s, weights, now_ms),
        )
        table = self.state.table
        metrics.users(lambda: len(table), lambda: table.dirty_count)
        self._metrics, self._rejoin, self._topic_ids = metrics, rejoin, topic_ids

        def load(encoder: Encoder) -> LoadedEncoder:
            return LoadedEncoder.load(encoder, runtime)

        def make_feed(loaded: LoadedEncoder, fail: Callable[[BaseException], None]) -> ItemVectorFeed:
            return ItemVectorFeed(
                settings=settings, loaded=loaded, runtime=runtime, metrics=metrics, catalog_id=catalog_id, fail=fail
            )

        self._first_feed = make_feed(loaded, fail)
        self.active = ActiveEncoder(loaded, self._first_feed)
        preference_vectors = PreferenceVectors(table, self.active)
        seen = ranking.recently_seen_events if ranking.recently_seen == "exclude" else 0
        exclusions = Exclusions(ranking.exclude_purchased_days, seen)
        group = GroupContract(
            store,
            [IDENTITIES, *(feature.contract_change for feature in features if feature.contract_change is not None)],
        )
        context = FeatureContext(
            settings=settings,
            state=self.state,
            active=self.active,
            exclusions=exclusions,
            metrics=metrics,
            group_release=lambda: group.lowest,
        )
        self._features = RunningFeatures({feature.name: feature.start(context) for feature in features}, metrics)

        self._emitter = Emitter.connect(kafka, names, settings.output.compression, **watched)
        self._log_ends = LogEnds(make_tail_consumer(kafka))
        self._trending_reader = CompactedTopicReader(
            names.full(TRENDING), lambda: make_tail_consumer(kafka, **watched), self._see_trending
        )
        self.retention = InputRetention(
            None if topic_ids.of_simulator else admin,
            names,
            retention_h=kafka.input_retention_h,
            max_rerouted_bytes=kafka.max_rerouted_bytes,
        )
        table.offsets.records_live_s = lambda: self.retention.longest_s
        self.gate = Gate()
        self.ownership = Ownership(
            store=store,
            state=self.state,
            gate=self.gate,
            admin=admin,
            names=names,
            topic_ids=topic_ids,
            metrics=metrics,
            fail=fail,
            prepare=self._settle,
            group_assignment=group_assignment,
            rejoin=rejoin,
            group=group,
        )
        self.checkpointer = Checkpointer(
            state=self.state,
            store=store,
            emitter=self._emitter,
            ownership=self.ownership,
            metrics=metrics,
            encoder_version=lambda: self.active.encoder.version,
            forget_after_s=lambda: time_to_live_s(self.retention.longest_s, now_ms() / 1000),
            tombstones=Tombstones(_TOMBSTONE_SESSIONS * kafka.session_timeout_s),
            superseded=rejoin,
        )
        self.queue = BatchQueue(kafka.max_batch_records, names.events)
        self.pipeline = BatchPipeline(
            state=self.state,
            active=self.active,
            decoder=Decoder(
                names,
                topic_ids,
                kafka.input_partitioner,
                settings.profiles.max_future_s,
                kafka.max_rerouted_bytes,
            ),
            misplaced=MisplacedRecords(
                kafka.input_partitioner, {names.full(topic): used for topic, used in kafka.partitioners.items()}
            ),
            loader=ProfileLoader(
                table=table,
                store=store,
                active=self.active,
                preference_vectors=preference_vectors,
                metrics=metrics,
                log_end=self._log_ends,
            ),
            recommender=Recommender(
                state=self.state,
                active=self.active,
                preference_vectors=preference_vectors,
                emitter=self._emitter,
                metrics=metrics,
                exclusions=exclusions,
                k=ranking.k,
                list_reasons=settings.output.reasons,
                features=self._features,
            ),
            emitter=self._emitter,
            checkpointer=self.checkpointer,
            ownership=self.ownership,
            gate=self.gate,
            metrics=metrics,
            features=self._features,
            excluded_ms=ranking.exclude_purchased_days * DAY_MS,
            max_dirty_users=settings.checkpoint.max_dirty_users,
        )
        self.candidates = CandidateSearch(ranking, runtime, table, self.active, metrics)
        self.swap = HotSwap(
            catalogue=catalogue,
            maps=MapFitter(settings, catalogue),
            active=self.active,
            state=self.state,
            preference_vectors=preference_vectors,
            candidates=self.candidates,
            load=load,
            make_feed=make_feed,
            shape=lambda other: profile_shape(settings, other.artifact),
            metrics=metrics,
            fail=fail,
        )

    @property
    def index(self) -> ItemIndex:
        """The item index of the active encoder."""
        return self.active.encoder.index

    async def _settle(self) -> None:
        await self.swap.settle()

    async def catch_up(self) -> None:
        """Read item vectors and trending counts up to their present ends: ranking starts with a full index."""
        self._trending_reader.start()
        await self.retention.refresh()
        self._first_feed.start_encoding()
        await self._first_feed.read()
        await self.candidates.prepare(self.active.encoder)
        await self.swap.fit_former()
        while not self._trending_reader.caught_up.is_set():
            await asyncio.sleep(0.02)

    async def save_all(self, within_s: float) -> None:
        """Finish the micro-batch in hand, save and ack. No other micro-batch starts.

        After ``within_s`` seconds, unsaved events are left to the next owner, which reads them again.
        """
        self.gate.close()
        backoff = Backoff(0.05, 1.0)
        try:
            async with asyncio.timeout(within_s):
                while not await self.checkpointer.run():
                    await backoff.sleep()
        except TimeoutError:
            log.warning("handing over unsaved: the next owner reads these events again", seconds=within_s)

    async def watch_topics(self, every_s: float) -> None:
        """Ask the group for a new assignment if an input topic was created again or has new partitions."""
        while True:
            await asyncio.sleep(every_s)
            try:
                if self.ownership.current is None:
                    continue
                if await self._topic_ids.changed():
                    log.warning("an input topic was deleted and created again: its events count as new events")
                    self._rejoin()
                elif await self.ownership.count_changed():
                    log.warning("the input topics have grown: asking for a new assignment")
                    self._rejoin()
                # the owners of an older release may have left since the assignment
                current = self.ownership.current
                if current is not None and self.ownership.group.waiting:
                    await self.ownership.group.refresh(current.partition_count)
            except BrokerSilent as error:
                log.warning("the input topics can't be checked", problem=str(error))
            except StoreError as error:
                log.warning("the owners' releases can't be read", problem=str(error))

    async def refresh_index(self) -> None:
        """Bring item vectors into the index once a second, so that they do not wait for the next event.

        While many vectors wait, they come in by parts; half of the time is left to the events.
        """
        while True:
            began = time.monotonic()
            async with self.state.lock:
                self.pipeline.apply_index_updates()
                candidates = self.active.encoder.candidates
                # refreshed here, so that the next event does not wait for all updates since the last event
                if candidates is not None:
                    await asyncio.to_thread(candidates.refresh, self.index)
            self._metrics.items(len(self.index))
            self._metrics.index_lag(self.active.feed.index_lag)
            took_s = time.monotonic() - began
            await asyncio.sleep(max(took_s, _LEAST_PAUSE_S) if self.active.feed.waiting else _REFRESH_EVERY_S)

    async def publish_features(self) -> None:
        """Let the features publish their metrics once a second."""
        while True:
            await asyncio.sleep(_REFRESH_EVERY_S)
            async with self.state.lock:
                self._features.publish()

    def _see_trending(self, messages: list[Message]) -> None:
        for message in messages:
            counts = decode_published(message.value()) if message.value() else None
            if counts is not None:
                self.state.trending.publish_seen(counts)

    async def close(self) -> None:
        """Stop reading, and send the records that are left; does not save the state."""
        await asyncio.to_thread(self._trending_reader.stop)
        await asyncio.to_thread(self.active.feed.close)
        await asyncio.to_thread(self._emitter.close)
        self._log_ends.close()
