"""The maths of a profile: recents hold the latest events, and decayed sums hold all older events.

Pure functions on arrays. Recents and sums do not depend on the order in which events arrive: the recents are a set
chosen by (event time, event id), and the addition of decayed vectors commutes.
"""

from typing import NamedTuple

import numpy as np

from streams.arrays import Float32Array, Float64Array, Int64Array, IntpArray

NO_TIME = -1
"""Event time of an empty entry. Every real time is >= 0, so empty entries sort behind all events."""


class Sums(NamedTuple):
    """Decayed sums of S users: the events that have left their recents."""

    sums: Float64Array  # (S, T, d)
    total_weight: Float64Array  # (S, T)
    time_ms: Int64Array  # (S,) UTC ms, the largest event time in the sum; NO_TIME for an empty sum


def decay(age_s: Float64Array, half_life_s: Float64Array) -> Float64Array:
    """Compute the weight left of an event after ``age_s`` seconds: ``2 ** (-age / half_life)``.

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

    ``sums_t(t0) = sum_i weight_it * 2 ** (-(t0 - time_i) / half_life_t) * vector_i``, where
    ``t0`` is the largest event time in the sum. Sums that are older than a new event decay to its time. An event that
    is older than the sums decays before it is added.

    Parameters
    ----------
    state : Sums of S users; not changed
    owner : intp array of shape (E,)
        Index, in [0, S), of each event's user.
    times_ms : int64 array of shape (E,)
        Event times in UTC milliseconds, >= 0.
    weights : float32 array of shape (E, T)
        Weight of each event in each sum; it depends on the event's type.
    vectors : float32 array of shape (E, d)
        Vectors of the events' items.
    half_life_s : float64 array of shape (T,)
        Seconds after which half the weight is left; > 0.

    Returns
    -------
    Sums
        New arrays, equal to the input where a user has no event; ``state`` itself if ``E == 0``.
    """
    if len(owner) == 0:
        return state
    newest = state.time_ms.copy()
    np.maximum.at(newest, owner, times_ms)
    # an empty sum has nothing to decay: its age counts as 0
    age_s = np.where(state.time_ms == NO_TIME, 0, newest - state.time_ms) / 1000.0
    kept = decay(age_s, half_life_s)  # (S, T)
    sums = state.sums * kept[:, :, None]
    total_weight = state.total_weight * kept
    arrived = weights * decay((newest[owner] - times_ms) / 1000.0, half_life_s)  # (E, T)
    np.add.at(total_weight, owner, arrived)
    np.add.at(sums, owner, arrived[:, :, None] * vectors[:, None, :])  # (E, T, d)
    return Sums(sums, total_weight, newest)


def merge(a: Sums, b: Sums, half_life_s: Float64Array) -> Sums:
    """Add the sums of two disjoint sets of events. The result is exact: it equals the sums of their union.

    Parameters
    ----------
    a, b : Sums of the same S users; not changed
    half_life_s : float64 array of shape (T,)
        Seconds after which half the weight is left; > 0.

    Returns
    -------
    Sums
        New arrays: each user's sums decayed to the later of the two times, then added.
    """
    newest = np.maximum(a.time_ms, b.time_ms)
    total_sums = np.zeros_like(a.sums)
    whole_weight = np.zeros_like(a.total_weight)
    for part in (a, b):
        kept = decay(np.where(part.time_ms == NO_TIME, 0, newest - part.time_ms) / 1000.0, half_life_s)
        total_sums += part.sums * kept[:, :, None]
        whole_weight += part.total_weight * kept
    return Sums(total_sums, whole_weight, newest)


def rank_in_group(groups: IntpArray) -> IntpArray:
    """Count, for each entry of ``groups``, the earlier entries with the same value.

    Parameters
    ----------
    groups : intp array of shape (N,)

    Returns
    -------
    intp array of shape (N,).

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
