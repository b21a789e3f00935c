"""Describes all recommendations of a worker together: coverage, novelty, and drift of tastes and of demand."""

import time
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from encoders.index.item_index import ItemIndex
from streams.arrays import Float32Array, Float64Array, Int64Array
from streams.monitoring.quality_metrics import QualityMetrics
from streams.rank.loaded_encoder import ActiveEncoder

WINDOW_S = 3600.0
"""Seconds for which an item counts as covered after it was recommended; also the half-life of popularity."""
RECENT_HALF_LIFE_S = 300.0
REFERENCE_HALF_LIFE_S = 21_600.0


class Drift:
    """Cosine distance between a recent mean vector and a long-term one: 0 = no change, 1 = nothing in common.

    The distance of mean embeddings is the simplest measure of embedding drift. Both means are weighted by age, with
    half-lives of five minutes and of six hours, so no window of vectors is kept. Changes in opposite directions cancel
    each other in a mean: a large distance shows a drift, but a small one does not prove that there is none.
    """

    def __init__(self, dimension: int, start_s: float) -> None:
        self._sums: Float64Array = np.zeros((2, dimension))  # recent, reference
        self._half_lives: Float64Array = np.array([[RECENT_HALF_LIFE_S], [REFERENCE_HALF_LIFE_S]])
        self._time_s = start_s

    def add(self, vectors: NDArray[np.floating], now_s: float) -> None:
        """Add vectors of shape (B, d), or sums of several vectors; zero vectors change nothing."""
        self._sums *= np.exp2(-(now_s - self._time_s) / self._half_lives)
        self._sums += vectors.sum(axis=0, dtype=np.float64)
        self._time_s = now_s

    @property
    def distance(self) -> float:
        """The distance, in [0, 2]; 0 before the first vector."""
        recent, reference = self._sums
        lengths = float(np.linalg.norm(recent) * np.linalg.norm(reference))
        return max(0.0, 1.0 - float(recent @ reference) / lengths) if lengths else 0.0


class ListStatistics:
    """Statistics of this worker's lists since its start, or since another encoder version took over.

    Arrays hold a number per row of the index; rows are never renumbered.
    """

    def __init__(
        self, active: ActiveEncoder, metrics: QualityMetrics, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """``clock`` tells seconds; it may start anywhere."""
        self._active, self._metrics, self._clock = active, metrics, clock
        self._begin(active.encoder.index)

    def _begin(self, index: ItemIndex) -> None:
        """Begin anew: rows and vectors belong to one encoder version."""
        self._index = index
        self._recommended_s: NDArray[np.float32] = np.zeros(0, np.float32)  # seconds since start, negative = never
        self._demand: Float64Array = np.zeros(0)  # events of each item, decayed
        self._information: Float32Array = np.zeros(0, np.float32)  # bits
        self._start_s = self._decayed_s = self._clock()
        self._user_drift = Drift(index.dimension, self._start_s)
        self._item_drift = Drift(index.dimension, self._start_s)
        # events and lists since the last `publish`
        self._demanded: list[Int64Array] = []
        self._recommended: list[tuple[Int64Array, NDArray[np.uint8]]] = []
        self._users: Float64Array = np.zeros(index.dimension)

    def demanded(self, rows: Int64Array) -> None:
        """Add the items of B events: rows of the index, -1 for unknown items."""
        self._follow()
        self._demanded.append(rows)

    def recommended(self, rows: Int64Array, reasons: NDArray[np.uint8], users: Float32Array) -> None:
        """Add the lists of B users.

        Parameters
        ----------
        rows : int64 array of shape (B, k), -1 behind a list's last item
        reasons : uint8 array of shape (B, k), codes
        users : float32 array of shape (B, d), their vectors, zero where the taste is unknown
        """
        self._follow()
        self._recommended.append((rows, reasons))
        self._users += users.sum(axis=0, dtype=np.float64)

    def publish(self) -> None:
        """Count new events and lists, set the gauges and update popularity; call about once a second.

        The self-information of an item is ``-log2 p``, ``p = (events of it + 1) / (events + items)``: the surprise of
        seeing it (Zhou et al.: Solving the apparent diversity-accuracy dilemma of recommender systems, 2010).
        """
        self._follow()
        self._settle()
        now_s = self._clock()
        self._demand *= 2.0 ** (-(now_s - self._decayed_s) / WINDOW_S)
        self._decayed_s = now_s
        items = len(self._demand)
        if items:
            p = (self._demand + 1.0) / (self._demand.sum() + items)
            self._information = -np.log2(p).astype(np.float32)
        covered = self._recommended_s >= max(0.0, now_s - self._start_s - WINDOW_S)
        self._metrics.coverage(int(covered.sum()), len(self._index))
        self._metrics.drift("items", self._item_drift.distance)
        self._metrics.drift("users", self._user_drift.distance)

    def _follow(self) -> None:
        if self._active.encoder.index is not self._index:
            self._settle()
            self._begin(self._active.encoder.index)

    def _settle(self) -> None:
        self._grow()
        demanded, self._demanded = self._demanded, []
        recommended, self._recommended = self._recommended, []
        now_s = self._clock()
        if demanded:
            rows = np.concatenate(demanded)
            counts = np.bincount(rows[rows >= 0], minlength=len(self._demand))
            self._demand += counts
            demanded_rows = np.flatnonzero(counts)
            self._item_drift.add(self._index.gather(demanded_rows) * counts[demanded_rows, None], now_s)
        if recommended:
            recommended_rows = np.concatenate([rows[rows >= 0] for rows, _ in recommended])
            self._recommended_s[recommended_rows] = now_s - self._start_s
            by_reason = np.bincount(np.concatenate([reasons.ravel() for _, reasons in recommended]))
            self._metrics.recommended(by_reason.tolist(), float(self._information[recommended_rows].sum()))
            self._user_drift.add(self._users[None], now_s)
            self._users[:] = 0

    def _grow(self) -> None:
        extra = len(self._index.item_ids) - len(self._demand)
        if extra > 0:
            self._recommended_s = np.concatenate([self._recommended_s, np.full(extra, -1, np.float32)])
            self._demand = np.concatenate([self._demand, np.zeros(extra)])
            # until the next `publish`, a new item has the self-information of the least popular item
            largest = self._information.max(initial=0.0)
            self._information = np.concatenate([self._information, np.full(extra, largest, np.float32)])
