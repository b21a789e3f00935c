"""The catalog agent's work: new and changed items to vectors, in batches, onto the item-vectors topic."""

import asyncio
from typing import Any

import structlog

from encoders.items import ItemEncoder
from schemas.catalog import CatalogItem, ItemVector
from schemas.codec import decode, encode
from schemas.errors import DecodeError, DecodeReason
from schemas.headers import content_type
from streams.decoding import Refused, dead_letter
from streams.emitter import Emitter
from streams.metrics import Metrics
from streams.retry import Backoff
from streams.transport import RecordBatch

log = structlog.get_logger(__name__)


class CatalogEncoder:
    """Encodes this worker's share of the catalog. It keeps no state: a replay publishes the same vectors again.

    Its emitter is its own: what it produces is confirmed batch by batch, not by checkpoints.
    """

    def __init__(self, encoder: ItemEncoder, emitter: Emitter, metrics: Metrics, topic: str) -> None:
        self._encoder, self._emitter, self._metrics = encoder, emitter, metrics
        self._topic = topic
        self.topic_id = ""
        """Of the catalog; orders the updates of an item."""
        self._busy = asyncio.Lock()
        self._past_epoch = 0

    async def process(self, event: Any) -> None:
        """Encode a batch, publish the vectors, and ack once Kafka has them; a batch of a past assignment is dropped."""
        async with self._busy:
            if event.value.epoch > self._past_epoch:
                await self._process(event)

    async def pause(self, epoch: int) -> None:
        """Finish the batch in hand and begin no other of this assignment or an earlier one.

        The topic is compacted: what a former owner publishes after the next one's newer vector would outlive it.
        """
        async with self._busy:
            self._past_epoch = epoch

    async def _process(self, event: Any) -> None:
        batch: RecordBatch = event.value
        self._metrics.batch(batch.topic, len(batch))
        await asyncio.to_thread(self._publish, batch)
        backoff = Backoff()
        deliveries = self._emitter.swap()
        while not await asyncio.to_thread(deliveries.wait, 5.0):
            log.warning("waiting for Kafka to confirm item vectors", records=deliveries.produced)
            await backoff.sleep()
        event.ack()

    def _publish(self, batch: RecordBatch) -> None:
        items: list[CatalogItem] = []
        records: list[Any] = []
        removed = 0
        for record in batch.records:
            if record.value is None and record.key:
                self._emitter.item_vector(self._topic, record.key.decode("utf-8", "replace"), None)
                removed += 1
                continue
            try:
                item = decode(CatalogItem, record.value, content_type(record.headers))
                _check_key(record.key, item.item_id)
                items.append(item)
                records.append(record)
            except DecodeError as error:
                self._emitter.refuse([Refused(record, dead_letter(record, error))])
                self._metrics.dead_letter(batch.topic, str(error.reason))
        with self._metrics.stage("encode"):
            vectors, known = self._encoder.encode(items)
            bias = self._encoder.bias(items)
        version = self._encoder.encoder.manifest.version
        for item, record, vector, extra, has_vector in zip(items, records, vectors, bias, known, strict=True):
            if not has_vector:  # nothing to rank it by, nor (any longer) what an earlier version of it had
                self._emitter.item_vector(self._topic, item.item_id, None)
                continue
            message = ItemVector(
                item_id=item.item_id,
                vector=vector.tobytes(),
                encoder_version=version,
                available=item.available,
                bias=float(extra),
                source_topic_id=self.topic_id,
                source_partition=record.partition,
                source_offset=record.offset,
            )
            self._emitter.item_vector(self._topic, item.item_id, encode(message))
        self._metrics.encoded("encoded", int(known.sum()))
        self._metrics.encoded("no-vector", int((~known).sum()))
        self._metrics.encoded("withdrawn", sum(not item.available for item in items))
        self._metrics.encoded("removed", removed)


def _check_key(key: bytes | None, item_id: str) -> None:
    """The topic is compacted by key, and a removal names its item by the key alone."""
    if key != item_id.encode():
        shown = "no key" if key is None else f"the key {key[:80]!r}"
        detail = f"the record of item {item_id[:80]!r} has {shown}: the key must be the item's id"
        raise DecodeError(DecodeReason.MALFORMED, "item_id", detail)
