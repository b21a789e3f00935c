"""Fills the index of one encoder version: encodes this worker's share of the catalog, and reads all item vectors."""

import asyncio
import time
from collections.abc import Callable

import structlog

from encoders.items.item_encoder import ItemEncoder
from encoders.runtime import Runtime
from streams.catalog.catalog_encoder import CatalogEncoder
from streams.catalog.catalog_progress import catalog_consumer
from streams.catalog.index_updates import IndexUpdates
from streams.emit.producer import Emitter
from streams.kafka.clients import OWN_COMPRESSION, make_tail_consumer
from streams.kafka.compacted_topic_reader import CompactedTopicReader
from streams.kafka.topics import CATALOG, TopicNames
from streams.monitoring.metrics import Metrics
from streams.rank.loaded_encoder import LoadedEncoder
from streams.settings import Settings

log = structlog.get_logger(__name__)

_LOG_EVERY_S = 2.0


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
        self._updates = IndexUpdates(loaded.index.dimension, loaded.version)
        kafka, names = settings.kafka, TopicNames(settings.namespace)
        vectors = names.item_vectors(loaded.version)
        watched = {"error_cb": lambda error: metrics.broker_error(error.name())}
        self._reader = CompactedTopicReader(
            vectors, lambda: make_tail_consumer(kafka, **watched), self._updates.collect
        )
        self._catalog = CatalogEncoder(
            encoder=ItemEncoder(runtime, loaded.artifact),
            make_consumer=lambda: catalog_consumer(settings, loaded.version),
            emitter=Emitter.connect(kafka, names, OWN_COMPRESSION, **watched),
            metrics=metrics,
            catalog=names.full(CATALOG),
            catalog_id=catalog_id,
            vectors_topic=vectors,
            fail=fail,
        )

    @property
    def lags(self) -> dict[int, int]:
        """For each catalog partition of this worker's share, the number of records that are not encoded yet."""
        return self._catalog.lags

    @property
    def index_lag(self) -> int:
        """Number of item vectors that are in Kafka and not in the index yet."""
        return self._reader.lag + self._updates.waiting

    @property
    def waiting(self) -> int:
        """Number of item vectors that are received and not in the index yet."""
        return self._updates.waiting

    def start_encoding(self) -> None:
        """Start to encode a share of the catalog, in a thread."""
        self._catalog.start()

    def apply(self) -> set[int]:
        """Apply a bounded number of updates to the index; returns the hashes of items that got a vector."""
        return self._updates.apply(self._loaded.index)

    async def read(self) -> None:
        """Read item vectors into the index up to the topic's present end; a thread then goes on reading.

        No user may be ranked with the encoder meanwhile: the index changes without the state lock.
        """
        self._reader.start()
        updates, logged = self._updates, time.monotonic()
        while updates.waiting or not self._reader.caught_up.is_set():
            await asyncio.sleep(0.002 if updates.waiting else 0.02)
            self.apply()
            if time.monotonic() - logged > _LOG_EVERY_S:
                logged = time.monotonic()
                log.info("reading item vectors", encoder=self._loaded.version, items=len(self._loaded.index))

    def close(self) -> None:
        """Stop reading and encoding; blocks while both threads end."""
        self._reader.stop()
        self._catalog.stop()
