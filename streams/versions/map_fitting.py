"""Fits embedding maps between encoder versions, from a loaded index or from a version's topic of item vectors."""

import asyncio

import structlog

from encoders.artifact import manifest
from encoders.artifact.manifest import Manifest
from encoders.errors import EncoderError
from encoders.index.item_index import ItemIndex
from schemas.encoder_state import EncoderState
from streams.catalog.index_updates import IndexUpdates
from streams.kafka.clients import make_tail_consumer
from streams.kafka.compacted_topic_reader import CompactedTopicReader
from streams.kafka.topics import TopicNames
from streams.rank.loaded_encoder import LoadedEncoder
from streams.settings import Settings
from streams.state.embedding_map import EmbeddingMap, fit
from streams.versions.encoder_catalogue import EncoderCatalogue

log = structlog.get_logger(__name__)


class MapFitter:
    """Fits embedding maps from other encoder versions to a loaded encoder."""

    def __init__(self, settings: Settings, catalogue: EncoderCatalogue) -> None:
        self._settings, self._catalogue = settings, catalogue
        self._names = TopicNames(settings.namespace)

    async def from_loaded(self, former: LoadedEncoder, to: LoadedEncoder) -> None:
        """Fit and note the map from a loaded encoder. The event loop may change the former index meanwhile."""
        half_lives_s = former.sums.half_life_s.tolist(), to.sums.half_life_s.tolist()
        note_map(to, former.version, await asyncio.to_thread(fit, former.index, to.index, *half_lives_s))

    async def from_topic(self, version: str, to: LoadedEncoder) -> EmbeddingMap | None:
        """Fit the map from a version that is not loaded, by reading its item vectors once.

        None if the version is unknown, or its topic is gone or shares no item with the index of ``to``.
        """
        state = await asyncio.to_thread(self._state, version)
        topic = self._names.item_vectors(version)
        if state is None or not await asyncio.to_thread(self._has, topic):
            return None
        index, updates = ItemIndex(state.dimension), IndexUpdates(state.dimension, version)
        reader = CompactedTopicReader(topic, lambda: make_tail_consumer(self._settings.kafka), updates.collect)
        reader.start()
        try:
            while updates.waiting or not reader.caught_up.is_set():
                await asyncio.sleep(0.002 if updates.waiting else 0.02)
                updates.apply(index)
        finally:
            await asyncio.to_thread(reader.stop)
        return await asyncio.to_thread(fit, index, to.index, state.half_lives_s, to.sums.half_life_s.tolist())

    def _state(self, version: str) -> EncoderState | Manifest | None:
        """Find the facts of a version in the topic, or else in its folder.

        The topic does not hold a version that served as `encoder.folder` and was never activated.
        """
        state = self._catalogue.activations.states.get(version)
        if state is not None and state.half_lives_s:
            return state
        path = self._catalogue.registry.paths().get(version)
        try:
            return None if path is None else manifest.read(path)
        except (EncoderError, OSError) as error:
            log.warning("an encoder folder can't be read", version=version, problem=str(error))
            return None

    def _has(self, topic: str) -> bool:
        consumer = make_tail_consumer(self._settings.kafka)
        try:
            # lists all topics: a request for one by name would create it on brokers that create topics on first use
            return topic in consumer.list_topics(timeout=5.0).topics
        except Exception as error:
            log.warning("the topics can't be listed", problem=str(error))
            return False
        finally:
            consumer.close()


def note_map(loaded: LoadedEncoder, version: str, embedding_map: EmbeddingMap | None) -> None:
    """Let ``loaded`` use the sums of another version through an embedding map; without a map, log the reason."""
    if embedding_map is None:
        log.warning(
            "older events that users made under this encoder version are kept, but they do not count in rankings: no "
            "embedding map leads from it to the active version. Its item vectors are gone or share no item with those "
            "of the active version, or it was never activated and encoder.folders has no folder of it",
            version=version,
            by=loaded.version,
        )
        return
    loaded.maps[version] = embedding_map
    log.info(
        "an embedding map between encoder versions was fitted",
        version=version,
        to=loaded.version,
        items=embedding_map.common,
        explained=round(embedding_map.explained, 4),
    )
