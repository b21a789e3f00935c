"""How good the recommendations are: hits against two rivals, how soon they follow a new taste, how fast they come.

A list is judged by what its shopper does next of their own accord: what they pick from a recommendation list says
nothing about it, and what they saw before is in none of the lists. All three lists know what the shopper has just seen.
"""

from collections import Counter, defaultdict, deque
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from streams.demo.shoppers import REMEMBERED, Step

RECOMMENDED, TRENDING, RANDOM = "recommended", "trending", "random"
LEAST_CHOICES = 50
"""Choices below which a comparison of hit rates says nothing."""


class HitRates:
    """Hits of three lists of ``k`` on the same choices."""

    def __init__(self, item_ids: Sequence[str], k: int, seed: int) -> None:
        self.k = k
        self.choices = 0
        self.hits = {RECOMMENDED: 0, TRENDING: 0, RANDOM: 0}
        self._item_ids = list(item_ids)
        self._rng = np.random.default_rng([seed, 2])
        self._popular: Counter[str] = Counter()
        self._seen: dict[str, deque[str]] = defaultdict(lambda: deque(maxlen=REMEMBERED))

    def judge(self, step: Step, recommended: Sequence[str] | None) -> None:
        """Score one step against the list that its shopper had before it (None: none yet), then learn from it."""
        user, item = step.event.user_id, step.event.item_id
        seen = self._seen[user]
        if step.organic and recommended is not None and item not in seen:
            self.choices += 1
            self.hits[RECOMMENDED] += item in recommended[: self.k]
            self.hits[TRENDING] += item in self._trending(seen)
            self.hits[RANDOM] += item in self._random(seen)
        seen.append(item)
        self._popular[item] += 1

    def _trending(self, seen: deque[str]) -> list[str]:
        ranked = (item for item, _ in self._popular.most_common(self.k + REMEMBERED))
        return [item for item in ranked if item not in seen][: self.k]

    def _random(self, seen: deque[str]) -> list[str]:
        drawn = self._rng.choice(len(self._item_ids), size=min(len(self._item_ids), self.k + len(seen)), replace=False)
        return [self._item_ids[place] for place in drawn.tolist() if self._item_ids[place] not in seen][: self.k]

    def rate(self, name: str) -> float:
        """Share of the choices that lay in the list; 0 before the first."""
        return self.hits[name] / self.choices if self.choices else 0.0


class TasteChanges:
    """Events from a change of taste until most of the list lies in the new taste."""

    def __init__(self) -> None:
        self.followed: Counter[int] = Counter()
        """Changes by the events that it took."""
        self.missed = 0
        """Changes that the next change overtook."""
        self._open: dict[str, tuple[int, int]] = {}  # shopper -> number of the taste's first event, events in vain

    @property
    def count(self) -> int:
        """Changes of taste so far."""
        return self.followed.total() + self.missed + len(self._open)

    def changed(self, user_id: str, event_number: int) -> None:
        """A new taste begins with the shopper's ``event_number``-th event."""
        if user_id in self._open:
            self.missed += 1
        self._open[user_id] = event_number, 0

    def recommended(self, user_id: str, event_number: int, fitting: int, shown: int) -> None:
        """The list after an event has ``fitting`` of ``shown`` items in the taste of that time."""
        first, _ = self._open.get(user_id, (event_number + 1, 0))
        if event_number < first:
            return
        events = event_number - first + 1
        if 2 * fitting > shown:
            self.followed[events] += 1
            del self._open[user_id]
        else:
            self._open[user_id] = first, events

    def median(self) -> float | None:
        """Events after which half of the changes were followed; infinite if too many never are, None if not yet known.

        The Kaplan-Meier estimate: a change that is still open counts for the events it has had, as leaving it out would
        count the quick ones alone. One that was overtaken is never followed.
        """
        unfollowed = 1.0
        for events in sorted(self.followed):
            at_risk = self.missed + sum(count for took, count in self.followed.items() if took >= events)
            at_risk += sum(so_far >= events for _, so_far in self._open.values())
            unfollowed *= 1 - self.followed[events] / at_risk
            if unfollowed <= 0.5:
                return float(events)
        return float("inf") if self.missed > self.followed.total() else None


@dataclass
class Latencies:
    """Milliseconds from sending an event to having the recommendation that it caused."""

    kept: deque[float] = field(default_factory=lambda: deque(maxlen=20_000))

    def add(self, ms: float) -> None:
        """One answered event."""
        self.kept.append(ms)

    def quantile(self, q: float) -> float | None:
        """The q-quantile; None before the first answer."""
        return float(np.quantile(self.kept, q)) if self.kept else None
