"""Finds most of a user's best items without scoring all: items in clusters, of which a user looks into the nearest.

An inverted file (Jegou, Douze, Schmid: Product quantization for nearest neighbor search, 2011) with whole vectors of
int8 in place of codes. A score is ``user . vector + bias``, so items are clustered with their bias as one more axis.
"""

import threading
from typing import Any

import numpy as np
import numpy.typing as npt

from encoders import cluster_kernels as kernels
from encoders.cluster_kernels import AXES, TILE
from encoders.index import FloatArray, IntArray, ItemIndex, Snapshot

_PER_ROOT = 4.0  # clusters a square root of the items: about what balances choosing and scanning
_TRAINED_ON = 40  # items a cluster that training looks at
_ROUNDS = 6
_BLOCK = 2_048  # items whose cluster is looked for at once
_SPARE = 1.25  # of tiles, for what comes later
_WORN = 1.6  # with more than this times the tiles of the training, the clusters are out of date
_INT8 = np.float32(127.0)


class Clusters:
    """The available items of an index, by cluster. Thread-safe.

    Attributes
    ----------
    count : clusters
    version : of the index that this agrees with
    """

    def __init__(self, centroids: FloatArray, score_scale: float, items: int) -> None:
        self.count = len(centroids)
        self.version = 0
        self._lock = threading.Lock()  # a search must not meet a tile that is being filled
        self._scale = np.float32(score_scale)
        self._centroids = centroids  # (clusters, d + 1): vectors times the score scale, and bias
        self._offsets = 0.5 * np.einsum("cd,cd->c", centroids, centroids)
        self._trained_tiles = 0
        dimension = centroids.shape[1] - 1
        self._padding = -dimension % AXES
        self._centroid_tiles = _tiles(centroids[:, :-1] / self._scale, centroids[:, -1], self._padding)
        self._at: IntArray = np.full(items, -1, np.int64)
        self._first_tile: IntArray = np.full(self.count, -1, np.int64)
        self._used: IntArray = np.zeros(1, np.int64)
        self._next_tile: IntArray = np.empty(0, np.int64)
        self._filled: IntArray = np.empty(0, np.int64)
        self._tiles: npt.NDArray[np.int8] = np.empty((0, dimension + self._padding, TILE), np.int8)
        self._scales: FloatArray = np.empty((0, TILE), np.float32)
        self._biases: FloatArray = np.empty((0, TILE), np.float32)
        self._rows: IntArray = np.empty((0, TILE), np.int64)

    @classmethod
    def build(cls, snapshot: Snapshot, score_scale: float, seed: int = 0) -> "Clusters":
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
        clusters = cls(centroids, score_scale, len(snapshot.bias))
        clusters._place(snapshot, available)
        clusters._trained_tiles = int(clusters._used[0])
        clusters.version = snapshot.version
        return clusters

    @property
    def worn(self) -> bool:
        """Whether so much has changed that a new build would serve better."""
        return bool(self._used[0] > _WORN * self._trained_tiles)

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        arrays = (self._tiles, self._scales, self._biases, self._rows, self._at, self._centroids)
        return sum(array.nbytes for array in arrays)

    def refresh(self, index: ItemIndex) -> None:
        """Take over what changed in the index since the last time: new items, other vectors, other biases."""
        snapshot = index.snapshot()
        with self._lock:
            if snapshot.version != self.version:
                self._place(snapshot, index.changed_since(self.version))
                self.version = snapshot.version

    def search(self, users: FloatArray, probes: int, count: int) -> IntArray:
        """Rows of the best items in the nearest clusters of each of B users.

        Parameters
        ----------
        users : float32 array of shape (B, d), user vectors times the score scale
        probes : clusters that each user looks into
        count : rows a user

        Returns
        -------
        int64 array of shape (B, count), in no order, -1 where there were fewer; by scores of int8 vectors, so the
        exact order of near equals is not theirs.
        """
        users = np.ascontiguousarray(users, np.float32)
        probes = min(probes, self.count)
        found = np.empty((len(users), count), np.int64)
        padded = np.pad(users, ((0, 0), (0, self._padding)))
        nearest = np.full((len(users), probes), -1, np.int64)  # a user without a number is near to none
        kernels.nearest(padded, *self._centroid_tiles, nearest)
        starts, wanting = np.empty(self.count + 1, np.int64), np.empty(nearest.size, np.int64)
        kernels.group(nearest, starts, wanting)
        with self._lock:
            tiles = (self._first_tile, self._next_tile, self._tiles, self._scales, self._biases, self._rows)
            kernels.scan(padded, starts, wanting, *tiles, found)
        return found

    def _place(self, snapshot: Snapshot, rows: IntArray) -> None:
        if len(self._at) < len(snapshot.bias):
            self._at = np.concatenate([self._at, np.full(len(snapshot.bias) - len(self._at), -1, np.int64)])
        for start in range(0, len(rows), _BLOCK):
            some = rows[start : start + _BLOCK]
            points = _points(snapshot, some, self._scale)
            bias = points[:, -1].copy()
            shown = bias > -np.inf
            points[~shown] = 0.0
            clusters = np.where(shown, _assign(points, self._centroids, self._offsets), -1)
            vectors = snapshot.items[some]
            scales = np.abs(vectors).max(axis=1) / _INT8
            codes = np.rint(vectors / np.where(scales > 0, scales, 1)[:, None]).astype(np.int8)
            self._grow(len(some))
            kernels.place(
                *(some, clusters, codes, scales, bias, self._first_tile, self._next_tile, self._filled, self._used),
                *(self._tiles, self._scales, self._biases, self._rows, self._at),
            )

    def _grow(self, items: int) -> None:
        """Room for so many more items, whatever clusters they go to."""
        needed = int(self._used[0]) + items
        have = len(self._tiles)
        if needed <= have:
            return
        extra = int(_SPARE * needed) - have

        def grown(array: npt.NDArray[Any], blank: float) -> npt.NDArray[Any]:
            return np.concatenate([array, np.full((extra, *array.shape[1:]), blank, array.dtype)])

        self._next_tile, self._filled = grown(self._next_tile, -1), grown(self._filled, 0)
        self._tiles, self._scales = grown(self._tiles, 0), grown(self._scales, 0)
        self._biases, self._rows = grown(self._biases, -np.inf), grown(self._rows, -1)


def _tiles(vectors: FloatArray, biases: FloatArray, padding: int) -> tuple[FloatArray, FloatArray]:
    """Vectors (n, d) as tiles (T, d + padding, TILE), a vector a column, and their biases (T, TILE)."""
    empty = -len(vectors) % TILE
    padded = np.pad(vectors, ((0, empty), (0, padding)))
    tiles = padded.reshape(-1, TILE, padded.shape[1]).transpose(0, 2, 1)
    return np.ascontiguousarray(tiles), np.pad(biases, (0, empty), constant_values=-np.inf).reshape(-1, TILE)


def _points(snapshot: Snapshot, rows: IntArray, scale: np.float32) -> FloatArray:
    """(n, d + 1): vectors times the score scale, and bias."""
    return np.concatenate([snapshot.items[rows] * scale, snapshot.bias[rows, None]], axis=1)


def _assign(points: FloatArray, centroids: FloatArray, offsets: FloatArray) -> IntArray:
    """The nearest centroid of each point."""
    return np.concatenate(
        [
            (points[start : start + _BLOCK] @ centroids.T - offsets).argmax(axis=1)
            for start in range(0, len(points), _BLOCK)
        ]
    )


def _k_means(points: FloatArray, count: int, rng: np.random.Generator) -> FloatArray:
    """Lloyd's algorithm from random points; a centroid that nobody is near to moves to a random point."""
    centroids = points[:count].copy()  # the points come in random order
    for _ in range(_ROUNDS):
        nearest = _assign(points, centroids, 0.5 * np.einsum("cd,cd->c", centroids, centroids))
        order = nearest.argsort(kind="stable")
        sizes = np.bincount(nearest, minlength=count)
        some = np.flatnonzero(sizes)
        starts = (np.cumsum(sizes) - sizes)[some]
        centroids[some] = np.add.reduceat(points[order], starts, axis=0) / sizes[some, None]
        nobody = np.flatnonzero(sizes == 0)
        centroids[nobody] = points[rng.integers(0, len(points), len(nobody))]
    return centroids
