"""Runs the shoppers of the demo, without a clock or a client: who acts next, what they see, how lists are scored."""

import heapq
from dataclasses import dataclass, field

import numpy as np

from schemas.events import Event
from schemas.recommendation import Recommendation, RecommendedItem, Revision
from streams.demo.score import HitRates, Latencies, TasteChanges
from streams.demo.shop import Shop
from streams.demo.shoppers import Shopper, Shown, Step, Taste

K = 10
"""Number of items at the top of a list that are scored."""
_OPENING_S = 1.5
"""All shoppers come in within this time, or within one pause if a pause is longer."""


@dataclass
class Visitor:
    """A shopper, and what the storefront knows about the shopper."""

    shopper: Shopper
    steps: int = 0
    """Events so far."""
    steps_of_taste: int = 0
    """Events since the taste began."""
    last: Event | None = None
    latency_ms: float | None = None
    """Time from an event to its list, for the last list."""
    revision: Revision | None = None
    shown: Shown | None = None
    listed: list[RecommendedItem] = field(default_factory=list)
    unanswered: "dict[str, _Sent]" = field(default_factory=dict)
    """Events that are not answered by a list yet, by id, oldest first."""

    def answer(self, event_id: str) -> "list[_Sent]":
        """Remove and return the events that a list answers: the event that caused the list, and all before it."""
        if event_id not in self.unanswered:
            return []
        number = self.unanswered[event_id].number
        answered = [sent for sent in self.unanswered.values() if sent.number <= number]
        self.unanswered = {key: sent for key, sent in self.unanswered.items() if sent.number > number}
        return answered

    def fitting(self, shop: Shop, taste: Taste | None = None) -> list[bool]:
        """Tell for each of the first K items of the list whether it fits the taste (None: the present taste)."""
        taste = taste or self.shopper.taste
        items = (shop.by_id.get(listed.item_id) for listed in self.listed[:K])
        return [item is not None and taste.fits(item) for item in items]


@dataclass(frozen=True)
class _Sent:
    """An event that was sent."""

    number: int
    """Number of the event among those of its shopper, from 1."""
    taste: Taste
    time_s: float


class Mall:
    """All shoppers. Times are in seconds, of a clock that the caller chooses."""

    def __init__(
        self, shop: Shop, shoppers: int, seed: int, pause_s: float, lifetime: tuple[int, int] = (8, 14)
    ) -> None:
        self.shop, self.pause_s = shop, pause_s
        self.visitors = {
            shopper.user_id: Visitor(shopper)
            for shopper in (Shopper(shop, number, seed, lifetime) for number in range(shoppers))
        }
        self.hits = HitRates([item.item_id for item in shop.items], K, seed)
        self.changes = TasteChanges()
        self.latencies = Latencies()
        self.events = 0
        self.answered = 0
        self._due: list[tuple[float, str]] = []
        self._rng = np.random.default_rng([seed, 3])

    def open(self, now_s: float) -> None:
        """Let the shoppers in, one after the other, within the first moments."""
        delays = self._rng.uniform(0, max(_OPENING_S, self.pause_s), len(self.visitors)).tolist()
        self._due = [(now_s + delay, user) for user, delay in zip(self.visitors, delays, strict=True)]
        heapq.heapify(self._due)

    def next_due_s(self) -> float:
        """The time at which the next shopper acts."""
        return self._due[0][0]

    def act(self, now_s: float, now_ms: int) -> list[Step]:
        """Let every shopper act whose time has come, and score each step against the list that the shopper has."""
        steps = []
        while self._due and self._due[0][0] <= now_s:
            _, user = self._due[0]
            visitor = self.visitors[user]
            heapq.heapreplace(self._due, (now_s + visitor.shopper.pause_s(self.pause_s), user))
            steps.append(self._step(visitor, now_s, now_ms))
        return steps

    def _step(self, visitor: Visitor, now_s: float, now_ms: int) -> Step:
        shown = visitor.shown
        step = visitor.shopper.step(now_ms, shown)
        user = step.event.user_id
        self.hits.judge(step, None if shown is None else shown.item_ids)
        self.events += 1
        visitor.steps += 1
        visitor.steps_of_taste += 1
        visitor.last = step.event
        if step.new_taste:
            visitor.steps_of_taste = 1
            self.changes.changed(user, visitor.steps)
        visitor.unanswered[step.event.event_id] = _Sent(visitor.steps, visitor.shopper.taste, now_s)
        return step

    def receive(self, recommendation: Recommendation, now_s: float) -> None:
        """Receive a list that arrived at ``now_s``; a list that is not newer than the shopper's own is ignored."""
        visitor = self.visitors.get(recommendation.user_id)
        if visitor is None or (visitor.revision is not None and recommendation.revision <= visitor.revision):
            return
        visitor.revision = recommendation.revision
        visitor.listed = recommendation.items
        visitor.shown = Shown(recommendation.recommendation_id, [item.item_id for item in recommendation.items])
        answered = visitor.answer(recommendation.cause.event_id)
        for sent in answered:
            visitor.latency_ms = 1000 * (now_s - sent.time_s)
            self.latencies.add(visitor.latency_ms)
        self.answered += len(answered)
        if answered:
            cause = answered[-1]
            fitting = visitor.fitting(self.shop, cause.taste)
            self.changes.recommended(recommendation.user_id, cause.number, sum(fitting), len(fitting))
