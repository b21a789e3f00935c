"""Learns the titles of items from the catalog topic, as records arrive."""

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
    """Item id and title of a catalog record; None for a record without them, such as a deletion."""
    if message.value() is None:
        return None
    try:
        item = msgspec.json.decode(message.value(), type=_Titled)
    except (ValueError, RecursionError):
        return None
    return item.item_id, item.title


class Titles:
    """Follows the catalog in its own thread; a context manager. Without a catalog topic every title is unknown."""

    def __init__(self, broker: Broker, topic: str) -> None:
        self._known: dict[str, str] = {}
        self._kafka = broker.kafka
        self._reader = (
            CompactedTopicReader(topic, self._consumer, self._collect) if topic in broker.partitions else None
        )

    def __enter__(self) -> "Titles":
        if self._reader is not None:
            self._reader.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._reader is not None:
            self._reader.stop()

    def wait(self, seconds: float) -> None:
        """Wait until the titles that are in the topic already are read, for at most ``seconds``."""
        if self._reader is not None:
            self._reader.caught_up.wait(seconds)

    def __call__(self, item_id: str) -> str:
        """Return the item's title; its id if the title is unknown."""
        return self._known.get(item_id) or item_id

    def _consumer(self) -> Consumer:
        return make_tail_consumer(self._kafka, **QUIET)

    def _collect(self, messages: list[Any]) -> None:
        for id_and_title in map(titled, messages):
            if id_and_title is not None:
                item_id, title = id_and_title
                self._known[item_id] = title
