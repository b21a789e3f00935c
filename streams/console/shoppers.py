"""What is known about each shopper from the topics: the latest list, and events."""

from collections import Counter, OrderedDict, deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from msgspec import Struct

from schemas.events import EVENT_TYPES, EventType
from schemas.recommendation import Recommendation

_MOST_EVENTS = 200
"""Most events of a shopper that are remembered."""


class Known(Struct, frozen=True, kw_only=True, gc=False):
    """An event that the page sent, or that caused a list."""

    event_id: str
    event_type: EventType
    item_id: str


class Shopper:
    """The latest list and the known events of one shopper."""

    def __init__(self) -> None:
        self.latest: Recommendation | None = None
        self.events: deque[Known] = deque(maxlen=_MOST_EVENTS)
        """The known events, oldest first, each once."""
        self.version = 0
        """Grows with every change."""

    def add(self, event: Known) -> None:
        """Add an event, unless it is known already."""
        if all(event.event_id != known.event_id for known in self.events):
            self.events.append(event)
            self.version += 1


class Shoppers:
    """The shoppers with the latest news, at most ``most`` of them, and those whose page is open."""

    def __init__(self, most: int = 1_000) -> None:
        self._most = most
        self._known: OrderedDict[str, Shopper] = OrderedDict()
        self._held: Counter[str] = Counter()  # number of open pages of each shopper
        self.version = 0
        """Grows with every change."""

    def get(self, user_id: str) -> Shopper | None:
        """Return the shopper; None if the topics had nothing about them."""
        return self._known.get(user_id)

    def acted(self, user_id: str, event: Known) -> None:
        """Add an event that was sent for a shopper."""
        self._touch(user_id).add(event)

    def receive(self, recommendation: Recommendation) -> bool:
        """Store a list; False if the shopper's list is as new already (lists may arrive twice or out of order)."""
        known = self._known.get(recommendation.user_id)
        if known is not None and known.latest is not None and recommendation.revision <= known.latest.revision:
            return False
        shopper = self._touch(recommendation.user_id)
        shopper.latest = recommendation
        shopper.version += 1
        cause = recommendation.cause
        if cause.event_type in EVENT_TYPES:  # the page shows events; an action only changes the list
            kind: Any = cause.event_type
            shopper.add(Known(event_id=cause.event_id, event_type=kind, item_id=cause.item_id))
        return True

    def forget(self, user_id: str) -> None:
        """Delete everything about a shopper who was forgotten."""
        if self._known.pop(user_id, None) is not None:
            self.version += 1

    @contextmanager
    def held(self, user_id: str) -> Iterator[None]:
        """Keep a shopper while the context is open, even if there is news of many others."""
        self._held[user_id] += 1
        try:
            yield
        finally:
            self._held[user_id] -= 1
            if not self._held[user_id]:
                del self._held[user_id]

    def _touch(self, user_id: str) -> Shopper:
        shopper = self._known.setdefault(user_id, Shopper())
        self._known.move_to_end(user_id)
        self.version += 1
        if len(self._known) > self._most + len(self._held):
            del self._known[next(user_id for user_id in self._known if user_id not in self._held)]
        return shopper

    def latest_first(self) -> Iterator[tuple[str, Shopper]]:
        """Iterate over the shoppers; those with the latest news come first."""
        return reversed(self._known.items())
