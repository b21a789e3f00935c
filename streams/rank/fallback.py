"""Fills up lists that exclusions have left with fewer than k items, with items that the user saw longest ago.

Only items that nothing but "just seen" excludes come back. Purchased ones do not, nor anything else that
`streams.rank.exclusions` excludes. Trending items need no turn of their own: every item that is available and not
excluded is in a list that is not full.
"""

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from encoders.index.item_index import ItemIndex
from encoders.ranking.ranking_io import LEAST_SCORE, HeadInputs, Ranked
from schemas.recommendation import REASON_KINDS
from streams.arrays import BoolArray, Int64Array, IntpArray, UInt64Array
from streams.rank.exclusions import Exclusions, adjustments, excluded_rows
from streams.rank.loaded_encoder import LoadedEncoder
from streams.state.profile_table import ProfileTable

SEEN_AGAIN_CODE = REASON_KINDS.index("seen-again") + 1
_LISTS = ("scores", "rows", "recent_attributions", "older_attributions", "bias_attributions", "adjustment_attributions")
_USERS_AT_ONCE = 1_024


def fill_up(
    encoder: LoadedEncoder,
    table: ProfileTable,
    slots: IntpArray,
    inputs: HeadInputs,
    exclusions: Exclusions,
    causes: UInt64Array,
    ranked: Ranked,
) -> tuple[Ranked, BoolArray]:
    """Fill up the short lists among those of B users. Users of unknown taste keep theirs.

    Parameters
    ----------
    slots : intp array of shape (B,)
    inputs : the head's inputs of the users
    causes : uint64 array of shape (B,), the hash of the item of each user's causing event
    ranked : the users' lists, of k columns

    Returns
    -------
    The lists, and a bool array of shape (B, k): whether an item has come back. Such items are behind all others, the
    one seen longest ago first. Scores and attributions are exact.
    """
    seen_again = np.zeros(ranked.rows.shape, np.bool_)
    k = ranked.rows.shape[1]
    if k == 0 or exclusions.exclude_seen_events == 0:
        return ranked, seen_again
    short = np.flatnonzero((ranked.scores[:, -1] <= LEAST_SCORE) & ranked.user.any(axis=1))
    if len(short) == 0:
        return ranked, seen_again
    lists = {name: getattr(ranked, name).copy() for name in _LISTS}
    for start in range(0, len(short), _USERS_AT_ONCE):
        users = short[start : start + _USERS_AT_ONCE]
        of_causes = encoder.index.rows(causes[users])
        listed = (ranked.scores[users] > LEAST_SCORE).sum(axis=1)
        rows, excluded = choose(table, slots[users], encoder.index, exclusions, of_causes, listed, k)
        found = (rows >= 0).any(axis=1)
        users, rows, excluded = users[found], rows[found], excluded[found]
        if len(users) == 0:
            continue
        filled, seen_again[users] = _rank_again(encoder, inputs.take(users), rows, excluded, k)
        for name in _LISTS:
            lists[name][users] = filled[name]
    return replace(ranked, **lists), seen_again


def choose(
    table: ProfileTable,
    slots: IntpArray,
    index: ItemIndex,
    exclusions: Exclusions,
    causes: Int64Array,
    listed: IntpArray,
    k: int,
) -> tuple[Int64Array, Int64Array]:
    """Choose the items that come back into the short lists of B users.

    Parameters
    ----------
    slots : intp array of shape (B,)
    causes : int64 array of shape (B,), the row of the item of each user's causing event, -1 if it is not known. This
        item comes back only into a list that would be empty without it.
    listed : intp array of shape (B,), number of items that each list has
    k : number of items that a list should have

    Returns
    -------
    Rows of the index, int64 array of shape (B, L): the items that come back, the one seen longest ago first, -1 in
    unused entries. And the rows that stay excluded, int64 array of shape (B, A), as `excluded_rows` returns them.
    """
    # what else excludes, such as purchases, stays in force
    firm = excluded_rows(table, slots, index, replace(exclusions, exclude_seen_events=0))  # (B, F)
    seen = table.rows[slots, : exclusions.exclude_seen_events]  # (B, L), newest first
    length = seen.shape[1]
    newer = np.tri(length, k=-1, dtype=np.bool_)  # [event, other]: the other one is newer
    repeated = ((seen[:, :, None] == seen[:, None, :]) & newer).any(axis=2)
    free = index.available(seen) & ~repeated & ~_is_in(seen, firm)
    others = free & (seen != causes[:, None])
    is_last_resort = (listed == 0) & ~others.any(axis=1)
    oldest_first = np.where(is_last_resort[:, None], free, others)[:, ::-1]
    chosen = oldest_first & (oldest_first.cumsum(axis=1) <= (k - listed)[:, None])
    rows = np.where(chosen, seen[:, ::-1], -1)
    excluded = np.concatenate([firm, np.where(_is_in(seen, rows), -1, seen)], axis=1)
    return rows, excluded


def _rank_again(
    encoder: LoadedEncoder, inputs: HeadInputs, rows: Int64Array, excluded: Int64Array, k: int
) -> tuple[dict[str, NDArray[Any]], BoolArray]:
    """Rank B users with the items that come back (``rows``, of `choose`) behind all others.

    Returns the columns of the lists by name, k items each, and whether an item has come back.
    """
    # the exact ranker: candidates could miss an item
    found = encoder.ranker.rank(inputs, encoder.index.snapshot(), excluded, adjustments(excluded), k + rows.shape[1])
    is_item = found.scores > LEAST_SCORE
    matches = (found.rows[:, :, None] == rows[:, None, :]) & is_item[:, :, None]  # (B, k', L)
    comes_back = matches.any(axis=2)
    # first the others by score, then these by age, then what may not be recommended
    turn = np.where(comes_back, 1 + matches.argmax(axis=2), np.where(is_item, 0, 1 + rows.shape[1]))
    order = np.argsort(turn, axis=1, kind="stable")[:, :k]
    users = np.arange(len(order))[:, None]
    return {name: getattr(found, name)[users, order] for name in _LISTS}, comes_back[users, order]


def _is_in(rows: Int64Array, others: Int64Array) -> BoolArray:
    """Whether each row (B, L) is among ``others`` (B, A) of the same user: bool array of shape (B, L)."""
    return np.asarray((rows[:, :, None] == others[:, None, :]).any(axis=2), np.bool_)
