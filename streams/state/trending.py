"""Trending items: decayed counts for each partition, kept by the partition's owner and summed by every worker.

An owner counts every item of its own partitions. Of other partitions it knows only the largest counts, which their
owners publish. So the sum is exact with one worker and nearly exact with several.
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
    """How many items are counted, kept, ranked and published."""

    published: int = 500
    """Items of a partition that are saved and published."""
    ranked: int = 1_100
    """Items that are ranked: as many as the longest list holds, plus items that may be excluded from it."""
    prune_at: int = 200_000
    """Counted items above which the rarest are dropped. An item costs some 200 bytes, and 8 more a partition."""
    kept: int = 100_000
    """Items that are kept when the rarest are dropped."""
    top_every_ms: int = 1_000
    """Milliseconds for which a ranking is reused."""


_MOST_WAITING = 1_000
"""Calls of `Trending.count` whose events may wait to be counted."""
_LEAD_MS = 3_600_000
"""Counts whose time is further ahead come from a wrong clock, and would outweigh all others for years: ignored."""

_REBASE_AT = 32.0
"""Half-lives after which counts are decayed to a newer reference time."""


class Trending:
    """Counts the items of owned partitions, and ranks items by their counts over all partitions."""

    def __init__(
        self,
        half_life_s: float,
        type_weights: Sequence[float],
        now_ms: Callable[[], int],
        limits: TrendingLimits | None = None,
    ) -> None:
        """Take weights in the order of EVENT_TYPES, and a clock: ``now_ms`` returns UTC milliseconds."""
        self._now_ms = now_ms
        self._limits = limits or TrendingLimits()
        self._half_life_ms = half_life_s * 1000
        self._weights = np.asarray(type_weights, np.float64)
        self._items: list[str] = []  # items counted in any owned partition
        self._number: dict[str, int] = {}  # the index of each item in the arrays of counts
        self._counts: dict[int, Float64Array] = {}  # by partition; may be shorter than _items
        self._reference: dict[int, int] = {}  # by partition: the time (UTC ms) at which an event counts 1
        self._newest: dict[int, int] = {}  # by partition: the largest event time (UTC ms) counted
        self._changed: set[int] = set()
        self._waiting: list[tuple[Int32Array, Sequence[str], UInt8Array, Int64Array]] = []
        self._published: dict[int, TrendingCounts] = {}
        self._top: list[tuple[str, float]] = []
        self._top_ms = 0  # when _top was ranked

    def count(
        self,
        partitions: Int32Array,
        item_ids: Sequence[str],
        types: UInt8Array,
        times: Int64Array,
    ) -> None:
        """Add B events. They wait, and are counted before the counts are read next.

        Parameters
        ----------
        partitions : int32 array of shape (B,), the partitions of the users
        item_ids : B item ids
        types : uint8 array of shape (B,), indexes in EVENT_TYPES
        times : int64 array of shape (B,), UTC milliseconds
        """
        if item_ids:
            self._waiting.append((partitions, item_ids, types, np.minimum(times, self._now_ms())))
            if len(self._waiting) > _MOST_WAITING:
                self._settle()

    def _settle(self) -> None:
        """Count the events that wait."""
        if not self._waiting:
            return
        waiting, self._waiting = self._waiting, []
        columns = list(zip(*waiting, strict=True))
        partitions, types, times = (np.concatenate(columns[index]) for index in (0, 2, 3))
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
        """Return the counts of a partition, with an entry for every item."""
        counts = self._counts.setdefault(partition, np.empty(0))
        if len(counts) < len(self._items):
            wider = np.zeros(max(len(self._items), 2 * len(counts)))
            wider[: len(counts)] = counts
            self._counts[partition] = counts = wider
        return counts

    def _prune(self) -> None:
        """Drop the items with the smallest counts over all owned partitions."""
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
        """Return the share of a count of ``then_ms`` that is left at ``now_ms``."""
        return float(2.0 ** (-(now_ms - then_ms) / self._half_life_ms))

    def take_changed(self) -> dict[int, "TakenCounts"]:
        """Return the counts of partitions that changed since the last call, to be saved and published."""
        self._settle()
        changed = {
            partition: TakenCounts(
                partition, self._newest[partition], self._as_of_newest(partition), self._items, self._limits.published
            )
            for partition in self._changed
            if partition in self._counts
        }
        self._changed.clear()
        return changed

    def _as_of_newest(self, partition: int) -> Float64Array:
        """Copy the counts of a partition, decayed to its newest event time."""
        return self._counts[partition] * self._left(self._reference[partition], self._newest[partition])

    def mark_changed(self, partitions: Iterable[int]) -> None:
        """Mark partitions as changed again, after a save of their counts has failed."""
        self._changed.update(partition for partition in partitions if partition in self._counts)

    def _own_sum(self, time_ms: int) -> Float64Array:
        """Add the counts of all owned partitions, decayed to ``time_ms``: one for each item of ``_items``."""
        total = np.zeros(len(self._items))
        for partition, counts in self._counts.items():
            counted = counts[: len(total)]
            total[: len(counted)] += counted * self._left(self._reference[partition], time_ms)
        return total

    def adopt(self, partition: int, state: bytes) -> None:
        """Continue from the saved counts of a newly owned partition. A saved state that can't be read is ignored."""
        self._settle()
        counts = decode_published(state)
        if counts is not None and counts.time_ms <= self._now_ms() + _LEAD_MS:
            numbers = self._numbers([item for item, _ in counts.items])
            self._counts.pop(partition, None)
            self._with_room(partition)[numbers] = [count for _, count in counts.items]
            self._reference[partition] = self._newest[partition] = counts.time_ms

    def release_all_but(self, partitions: Collection[int]) -> None:
        """Forget the counts of all partitions except these, which are owned here."""
        self._settle()
        for partition in self._counts.keys() - set(partitions):
            del self._counts[partition], self._reference[partition], self._newest[partition]
            self._changed.discard(partition)

    def publish_seen(self, counts: TrendingCounts) -> None:
        """Accept the counts that the owner of another partition published."""
        if counts.time_ms <= self._now_ms() + _LEAD_MS:
            self._published[counts.partition] = counts

    def top(self) -> list[tuple[str, float]]:
        """Return the result of `ranked`, which is computed anew every ``top_every_ms``."""
        now_ms = self._now_ms()
        if not self._top or not 0 <= now_ms - self._top_ms < self._limits.top_every_ms:
            self._top_ms = now_ms
            self._top = self.ranked()
        return self._top

    def ranked(self) -> list[tuple[str, float]]:
        """Rank items by their counts over all partitions: pairs of item id and share of the largest count.

        Owned partitions have their present counts, the others the counts that were published last.
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
    """A copy of a partition's counts of all items. `encode` may run in any thread."""

    partition: int
    time_ms: int
    counts: Float64Array
    items: list[str]  # only ever appended to
    published: int

    def encode(self) -> bytes:
        """Encode the largest counts, to be saved and published."""
        items = _largest(self.counts, self.items, self.published)
        return encode(TrendingCounts(partition=self.partition, time_ms=self.time_ms, items=items))


def _largest(counts: Float64Array, items: Sequence[str], most: int) -> list[tuple[str, float]]:
    """Return up to ``most`` items with the largest counts above 0; ``counts`` has the order of ``items``."""
    numbers = np.flatnonzero(counts > 0)
    if len(numbers) > most:
        at_least = np.partition(counts[numbers], -most)[-most]
        numbers = numbers[counts[numbers] >= at_least]  # keeps all that tie for the last rank: the id decides
    pairs = zip((items[number] for number in numbers.tolist()), counts[numbers].tolist(), strict=True)
    return _best(pairs, most)


def _best(counts: Iterable[tuple[str, float]], most: int) -> list[tuple[str, float]]:
    # the id breaks ties, so that all workers rank alike
    return heapq.nsmallest(most, counts, key=lambda pair: (-pair[1], pair[0]))


def decode_published(value: bytes) -> TrendingCounts | None:
    """Decode published counts; None if the record can't be read, for example because a newer release wrote it."""
    try:
        return msgspec.json.decode(value, type=TrendingCounts)
    except msgspec.MsgspecError:
        return None
