"""TopK as a part of a graph: in one stage, or in two stages for a device whose TopK is slow on long rows.

On CUDA, TopK of ONNX Runtime 1.31 gives a row to one block of threads, which reads it seven times. The two stages cut a
row into segments, and read only the k segments with the best maxima. The result is exact, ties included: if one of the
k best items lay in another segment, each of these k segments would hold an item that goes before it.
"""

import numpy as np
from onnx import helper

from encoders.onnx_builder import GraphWriter

SEGMENT = 256
"""Scores of a segment; both stages are short then, also for a million items."""
LEAST = np.float32(-1e38)
"""The least score: below the score of every recommendation, above float32's least number."""


def write_one_top_k(g: GraphWriter, scores: str, k: str, best: str, rows: str, largest: int = 1) -> None:
    """Write ONNX's own TopK: the k best of each row, or the k least where ``largest`` is 0."""
    g.nodes.append(helper.make_node("TopK", [scores, k], [best, rows], name=rows, axis=1, largest=largest))


def write_top_k(g: GraphWriter, scores: str, k: str, best: str, rows: str, segment: int = SEGMENT) -> None:
    """Write TopK in two stages: the k best of each row of ``scores`` (B, N), k <= N.

    ``best`` (B, k) are the scores, best first, and ``rows`` (B, k) their indices. Of equal scores the first wins, as in
    TopK on a CPU; CUDA's TopK does not promise this. No score may be below ``LEAST``: CUDA's TopK pads its arrays with
    a number above -inf, so for -inf it gives indices beyond the row.
    """
    segments = _segments(g, scores, segment)  # (B, S, L)
    g.constant("top/axis_2", [2], np.int64)
    maxima = g.node("ReduceMax", [segments, "top/axis_2"], "top/maxima", keepdims=0)  # (B, S)
    count = g.node("Shape", [maxima], "top/count", start=1)
    chosen = g.node("Min", [k, count], "top/chosen")  # there may be fewer segments than k
    write_one_top_k(g, maxima, chosen, "top/best_maxima", "top/by_maximum")
    # in the order of the row, so that the first of equal scores wins
    write_one_top_k(g, "top/by_maximum", chosen, "top/in_order", "top/unused", largest=0)
    _keep_below(g, "top/in_order", count, "top/looked_into")
    g.node("Unsqueeze", ["top/looked_into", "top/axis_2"], "top/which")
    g.node("GatherND", [segments, "top/which"], "top/found", batch_dims=1)  # (B, chosen, L)
    g.constant("top/flat", [0, -1], np.int64)
    g.node("Reshape", ["top/found", "top/flat"], "top/candidates")
    write_one_top_k(g, "top/candidates", k, best, "top/places")
    # index among the candidates -> index in the row
    g.constant("top/length", segment, np.int64)
    g.node("Div", ["top/places", "top/length"], "top/candidate")
    _keep_below(g, "top/candidate", chosen, "top/of_candidates")
    g.node("GatherElements", ["top/looked_into", "top/of_candidates"], "top/of_row", axis=1)
    g.node("Mul", ["top/of_row", "top/length"], "top/begins")
    g.node("Mod", ["top/places", "top/length"], "top/within")
    g.node("Add", ["top/begins", "top/within"], "top/rows")
    # the padding of the last segment is LEAST too; a device that knows no order of equal scores may choose it
    _keep_below(g, "top/rows", "top/n", rows)


def _segments(g: GraphWriter, scores: str, segment: int) -> str:
    """Cut rows into segments, (B, N) -> (B, S, L); the last segment is padded with ``LEAST``."""
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


def _keep_below(g: GraphWriter, indices: str, count: str, output: str) -> None:
    """Bring indices into [0, count): for NaN scores CUDA's TopK may give any index, and the next nodes don't check."""
    g.constant("top/zero", 0, np.int64)
    g.constant("top/one", 1, np.int64)
    g.node("Sub", [count, "top/one"], f"{output}/last")
    g.node("Min", [indices, f"{output}/last"], f"{output}/not_beyond")
    g.node("Max", [f"{output}/not_beyond", "top/zero"], output)
