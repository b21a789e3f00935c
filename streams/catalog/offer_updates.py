"""Collects offers in a reader's thread, and applies them to the index between micro-batches."""

import threading
from typing import Final

from confluent_kafka import Message

from encoders.index.item_index import NO_OFFER, ItemIndex
from schemas.catalog import Offer
from schemas.codec import decode_input
from schemas.errors import DecodeError, DecodeReason
from schemas.headers import content_type
from schemas.record_keys import id_of_key
from streams.catalog.catalog_record import CatalogRecord, check_key
from streams.monitoring.bad_input import BadInput
from streams.monitoring.metrics import Metrics

_MAX_WAITING: Final = 200_000
_AT_ONCE: Final = 20_000


class OfferUpdates:
    """A bounded queue of offers, so that only one thread changes the index.

    Every worker reads every offer. So an offer that can't be read is counted and logged; it becomes no dead letter, of
    which each worker would write one. The item's former offer holds on.
    """

    def __init__(self, metrics: Metrics) -> None:
        self._metrics, self._bad_input = metrics, BadInput(metrics)
        self._waiting: list[tuple[str, int]] = []  # item id, and what `ItemIndex.offer` takes
        self._room = threading.Condition()

    def collect(self, messages: list[Message]) -> None:
        """Decode and queue records of the topic, in the reader's thread; blocks if the queue is full."""
        updates = [update for update in map(self._read, messages) if update is not None]
        self._metrics.offers("read", len(updates))
        self._metrics.offers("refused", len(messages) - len(updates))
        with self._room:
            while len(self._waiting) > _MAX_WAITING:
                self._room.wait(1.0)
            self._waiting += updates

    def _read(self, message: Message) -> tuple[str, int] | None:
        record = CatalogRecord.of(message)
        try:
            if record.value is None:
                if not record.key:
                    raise DecodeError(DecodeReason.NULL_VALUE, None, "the record has neither a key nor a value")
                return id_of_key(record.key, "item_id"), NO_OFFER
            offer, faults = decode_input(Offer, record.value, content_type(record.headers))
            check_key(record.key, offer.item_id)
        except DecodeError as error:
            self._bad_input.skipped(record, error.reason, error.field, error.detail)
            return None
        for fault in faults:
            self._bad_input.fault(record, fault.reason, fault.field, fault.detail)
        return offer.item_id, int(offer.available)

    def apply(self, index: ItemIndex) -> None:
        """Apply a bounded number of offers to the index, in order."""
        if not self._waiting:
            return
        with self._room:
            updates, self._waiting = self._waiting[:_AT_ONCE], self._waiting[_AT_ONCE:]
            self._room.notify_all()
        item_ids, offered = zip(*updates, strict=True)
        index.offer(item_ids, offered)

    @property
    def waiting(self) -> int:
        """Number of offers that are not in the index yet."""
        return len(self._waiting)
