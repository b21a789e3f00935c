"""Fills the index of one encoder version: encodes this worker's share of the catalog, reads all vectors and offers."""

import asyncio
import threading
import time
from collections.abc import Callable

import structlog

from encoders.items.item_encoder import ItemEncoder
from encoders.runtime import Runtime
from streams.catalog.catalog_encoder import CatalogEncoder, KnownVectors
from streams.catalog.catalog_progress import catalog_consumer
from streams.catalog.index_updates import IndexUpdates
from streams.catalog.offer_updates import OfferUpdates
from streams.emit.producer import Emitter
from streams.kafka.clients import OWN_COMPRESSION, make_tail_consumer
from streams.kafka.compacted_topic_reader import CompactedTopicReader
from streams.kafka.topics import CATALOG, OFFERS, TopicNames
from streams.monitoring.metrics import Metrics
from streams.rank.loaded_encoder import LoadedEncoder
from streams.settings import Settings

log = structlog.get_logger(__name__)

_LOG_EVERY_S = 2.0
_KNOWN_WITHIN_S = 5.0
"""Seconds that the vectors of withdrawn items are waited for."""


class ItemVectorFeed:
    """Fills the index of one loaded encoder. Call `start_encoding` first, and `read` next."""

    def __init__(
        self,
        *,
        settings: Settings,
        loaded: LoadedEncoder,
        runtime: Runtime,
        metrics: Metrics,
        catalog_id: str,
        fail: Callable[[BaseException], None],
    ) -> None:
        """``catalog_id`` is Kafka's id of the catalog topic; ``fail`` is called in a thread."""
        self._loaded = loaded
        self._updates, self._offers = IndexUpdates(loaded.index.dimension, loaded.version), OfferUpdates(metrics)
        self._index_lock = threading.Lock()
        kafka, names = settings.kafka, TopicNames(settings.namespace)
        vectors = names.item_vectors(loaded.version)
        watched = {"error_cb": lambda error: metrics.broker_error(error.name())}
        self._reader = CompactedTopicReader(
            vectors, lambda: make_tail_consumer(kafka, **watched), self._updates.collect
        )
        self._offers_reader = CompactedTopicReader(
            names.full(OFFERS), lambda: make_tail_consumer(kafka, **watched), self._offers.collect
        )
        self._catalog = CatalogEncoder(
            encoder=ItemEncoder(runtime, loaded.artifact),
            make_consumer=lambda: catalog_consumer(settings, loaded.version),
            emitter=Emitter.connect(kafka, names, OWN_COMPRESSION, **watched),
            metrics=metrics,
            catalog=names.full(CATALOG),
            catalog_id=catalog_id,
            vectors_topic=vectors,
            known_vectors=self._known_vectors,
            fail=fail,
        )

    @property
    def lags(self) -> dict[int, int]:
        """For each catalog partition of this worker's share, the number of records that are not encoded yet."""
        return self._catalog.lags

    @property
    def index_lag(self) -> int:
        """Number of item vectors and offers that are in Kafka and not in the index yet."""
        return self._reader.lag + self._offers_reader.lag + self.waiting

    @property
    def waiting(self) -> int:
        """Number of item vectors and offers that are received and not in the index yet."""
        return self._updates.waiting + self._offers.waiting

    def start_encoding(self) -> None:
        """Start to encode a share of the catalog, in a thread."""
        self._catalog.start()

    def apply(self) -> set[int]:
        """Apply a bounded number of updates to the index; returns the hashes of items that got a vector."""
        with self._index_lock:
            self._offers.apply(self._loaded.index)
            return self._updates.apply(self._loaded.index)

    def _known_vectors(self, item_ids: list[str]) -> KnownVectors:
        """Return the vectors of these items that the topic has now; called in the thread that encodes."""
        if not item_ids:
            return {}
        deadline = time.monotonic() + _KNOWN_WITHIN_S
        self._reader.wait_for_end(_KNOWN_WITHIN_S)
        while self._updates.waiting and time.monotonic() < deadline:
            time.sleep(0.01)  # the event loop applies them
        with self._index_lock:
            return self._loaded.index.known_vectors(item_ids)

    async def read(self) -> None:
        """Read item vectors, then offers, into the index up to the topics' present ends; threads then go on reading.

        No user may be ranked with the encoder meanwhile: the index changes without the state lock.
        """
        # offers of items that the index knows take less memory than those that wait for their item
        for reader in (self._reader, self._offers_reader):
            reader.start()
            await self._catch_up(reader)

    async def _catch_up(self, reader: CompactedTopicReader) -> None:
        logged = time.monotonic()
        while self.waiting or not reader.caught_up.is_set():
            await asyncio.sleep(0.002 if self.waiting else 0.02)
            self.apply()
            if time.monotonic() - logged > _LOG_EVERY_S:
                logged = time.monotonic()
                log.info("reading", topic=reader.topic, encoder=self._loaded.version, items=len(self._loaded.index))

    def close(self) -> None:
        """Stop reading and encoding; blocks while the threads end."""
        self._reader.stop()
        self._offers_reader.stop()
        self._catalog.stop()
