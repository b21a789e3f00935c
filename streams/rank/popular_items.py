"""The lists of users whose taste is unknown: trending items, except those excluded for the user."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from encoders.index.item_index import ItemIndex
from schemas.ids import id_hashes
from schemas.recommendation import REASON_KINDS, ListReasons, Reason, RecommendedItem
from streams.arrays import Int64Array

TRENDING_CODE = REASON_KINDS.index("trending") + 1


@dataclass(frozen=True)
class Popular:
    """Trending items that are available, the most popular first."""

    rows: Int64Array  # (P,), rows of the index
    scores: NDArray[np.float64]  # (P,)


def popular(top: Sequence[tuple[str, float]], index: ItemIndex) -> Popular:
    """Select the available items of ``top``: pairs of item id and score, as `Trending.top` returns them."""
    rows = index.rows(id_hashes(item for item, _ in top))
    available = index.available(rows) if len(rows) else np.zeros(0, np.bool_)
    return Popular(rows[available], np.array([score for _, score in top], np.float64)[available])


def trending_places(rows: Int64Array, excluded_rows: Int64Array, k: int) -> Int64Array:
    """Select the k most popular items that are not excluded for each of B users.

    Parameters
    ----------
    rows : int64 array of shape (P,), rows of the index, the most popular first; all available
    excluded_rows : int64 array of shape (B, A), -1 in unused entries
    k : length of a list

    Returns
    -------
    int64 array of shape (B, k): indexes in ``rows``, the most popular first, -1 behind the last.
    """
    chosen = np.full((len(excluded_rows), k), -1, np.int64)
    rows = rows[: k + excluded_rows.shape[1]]  # a list can't need more
    if len(rows) == 0:
        return chosen
    free = np.ones((len(excluded_rows), len(rows)), np.bool_)
    order = np.argsort(rows)
    nearest = np.minimum(np.searchsorted(rows[order], excluded_rows), len(rows) - 1)  # (B, A)
    user, column = np.nonzero(rows[order][nearest] == excluded_rows)
    free[user, order[nearest[user, column]]] = False
    rank = free.cumsum(axis=1) - 1
    user, index = np.nonzero(free & (rank < k))
    chosen[user, rank[user, index]] = index
    return chosen


def trending_items(
    popular: Popular, places: Int64Array, index: ItemIndex, reasons: ListReasons = "full"
) -> list[RecommendedItem]:
    """Build the list of one user. ``places`` are indexes in ``popular``, as `trending_places` returns them.

    A score has one part, so ``reasons`` of "largest" are "full".
    """
    return [
        RecommendedItem(
            item_id=index.item_ids[row],
            score=score,
            reason=None if reasons == "none" else Reason(kind="trending", exact=True, bonus=score),
        )
        for row, score in zip(popular.rows[places].tolist(), popular.scores[places].tolist(), strict=True)
    ]
