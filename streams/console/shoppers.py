"""What the topics have told of each shopper: the latest list, and the events that are known of them."""

from collections import Counter, OrderedDict, deque
from collections.abc import Iterator
from contextlib import contextmanager

from msgspec import Struct

from schemas.events import EventType
from schemas.recommendation import Recommendation

_MOST_EVENTS = 200
"""Of one shopper that are remembered."""


class Known(Struct, frozen=True, kw_only=True, gc=False):
    """An event that was sent from here, or that caused a list."""

    event_id: str
    event_type: EventType
    item_id: str


class Shopper:
    """One shopper."""

    def __init__(self) -> None:
        self.latest: Recommendation | None = None
        self.events: deque[Known] = deque(maxlen=_MOST_EVENTS)
        """Oldest first, each event once."""
        self.version = 0
        """Grows with every change."""

    def add(self, event: Known) -> None:
        """Note an event; one that is known already changes nothing."""
        if all(event.event_id != known.event_id for known in self.events):
            self.events.append(event)
            self.version += 1


class Shoppers:
    """The shoppers that were heard of last, ``most`` of them at most, and those that somebody looks at."""

    def __init__(self, most: int = 1_000) -> None:
        self._most = most
        self._known: OrderedDict[str, Shopper] = OrderedDict()
        self._held: Counter[str] = Counter()  # how many look at each
        self.version = 0
        """Grows with every change."""

    def get(self, user_id: str) -> Shopper | None:
        """The shopper, if the topics told of them."""
        return self._known.get(user_id)

    def acted(self, user_id: str, event: Known) -> None:
        """An event was sent for a shopper."""
        self._touch(user_id).add(event)

    def receive(self, recommendation: Recommendation) -> bool:
        """Take in a list; False if the shopper has one as new already (lists may come twice, and out of order)."""
        known = self._known.get(recommendation.user_id)
        if known is not None and known.latest is not None and recommendation.revision <= known.latest.revision:
            return False
        shopper = self._touch(recommendation.user_id)
        shopper.latest = recommendation
        shopper.version += 1
        cause = recommendation.cause
        shopper.add(Known(event_id=cause.event_id, event_type=cause.event_type, item_id=cause.item_id))
        return True

    def forget(self, user_id: str) -> None:
        """The shopper was forgotten: nothing of them is kept here either."""
        if self._known.pop(user_id, None) is not None:
            self.version += 1

    @contextmanager
    def held(self, user_id: str) -> Iterator[None]:
        """Keep a shopper meanwhile, however many others are heard of."""
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
            del self._known[next(one for one in self._known if one not in self._held)]
        return shopper

    def latest_first(self) -> Iterator[tuple[str, Shopper]]:
        """Shoppers by when they were last heard of."""
        return reversed(self._known.items())
