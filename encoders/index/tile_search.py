"""Finds a user's best items by int8 vectors in tiles: among all items, or most of them in the nearest clusters.

Of all items what is found holds the exact best, by the bounds of ``cluster_kernels``. Of a large catalog a user looks
into some clusters alone, an inverted file (Jegou, Douze, Schmid: Product quantization for nearest neighbor search,
2011) with whole vectors in place of codes. A score is ``user . vector + bias``, so items are clustered with their bias
as one more axis.
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

_PER_ROOT = 4.0  # clusters a square root of the items: about what balances choosing and scanning
_TRAINED_ON = 40  # items a cluster that training looks at
_ROUNDS = 6
_BLOCK = 2_048  # items whose cluster is looked for at once
_SPARE = 1.25  # of tiles, for what comes later
_WORN = 1.6  # with more than this times the tiles of the training, the clusters are out of date
_ROUNDING = np.float32(1e-5)  # of a score's parts: far above what float32 sums of any order differ by
_DEVIATIONS = 3.0  # that an error may have where items of other clusters are missed anyway


@dataclass(frozen=True, slots=True)
class Found:
    """What may be among the best of B users, in no order."""

    rows: Int32Array  # (B, room), -1 behind the last
    highs: Float32Array  # (B, room), the highest that each one's score can be
    counts: Int64Array  # (B,), how many there are


class TileSearch:
    """The items of an index as int8 tiles, in clusters or as one. Thread-safe.

    Attributes
    ----------
    count : clusters
    divided : whether a user looks into some of them; else what is found holds all of the best
    version : of the index that this agrees with
    """

    def __init__(self, centroids: Float32Array | None, dimension: int, score_scale: float, items: int) -> None:
        self.count = 1 if centroids is None else len(centroids)
        self.divided = centroids is not None
        self.version = 0
        self._lock = threading.Lock()  # a search must not meet a tile that is being filled
        self._scale = np.float32(score_scale)
        self._reach = _reach_of_most(dimension) if self.divided else np.float32(1)
        self._centroids = centroids  # (clusters, d + 1): vectors times the score scale, and bias
        self._trained_tiles = 0
        # in a turned space no axis stands out, which halves the error of the codes
        turn = np.linalg.qr(np.random.default_rng(0).standard_normal((dimension, dimension)))[0]
        self._turn: Float32Array = np.pad(turn.astype(np.float32), ((0, 0), (0, -dimension % AXES)))
        self._at: Int64Array = np.full(items, -1, np.int64)
        self._first_tile: Int64Array = np.full(self.count, -1, np.int64)
        self._used: Int64Array = np.zeros(1, np.int64)
        self._next_tile: Int64Array = np.empty(0, np.int64)
        self._cluster_of: Int64Array = np.empty(0, np.int64)
        self._filled: Int64Array = np.empty(0, np.int64)
        self._tiles: UInt8Array = np.empty((0, self._turn.shape[1] // AXES, TILE, AXES), np.uint8)
        self._scales: Float32Array = np.empty((0, TILE), np.float32)
        self._biases: Float32Array = np.empty((0, TILE), np.float32)
        self._rows: Int32Array = np.empty((0, TILE), np.int32)
        self._spans: Float32Array = np.empty((0, 2), np.float32)
        self._cells: _Cells | None = None
        if centroids is not None:
            self._cells = _Cells(centroids)
            vectors, biases = np.ascontiguousarray(centroids[:, :-1] / self._scale), centroids[:, -1].copy()
            self._nearest = IndexSnapshot(vectors, biases, 0)
            self._coarse = TileSearch.undivided(self._nearest, score_scale)
            self._coarse._reach = np.float32(0)  # which of two equally near clusters it is does not matter

    @classmethod
    def undivided(cls, snapshot: IndexSnapshot, score_scale: float) -> "TileSearch":
        """All available items as one cluster, as ``build`` makes many: milliseconds for 10,000."""
        clusters = cls(None, snapshot.items.shape[1], score_scale, len(snapshot.bias))
        clusters._fill(snapshot)
        return clusters

    @classmethod
    def build(cls, snapshot: IndexSnapshot, score_scale: float, seed: int = 0) -> "TileSearch":
        """Cluster all available items: seconds of one core for a million. Run it in a thread, then ``refresh``.

        Parameters
        ----------
        snapshot : the index, N items; rows that change meanwhile are put right by the first ``refresh``
        score_scale : of the encoder; a score is ``score_scale * user . vector + bias``
        """
        available = np.flatnonzero(snapshot.bias > -np.inf)
        rng = np.random.default_rng(seed)
        count = int(max(1, min(len(available), _PER_ROOT * np.sqrt(len(available)))))
        points = _points(snapshot, rng.permutation(available)[: _TRAINED_ON * count], np.float32(score_scale))
        centroids = _k_means(points, count, rng) if len(points) else np.zeros((1, points.shape[1]), np.float32)
        clusters = cls(centroids, snapshot.items.shape[1], score_scale, len(snapshot.bias))
        clusters._fill(snapshot)
        return clusters

    @property
    def worn(self) -> bool:
        """Whether so much has changed that a new build would serve better."""
        return self.divided and bool(self._used[0] > _WORN * self._trained_tiles)

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        arrays = (self._tiles, self._scales, self._biases, self._rows, self._at)
        return sum(array.nbytes for array in arrays) + (0 if self._centroids is None else self._centroids.nbytes)

    def refresh(self, index: ItemIndex) -> None:
        """Take over what changed in the index since the last time: new items, other vectors, other biases."""
        snapshot = index.snapshot()
        with self._lock:
            if snapshot.version != self.version:
                rows = index.changed_since(self.version)
                self._place(snapshot, rows, self._clusters_of(snapshot, rows))
                self.version = snapshot.version

    def search(self, users: Float32Array, snapshot: IndexSnapshot, probes: int, count: int) -> Found:
        """What may be among the best ``count`` items of each of B users, in their nearest clusters.

        Parameters
        ----------
        users : float32 array of shape (B, d), user vectors times the score scale
        snapshot : the index, for the exact scores of what the bounds can't tell apart
        probes : clusters that each user looks into
        count : items a user

        Returns
        -------
        Found. Of undivided items it holds every one that is better than the ``count``-th best by more than float32
        sums of another order are apart, and mostly two or three times as many; a user vector with a NaN finds nothing.
        """
        users, count = np.ascontiguousarray(users, np.float32), max(1, count)
        codes, scales, lengths, errors, offsets = self._quantised(users)
        reaches = np.empty((len(users), 2), np.float32)
        reaches[:, 0], reaches[:, 1] = self._reach * lengths, self._reach * (errors + _ROUNDING * lengths)
        if self._centroids is None:
            starts, wanting = np.array([0, len(users)]), np.arange(len(users))
        else:
            near = self._coarse.search(users, self._nearest, 1, min(probes, self.count))
            nearest = near.rows[:, : near.counts.max(initial=0)]
            starts, wanting = np.empty(self.count + 1, np.int64), np.empty(nearest.size, np.int64)
            kernels.group(nearest, starts, wanting)
        room = kernels.ROOM * count + 2 * TILE
        found, highs = np.empty((len(users), room), np.int32), np.empty((len(users), room), np.float32)
        counts = np.empty(len(users), np.int64)
        with self._lock:
            kernels.scan(
                users, snapshot.items, snapshot.bias, codes, offsets, scales, reaches, starts, wanting,
                self._first_tile, self._next_tile, self._tiles, self._scales, self._biases, self._rows, self._spans,
                count, highs, found, counts,
            )  # fmt: skip
        return Found(found, highs, counts)

    def _quantised(
        self, vectors: Float32Array
    ) -> tuple[Int8Array, Float32Array, Float32Array, Float32Array, Int32Array]:
        """The turned vectors as ``cluster_kernels.quantise`` has them: codes, scales, lengths, errors, offsets."""
        turned = vectors @ self._turn
        codes, offsets = np.empty(turned.shape, np.int8), np.empty(len(turned), np.int32)
        scales, lengths, errors = (np.empty(len(turned), np.float32) for _ in range(3))
        kernels.quantise(turned, codes, scales, lengths, errors, offsets)
        return codes, scales, lengths, errors, offsets

    def _fill(self, snapshot: IndexSnapshot) -> None:
        rows = np.flatnonzero(snapshot.bias > -np.inf)
        clusters = self._clusters_of(snapshot, rows)
        order = clusters.argsort(kind="stable")  # a cluster's tiles lie side by side, as a scan reads them
        self._place(snapshot, rows[order], clusters[order])
        self._trained_tiles = int(self._used[0])
        self.version = snapshot.version

    def _clusters_of(self, snapshot: IndexSnapshot, rows: Int64Array) -> Int64Array:
        clusters = np.zeros(len(rows), np.int64)
        if self._cells is not None:
            for start in range(0, len(rows), _BLOCK):
                points = _points(snapshot, rows[start : start + _BLOCK], self._scale)
                points[points[:, -1] == -np.inf] = 0.0
                clusters[start : start + _BLOCK] = self._cells.nearest(points)
        return clusters

    def _place(self, snapshot: IndexSnapshot, rows: Int64Array, clusters: Int64Array) -> None:
        if len(self._at) < len(snapshot.bias):
            self._at = np.concatenate([self._at, np.full(len(snapshot.bias) - len(self._at), -1, np.int64)])
        for start in range(0, len(rows), _BLOCK):
            some, bias = rows[start : start + _BLOCK], snapshot.bias[rows[start : start + _BLOCK]]
            codes, scales, lengths, errors, _ = self._quantised(snapshot.items[some])
            self._grow(len(some))
            kernels.place(
                some, clusters[start : start + _BLOCK], codes, scales, lengths, errors, bias,
                self._first_tile, self._next_tile, self._cluster_of, self._filled, self._used,
                self._tiles, self._scales, self._biases, self._rows, self._spans, self._at,
            )  # fmt: skip

    def _grow(self, items: int) -> None:
        """Room for so many more items, whatever clusters they go to."""
        needed = int(self._used[0]) + min(items, items // TILE + self.count)
        have = len(self._tiles)
        if needed <= have:
            return
        extra = int(_SPARE * needed) - have

        def grown(array: npt.NDArray[Any], blank: float) -> npt.NDArray[Any]:
            return np.concatenate([array, np.full((extra, *array.shape[1:]), blank, array.dtype)])

        self._next_tile, self._filled = grown(self._next_tile, -1), grown(self._filled, 0)
        self._cluster_of, self._spans = grown(self._cluster_of, -1), grown(self._spans, 0)
        self._tiles, self._scales = grown(self._tiles, 0), grown(self._scales, 0)
        self._biases, self._rows = grown(self._biases, -np.inf), grown(self._rows, -1)


def _points(snapshot: IndexSnapshot, rows: Int64Array, scale: np.float32) -> Float32Array:
    """(n, d + 1): vectors times the score scale, and bias."""
    return np.concatenate([snapshot.items[rows] * scale, snapshot.bias[rows, None]], axis=1)


class _Cells:
    """Finds the nearest centroid (C, n) of points (B, n): that with the largest p . c - |c|^2 / 2."""

    def __init__(self, centroids: Float32Array) -> None:
        self._centroids = IndexSnapshot(centroids, -0.5 * np.einsum("cn,cn->c", centroids, centroids), 0)
        self._search = TileSearch.undivided(self._centroids, 1.0)
        self._search._reach = _reach_of_most(centroids.shape[1])

    def nearest(self, points: Float32Array) -> Int64Array:
        """Numbers of centroids (B,)."""
        found = self._search.search(points, self._centroids, 0, 1)
        scores, nearest = np.empty((len(points), 1), np.float32), np.empty((len(points), 1), np.int64)
        nothing = np.empty((len(points), 0), np.int64), np.empty((len(points), 0), np.float32)
        exact = (points, self._centroids.items, self._centroids.bias)
        kernels.choose(*exact, found.rows, found.highs, found.counts, *nothing, scores, nearest)
        return np.maximum(nearest[:, 0], 0)  # numbers beyond float32 have none


def _k_means(points: Float32Array, count: int, rng: np.random.Generator) -> Float32Array:
    """Lloyd's algorithm from random points; a centroid that nobody is near to moves to a random point."""
    centroids = points[:count].copy()  # the points come in random order
    for _ in range(_ROUNDS):
        cells = _Cells(centroids)
        nearest = np.concatenate([cells.nearest(some) for some in np.array_split(points, len(points) // _BLOCK + 1)])
        order = nearest.argsort(kind="stable")
        sizes = np.bincount(nearest, minlength=count)
        some = np.flatnonzero(sizes)
        starts = (np.cumsum(sizes) - sizes)[some]
        centroids[some] = np.add.reduceat(points[order], starts, axis=0) / sizes[some, None]
        nobody = np.flatnonzero(sizes == 0)
        centroids[nobody] = points[rng.integers(0, len(points), len(nobody))]
    return centroids


def _reach_of_most(dimension: int) -> np.float32:
    """Share of the bounds that hardly any error reaches.

    An error points anywhere in the turned space, so its share in a score deviates by 1 / sqrt(d) of the bound.
    """
    return np.float32(min(1.0, _DEVIATIONS / np.sqrt(dimension)))
