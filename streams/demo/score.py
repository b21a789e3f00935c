"""Scores the recommendations: their hits beside two other lists, how soon they follow a new taste, and their latency.

A list is scored by the next item that its shopper chooses freely. Two kinds of events don't count: a pick from the
recommendations proves nothing, and an item that the shopper has seen before is in no list. All three lists know what
the shopper has just seen.
"""

from collections import Counter, defaultdict, deque
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from streams.demo.shoppers import REMEMBERED, Step

RECOMMENDED, TRENDING, RANDOM = "recommended", "trending", "random"
LEAST_CHOICES = 50
"""With fewer choices than this, a comparison of hit rates says nothing."""


class HitRates:
    """Counts the hits of three lists of ``k`` items on the same choices."""

    def __init__(self, item_ids: Sequence[str], k: int, seed: int) -> None:
        self.k = k
        self.choices = 0
        self.hits = {RECOMMENDED: 0, TRENDING: 0, RANDOM: 0}
        self._item_ids = list(item_ids)
        self._rng = np.random.default_rng([seed, 2])
        self._popular: Counter[str] = Counter()
        self._seen: dict[str, deque[str]] = defaultdict(lambda: deque(maxlen=REMEMBERED))

    def judge(self, step: Step, recommended: Sequence[str] | None) -> None:
        """Score a step against the list that its shopper had before (None: no list yet); then count it for trending."""
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
        return [self._item_ids[index] for index in drawn.tolist() if self._item_ids[index] not in seen][: self.k]

    def rate(self, name: str) -> float:
        """Share of the choices that were in the list; 0 before the first choice."""
        return self.hits[name] / self.choices if self.choices else 0.0


class TasteChanges:
    """Counts the events from a change of taste until most of the list fits the new taste."""

    def __init__(self) -> None:
        self.followed: Counter[int] = Counter()
        """Number of changes that were followed, by the events that it took."""
        self.missed = 0
        """Number of changes that were not followed before the next change."""
        self._open: dict[str, tuple[int, int]] = {}  # shopper -> number of the taste's first event, events so far

    @property
    def count(self) -> int:
        """Number of changes of taste so far."""
        return self.followed.total() + self.missed + len(self._open)

    def changed(self, user_id: str, event_number: int) -> None:
        """Note that a new taste begins with the shopper's ``event_number``-th event."""
        if user_id in self._open:
            self.missed += 1
        self._open[user_id] = event_number, 0

    def recommended(self, user_id: str, event_number: int, fitting: int, shown: int) -> None:
        """Note that ``fitting`` of ``shown`` items of the list after an event fit the taste at that event."""
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
        """Events after which half of the changes were followed; infinite if too many never are, None if unknown yet.

        This is the Kaplan-Meier estimate. A change that is still open counts for the events that it has had; without
        it, only the quick changes would count. A change that was not followed before the next one is never followed.
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
    """Milliseconds from sending an event to receiving the list that answers it."""

    kept: deque[float] = field(default_factory=lambda: deque(maxlen=20_000))

    def add(self, ms: float) -> None:
        """Add the latency of an answered event."""
        self.kept.append(ms)

    def quantile(self, q: float) -> float | None:
        """Return the q-quantile; None before the first answer."""
        return float(np.quantile(self.kept, q)) if self.kept else None
