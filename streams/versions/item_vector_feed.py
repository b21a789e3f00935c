"""What fills one space: this worker's share of encoding the catalog, and the tail of all item vectors."""

import asyncio
import time
from collections.abc import Callable

import structlog

from encoders.items.item_encoder import ItemEncoder
from encoders.runtime import Runtime
from streams.catalog.catalog_encoder import CatalogEncoder
from streams.catalog.catalog_progress import catalog_consumer
from streams.emit.producer import Emitter
from streams.kafka.clients import make_tail_consumer
from streams.kafka.compacted_topic_reader import CompactedTopicReader
from streams.kafka.topics import CATALOG, TopicNames
from streams.monitoring.metrics import Metrics
from streams.rank.loaded_encoder import LoadedEncoder
from streams.settings import Settings

log = structlog.get_logger(__name__)

_SAID_EVERY_S = 2.0


class ItemVectorFeed:
    """Started in two steps: encoding, then reading."""

    def __init__(
        self,
        settings: Settings,
        space: LoadedEncoder,
        runtime: Runtime,
        metrics: Metrics,
        catalog_id: str,
        fail: Callable[[BaseException], None],
    ) -> None:
        """``catalog_id`` is Kafka's id of the catalog topic; ``fail`` is called in a thread."""
        self._space = space
        kafka, names = settings.kafka, TopicNames(settings.namespace)
        vectors = names.item_vectors(space.version)
        watched = {"error_cb": lambda error: metrics.broker_error(error.name())}
        self._tail = CompactedTopicReader(vectors, lambda: make_tail_consumer(kafka, **watched), space.updates.collect)
        self._catalog = CatalogEncoder(
            ItemEncoder(runtime, space.graph.encoder),
            lambda: catalog_consumer(settings, space.version),
            Emitter.connect(kafka, names, **watched),
            metrics,
            names.full(CATALOG),
            catalog_id,
            vectors,
            fail,
        )

    @property
    def lags(self) -> dict[int, int]:
        """Records of the catalog, by partition of our share, that are not encoded yet."""
        return self._catalog.lags

    @property
    def index_lag(self) -> int:
        """Item vectors that are written and not in the index yet."""
        return self._tail.lag + self._space.updates.waiting

    def start_encoding(self) -> None:
        """Take a share of the catalog."""
        self._catalog.start()

    async def read(self) -> None:
        """Read the item vectors up to where they end now, and go on reading. The space serves nobody meanwhile."""
        self._tail.start()
        updates, said = self._space.updates, time.monotonic()
        while updates.waiting or not self._tail.caught_up.is_set():
            await asyncio.sleep(0.002 if updates.waiting else 0.02)
            updates.apply(self._space.index)
            if time.monotonic() - said > _SAID_EVERY_S:
                said = time.monotonic()
                log.info("reading item vectors", encoder=self._space.version, items=len(self._space.index))

    def close(self) -> None:
        """Stop reading and encoding; takes a moment."""
        self._tail.stop()
        self._catalog.stop()
