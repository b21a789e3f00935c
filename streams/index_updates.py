"""Item vectors on their way from the topic to the index: collected by a tail's thread, applied between batches."""

import threading

import numpy as np
import structlog
from confluent_kafka import Message

from encoders.index import ItemIndex, Source
from schemas.catalog import ItemVector
from schemas.codec import decode
from schemas.errors import DecodeError
from schemas.ids import id_hashes

log = structlog.get_logger(__name__)

_MAX_WAITING = 200_000


class IndexUpdates:
    """A bounded queue of updates: the index itself is touched by one thread only."""

    def __init__(self, dimension: int, encoder_version: str) -> None:
        self._dimension = dimension
        self._encoder_version = encoder_version
        self._waiting: list[ItemVector | str] = []  # a string is the id of a removed item
        self._room = threading.Condition()

    def collect(self, messages: list[Message]) -> None:
        """Decode records of the item-vectors topic; blocks while too many wait (called by the tail's thread)."""
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
            log.warning("an item vector of another encoder is left out", item=vector.item_id)
            return None
        return vector

    def apply(self, index: ItemIndex) -> set[int]:
        """Put what has come into the index, in order; returns the hashes of items whose vector is new."""
        with self._room:
            updates, self._waiting = self._waiting, []
            self._room.notify_all()
        if not updates:
            return set()
        changed: set[int] = set()
        run: list[ItemVector] = []
        for update in updates:
            if isinstance(update, str):
                changed |= _put(index, run)
                run = []
                index.remove([update])
            else:
                run.append(update)
        return changed | _put(index, run)


def _put(index: ItemIndex, vectors: list[ItemVector]) -> set[int]:
    if not vectors:
        return set()
    ids = [vector.item_id for vector in vectors]
    index.put(
        ids,
        np.frombuffer(b"".join(vector.vector for vector in vectors), "<f4").reshape(len(vectors), index.dimension),
        np.array([vector.bias for vector in vectors], np.float32),
        np.array([vector.available for vector in vectors], np.bool_),
        [Source(vector.source_topic_id, vector.source_partition, vector.source_offset) for vector in vectors],
    )
    return set(id_hashes(ids).tolist())
