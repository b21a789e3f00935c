"""What is popular now: decayed counts per partition, kept by the partition's owner, summed by everybody.

An owner counts every item, and knows of the others' partitions what they publish: their largest counts. So the sum is
exact for one worker, and nearly so for several.
"""

import heapq
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass

import msgspec
import numpy as np

from schemas.codec import encode
from schemas.trending import TrendingCounts
from streams.arrays import Float64Array, Int32Array, Int64Array, IntpArray, UInt8Array


@dataclass(frozen=True, kw_only=True)
class TrendingLimits:
    """How much is counted, kept and told."""

    published: int = 500
    """Items of a partition that are saved and published."""
    ranked: int = 1_100
    """Items that are ranked: as many as the longest list holds, and some that may be excluded from it."""
    prune_at: int = 200_000
    """Items counted at which the rarest are dropped: they cost some 200 bytes each, and 8 more a partition."""
    kept: int = 100_000
    """Items that stay then."""
    top_every_ms: int = 1_000
    """How long a ranking is good for."""


_MOST_WAITING = 1_000
"""Groups of events that wait to be counted."""
_LEAD_MS = 3_600_000
"""Counts of a time so far ahead come from a wrong clock: they would outweigh everything for years."""

_REBASE_AT = 32.0
"""Half-lives after which counts are decayed to a newer reference time."""


class Trending:
    """Counts of the partitions owned here, and the sum of all partitions' published counts."""

    def __init__(
        self,
        half_life_s: float,
        type_weights: Sequence[float],
        now_ms: Callable[[], int],
        limits: TrendingLimits | None = None,
    ) -> None:
        """``type_weights`` are by the places of EVENT_TYPES; ``now_ms`` tells UTC milliseconds."""
        self._now_ms = now_ms
        self._limits = limits or TrendingLimits()
        self._half_life_ms = half_life_s * 1000
        self._weights = np.asarray(type_weights, np.float64)
        self._items: list[str] = []  # counted here, in any partition
        self._number: dict[str, int] = {}  # of each of them: its place in the arrays of counts
        self._counts: dict[int, Float64Array] = {}  # by partition: at least as long as the largest number it counted
        self._reference: dict[int, int] = {}  # the time (UTC ms) at which an event counts 1
        self._newest: dict[int, int] = {}  # the largest event time (UTC ms) counted
        self._changed: set[int] = set()
        self._waiting: list[tuple[Int32Array, Sequence[str], UInt8Array, Int64Array]] = []
        self._published: dict[int, TrendingCounts] = {}
        self._top: list[tuple[str, float]] = []
        self._top_ms = 0  # when it was ranked

    def count(
        self,
        partitions: Int32Array,
        item_ids: Sequence[str],
        types: UInt8Array,
        times: Int64Array,
    ) -> None:
        """Take note of events; they are counted when somebody asks.

        Parameters
        ----------
        partitions : int32 array of shape (B,), those of the users
        item_ids : B items
        types : uint8 array of shape (B,), places in EVENT_TYPES
        times : int64 array of shape (B,), UTC milliseconds
        """
        if item_ids:
            self._waiting.append((partitions, item_ids, types, np.minimum(times, self._now_ms())))
            if len(self._waiting) > _MOST_WAITING:
                self._settle()

    def _settle(self) -> None:
        """Count what waits."""
        if not self._waiting:
            return
        waiting, self._waiting = self._waiting, []
        columns = list(zip(*waiting, strict=True))
        partitions, types, times = (np.concatenate(columns[place]) for place in (0, 2, 3))
        numbers = self._numbers([item for items in columns[1] for item in items])
        weights = self._weights[types]
        for partition in set(partitions.tolist()):
            own = np.flatnonzero(partitions == partition)
            self._add(partition, numbers[own], weights[own], times[own])
        if len(self._items) > self._limits.prune_at:
            self._prune()

    def _add(self, partition: int, numbers: IntpArray, weights: Float64Array, times: Int64Array) -> None:
        newest = max(self._newest.get(partition, 0), int(times.max()))
        self._newest[partition] = newest
        reference = self._reference.setdefault(partition, newest)
        if (newest - reference) / self._half_life_ms > _REBASE_AT:
            reference = self._rebase(partition, newest)
        grown = weights * np.exp2((times - reference) / self._half_life_ms)
        np.add.at(self._with_room(partition), numbers, grown)
        self._changed.add(partition)

    def _numbers(self, item_ids: Sequence[str]) -> IntpArray:
        known = self._number
        for item in item_ids:
            if item not in known:
                known[item] = len(self._items)
                self._items.append(item)
        return np.fromiter(map(known.__getitem__, item_ids), np.intp, len(item_ids))

    def _with_room(self, partition: int) -> Float64Array:
        """The counts of a partition, with a place for every item."""
        counts = self._counts.setdefault(partition, np.empty(0))
        if len(counts) < len(self._items):
            wider = np.zeros(max(len(self._items), 2 * len(counts)))
            wider[: len(counts)] = counts
            self._counts[partition] = counts = wider
        return counts

    def _prune(self) -> None:
        """Drop the items that count least, over all partitions."""
        total = self._own_sum(max(self._newest.values()))
        kept = np.sort(np.argpartition(total, -self._limits.kept)[-self._limits.kept :])
        self._counts = {partition: self._with_room(partition)[kept] for partition in list(self._counts)}
        self._items = [self._items[number] for number in kept.tolist()]
        self._number = {item: number for number, item in enumerate(self._items)}

    def _rebase(self, partition: int, time_ms: int) -> int:
        if partition in self._counts:
            self._counts[partition] *= self._left(self._reference[partition], time_ms)
        self._reference[partition] = time_ms
        return time_ms

    def _left(self, then_ms: int, now_ms: int) -> float:
        """What is left of a count after that time."""
        return float(2.0 ** (-(now_ms - then_ms) / self._half_life_ms))

    def take_changed(self) -> dict[int, "TakenCounts"]:
        """Counts of partitions that changed since the last call: what is saved and published."""
        self._settle()
        taken = {
            partition: TakenCounts(
                partition, self._newest[partition], self._as_of_newest(partition), self._items, self._limits.published
            )
            for partition in self._changed
            if partition in self._counts
        }
        self._changed.clear()
        return taken

    def _as_of_newest(self, partition: int) -> Float64Array:
        """A copy."""
        return self._counts[partition] * self._left(self._reference[partition], self._newest[partition])

    def mark_changed(self, partitions: Iterable[int]) -> None:
        """Take a failed save back: these have to be saved again."""
        self._changed.update(partition for partition in partitions if partition in self._counts)

    def _own_sum(self, time_ms: int) -> Float64Array:
        """The counts by number of all partitions owned here, as of a time."""
        total = np.zeros(len(self._items))
        for partition, counts in self._counts.items():
            counted = counts[: len(total)]
            total[: len(counted)] += counted * self._left(self._reference[partition], time_ms)
        return total

    def adopt(self, partition: int, state: bytes) -> None:
        """Go on from a saved state: the partition is owned here now. One that can't be read is counted anew."""
        self._settle()
        counts = decode_published(state)
        if counts is not None and counts.time_ms <= self._now_ms() + _LEAD_MS:
            numbers = self._numbers([item for item, _ in counts.items])
            self._counts.pop(partition, None)
            self._with_room(partition)[numbers] = [count for _, count in counts.items]
            self._reference[partition] = self._newest[partition] = counts.time_ms

    def release_all_but(self, partitions: Collection[int]) -> None:
        """Forget the counts of partitions that are owned elsewhere now."""
        self._settle()
        for partition in self._counts.keys() - set(partitions):
            del self._counts[partition], self._reference[partition], self._newest[partition]
            self._changed.discard(partition)

    def publish_seen(self, counts: TrendingCounts) -> None:
        """Take in what some owner published."""
        if counts.time_ms <= self._now_ms() + _LEAD_MS:
            self._published[counts.partition] = counts

    def top(self) -> list[tuple[str, float]]:
        """Of ``ranked``, as of the last second."""
        now_ms = self._now_ms()
        if not self._top or not 0 <= now_ms - self._top_ms < self._limits.top_every_ms:
            self._top_ms = now_ms
            self._top = self.ranked()
        return self._top

    def ranked(self) -> list[tuple[str, float]]:
        """Items by their count over all partitions, the largest first; counts are shares of the largest.

        Partitions owned here count as they stand, the others as they were last published.
        """
        self._settle()
        others = [counts for partition, counts in {**self._published}.items() if partition not in self._counts]
        newest = max([*self._newest.values(), *(counts.time_ms for counts in others)], default=0)
        own = self._own_sum(newest)
        total = dict(_largest(own, self._items, self._limits.ranked))
        for counts in others:
            left = self._left(counts.time_ms, newest)
            for item, count in counts.items:
                if item not in total:
                    number = self._number.get(item)
                    total[item] = 0.0 if number is None else float(own[number])
                total[item] += count * left
        ranked = _best(total.items(), self._limits.ranked) if others else list(total.items())
        largest = ranked[0][1] if ranked else 1.0
        return [(item, count / largest) for item, count in ranked if count > 0]


@dataclass(frozen=True)
class TakenCounts:
    """A partition's counts of all items at a moment. Its largest can be looked for in any thread."""

    partition: int
    time_ms: int
    counts: Float64Array
    items: list[str]  # only ever appended to
    published: int

    def encode(self) -> bytes:
        """What is saved and published."""
        items = _largest(self.counts, self.items, self.published)
        return encode(TrendingCounts(partition=self.partition, time_ms=self.time_ms, items=items))


def _largest(counts: Float64Array, items: Sequence[str], most: int) -> list[tuple[str, float]]:
    """Of the counts, those of ``items`` by their place, the largest above 0."""
    numbers = np.flatnonzero(counts > 0)
    if len(numbers) > most:
        at_least = np.partition(counts[numbers], -most)[-most]
        numbers = numbers[counts[numbers] >= at_least]  # all that share the last place: the id decides
    found = zip((items[number] for number in numbers.tolist()), counts[numbers].tolist(), strict=True)
    return _best(found, most)


def _best(counts: Iterable[tuple[str, float]], most: int) -> list[tuple[str, float]]:
    # the id breaks ties, so that all workers rank alike
    return heapq.nsmallest(most, counts, key=lambda pair: (-pair[1], pair[0]))


def decode_published(value: bytes) -> TrendingCounts | None:
    """Counts from the topic, None where the record can't be read (a newer release's, say)."""
    try:
        return msgspec.json.decode(value, type=TrendingCounts)
    except msgspec.MsgspecError:
        return None
