"""TopK as a part of a graph: one, or two stages for a device whose own is slow on long rows.

The TopK on CUDA of ONNX Runtime 1.31 gives a row to one block of threads, which reads it seven times. Here a row is cut
into segments, and only those k whose best scores are the best are looked into. That is exact, ties included: if an item
that belongs to the k best lay in another segment, each of these k would have an item that goes before it.
"""

import numpy as np
from onnx import helper

from encoders.onnx_builder import GraphWriter

SEGMENT = 256
"""Scores a segment: both stages are short where N is a million."""
LEAST = np.float32(-1e38)
"""The least score: below every recommendation's, above float32's least number."""


def write_one_top_k(g: GraphWriter, scores: str, k: str, best: str, rows: str, largest: int = 1) -> None:
    """The k best of each row, or the k least where ``largest`` is 0: ONNX's own TopK."""
    g.nodes.append(helper.make_node("TopK", [scores, k], [best, rows], name=rows, axis=1, largest=largest))


def write_top_k(g: GraphWriter, scores: str, k: str, best: str, rows: str, segment: int = SEGMENT) -> None:
    """The k best of each row of ``scores`` (B, N), k <= N, as ``best`` (B, k) and their places ``rows`` (B, k).

    What TopK gives: best first, and of equal scores the one that comes first (CUDA's TopK promises the former alone).
    No score may be below ``LEAST``: to CUDA's TopK -inf is less than what it fills up its own arrays with, and it names
    places that are not there.
    """
    segments = _segments(g, scores, segment)  # (B, S, L)
    g.constant("top/axis_2", [2], np.int64)
    maxima = g.node("ReduceMax", [segments, "top/axis_2"], "top/maxima", keepdims=0)  # (B, S)
    count = g.node("Shape", [maxima], "top/count", start=1)
    chosen = g.node("Min", [k, count], "top/chosen")  # how many: there may be fewer segments than k
    write_one_top_k(g, maxima, chosen, "top/best_maxima", "top/by_maximum")
    write_one_top_k(g, "top/by_maximum", chosen, "top/in_order", "top/unused", largest=0)  # for equal scores
    _keep_below(g, "top/in_order", count, "top/looked_into")
    g.node("Unsqueeze", ["top/looked_into", "top/axis_2"], "top/which")
    g.node("GatherND", [segments, "top/which"], "top/found", batch_dims=1)  # (B, chosen, L)
    g.constant("top/flat", [0, -1], np.int64)
    g.node("Reshape", ["top/found", "top/flat"], "top/candidates")
    write_one_top_k(g, "top/candidates", k, best, "top/places")
    # place among the candidates -> place in the row
    g.constant("top/length", segment, np.int64)
    g.node("Div", ["top/places", "top/length"], "top/candidate")
    _keep_below(g, "top/candidate", chosen, "top/of_candidates")
    g.node("GatherElements", ["top/looked_into", "top/of_candidates"], "top/of_row", axis=1)
    g.node("Mul", ["top/of_row", "top/length"], "top/begins")
    g.node("Mod", ["top/places", "top/length"], "top/within")
    g.node("Add", ["top/begins", "top/within"], "top/rows")
    # what the last segment was filled up with is as good as LEAST to a device that knows no order of equals
    _keep_below(g, "top/rows", "top/n", rows)


def _segments(g: GraphWriter, scores: str, segment: int) -> str:
    """(B, N) -> (B, S, L), the last one filled up with ``LEAST``."""
    g.constant("top/length_1", [segment], np.int64)
    g.constant("top/nothing", [0, 0, 0], np.int64)
    g.constant("top/least", LEAST)
    g.constant("top/shape", [0, -1, segment], np.int64)
    g.node("Shape", [scores], "top/n", start=1)
    g.node("Neg", ["top/n"], "top/minus_n")
    g.node("Mod", ["top/minus_n", "top/length_1"], "top/missing")
    g.node("Concat", ["top/nothing", "top/missing"], "top/pads", axis=0)
    g.node("Pad", [scores, "top/pads", "top/least"], "top/filled")
    return g.node("Reshape", ["top/filled", "top/shape"], "top/segments")


def _keep_below(g: GraphWriter, places: str, count: str, output: str) -> None:
    """Of scores that are no numbers CUDA's TopK may give any place, and what follows reads it unchecked."""
    g.constant("top/zero", 0, np.int64)
    g.constant("top/one", 1, np.int64)
    g.node("Sub", [count, "top/one"], f"{output}/last")
    g.node("Min", [places, f"{output}/last"], f"{output}/not_beyond")
    g.node("Max", [f"{output}/not_beyond", "top/zero"], output)
