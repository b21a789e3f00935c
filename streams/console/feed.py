"""The page's side of Kafka: follows `catalog` and `recommendations`, and sends events as a real shop does."""

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import structlog

from schemas.catalog import CatalogItem
from schemas.codec import decode_input, encode
from schemas.errors import DecodeError
from schemas.events import Browse, Click, Event, Purchase
from schemas.headers import content_type
from schemas.recommendation import Recommendation
from schemas.record_keys import id_of_key
from streams.console.shelves import Stocked, stocked
from streams.errors import PrefstreamError
from streams.kafka.clients import make_producer, make_tail_consumer
from streams.kafka.compacted_topic_reader import CompactedTopicReader
from streams.kafka.topics import CATALOG, RECOMMENDATIONS, TopicNames
from streams.settings import Compression, Kafka

log = structlog.get_logger(__name__)

CatalogChange = tuple[str, Stocked | None]
ListChange = tuple[str, Recommendation | None]

TOPICS: dict[type[Event], str] = {Click: "clicks", Browse: "browses", Purchase: "purchases"}

_QUIET = {"log_level": 2}
_QUEUED_KB = 16 << 10
"""Kilobytes of a topic that may be fetched and wait to be decoded."""
_CHUNK = 500
"""Records that the event loop handles before it serves the page again."""
_LATEST_LISTS = 250
"""Number of lists that are read from each partition at the start: the latest."""
_CONFIRM_S = 5.0
_POLL_S = 0.1
_FLUSH_S = 5.0
_SIMULATOR_FETCH_WAIT_MS = 5
"""The simulator lets an empty fetch wait for all of this time, even if records arrive meanwhile."""
_FETCH_WAIT_MS = 100


class NotConfirmed(PrefstreamError):
    """Kafka refused an event, or did not confirm it in time; the message says which."""


class Feed:
    """Reads topics and sends events. It starts and stops once, and calls back in the event loop that started it."""

    def __init__(self, kafka: Kafka, names: TopicNames, *, simulated: bool, compression: Compression = "none") -> None:
        """``simulated``: whether the broker is the simulator; ``compression``: of the events that are sent."""
        self._kafka, self._names = kafka, names
        self._options = {**_QUIET, "fetch.wait.max.ms": _SIMULATOR_FETCH_WAIT_MS if simulated else _FETCH_WAIT_MS}
        self._producer = make_producer(kafka, compression, **{**_QUIET, "linger.ms": 0})
        self._stopping = threading.Event()
        self._poller = threading.Thread(target=self._poll, name="console-producer", daemon=True)
        self._readers: list[CompactedTopicReader] = []

    def start(
        self, on_catalog: Callable[[list[CatalogChange]], None], on_lists: Callable[[list[ListChange]], None]
    ) -> None:
        """Start to read; None beside an id means that the item was removed, or that the shopper was forgotten."""
        loop = asyncio.get_running_loop()

        def hand_over(read: Callable[[Any], Any], take: Callable[[list[Any]], None]) -> Callable[[list[Any]], None]:
            def collect(messages: list[Any]) -> None:
                for first in range(0, len(messages), _CHUNK):
                    chunk = map(read, messages[first : first + _CHUNK])
                    done = threading.Event()
                    loop.call_soon_threadsafe(_take, take, [change for change in chunk if change is not None], done)
                    # waits for the loop, so that a large catalog neither fills the memory nor blocks the page
                    while not done.wait(_POLL_S) and not self._stopping.is_set():
                        pass

            return collect

        self._readers = [
            CompactedTopicReader(self._names.full(CATALOG), self._consumer, hand_over(read_catalog, on_catalog)),
            CompactedTopicReader(
                self._names.full(RECOMMENDATIONS), self._consumer, hand_over(read_list, on_lists), last=_LATEST_LISTS
            ),
        ]
        self._poller.start()
        for reader in self._readers:
            reader.start()

    async def send(self, event: Event) -> None:
        """Send an event to its topic and wait until Kafka has it; raises `NotConfirmed` if that takes too long."""
        loop = asyncio.get_running_loop()
        delivered: asyncio.Future[None] = loop.create_future()

        def report(error: Any, _: Any) -> None:
            loop.call_soon_threadsafe(_settle, delivered, error)

        topic = self._names.full(TOPICS[type(event)])
        try:
            self._producer.produce(topic, encode(event), event.user_id, on_delivery=report)
        except BufferError:
            raise NotConfirmed(
                "Kafka has not answered for a long time, and no more events can wait: try again later."
            ) from None
        try:
            await asyncio.wait_for(delivered, _CONFIRM_S)
        except TimeoutError:
            raise NotConfirmed(
                f"Kafka did not confirm the event within {_CONFIRM_S:.0f} s; it is sent once Kafka answers again."
            ) from None

    async def stop(self) -> None:
        """Send the remaining events and close the clients."""
        await asyncio.to_thread(self._stop)

    def _stop(self) -> None:
        self._stopping.set()
        for reader in self._readers:
            reader.stop()
        if self._poller.is_alive():
            self._poller.join(_FLUSH_S)
        self._producer.flush(_FLUSH_S)

    def _consumer(self) -> Any:
        return make_tail_consumer(self._kafka, **self._options, **{"queued.max.messages.kbytes": _QUEUED_KB})

    def _poll(self) -> None:
        while not self._stopping.is_set():
            self._producer.poll(_POLL_S)


def _take(take: Callable[[list[Any]], None], changes: list[Any], done: threading.Event) -> None:
    try:
        take(changes)
    finally:
        done.set()


def _settle(delivered: "asyncio.Future[None]", error: Any) -> None:
    if delivered.done():
        return
    if error is None:
        delivered.set_result(None)
    else:
        delivered.set_exception(NotConfirmed(f"Kafka refused the event: {error.str()}."))


def read_catalog(message: Any) -> CatalogChange | None:
    """Read an item and its id; None for a record that a worker refuses too."""
    try:
        key = id_of_key(message.key() or b"", "item_id")
    except DecodeError:
        return None
    if message.value() is None:
        return (key, None) if key else None
    item = _decoded(CatalogItem, message)
    return (key, stocked(item)) if item is not None and item.item_id == key else None


def read_list(message: Any) -> ListChange | None:
    """Read a list and its user; None for a record that can't be read."""
    key = _key(message)
    if message.value() is None:
        return (key, None) if key else None
    recommendation = _decoded(Recommendation, message)
    return None if recommendation is None else (recommendation.user_id, recommendation)


def _key(message: Any) -> str:
    key: bytes | None = message.key()
    return "" if key is None else key.decode("utf-8", "replace")


def _decoded(struct_type: type[Any], message: Any) -> Any:
    try:
        return decode_input(struct_type, message.value(), content_type(message.headers())).message
    except DecodeError as error:
        log.debug("record skipped", topic=message.topic(), offset=message.offset(), problem=str(error))
        return None
