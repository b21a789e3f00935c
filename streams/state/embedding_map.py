"""From one encoder version's space to another's: a linear map fitted on the items that both know. Numpy only."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from encoders.index.item_index import ItemIndex
from schemas.ids import id_hashes
from streams.arrays import Float64Array, Int64Array, IntpArray, UInt64Array
from streams.state.decayed_sums import Sums

RIDGE = 1e-6
"""Of the mean eigenvalue of the items' scatter: what keeps directions that hardly any item has from being blown up."""

_CHUNK = 65_536


@dataclass(frozen=True)
class EmbeddingMap:
    """Moves decayed sums of item vectors: a linear map moves a sum exactly as it moves the sum's parts."""

    matrix: Float64Array  # (d, d')
    half_lives: int  # T, of the former
    half_life: IntpArray  # (T',) which of the former half-lives stands in for each: the nearest by ratio
    explained: float
    """Share of the common items' squared length that the map meets: 1 for spaces that are linearly related."""
    common: int
    """Items that it was fitted on."""

    def apply(self, sums: Float64Array, total_weight: Float64Array, time_ms: Int64Array) -> Sums:
        """Sums (S, T, d) and total_weight (S, T) as of ``time_ms`` (S,) in the other space: (S, T', d') and (S, T').

        The total weight stays as it is, so a user vector, which depends on sums by their total weight, keeps its
        length. Where the half-lives differ, a sum goes on under the nearest one; what has decayed stays decayed.
        """
        return Sums(sums[:, self.half_life] @ self.matrix, total_weight[:, self.half_life], time_ms)


def nearest_half_lives(former_s: Sequence[float], present_s: Sequence[float]) -> IntpArray:
    """Place in ``former_s`` of the half-life nearest (by ratio) to each of ``present_s``.

    >>> nearest_half_lives([60.0, 3_600.0], [3_600.0, 100.0, 1e6]).tolist()
    [1, 0, 1]
    """
    distance = np.abs(np.log(np.asarray(present_s))[:, None] - np.log(np.asarray(former_s))[None, :])  # (T', T)
    nearest: IntpArray = distance.argmin(axis=1)
    return nearest


def fit(
    former: ItemIndex, present: ItemIndex, former_half_lives_s: Sequence[float], half_lives_s: Sequence[float]
) -> EmbeddingMap | None:
    """The map from ``former`` to ``present``: ``argmin_W |X W - Y|^2 + ridge |W|^2`` over the items that both know.

    ``X`` (n, d) and ``Y`` (n, d') are the items' vectors; the solution is ``(X'X + ridge I)^-1 X'Y`` (Hoerl and
    Kennard, Ridge regression, Technometrics 1970). None if there is no such item. May run in a thread while others
    put items into ``former``.
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
    # |XW - Y|^2 from the moments, so that the vectors need not be read twice
    missed = target_length - 2 * float((matrix * across).sum()) + float((matrix * (scatter @ matrix)).sum())
    return EmbeddingMap(
        matrix,
        len(former_half_lives_s),
        nearest_half_lives(former_half_lives_s, half_lives_s),
        max(0.0, 1.0 - missed / target_length),
        common,
    )


def _vectors(index: ItemIndex, hashes: UInt64Array) -> Float64Array:
    """Vectors of items, zeros where the index does not know one."""
    return index.gather(index.rows(hashes)).astype(np.float64)
