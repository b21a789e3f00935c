"""TopK in two stages, as a part of a graph, for a device whose own is slow on long rows.

ONNX Runtime's TopK on CUDA gives a row to one block of threads, which reads it some seven times. Here a row is cut into
segments, and only those k whose best scores are the best are looked into. That is exact, ties included: if an item that
belongs to the k best lay in another segment, each of these k would have an item that goes before it.
"""

import numpy as np
from onnx import helper

from encoders.onnxfile import GraphWriter

SEGMENT = 256
"""Scores a segment: both stages are short where N is a million."""


def write_top_k(g: GraphWriter, scores: str, k: str, best: str, rows: str, segment: int = SEGMENT) -> None:
    """The k best of each row of ``scores`` (B, N), k <= N, as ``best`` (B, k) and their places ``rows`` (B, k).

    What TopK gives: best first, and of equal scores the one that comes first. (CUDA's keeps to the former only, so of
    scores of -inf it may name the same place twice.)
    """
    segments = _segments(g, scores, segment)  # (B, S, L)
    g.constant("top/axis_2", [2], np.int64)
    maxima = g.node("ReduceMax", [segments, "top/axis_2"], "top/maxima", keepdims=0)  # (B, S)
    count = g.node("Shape", [maxima], "top/count", start=1)
    chosen = g.node("Min", [k, count], "top/chosen")  # how many: there may be fewer segments than k
    _top(g, maxima, chosen, "top/best_maxima", "top/by_maximum")
    _top(g, "top/by_maximum", chosen, "top/looked_into", "top/unused", largest=0)  # in their order, for equal scores
    g.node("Unsqueeze", ["top/looked_into", "top/axis_2"], "top/which")
    g.node("GatherND", [segments, "top/which"], "top/found", batch_dims=1)  # (B, chosen, L)
    g.constant("top/flat", [0, -1], np.int64)
    g.node("Reshape", ["top/found", "top/flat"], "top/candidates")
    _top(g, "top/candidates", k, best, "top/places")
    # place among the candidates -> place in the row
    g.constant("top/length", segment, np.int64)
    g.node("Div", ["top/places", "top/length"], "top/of_candidates")
    g.node("GatherElements", ["top/looked_into", "top/of_candidates"], "top/of_row", axis=1)
    g.node("Mul", ["top/of_row", "top/length"], "top/begins")
    g.node("Mod", ["top/places", "top/length"], "top/within")
    g.node("Add", ["top/begins", "top/within"], "top/rows")
    # what the last segment was filled up with is as good as -inf to a device that knows no order of equals
    g.constant("top/one", [1], np.int64)
    g.node("Sub", ["top/n", "top/one"], "top/last")
    g.node("Min", ["top/rows", "top/last"], rows)


def _segments(g: GraphWriter, scores: str, segment: int) -> str:
    """(B, N) -> (B, S, L), the last one filled up with -inf."""
    g.constant("top/length_1", [segment], np.int64)
    g.constant("top/nothing", [0, 0, 0], np.int64)
    g.constant("top/least", -np.inf)
    g.constant("top/shape", [0, -1, segment], np.int64)
    g.node("Shape", [scores], "top/n", start=1)
    g.node("Neg", ["top/n"], "top/minus_n")
    g.node("Mod", ["top/minus_n", "top/length_1"], "top/missing")
    g.node("Concat", ["top/nothing", "top/missing"], "top/pads", axis=0)
    g.node("Pad", [scores, "top/pads", "top/least"], "top/filled")
    return g.node("Reshape", ["top/filled", "top/shape"], "top/segments")


def _top(g: GraphWriter, values: str, k: str, best: str, places: str, largest: int = 1) -> None:
    g.nodes.append(helper.make_node("TopK", [values, k], [best, places], name=places, axis=1, largest=largest))
