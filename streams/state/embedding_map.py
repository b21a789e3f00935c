"""Embedding maps: from the vector space of one encoder version to that of another.

A map is linear and is fitted on the items that both versions know. Numpy only.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from encoders.index.item_index import ItemIndex
from schemas.ids import id_hashes
from streams.arrays import Float64Array, Int64Array, IntpArray, UInt64Array
from streams.state.decayed_sums import Sums

RIDGE = 1e-6
"""Ridge penalty, relative to the mean eigenvalue of the items' scatter matrix.

It stops the map from amplifying directions that hardly any item uses.
"""

_CHUNK = 65_536


@dataclass(frozen=True)
class EmbeddingMap:
    """Maps decayed sums of item vectors. The map is linear, so a mapped sum equals the sum of the mapped vectors."""

    matrix: Float64Array  # (d, d')
    half_lives: int  # T of the former encoder
    half_life: IntpArray  # (T',) for each half-life, the index of the nearest former one (by ratio)
    explained: float
    """Share of the common items' squared length that the map reproduces: 1 for linearly related vector spaces."""
    common: int
    """Number of items that the map was fitted on."""

    def apply(self, sums: Float64Array, total_weight: Float64Array, time_ms: Int64Array) -> Sums:
        """Map the sums of S users into the other vector space.

        The total weights are not scaled. A user vector depends on the ratio of sums to total weights, so it keeps its
        length. Where the half-lives differ, a sum continues with the nearest half-life, and its decay up to now stays.

        Parameters
        ----------
        sums : float64 array of shape (S, T, d)
        total_weight : float64 array of shape (S, T)
        time_ms : int64 array of shape (S,), UTC milliseconds, the time of each user's sums

        Returns
        -------
        Sums of shapes (S, T', d'), (S, T') and (S,), as of the same times.
        """
        return Sums(sums[:, self.half_life] @ self.matrix, total_weight[:, self.half_life], time_ms)


def nearest_half_lives(former_s: Sequence[float], present_s: Sequence[float]) -> IntpArray:
    """Find, for each half-life of ``present_s``, the index of the nearest one (by ratio) in ``former_s``.

    Both are in seconds. Returns an intp array of shape (T',).

    >>> nearest_half_lives([60.0, 3_600.0], [3_600.0, 100.0, 1e6]).tolist()
    [1, 0, 1]
    """
    distance = np.abs(np.log(np.asarray(present_s))[:, None] - np.log(np.asarray(former_s))[None, :])  # (T', T)
    nearest: IntpArray = distance.argmin(axis=1)
    return nearest


def fit(
    former: ItemIndex, present: ItemIndex, former_half_lives_s: Sequence[float], half_lives_s: Sequence[float]
) -> EmbeddingMap | None:
    """Fit the map from ``former`` to ``present``: ``argmin_W |X W - Y|^2 + ridge |W|^2`` over their common items.

    ``X`` (n, d) and ``Y`` (n, d') are the vectors of the items that both indexes know. The solution is
    ``(X'X + ridge I)^-1 X'Y`` (Hoerl and Kennard, Ridge regression, Technometrics 1970). Half-lives are in seconds.
    Returns None if the indexes have no common item. May run in a thread while other threads put items into ``former``.
    """
    snapshot = former.snapshot()
    ids = former.item_ids[: len(snapshot.bias)]
    d = former.dimension
    scatter, across = np.zeros((d, d)), np.zeros((d, present.dimension))
    common, length, target_length = 0, 0.0, 0.0
    for start in range(0, len(ids), _CHUNK):
        hashes = id_hashes(ids[start : start + _CHUNK])
        x = snapshot.items[start : start + _CHUNK].astype(np.float64)
        y = _vectors(present, hashes)
        both = x.any(axis=1) & y.any(axis=1)
        x, y = x[both], y[both]
        scatter += x.T @ x
        across += x.T @ y
        common += len(x)
        length += float(np.einsum("nd,nd->", x, x))
        target_length += float(np.einsum("nd,nd->", y, y))
    if common == 0:
        return None
    matrix: Float64Array = np.linalg.solve(scatter + RIDGE * length / d * np.eye(d), across).astype(np.float64)
    # |XW - Y|^2 follows from the moments, so the vectors are read only once
    missed = target_length - 2 * float((matrix * across).sum()) + float((matrix * (scatter @ matrix)).sum())
    return EmbeddingMap(
        matrix,
        len(former_half_lives_s),
        nearest_half_lives(former_half_lives_s, half_lives_s),
        max(0.0, 1.0 - missed / target_length),
        common,
    )


def _vectors(index: ItemIndex, hashes: UInt64Array) -> Float64Array:
    """Gather the vectors of n items (n, d); zeros for an item that the index does not know."""
    return index.gather(index.rows(hashes)).astype(np.float64)
