"""The maths of a profile: recents, which hold the latest events, and sums, which hold everything older.

Pure functions on arrays. Neither depends on the order in which events arrive: the recents are a set chosen by
(event time, event id), and a sum of decayed vectors commutes.
"""

from typing import NamedTuple

import numpy as np

from streams.arrays import Float32Array, Float64Array, Int64Array, IntpArray

NO_TIME = -1
"""Event time of an empty place; every real time is >= 0, so empty places sort behind all events."""


class Sums(NamedTuple):
    """Decayed sums of S users: what has left their recents."""

    sums: Float64Array  # (S, T, d)
    total_weight: Float64Array  # (S, T)
    time_ms: Int64Array  # (S,) the largest event time folded, NO_TIME for an empty sum


def decay(age_s: Float64Array, half_life_s: Float64Array) -> Float64Array:
    """Weight left of an event after ``age_s`` seconds: ``2 ** (-age / half_life)``.

    Parameters
    ----------
    age_s : float64 array of shape (B,)
        Seconds since the event; negative ages (clock skew) count as 0.
    half_life_s : float64 array of shape (T,)
        Seconds after which half the weight is left; > 0.

    Returns
    -------
    float64 array of shape (B, T) in [0, 1].

    Examples
    --------
    >>> decay(np.array([0.0, 10.0, -5.0]), np.array([10.0])).tolist()
    [[1.0], [0.5], [1.0]]
    """
    weights: Float64Array = np.exp2(-np.maximum(age_s, 0.0)[:, None] / half_life_s)
    return weights


def fold(
    state: Sums,
    owner: IntpArray,
    times_ms: Int64Array,
    weights: Float32Array,
    vectors: Float32Array,
    half_life_s: Float64Array,
) -> Sums:
    """Add events to the decayed sums of their users.

    ``sums_t(t0) = sum_i weight_it * 2 ** (-(t0 - time_i) / half_life_t) * vector_i`` with ``t0`` the largest time
    folded: sums that are older than a new event decay to its time, an event older than the sums arrives decayed.

    Parameters
    ----------
    state : Sums of S users; not changed
    owner : intp array of shape (E,)
        Which user, in [0, S), each event belongs to.
    times_ms : int64 array of shape (E,)
        Event times in UTC milliseconds, >= 0.
    weights : float32 array of shape (E, T)
        Weight of each event (of its type) in each sum.
    vectors : float32 array of shape (E, d)
        The items' vectors.
    half_life_s : float64 array of shape (T,)

    Returns
    -------
    Sums
        New arrays; equal to the input where a user has no event or ``E == 0``.
    """
    if len(owner) == 0:
        return state
    newest = state.time_ms.copy()
    np.maximum.at(newest, owner, times_ms)
    # an empty sum has nothing to decay: its age is taken as 0
    age_s = np.where(state.time_ms == NO_TIME, 0, newest - state.time_ms) / 1000.0
    kept = decay(age_s, half_life_s)  # (S, T)
    sums = state.sums * kept[:, :, None]
    total_weight = state.total_weight * kept
    arrived = weights * decay((newest[owner] - times_ms) / 1000.0, half_life_s)  # (E, T)
    np.add.at(total_weight, owner, arrived)
    np.add.at(sums, owner, arrived[:, :, None] * vectors[:, None, :])  # (E, T, d)
    return Sums(sums, total_weight, newest)


def merge(a: Sums, b: Sums, half_life_s: Float64Array) -> Sums:
    """Sums of the union of two sets of events: both decayed to the later time, then added. Exact."""
    newest = np.maximum(a.time_ms, b.time_ms)
    total_sums = np.zeros_like(a.sums)
    whole_weight = np.zeros_like(a.total_weight)
    for part in (a, b):
        kept = decay(np.where(part.time_ms == NO_TIME, 0, newest - part.time_ms) / 1000.0, half_life_s)
        total_sums += part.sums * kept[:, :, None]
        whole_weight += part.total_weight * kept
    return Sums(total_sums, whole_weight, newest)


def rank_in_group(groups: IntpArray) -> IntpArray:
    """How many earlier places of ``groups`` hold the same value, for each place.

    Examples
    --------
    >>> rank_in_group(np.array([7, 3, 7, 7, 3])).tolist()
    [0, 0, 1, 2, 1]
    """
    order = np.argsort(groups, kind="stable")
    ordered = groups[order]
    starts = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]]) if len(groups) else np.empty(0, np.intp)
    lengths = np.diff(np.r_[starts, len(groups)])
    ranks = np.empty(len(groups), np.intp)
    ranks[order] = np.arange(len(groups)) - np.repeat(starts, lengths)
    return ranks
