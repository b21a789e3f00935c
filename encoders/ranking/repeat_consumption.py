"""Repeat consumption: the pattern of a user's recents, and the scores of coming back to one of their items.

About a fifth of next clicks return to an item of the recents. Which item depends on the events before: after A A the
last item follows in half of the cases, after four distinct items in one of fifteen. So a pattern is

    which of the four newest events are of one item (6 bits), whether any item came twice, and a class of length,

and each pattern has a learned score for the item seen last, for the item before it, and so on.
"""

from dataclasses import dataclass

import numpy as np

from encoders.arrays import BoolArray, Float32Array, Int64Array

NEWEST = 4  # events whose equality is part of the pattern
PAIRS = tuple((newer, older) for older in range(1, NEWEST) for newer in range(older))  # a bit each
LENGTH_STEPS = (1, 2, 3, 5, 9, 15)  # the most events of each class; a longer history is in the class after the last
LENGTHS = len(LENGTH_STEPS) + 1
PATTERNS = 2 ** len(PAIRS) * 2 * LENGTHS
RANKS = 5  # an item's score depends on the rank of its newest event: 0, 1, 2, 3, or 4 and more


@dataclass(frozen=True, slots=True)
class RepeatScores:
    """Scores of items that are among the recents.

        score(item) = sum_j by_rank[j] + by_pattern[pattern, r] + lift * (max_i user . v_i - user . item)

    with j over the item's events, r the rank of the newest of them (at most RANKS - 1), and i over all recents. The
    user's vector is made of the recents, the newest above all, so it is near to their items. The lift takes back some
    of this nearness, because the tables know better whether people return to the last item or to an earlier one.
    """

    by_rank: Float32Array  # (h,), score of each event by its rank, the newest first
    by_pattern: Float32Array  # (PATTERNS, RANKS)
    lift: float = 0.0  # score for each unit of cosine

    def __post_init__(self) -> None:
        if self.by_rank.ndim != 1 or self.by_pattern.shape != (PATTERNS, RANKS):
            raise ValueError(
                f"by_rank {self.by_rank.shape} and by_pattern {self.by_pattern.shape}, expected (h,) and "
                f"({PATTERNS}, {RANKS})"
            )


def length_classes(history: int) -> Int64Array:
    """Class of each count of events from 0 to ``history``: int64 of shape (history + 1,)."""
    return np.searchsorted(LENGTH_STEPS, np.arange(history + 1)).astype(np.int64)


def pattern_weights(history: int) -> Float32Array:
    """Number that each pair of equal events adds to the pattern: float32 of shape (h, h), the older event first."""
    weights = np.zeros((history, history), np.float32)
    for bit, (newer, older) in enumerate(PAIRS):
        if older < history:
            weights[older, newer] = 2**bit * 2 * LENGTHS
    return weights


def patterns(rows: Int64Array, counts: Int64Array) -> tuple[Int64Array, BoolArray]:
    """Pattern of each history, and whether each event is the newest of its item.

    Parameters
    ----------
    rows : int64 array of shape (B, h), items of the recents, newest first; -1 for no recent or an unknown item
    counts : int64 array of shape (B,), how many of the h are events, those of unknown items too

    Returns
    -------
    int64 array of shape (B,) in [0, PATTERNS), the pattern
    bool array of shape (B, h), whether the event is the newest of its item; False where the row is -1

    Examples
    --------
    >>> patterns(np.array([[7, 5, 7, -1]]), np.array([3]))[1].tolist()
    [[True, True, False, False]]
    """
    history = rows.shape[1]
    known = rows >= 0
    older_first = (rows[:, :, None] == rows[:, None, :]) & known[:, :, None]
    older_first &= np.tri(history, k=-1, dtype=np.bool_)  # [b, older, newer]
    again = older_first.any(axis=2)  # (B, h): a newer event is of the same item
    number = np.zeros(len(rows), np.int64)
    for bit, (newer, older) in enumerate(PAIRS):
        if older < history:
            number += older_first[:, older, newer].astype(np.int64) << bit
    repeated = again.any(axis=1).astype(np.int64)
    pattern = (number * 2 + repeated) * LENGTHS + length_classes(history)[counts]
    return pattern, known & ~again
