"""Titles of items from the catalog topic, as they become known."""

from typing import Any

import msgspec
from confluent_kafka import Consumer

from streams.commands.broker import QUIET, Broker
from streams.kafka.clients import make_tail_consumer
from streams.kafka.compacted_topic_reader import CompactedTopicReader


class _Titled(msgspec.Struct):
    """The two fields of a catalog item that are needed here."""

    item_id: str
    title: str


def titled(message: Any) -> tuple[str, str] | None:
    """Item id and title of a catalog record; None for one that has none."""
    if message.value() is None:
        return None
    try:
        item = msgspec.json.decode(message.value(), type=_Titled)
    except (ValueError, RecursionError):
        return None
    return item.item_id, item.title


class Titles:
    """Follows the catalog in a thread of its own; a context manager. Without such a topic every title is unknown."""

    def __init__(self, broker: Broker, topic: str) -> None:
        self._known: dict[str, str] = {}
        self._kafka = broker.kafka
        self._tail = CompactedTopicReader(topic, self._consumer, self._collect) if topic in broker.partitions else None

    def __enter__(self) -> "Titles":
        if self._tail is not None:
            self._tail.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._tail is not None:
            self._tail.stop()

    def wait(self, seconds: float) -> None:
        """Give the titles that are there already a moment to come."""
        if self._tail is not None:
            self._tail.caught_up.wait(seconds)

    def __call__(self, item_id: str) -> str:
        """The item's title, else its id."""
        return self._known.get(item_id) or item_id

    def _consumer(self) -> Consumer:
        return make_tail_consumer(self._kafka, **QUIET)

    def _collect(self, messages: list[Any]) -> None:
        for found in map(titled, messages):
            if found is not None:
                self._known[found[0]] = found[1]
