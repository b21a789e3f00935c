"""The shop's side of Kafka: sends the catalog and events, and reads `recommendations`, as a real shop does."""

import threading
from collections.abc import Iterable
from queue import SimpleQueue
from time import perf_counter
from typing import Any

from confluent_kafka import TopicPartition

from schemas.catalog import CatalogItem
from schemas.codec import decode, encode
from schemas.recommendation import Recommendation
from streams.demo.shoppers import Step
from streams.errors import PrefstreamError
from streams.kafka.clients import make_producer, make_tail_consumer
from streams.kafka.topics import CATALOG, RECOMMENDATIONS
from streams.settings import Kafka

_POLL_S = 0.1
_TIMEOUT_S = 10.0


class StorefrontFailed(PrefstreamError):
    """The storefront can't use its broker any more; the message says why."""


class Storefront:
    """Plain Kafka clients; they don't know how recommendations are made."""

    def __init__(self, kafka: Kafka) -> None:
        self._producer = make_producer(kafka, "none", **{"linger.ms": 0})
        # the simulator lets an empty fetch wait for all of this time, even if records arrive meanwhile
        self._consumer = make_tail_consumer(kafka, **{"fetch.wait.max.ms": 5})
        self._arrived: SimpleQueue[tuple[Recommendation, float]] = SimpleQueue()
        self._stopping = threading.Event()
        self._problem: str | None = None
        self._reader = threading.Thread(target=self._read, name="storefront", daemon=True)

    def publish(self, items: Iterable[CatalogItem]) -> None:
        """Send products to the topic `catalog`, and wait until the broker has them."""
        for item in items:
            self._producer.produce(CATALOG, encode(item), item.item_id, on_delivery=self._delivered)
        self._producer.flush(_TIMEOUT_S)

    def start(self) -> None:
        """Start to read recommendations, from the first of the topic."""
        self._reader.start()

    def send(self, step: Step) -> None:
        """Send a shopper's event to its topic."""
        event = step.event
        self._producer.produce(step.topic, encode(event), event.user_id, on_delivery=self._delivered)
        self._producer.poll(0)

    def take(self) -> list[tuple[Recommendation, float]]:
        """Take the recommendations that arrived since the last call, each with the `perf_counter` time of arrival.

        Raises `StorefrontFailed` if no more recommendations can arrive.
        """
        if self._problem is not None:
            raise StorefrontFailed(self._problem)
        return [self._arrived.get_nowait() for _ in range(self._arrived.qsize())]

    def stop(self) -> None:
        """Send the remaining events and close the clients."""
        self._producer.flush(_TIMEOUT_S)
        self._stopping.set()
        if self._reader.is_alive():
            self._reader.join(_TIMEOUT_S)
        self._consumer.close()

    def _delivered(self, error: Any, message: Any) -> None:
        if error is not None:
            self._problem = f"An event could not be sent to {message.topic()!r}: {error.str()}."

    def _read(self) -> None:
        try:
            self._consumer.assign(self._partitions())
            while not self._stopping.is_set():
                message = self._consumer.poll(_POLL_S)
                if message is None:
                    continue
                if message.error() is not None:
                    if not message.error().retriable():
                        self._problem = f"Recommendations can't be read: {message.error().str()}."
                elif message.value() is not None:  # None is a tombstone: the user was forgotten
                    self._arrived.put((decode(Recommendation, message.value()), perf_counter()))
        except Exception as error:
            self._problem = f"Recommendations can't be read: {error}."

    def _partitions(self) -> list[Any]:
        """All partitions of the topic, at their beginnings; the simulator creates a topic when it is asked for it."""
        while not self._stopping.wait(_POLL_S):
            topic = self._consumer.list_topics(RECOMMENDATIONS, timeout=_TIMEOUT_S).topics[RECOMMENDATIONS]
            if topic.error is None and topic.partitions:
                return [TopicPartition(RECOMMENDATIONS, number, 0) for number in topic.partitions]
        return []
