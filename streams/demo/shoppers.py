"""Simulates shoppers: each has a taste, looks at items that fit it, and from time to time gets a new taste."""

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from schemas.catalog import CatalogItem
from schemas.events import Browse, Click, Event, Purchase
from streams.demo.assortment import BRANDS, SHELVES
from streams.demo.shop import Shop

# fmt: off
NAMES = (
    "Mia", "Noah", "Aisha", "Liam", "Sofia", "Kenji", "Amara", "Lucas", "Ines", "Mateo", "Freya", "Omar", "Chloe",
    "Ravi", "Nora", "Tomasz", "Leila", "Hugo", "Yuna", "Emil", "Zoe", "Jonas", "Priya", "Elias", "Maya", "Anton",
    "Lucia", "Idris", "Hana", "Felix", "Ada", "Bruno", "Thea", "Samir", "Clara", "Diego", "Iris", "Nils", "Rosa",
    "Viktor",
)
# fmt: on

TOPICS = {Click: "clicks", Browse: "browses", Purchase: "purchases"}
REMEMBERED = 20
"""The items of this many latest events are not new to a shopper."""
OWNED = 32
"""A shopper does not buy the items of this many latest purchases again."""

_P_BUY = 0.12
_P_FOLLOW = 0.25
_P_REVISIT = 0.06
_P_STRAY = 0.08
_SECOND_CATEGORY = 0.6
_FAVOURITE_BRAND = 3.0
_FOLLOWED = 6
"""Number of items at the top of a recommendation list that shoppers look at."""


@dataclass(frozen=True)
class Taste:
    """What a shopper wants: two categories of a department, and the brands that the shopper prefers."""

    department: str
    categories: tuple[str, ...]
    brands: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.department}: {', '.join(self.categories)}"

    def fits(self, item: CatalogItem) -> bool:
        """Tell whether an item fits the taste."""
        return item.category == [self.department, item.category[-1]] and item.category[-1] in self.categories


@dataclass(frozen=True)
class Shown:
    """A recommendation list as the shopper sees it."""

    recommendation_id: str
    item_ids: Sequence[str]


@dataclass(frozen=True)
class Step:
    """An event of a shopper, and how it came about."""

    event: Event
    new_taste: bool
    """Whether it is the first event of a new taste."""
    organic: bool
    """Whether the shopper chose the item freely, regardless of recommendations; such an item is new to the shopper."""

    @property
    def topic(self) -> str:
        """The topic of the event, without the namespace."""
        return TOPICS[type(self.event)]


class Shopper:
    """One shopper. The same number, seed and lists always lead to the same events."""

    def __init__(self, shop: Shop, number: int, seed: int, lifetime: tuple[int, int] = (8, 14)) -> None:
        """``lifetime``: the least and the greatest number of events until the taste changes."""
        self.name = NAMES[number % len(NAMES)] + (f" {number // len(NAMES) + 1}" if number >= len(NAMES) else "")
        self.user_id = self.name.lower().replace(" ", "-")
        self._shop, self._lifetime = shop, lifetime
        self._rng = np.random.default_rng([seed, 1, number])
        self._events = 0
        self._seen: deque[str] = deque(maxlen=REMEMBERED)
        self._purchased: deque[str] = deque(maxlen=OWNED)
        self._visit = 0
        self._turn_to(None)

    def _turn_to(self, last: Taste | None) -> None:
        rng = self._rng
        departments = [name for name in BRANDS if last is None or name != last.department]
        department = str(rng.choice(departments))
        categories = [shelf.category for shelf in SHELVES if shelf.department == department]
        self.taste = Taste(
            department,
            tuple(str(category) for category in rng.permutation(categories)[:2]),
            tuple(str(brand) for brand in rng.permutation(BRANDS[department])[:2]),
        )
        self._left = int(rng.integers(self._lifetime[0], self._lifetime[1], endpoint=True))
        self._odds = self._shop.popularity * np.array([self._affinity(item) for item in self._shop.items])
        self._visit += 1

    def _affinity(self, item: CatalogItem) -> float:
        if not self.taste.fits(item):
            return 0.0
        brand = _FAVOURITE_BRAND if item.brand in self.taste.brands else 1.0
        return brand * (1.0 if item.category[-1] == self.taste.categories[0] else _SECOND_CATEGORY)

    def pause_s(self, mean_s: float) -> float:
        """Draw the seconds until the next step; at least 0.4 of the mean, so that two steps don't coincide."""
        return float(mean_s * (0.4 + 0.6 * self._rng.exponential()))

    def step(self, now_ms: int, shown: Shown | None) -> Step:
        """Do the next event at ``now_ms`` (UTC); the shopper sees a page with the list ``shown``."""
        new_taste = self._left == 0
        if new_taste:
            self._turn_to(self.taste)
        self._left -= 1
        self._events += 1
        common = {
            "event_id": f"{self.user_id}-{self._events}",
            "user_id": self.user_id,
            "event_time_ms": now_ms,
            "session_id": f"{self.user_id}-visit-{self._visit}",
        }
        event, organic = self._choose(common, None if new_taste else shown, new_taste)
        self._seen.append(event.item_id)
        return Step(event, new_taste, organic)

    def _choose(self, common: dict[str, object], shown: Shown | None, new_taste: bool) -> tuple[Event, bool]:
        chance = self._rng.random()
        if not new_taste and chance < _P_BUY and self._seen and self._seen[-1] not in self._purchased:
            return self._buy(common, self._seen[-1]), False
        if shown is not None and chance < _P_BUY + _P_FOLLOW:
            event = self._follow(common, shown)
            if event is not None:
                return event, False
        if not new_taste and self._seen and self._rng.random() < _P_REVISIT:
            return self._look(common, str(self._rng.choice(list(self._seen)))), False
        stray = not new_taste and self._rng.random() < _P_STRAY
        item_id = self._draw(self._shop.popularity if stray else self._odds)
        return self._look(common, item_id), True

    def _draw(self, odds: NDArray[np.float64]) -> str:
        fresh = odds * self._not_in([*self._seen, *self._purchased])
        # a shopper who owns everything else of the taste buys again
        odds = fresh if fresh.any() else odds * self._not_in(self._seen)
        return self._shop.items[int(self._rng.choice(len(odds), p=odds / odds.sum()))].item_id

    def _not_in(self, known: Iterable[str]) -> NDArray[np.bool_]:
        known = set(known)
        return np.array([item.item_id not in known for item in self._shop.items])

    def _look(self, common: dict[str, object], item_id: str) -> Event:
        common["item_id"] = item_id
        if self._rng.random() < 0.6:
            category = self._shop.by_id[item_id].category[-1]
            return Click(**common, list=f"category: {category}", position=int(self._rng.integers(24)))  # type: ignore[arg-type]
        return Browse(**common, dwell_ms=int(self._rng.exponential(20_000)))  # type: ignore[arg-type]

    def _buy(self, common: dict[str, object], item_id: str) -> Event:
        self._purchased.append(item_id)
        item = self._shop.by_id[item_id]
        return Purchase(**common, item_id=item_id, price=item.price, currency=item.currency)  # type: ignore[arg-type]

    def _follow(self, common: dict[str, object], shown: Shown) -> Event | None:
        """Click on an item of the list that fits the shopper's taste; None if no item does."""
        known = {*self._seen, *self._purchased}
        tempting = [
            position
            for position, item_id in enumerate(shown.item_ids[:_FOLLOWED])
            if item_id not in known and item_id in self._shop.by_id and self.taste.fits(self._shop.by_id[item_id])
        ]
        if not tempting:
            return None
        position = int(self._rng.choice(tempting))
        return Click(
            **common,  # type: ignore[arg-type]
            item_id=shown.item_ids[position],
            list="recommendations",
            position=position,
            recommendation_id=shown.recommendation_id,
        )
