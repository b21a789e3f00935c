"""Attributions of a linear head's scores, compiled; ``scoring_graph.compose_model`` writes the same as a graph."""

import numpy as np

from encoders.arrays import Float32Array, Int64Array
from encoders.compiled import compiled
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


@compiled(
    "void(int64[:, ::1], float32[:, ::1], float32[::1], float32, float32[:, :, ::1], float32[:, ::1], int64[:, ::1], "
    "float32[:, ::1], float32[:, :, ::1], float32[:, ::1], int64[:, ::1], float32[:, ::1], float32[:, ::1], "
    "float32[:, ::1], float32[:, :, ::1], float32[:, ::1], float32[:, ::1], float32[:, ::1])"
)
def explain(
    rows: Int64Array,
    items: Float32Array,
    bias: Float32Array,
    scale: float,
    recent_vectors: Float32Array,
    recent_weights: Float32Array,
    recent_rows: Int64Array,
    recent_scores: Float32Array,
    sums: Float32Array,
    sum_weights: Float32Array,
    adjust_rows: Int64Array,
    adjust: Float32Array,
    short_term: Float32Array,
    long_term: Float32Array,
    recent_attributions: Float32Array,
    older_attributions: Float32Array,
    bias_attributions: Float32Array,
    adjustment_attributions: Float32Array,
) -> None:
    """Fill the last six arrays: the two parts of the users' vectors, and the attributions of the scores of ``rows``.

    The formulas are those of ``encoders/README.md``. The recents' arrays have h = 0 where the head takes no recents,
    ``sums`` and ``sum_weights`` T = 0 where it takes no sums, and ``recent_rows`` and ``recent_scores`` h = 0 where it
    scores no repeats.

    Parameters
    ----------
    rows : (B, k), rows of the items, each in [0, N)
    items, bias : (N, d) and (N,)
    scale : the score scale
    recent_vectors, recent_weights : (B, h, d) and (B, h)
    recent_rows, recent_scores : (B, h), what each recent adds to the score of its own item
    sums, sum_weights : (B, T, d) and (B, T)
    adjust_rows, adjust : (B, A), what is added to the scores of rows
    short_term, long_term : (B, d), filled; of unit length or zero
    recent_attributions : (B, k, h), filled
    older_attributions, bias_attributions, adjustment_attributions : (B, k), filled
    """
    users, k = rows.shape
    history, half_lives = recent_weights.shape[1], sum_weights.shape[1]
    total = np.empty(items.shape[1], np.float32)
    long = np.empty(items.shape[1], np.float32)
    for user in range(users):
        _weighted_unit(recent_vectors[user], recent_weights[user], total, short_term[user])
        _weighted_unit(sums[user], sum_weights[user], long, long_term[user])
        for rank in range(k):
            row = rows[user, rank]
            attributions = recent_attributions[user, rank]
            _dots(items[row], recent_vectors[user], attributions)
            for number in range(history):
                attributions[number] *= scale * recent_weights[user, number]
            for number in range(recent_rows.shape[1]):
                if recent_rows[user, number] == row:
                    attributions[number] += recent_scores[user, number]
            older = np.float32(0.0)
            if half_lives:
                for axis in range(len(long)):
                    older += long[axis] * items[row, axis]
            older_attributions[user, rank] = older * scale
            bias_attributions[user, rank] = bias[row]
            adjusted = np.float32(0.0)
            for number in range(adjust_rows.shape[1]):
                if adjust_rows[user, number] == row:
                    adjusted += adjust[user, number]
            adjustment_attributions[user, rank] = adjusted
