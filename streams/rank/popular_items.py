"""The lists of users whose taste is unknown: what is trending, without what each user may not be given."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from encoders.index.item_index import ItemIndex
from schemas.ids import id_hashes
from schemas.recommendation import REASON_KINDS, Reason, RecommendedItem
from streams.arrays import Int64Array

TRENDING_CODE = REASON_KINDS.index("trending") + 1


@dataclass(frozen=True)
class Popular:
    """What is trending and may be recommended, the most popular first."""

    rows: Int64Array  # (P,), rows of the index
    scores: NDArray[np.float64]  # (P,)


def popular(top: Sequence[tuple[str, float]], index: ItemIndex) -> Popular:
    """Of ``Trending.top``, what may be recommended."""
    rows = index.rows(id_hashes(item for item, _ in top))
    available = index.available(rows) if len(rows) else np.zeros(0, np.bool_)
    return Popular(rows[available], np.array([score for _, score in top], np.float64)[available])


def trending_places(rows: Int64Array, excluded_rows: Int64Array, k: int) -> Int64Array:
    """Which k of the most popular items each of B users is given.

    Parameters
    ----------
    rows : int64 array of shape (P,), rows of the index, the most popular first; all available
    excluded_rows : int64 array of shape (B, A), -1 in unused places

    Returns
    -------
    int64 array of shape (B, k): places in ``rows``, best first, -1 behind the last.
    """
    places = np.full((len(excluded_rows), k), -1, np.int64)
    rows = rows[: k + excluded_rows.shape[1]]  # more than that can't be needed
    if len(rows) == 0:
        return places
    free = np.ones((len(excluded_rows), len(rows)), np.bool_)
    order = np.argsort(rows)
    place = np.minimum(np.searchsorted(rows[order], excluded_rows), len(rows) - 1)  # (B, A)
    user, column = np.nonzero(rows[order][place] == excluded_rows)
    free[user, order[place[user, column]]] = False
    rank = free.cumsum(axis=1) - 1
    user, place = np.nonzero(free & (rank < k))
    places[user, rank[user, place]] = place
    return places


def trending_items(popular: Popular, places: Int64Array, index: ItemIndex) -> list[RecommendedItem]:
    """The popular items of one user, of ``trending_places``."""
    return [
        RecommendedItem(
            item_id=index.item_ids[row],
            score=score,
            reason=Reason(kind="trending", exact=True, bonus=score),
        )
        for row, score in zip(popular.rows[places].tolist(), popular.scores[places].tolist(), strict=True)
    ]
