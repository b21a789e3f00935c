"""Finds the candidates for a user's best items, by int8 vectors in tiles.

An undivided search scores all items, and its candidates hold the exact best, by the bounds of ``tile_search_kernels``.
A divided search is an inverted file (IVF; Jegou, Douze, Schmid: Product quantization for nearest neighbor search,
2011): items are clustered, each centroid has an inverted list of its items, and a search scores the ``nprobe`` lists
that are nearest to the user. The lists hold whole vectors, not product codes. A score is ``user . vector + bias``, so
items are clustered with their bias as one more axis.
"""

import threading
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from encoders.arrays import Float32Array, Int8Array, Int32Array, Int64Array, UInt8Array
from encoders.index import tile_search_kernels as kernels
from encoders.index.int8_tile_scores import AXES, TILE
from encoders.index.item_index import IndexSnapshot, ItemIndex

_PER_ROOT = 4.0  # lists for each square root of the items: choosing lists and scanning them then cost about the same
_TRAINED_ON = 40  # items for each list that k-means sees
_ROUNDS = 6  # of k-means
_BLOCK = 2_048  # items that are assigned to lists at once
_SPARE = 1.25  # tiles to allocate for each tile needed, so that later items find room
_WORN = 1.6  # with more than this times the tiles of the build, the lists are out of date
_ROUNDING = np.float32(1e-5)  # of a score's parts: far above the difference of float32 sums in two orders
_DEVIATIONS = 3.0  # of an error, in standard deviations, that the bounds of a divided search allow for


@dataclass(frozen=True, slots=True)
class FoundItems:
    """Candidates: the items that may be among the best of B users, in no order."""

    rows: Int32Array  # (B, room), -1 behind the last candidate
    highs: Float32Array  # (B, room), the highest possible score of each candidate
    counts: Int64Array  # (B,), candidates of each user


class TileSearch:
    """The items of an index as int8 tiles, in inverted lists or in one list. Thread-safe.

    Attributes
    ----------
    nlist : number of inverted lists
    divided : whether a search probes some of the lists only; if not, its candidates hold all of the best
    version : version of the index that the tiles agree with
    """

    def __init__(self, centroids: Float32Array | None, dimension: int, score_scale: float, items: int) -> None:
        self.nlist = 1 if centroids is None else len(centroids)
        self.divided = centroids is not None
        self.version = 0
        self._lock = threading.Lock()  # a search must not meet a tile that is being filled
        self._scale = np.float32(score_scale)
        self._reach = _reach_of_most(dimension) if self.divided else np.float32(1)
        self._centroids = centroids  # (nlist, d + 1): vectors times the score scale, and bias
        self._built_tiles = 0
        # a random rotation: no axis stands out then, which halves the error of the codes
        rotation = np.linalg.qr(np.random.default_rng(0).standard_normal((dimension, dimension)))[0]
        self._rotation: Float32Array = np.pad(rotation.astype(np.float32), ((0, 0), (0, -dimension % AXES)))
        self._columns: Int64Array = np.full(items, -1, np.int64)  # where each row is, as in ``store_items``
        self._first_tile: Int64Array = np.full(self.nlist, -1, np.int64)
        self._used: Int64Array = np.zeros(1, np.int64)
        self._next_tile: Int64Array = np.empty(0, np.int64)
        self._list_of: Int64Array = np.empty(0, np.int64)
        self._filled: Int64Array = np.empty(0, np.int64)
        self._tiles: UInt8Array = np.empty((0, self._rotation.shape[1] // AXES, TILE, AXES), np.uint8)
        self._scales: Float32Array = np.empty((0, TILE), np.float32)
        self._biases: Float32Array = np.empty((0, TILE), np.float32)
        self._rows: Int32Array = np.empty((0, TILE), np.int32)
        self._spans: Float32Array = np.empty((0, 2), np.float32)
        self._assigner: _NearestCentroid | None = None
        if centroids is not None:
            self._assigner = _NearestCentroid(centroids)
            vectors, biases = np.ascontiguousarray(centroids[:, :-1] / self._scale), centroids[:, -1].copy()
            self._centroid_items = IndexSnapshot(vectors, biases, 0)
            self._coarse = TileSearch.undivided(self._centroid_items, score_scale)
            self._coarse._reach = np.float32(0)  # of two lists that are nearly equally near, either will do

    @classmethod
    def undivided(cls, snapshot: IndexSnapshot, score_scale: float) -> "TileSearch":
        """Store all available items in one list. The parameters are those of ``build``."""
        # takes milliseconds for 10,000 items
        search = cls(None, snapshot.items.shape[1], score_scale, len(snapshot.bias))
        search._fill(snapshot)
        return search

    @classmethod
    def build(cls, snapshot: IndexSnapshot, score_scale: float, seed: int = 0) -> "TileSearch":
        """Cluster all available items, and store them in inverted lists. Run it in a thread, then call ``refresh``.

        Parameters
        ----------
        snapshot : the index, N items; the first ``refresh`` corrects rows that changed during the build
        score_scale : of the encoder; a score is ``score_scale * user . vector + bias``
        seed : of the random numbers of k-means
        """
        # takes seconds of one core for a million items
        available = np.flatnonzero(snapshot.bias > -np.inf)
        rng = np.random.default_rng(seed)
        count = int(max(1, min(len(available), _PER_ROOT * np.sqrt(len(available)))))
        points = _points(snapshot, rng.permutation(available)[: _TRAINED_ON * count], np.float32(score_scale))
        centroids = _k_means(points, count, rng) if len(points) else np.zeros((1, points.shape[1]), np.float32)
        search = cls(centroids, snapshot.items.shape[1], score_scale, len(snapshot.bias))
        search._fill(snapshot)
        return search

    @property
    def worn(self) -> bool:
        """Whether so many items changed that a new build would search faster."""
        return self.divided and bool(self._used[0] > _WORN * self._built_tiles)

    @property
    def nbytes(self) -> int:
        """Bytes held by the arrays."""
        arrays = (self._tiles, self._scales, self._biases, self._rows, self._columns)
        return sum(array.nbytes for array in arrays) + (0 if self._centroids is None else self._centroids.nbytes)

    def refresh(self, index: ItemIndex) -> None:
        """Apply the changes of the index since the last call: new items, other vectors, other biases."""
        snapshot = index.snapshot()
        with self._lock:
            if snapshot.version != self.version:
                rows = index.changed_since(self.version)
                self._store(snapshot, rows, self._lists_of(snapshot, rows))
                self.version = snapshot.version

    def search(self, users: Float32Array, snapshot: IndexSnapshot, nprobe: int, count: int) -> FoundItems:
        """Find the candidates for the ``count`` best items of each of B users.

        Parameters
        ----------
        users : float32 array of shape (B, d), user vectors times the score scale; B may be 0
        snapshot : the index; it gives exact scores where the bounds leave too many items
        nprobe : inverted lists that are searched for each user; ignored by an undivided search
        count : items a user; 0 counts as 1

        Returns
        -------
        FoundItems. The candidates of an undivided search hold every item that is better than the ``count``-th best by
        more than the rounding of float32 sums, and usually two or three times as many. A user vector with a NaN has no
        candidates.
        """
        users, count = np.ascontiguousarray(users, np.float32), max(1, count)
        codes, scales, lengths, errors, offsets = self._quantised(users)
        reaches = np.empty((len(users), 2), np.float32)
        reaches[:, 0], reaches[:, 1] = self._reach * lengths, self._reach * (errors + _ROUNDING * lengths)
        if self._centroids is None:
            starts, grouped = np.array([0, len(users)]), np.arange(len(users))
        else:
            near = self._coarse.search(users, self._centroid_items, 1, min(nprobe, self.nlist))
            probed = near.rows[:, : near.counts.max(initial=0)]
            starts, grouped = np.empty(self.nlist + 1, np.int64), np.empty(probed.size, np.int64)
            kernels.group(probed, starts, grouped)
        room = kernels.ROOM * count + 2 * TILE
        candidates, highs = np.empty((len(users), room), np.int32), np.empty((len(users), room), np.float32)
        counts = np.empty(len(users), np.int64)
        with self._lock:
            kernels.scan(
                users, snapshot.items, snapshot.bias, codes, offsets, scales, reaches, starts, grouped,
                self._first_tile, self._next_tile, self._tiles, self._scales, self._biases, self._rows, self._spans,
                count, highs, candidates, counts,
            )  # fmt: skip
        return FoundItems(candidates, highs, counts)

    def _quantised(
        self, vectors: Float32Array
    ) -> tuple[Int8Array, Float32Array, Float32Array, Float32Array, Int32Array]:
        """Rotate and quantise vectors: codes, scales, lengths, errors and offsets, as ``quantise`` writes them."""
        rotated = vectors @ self._rotation  # (n, d) @ (d, D) -> (n, D)
        codes, offsets = np.empty(rotated.shape, np.int8), np.empty(len(rotated), np.int32)
        scales, lengths, errors = (np.empty(len(rotated), np.float32) for _ in range(3))
        kernels.quantise(rotated, codes, scales, lengths, errors, offsets)
        return codes, scales, lengths, errors, offsets

    def _fill(self, snapshot: IndexSnapshot) -> None:
        rows = np.flatnonzero(snapshot.bias > -np.inf)
        lists = self._lists_of(snapshot, rows)
        order = lists.argsort(kind="stable")  # the tiles of a list then lie side by side, as a scan reads them
        self._store(snapshot, rows[order], lists[order])
        self._built_tiles = int(self._used[0])
        self.version = snapshot.version

    def _lists_of(self, snapshot: IndexSnapshot, rows: Int64Array) -> Int64Array:
        """Number of the list that each row belongs to: (n,)."""
        lists = np.zeros(len(rows), np.int64)
        if self._assigner is not None:
            for start in range(0, len(rows), _BLOCK):
                points = _points(snapshot, rows[start : start + _BLOCK], self._scale)
                points[points[:, -1] == -np.inf] = 0.0
                lists[start : start + _BLOCK] = self._assigner.numbers(points)
        return lists

    def _store(self, snapshot: IndexSnapshot, rows: Int64Array, lists: Int64Array) -> None:
        """Store rows (n,) in the tiles of their lists (n,)."""
        missing = len(snapshot.bias) - len(self._columns)
        if missing > 0:
            self._columns = np.concatenate([self._columns, np.full(missing, -1, np.int64)])
        for start in range(0, len(rows), _BLOCK):
            block = rows[start : start + _BLOCK]
            codes, scales, lengths, errors, _ = self._quantised(snapshot.items[block])
            self._grow(len(block))
            kernels.store_items(
                block, lists[start : start + _BLOCK], codes, scales, lengths, errors, snapshot.bias[block],
                self._first_tile, self._next_tile, self._list_of, self._filled, self._used,
                self._tiles, self._scales, self._biases, self._rows, self._spans, self._columns,
            )  # fmt: skip

    def _grow(self, items: int) -> None:
        """Make room for ``items`` more items, whichever lists they belong to."""
        needed = int(self._used[0]) + min(items, items // TILE + self.nlist)
        have = len(self._tiles)
        if needed <= have:
            return
        extra = int(_SPARE * needed) - have

        def grown(array: npt.NDArray[Any], blank: float) -> npt.NDArray[Any]:
            return np.concatenate([array, np.full((extra, *array.shape[1:]), blank, array.dtype)])

        self._next_tile, self._filled = grown(self._next_tile, -1), grown(self._filled, 0)
        self._list_of, self._spans = grown(self._list_of, -1), grown(self._spans, 0)
        self._tiles, self._scales = grown(self._tiles, 0), grown(self._scales, 0)
        self._biases, self._rows = grown(self._biases, -np.inf), grown(self._rows, -1)


def _points(snapshot: IndexSnapshot, rows: Int64Array, scale: np.float32) -> Float32Array:
    """Points that k-means clusters, (n, d + 1): vectors times the score scale, and bias."""
    return np.concatenate([snapshot.items[rows] * scale, snapshot.bias[rows, None]], axis=1)


class _NearestCentroid:
    """Finds the nearest of centroids (C, n) for points (B, n): the centroid c with the largest p . c - |c|^2 / 2."""

    def __init__(self, centroids: Float32Array) -> None:
        self._centroids = IndexSnapshot(centroids, -0.5 * np.einsum("cn,cn->c", centroids, centroids), 0)
        self._search = TileSearch.undivided(self._centroids, 1.0)
        self._search._reach = _reach_of_most(centroids.shape[1])

    def numbers(self, points: Float32Array) -> Int64Array:
        """Number of the nearest centroid of each point: (B,)."""
        candidates = self._search.search(points, self._centroids, 0, 1)
        scores, nearest = np.empty((len(points), 1), np.float32), np.empty((len(points), 1), np.int64)
        nothing = np.empty((len(points), 0), np.int64), np.empty((len(points), 0), np.float32)
        exact = (points, self._centroids.items, self._centroids.bias)
        kernels.choose(*exact, candidates.rows, candidates.highs, candidates.counts, *nothing, scores, nearest)
        return np.maximum(nearest[:, 0], 0)  # a point beyond float32 has no nearest centroid and gets the first


def _k_means(points: Float32Array, count: int, rng: np.random.Generator) -> Float32Array:
    """Cluster points by Lloyd's algorithm, from random points; a centroid without points moves to a random point."""
    centroids = points[:count].copy()  # the points are in random order
    for _ in range(_ROUNDS):
        assigner = _NearestCentroid(centroids)
        blocks = np.array_split(points, len(points) // _BLOCK + 1)
        nearest = np.concatenate([assigner.numbers(block) for block in blocks])
        order = nearest.argsort(kind="stable")
        sizes = np.bincount(nearest, minlength=count)
        used, unused = np.flatnonzero(sizes), np.flatnonzero(sizes == 0)
        starts = (np.cumsum(sizes) - sizes)[used]
        centroids[used] = np.add.reduceat(points[order], starts, axis=0) / sizes[used, None]
        centroids[unused] = points[rng.integers(0, len(points), len(unused))]
    return centroids


def _reach_of_most(dimension: int) -> np.float32:
    """Fraction of the bounds that hardly any error exceeds.

    An error has a random direction in the rotated space, so the standard deviation of its part in a score is
    1 / sqrt(d) of the bound.
    """
    return np.float32(min(1.0, _DEVIATIONS / np.sqrt(dimension)))
