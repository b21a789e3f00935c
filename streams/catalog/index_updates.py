"""Collects item vectors in a reader's thread, and applies them to the index between micro-batches."""

import threading
from functools import lru_cache

import numpy as np
import structlog
from confluent_kafka import Message

from encoders.index.item_index import CatalogPosition, ItemIndex
from schemas.actions import labels
from schemas.catalog import ItemVector
from schemas.codec import decode
from schemas.errors import DecodeError
from schemas.ids import id_hashes

log = structlog.get_logger(__name__)

_MAX_WAITING = 200_000
_AT_ONCE = 2_000
"""Updates applied in one call. A call takes about 12 ms, in which no micro-batch is processed."""


class IndexUpdates:
    """A bounded queue of updates, so that only one thread changes the index."""

    def __init__(self, dimension: int, encoder_version: str) -> None:
        self._dimension = dimension
        self._encoder_version = encoder_version
        self._waiting: list[ItemVector | str] = []  # a string is the id of a removed item
        self._room = threading.Condition()

    def collect(self, messages: list[Message]) -> None:
        """Decode and queue records of the item-vectors topic, in the reader's thread; blocks if the queue is full."""
        updates = [update for update in map(self._decode, messages) if update is not None]
        with self._room:
            while len(self._waiting) > _MAX_WAITING:
                self._room.wait(1.0)
            self._waiting += updates

    def _decode(self, message: Message) -> ItemVector | str | None:
        if message.value() is None:
            return message.key().decode("utf-8", "replace") if message.key() else None
        try:
            vector = decode(ItemVector, message.value())
        except DecodeError as error:
            log.warning("an item vector can't be read", offset=message.offset(), problem=error.detail)
            return None
        if vector.encoder_version != self._encoder_version or len(vector.vector) != 4 * self._dimension:
            log.warning("an item vector of another encoder is skipped", item=vector.item_id)
            return None
        return vector

    def apply(self, index: ItemIndex) -> set[int]:
        """Apply a bounded number of updates to the index, in order; returns the hashes of items that got a vector."""
        with self._room:
            updates, self._waiting = self._waiting[:_AT_ONCE], self._waiting[_AT_ONCE:]
            self._room.notify_all()
        removed = {update for update in updates if isinstance(update, str)}
        vectors = [update for update in updates if not isinstance(update, str)]
        both = removed & {vector.item_id for vector in vectors}
        if removed - both:
            index.remove(sorted(removed - both))
        changed = _put(index, [vector for vector in vectors if vector.item_id not in both])
        # few items are both put and removed here: only their updates have to be applied one by one, in order
        for update in updates:
            if isinstance(update, str):
                if update in both:
                    index.remove([update])
            elif update.item_id in both:
                changed |= _put(index, [update])
        return changed

    @property
    def waiting(self) -> int:
        """Number of updates that are not in the index yet."""
        return len(self._waiting)


@lru_cache(1 << 16)
def _labels(brand: str, *category: str) -> tuple[str, ...]:
    return labels(brand, category)


def _put(index: ItemIndex, vectors: list[ItemVector]) -> set[int]:
    if not vectors:
        return set()
    ids = [vector.item_id for vector in vectors]
    index.put(
        ids,
        np.frombuffer(b"".join(vector.vector for vector in vectors), "<f4").reshape(len(vectors), index.dimension),
        np.array([vector.bias for vector in vectors], np.float32),
        np.array([vector.available for vector in vectors], np.bool_),
        [CatalogPosition(vector.source_topic_id, vector.source_partition, vector.source_offset) for vector in vectors],
        [_labels(vector.brand, *vector.category) for vector in vectors],
    )
    return set(id_hashes(ids).tolist())
