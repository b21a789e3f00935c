"""Attributions of a linear head's scores, compiled; ``scoring_graph.compose_model`` writes the same as a graph."""

from typing import Any, NamedTuple

import numpy as np
from numba import types

from encoders.arrays import Float32Array, Int64Array
from encoders.compiled import compiled, tuple_types
from encoders.onnx_builder import TINY

_TINY = np.float32(TINY)


@compiled()
def _weighted_unit(vectors: Float32Array, weights: Float32Array, total: Float32Array, unit: Float32Array) -> None:
    """Fill ``total`` (d,) with the weighted sum of vectors (n, d), and ``unit`` (d,) with its unit vector or zero."""
    total[:] = 0
    for number in range(len(vectors)):
        for axis in range(len(total)):
            total[axis] += weights[number] * vectors[number, axis]
    square = np.float32(0.0)
    for axis in range(len(total)):
        square += total[axis] * total[axis]
    length = np.sqrt(square)
    inverse = np.float32(1.0) / length if length > _TINY else np.float32(0.0)
    for axis in range(len(total)):
        unit[axis] = total[axis] * inverse


@compiled()
def _dots(item: Float32Array, vectors: Float32Array, dots: Float32Array) -> None:
    """Fill ``dots`` (n,) with the dot products of an item (d,) with vectors (n, d)."""
    # four at a time, to keep the processor's multipliers busy
    four = len(vectors) // 4 * 4
    for number in range(0, four, 4):
        a = b = c = d = np.float32(0.0)
        for axis in range(len(item)):
            x = item[axis]
            a += x * vectors[number, axis]
            b += x * vectors[number + 1, axis]
            c += x * vectors[number + 2, axis]
            d += x * vectors[number + 3, axis]
        dots[number], dots[number + 1], dots[number + 2], dots[number + 3] = a, b, c, d
    for number in range(four, len(vectors)):
        a = np.float32(0.0)
        for axis in range(len(item)):
            a += item[axis] * vectors[number, axis]
        dots[number] = a


class Items(NamedTuple):
    """The N items of an index."""

    vectors: Float32Array  # (N, d)
    bias: Float32Array  # (N,)


class Users(NamedTuple):
    """The inputs and outputs of the head for B users. What the head does not take has h = 0 or T = 0."""

    recent_vectors: Float32Array  # (B, h, d)
    recent_weights: Float32Array  # (B, h)
    recent_rows: Int64Array  # (B, h), rows of the recents' items, where the head scores repeats
    recent_scores: Float32Array  # (B, h), added by each recent to the score of its own item
    sums: Float32Array  # (B, T, d)
    sum_weights: Float32Array  # (B, T)
    adjust_rows: Int64Array  # (B, A), rows whose scores are adjusted
    adjust: Float32Array  # (B, A), added to these scores


class Attributions(NamedTuple):
    """The output: both parts of the users' vectors, and the attributions of the scores."""

    short_term: Float32Array  # (B, d), of unit length or zero
    long_term: Float32Array  # (B, d), of unit length or zero
    recent: Float32Array  # (B, k, h)
    older: Float32Array  # (B, k)
    bias: Float32Array  # (B, k)
    adjustment: Float32Array  # (B, k)


def _signature() -> Any:
    int_rows, float_rows, float_cubes = types.int64[:, ::1], types.float32[:, ::1], types.float32[:, :, ::1]
    items = Items(vectors=float_rows, bias=types.float32[::1])
    users = Users(
        recent_vectors=float_cubes,
        recent_weights=float_rows,
        recent_rows=int_rows,
        recent_scores=float_rows,
        sums=float_cubes,
        sum_weights=float_rows,
        adjust_rows=int_rows,
        adjust=float_rows,
    )
    attributions = Attributions(
        short_term=float_rows,
        long_term=float_rows,
        recent=float_cubes,
        older=float_rows,
        bias=float_rows,
        adjustment=float_rows,
    )
    return types.void(int_rows, types.float32, *tuple_types(items, users, attributions))


@compiled(_signature)
def explain(rows: Int64Array, scale: float, items: Items, heads: Users, parts: Attributions) -> None:
    """Fill ``parts`` with the attributions of the scores of ``rows``.

    The formulas are in ``docs/explanation/ranking-and-reasons.md``.

    Parameters
    ----------
    rows : (B, k), rows of the items, each in [0, N)
    scale : the score scale
    items : the items that the rows are of
    heads : what the head was given and gave
    parts : filled
    """
    users, k = rows.shape
    history, half_lives = heads.recent_weights.shape[1], heads.sum_weights.shape[1]
    total = np.empty(items.vectors.shape[1], np.float32)
    long = np.empty(items.vectors.shape[1], np.float32)
    for user in range(users):
        _weighted_unit(heads.recent_vectors[user], heads.recent_weights[user], total, parts.short_term[user])
        _weighted_unit(heads.sums[user], heads.sum_weights[user], long, parts.long_term[user])
        for rank in range(k):
            row = rows[user, rank]
            attributions = parts.recent[user, rank]
            _dots(items.vectors[row], heads.recent_vectors[user], attributions)
            for number in range(history):
                attributions[number] *= scale * heads.recent_weights[user, number]
            for number in range(heads.recent_rows.shape[1]):
                if heads.recent_rows[user, number] == row:
                    attributions[number] += heads.recent_scores[user, number]
            older = np.float32(0.0)
            if half_lives:
                for axis in range(len(long)):
                    older += long[axis] * items.vectors[row, axis]
            parts.older[user, rank] = older * scale
            parts.bias[user, rank] = items.bias[row]
            adjusted = np.float32(0.0)
            for number in range(heads.adjust_rows.shape[1]):
                if heads.adjust_rows[user, number] == row:
                    adjusted += heads.adjust[user, number]
            parts.adjustment[user, rank] = adjusted
