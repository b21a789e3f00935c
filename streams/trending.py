"""What is popular now: decayed counts per partition, kept by the partition's owner, summed by everybody."""

import heapq
import time
from collections.abc import Collection, Mapping, Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from schemas.codec import encode
from schemas.trending import TrendingCounts

PUBLISHED = 200
"""Items of a partition that are published."""
_KEPT = 1_000
_PRUNE_AT = 5_000
_TOP_EVERY_S = 1.0
_LEAD_MS = 3_600_000
"""Counts of a time so far ahead come from a wrong clock: they would outweigh everything for years."""

_REBASE_AT = 32.0
"""Half-lives after which counts are decayed to a newer reference time."""


class Trending:
    """Counts of the partitions owned here, and the sum of all partitions' published counts."""

    def __init__(self, half_life_s: float, type_weights: Sequence[float]) -> None:
        self._half_life_ms = half_life_s * 1000
        self._weights = np.asarray(type_weights, np.float64)
        self._counts: dict[int, dict[str, float]] = {}
        self._reference: dict[int, int] = {}  # the time (UTC ms) at which an event counts 1
        self._newest: dict[int, int] = {}  # the largest event time (UTC ms) counted
        self._changed: set[int] = set()
        self._published: dict[int, TrendingCounts] = {}
        self._top: list[tuple[str, float]] = []
        self._top_until = 0.0  # monotonic seconds

    def count(
        self, partition: int, item_ids: Sequence[str], types: NDArray[np.uint8], times: NDArray[np.int64]
    ) -> None:
        """Count events of one partition.

        Parameters
        ----------
        partition : the users' partition
        item_ids : B items
        types : uint8 array of shape (B,), places in EVENT_TYPES
        times : int64 array of shape (B,), UTC milliseconds
        """
        if not item_ids:
            return
        times = np.minimum(times, _now_ms())
        newest = max(self._newest.get(partition, 0), int(times.max()))
        self._newest[partition] = newest
        reference = self._reference.setdefault(partition, newest)
        if (newest - reference) / self._half_life_ms > _REBASE_AT:
            reference = self._rebase(partition, newest)
        counts = self._counts.setdefault(partition, {})
        grown = self._weights[types] * np.exp2((times - reference) / self._half_life_ms)
        for item, amount in zip(item_ids, grown.tolist(), strict=True):
            counts[item] = counts.get(item, 0.0) + amount
        if len(counts) > _PRUNE_AT:
            self._counts[partition] = dict(_largest(counts, _KEPT))
        self._changed.add(partition)

    def _rebase(self, partition: int, time_ms: int) -> int:
        kept = 2.0 ** (-(time_ms - self._reference[partition]) / self._half_life_ms)
        self._counts[partition] = {item: count * kept for item, count in self._counts.get(partition, {}).items()}
        self._reference[partition] = time_ms
        return time_ms

    def take_changed(self) -> dict[int, bytes]:
        """Encoded counts of partitions that changed since the last call: what is saved and published."""
        taken = {partition: encode(self._state(partition)) for partition in self._changed if partition in self._counts}
        self._changed.clear()
        return taken

    def mark_changed(self, partitions: Mapping[int, bytes]) -> None:
        """Take a failed save back: these have to be saved again."""
        self._changed.update(partition for partition in partitions if partition in self._counts)

    def _state(self, partition: int) -> TrendingCounts:
        newest = self._newest[partition]
        kept = 2.0 ** (-(newest - self._reference[partition]) / self._half_life_ms)
        items = [(item, count * kept) for item, count in _largest(self._counts[partition], PUBLISHED)]
        return TrendingCounts(partition=partition, time_ms=newest, items=items)

    def adopt(self, partition: int, state: bytes) -> None:
        """Go on from a saved state: the partition is owned here now. One that can't be read is counted anew."""
        counts = decode_published(state)
        if counts is not None and counts.time_ms <= _now_ms() + _LEAD_MS:
            self._counts[partition] = dict(counts.items)
            self._reference[partition] = self._newest[partition] = counts.time_ms

    def release_all_but(self, partitions: Collection[int]) -> None:
        """Forget the counts of partitions that are owned elsewhere now."""
        for partition in self._counts.keys() - set(partitions):
            del self._counts[partition], self._reference[partition], self._newest[partition]
            self._changed.discard(partition)

    def publish_seen(self, counts: TrendingCounts) -> None:
        """Take in what some owner published."""
        if counts.time_ms <= _now_ms() + _LEAD_MS:
            self._published[counts.partition] = counts

    def top(self) -> list[tuple[str, float]]:
        """Of ``ranked``, as of the last second."""
        now_s = time.monotonic()
        if not self._top or now_s >= self._top_until:
            self._top_until = now_s + _TOP_EVERY_S
            self._top = self.ranked()
        return self._top

    def ranked(self) -> list[tuple[str, float]]:
        """Items by their count over all partitions, the largest first; counts are shares of the largest.

        Partitions owned here count as they stand, the others as they were last published.
        """
        own = {partition: self._state(partition) for partition in self._counts}
        return self._sum({**self._published, **own})

    def _sum(self, parts: Mapping[int, TrendingCounts]) -> list[tuple[str, float]]:
        if not parts:
            return []
        newest = max(counts.time_ms for counts in parts.values())
        total: dict[str, float] = {}
        for counts in parts.values():
            kept = 2.0 ** (-(newest - counts.time_ms) / self._half_life_ms)
            for item, count in counts.items:
                total[item] = total.get(item, 0.0) + count * kept
        ranked = _largest(total, len(total))
        largest = ranked[0][1] if ranked else 1.0
        return [(item, count / largest) for item, count in ranked if count > 0]


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def _largest(counts: Mapping[str, float], n: int) -> list[tuple[str, float]]:
    # the id breaks ties, so that all workers rank alike
    return heapq.nsmallest(n, counts.items(), key=lambda pair: (-pair[1], pair[0]))


def decode_published(value: bytes) -> TrendingCounts | None:
    """Counts from the topic, None where the record can't be read (a newer release's, say)."""
    try:
        return msgspec.json.decode(value, type=TrendingCounts)
    except msgspec.MsgspecError:
        return None
