"""Fits maps between encoder versions, from the index that serves or from a version's topic of item vectors."""

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
    """Notes the maps that it fits in the space that they lead to."""

    def __init__(self, settings: Settings, catalogue: EncoderCatalogue) -> None:
        self._settings, self._catalogue = settings, catalogue
        self._names = TopicNames(settings.namespace)

    async def from_loaded(self, former: LoadedEncoder, to: LoadedEncoder) -> None:
        """From a space whose index is here. The loop may go on changing that index meanwhile."""
        half_lives_s = former.sums.half_life_s.tolist(), to.sums.half_life_s.tolist()
        note_map(to, former.version, await asyncio.to_thread(fit, former.index, to.index, *half_lives_s))

    async def from_topic(self, version: str, to: LoadedEncoder) -> EmbeddingMap | None:
        """From a version that nothing here serves: its item vectors are read once. None if they are not to be had."""
        state = await asyncio.to_thread(self._state, version)
        topic = self._names.item_vectors(version)
        if state is None or not await asyncio.to_thread(self._has, topic):
            return None
        index, updates = ItemIndex(state.dimension), IndexUpdates(state.dimension, version)
        tail = CompactedTopicReader(topic, lambda: make_tail_consumer(self._settings.kafka), updates.collect)
        tail.start()
        try:
            while updates.waiting or not tail.caught_up.is_set():
                await asyncio.sleep(0.002 if updates.waiting else 0.02)
                updates.apply(index)
        finally:
            await asyncio.to_thread(tail.stop)
        return await asyncio.to_thread(fit, index, to.index, state.half_lives_s, to.sums.half_life_s.tolist())

    def _state(self, version: str) -> EncoderState | Manifest | None:
        """What is known of a version: as it was activated; or by its folder, where `encoder.folder` was changed."""
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
            # all topics: asking for one by name makes it on brokers that create topics on first use
            return topic in consumer.list_topics(timeout=5.0).topics
        except Exception as error:
            log.warning("the topics can't be listed", problem=str(error))
            return False
        finally:
            consumer.close()


def note_map(loaded: LoadedEncoder, version: str, found: EmbeddingMap | None) -> None:
    """Let ``space`` see the sums of another version through a map; say so, or why not."""
    if found is None:
        log.warning(
            "older events that users made under this encoder version are kept, but they do not count in rankings: no "
            "embedding map leads from it to the active version. Its item vectors are gone or share no item with the "
            "active ones, or it was never activated and encoder.folders has no folder of it",
            version=version,
            by=loaded.version,
        )
        return
    loaded.maps[version] = found
    log.info(
        "a map between encoder versions",
        version=version,
        to=loaded.version,
        items=found.common,
        explained=round(found.explained, 4),
    )
