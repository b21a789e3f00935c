"""The page's side of Kafka: it tails `catalog` and `recommendations`, and sends events as any shop would."""

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import structlog

from schemas.catalog import CatalogItem
from schemas.codec import decode, encode
from schemas.errors import DecodeError
from schemas.events import Browse, Click, Event, Purchase
from schemas.headers import content_type
from schemas.recommendation import Recommendation
from streams.console.shelves import Stocked, stocked
from streams.errors import PrefstreamError
from streams.kafka.clients import make_producer, make_tail_consumer
from streams.kafka.compacted_topic_reader import CompactedTopicReader
from streams.kafka.topics import CATALOG, RECOMMENDATIONS, TopicNames
from streams.settings import Kafka

log = structlog.get_logger(__name__)

CatalogChange = tuple[str, Stocked | None]
ListChange = tuple[str, Recommendation | None]

TOPICS: dict[type[Event], str] = {Click: "clicks", Browse: "browses", Purchase: "purchases"}

_QUIET = {"log_level": 2}
_QUEUED_KB = 16 << 10
"""Of a topic that are fetched and wait to be decoded."""
_AT_ONCE = 500
"""Records that the event loop takes in before it looks after the page again."""
_LATEST_LISTS = 250
"""Of each partition: lists that are there already and are read at the start."""
_CONFIRM_S = 5.0
_POLL_S = 0.1
_FLUSH_S = 5.0
_SIMULATOR_FETCH_WAIT_MS = 5
"""The simulator keeps an empty fetch waiting for all of this time, whatever arrives meanwhile."""
_FETCH_WAIT_MS = 100


class NotConfirmed(PrefstreamError):
    """Kafka did not take an event, or not in time; the message says which."""


class Feed:
    """Started and stopped once, in an event loop; what it reads is handed over in that loop."""

    def __init__(self, kafka: Kafka, names: TopicNames, *, simulated: bool) -> None:
        """``simulated``: the broker is the simulator."""
        self._kafka, self._names = kafka, names
        self._options = {**_QUIET, "fetch.wait.max.ms": _SIMULATOR_FETCH_WAIT_MS if simulated else _FETCH_WAIT_MS}
        self._producer = make_producer(kafka, **{**_QUIET, "linger.ms": 0})
        self._stopping = threading.Event()
        self._poller = threading.Thread(target=self._poll, name="console-producer", daemon=True)
        self._tails: list[CompactedTopicReader] = []

    def start(
        self, on_catalog: Callable[[list[CatalogChange]], None], on_lists: Callable[[list[ListChange]], None]
    ) -> None:
        """Begin to read; a None beside an id means that the item was removed, or the shopper forgotten."""
        loop = asyncio.get_running_loop()

        def hand_over(read: Callable[[Any], Any], take: Callable[[list[Any]], None]) -> Callable[[list[Any]], None]:
            def collect(messages: list[Any]) -> None:
                for first in range(0, len(messages), _AT_ONCE):
                    some = map(read, messages[first : first + _AT_ONCE])
                    taken = threading.Event()
                    loop.call_soon_threadsafe(_take, take, [change for change in some if change is not None], taken)
                    # no faster than the loop takes it: a large catalog must neither pile up nor hold up the page
                    while not taken.wait(_POLL_S) and not self._stopping.is_set():
                        pass

            return collect

        self._tails = [
            CompactedTopicReader(self._names.full(CATALOG), self._consumer, hand_over(read_catalog, on_catalog)),
            CompactedTopicReader(
                self._names.full(RECOMMENDATIONS), self._consumer, hand_over(read_list, on_lists), last=_LATEST_LISTS
            ),
        ]
        self._poller.start()
        for tail in self._tails:
            tail.start()

    async def send(self, event: Event) -> None:
        """Put an event on its topic and wait until Kafka has it; `NotConfirmed` if it hasn't in time."""
        loop = asyncio.get_running_loop()
        delivered: asyncio.Future[None] = loop.create_future()

        def report(error: Any, _: Any) -> None:
            loop.call_soon_threadsafe(_settle, delivered, error)

        topic = self._names.full(TOPICS[type(event)])
        try:
            self._producer.produce(topic, encode(event), event.user_id, on_delivery=report)
        except BufferError:
            raise NotConfirmed("Kafka has not answered for so long that no more events can wait for it.") from None
        try:
            await asyncio.wait_for(delivered, _CONFIRM_S)
        except TimeoutError:
            raise NotConfirmed(
                f"Kafka did not confirm the event within {_CONFIRM_S:.0f} s; it is sent once Kafka answers again."
            ) from None

    async def stop(self) -> None:
        """Send what is left and close the clients."""
        await asyncio.to_thread(self._stop)

    def _stop(self) -> None:
        self._stopping.set()
        for tail in self._tails:
            tail.stop()
        if self._poller.is_alive():
            self._poller.join(_FLUSH_S)
        self._producer.flush(_FLUSH_S)

    def _consumer(self) -> Any:
        return make_tail_consumer(self._kafka, **self._options, **{"queued.max.messages.kbytes": _QUEUED_KB})

    def _poll(self) -> None:
        while not self._stopping.is_set():
            self._producer.poll(_POLL_S)


def _take(take: Callable[[list[Any]], None], changes: list[Any], taken: threading.Event) -> None:
    try:
        take(changes)
    finally:
        taken.set()


def _settle(delivered: "asyncio.Future[None]", error: Any) -> None:
    if delivered.done():
        return
    if error is None:
        delivered.set_result(None)
    else:
        delivered.set_exception(NotConfirmed(f"Kafka refused the event: {error.str()}."))


def read_catalog(message: Any) -> CatalogChange | None:
    """An item by its id; None for a record that a worker refuses as well."""
    key = _key(message)
    if message.value() is None:
        return (key, None) if key else None
    item = _decoded(CatalogItem, message)
    return (key, stocked(item)) if item is not None and item.item_id == key else None


def read_list(message: Any) -> ListChange | None:
    """A list by its user; None for a record that can't be read."""
    key = _key(message)
    if message.value() is None:
        return (key, None) if key else None
    found = _decoded(Recommendation, message)
    return None if found is None else (found.user_id, found)


def _key(message: Any) -> str:
    key: bytes | None = message.key()
    return "" if key is None else key.decode("utf-8", "replace")


def _decoded(struct_type: type[Any], message: Any) -> Any:
    try:
        return decode(struct_type, message.value(), content_type(message.headers()))
    except DecodeError as error:
        log.debug("left out", topic=message.topic(), offset=message.offset(), problem=str(error))
        return None
