"""Writes the ranking graph: an encoder's user head, the scores of all items, TopK and each score's attributions."""

from dataclasses import dataclass

import numpy as np
import onnx
from onnx import compose, version_converter

from encoders.artifact.manifest import HEAD_MODEL, Encoder
from encoders.artifact.signature import PARTS
from encoders.errors import EncoderError
from encoders.onnx_builder import FLOAT, INT64, OPSET, GraphWriter, value
from encoders.ranking.top_k import LEAST, write_one_top_k, write_top_k

# name -> element type and shape; a head takes some of these inputs, and the rest of the graph may add others
HEAD_PORTS = {
    "sums": (FLOAT, ("B", "T", "d")),
    "mass": (FLOAT, ("B", "T")),
    "recent_vectors": (FLOAT, ("B", "h", "d")),
    "recent_types": (INT64, ("B", "h")),
    "recent_ages": (FLOAT, ("B", "h")),
    "recent_rows": (INT64, ("B", "h")),
}
SCORE_PORTS = {
    "items": (FLOAT, ("N", "d")),
    "bias": (FLOAT, ("N",)),
    "adjust_rows": (INT64, ("B", "A")),
    "adjust": (FLOAT, ("B", "A")),
    "k": (INT64, (1,)),
}
# the inputs where the items are chosen already
CHOSEN_PORTS = {name: port for name, port in SCORE_PORTS.items() if name != "k"} | {"rows": (INT64, ("B", "k"))}
# the outputs of a ranking; a graph lacks those that its head has no part in
RANKED_AXES = {
    "user": ("B", "d"),
    "short_term": ("B", "d"),
    "long_term": ("B", "d"),
    "scores": ("B", "k"),
    "rows": ("B", "k"),
    "recent_attributions": ("B", "k", "h"),
    "older_attributions": ("B", "k"),
    "bias_attributions": ("B", "k"),
    "adjustment_attributions": ("B", "k"),
}


def compose_user_model(encoder: Encoder) -> tuple[onnx.ModelProto, tuple[str, ...]]:
    """The head alone, and the names of its outputs: ``user``, the weights of a linear head, ``recent_scores``."""
    head = _load_head(encoder)
    kept = [item for item in head.graph.output if item.name in ("user", "recent_scores", *PARTS.values())]
    del head.graph.output[:]
    head.graph.output.extend(kept)
    return head, tuple(item.name for item in kept)


@dataclass(frozen=True, slots=True)
class ScoringModel:
    """The composed graph. ``exact``: the head is linear, so the attributions are the terms of the score."""

    model: onnx.ModelProto
    head_inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    exact: bool


def compose_model(encoder: Encoder, *, chosen: bool = False, two_stages: bool = False) -> ScoringModel:
    """Compose head, scores, TopK and attributions to one graph (formulas: ``docs/explanation/ranking-and-reasons.md``).

    Parameters
    ----------
    chosen : the items are an input, ``rows`` (B, k); the graph gives their attributions only
    two_stages : choose the items in two stages (`encoders.ranking.top_k`)

    Raises
    ------
    EncoderError
        The head can't be converted to the opset of the graph.
    """
    head = _load_head(encoder)
    given = {item.name for item in head.graph.output}
    constants = {tensor.name for tensor in head.graph.initializer}
    head_inputs = [item.name for item in head.graph.input if item.name not in constants]
    exact = bool(given & {*PARTS.values()})
    g = GraphWriter()
    repeats = "recent_scores" in given
    if not chosen:
        bias = "bias"
        if two_stages:
            g.constant("least", LEAST)
            bias = g.node("Max", ["bias", "least"], "finite_bias")  # a withdrawn item has -inf
        _score(g, bias, encoder.manifest.score_scale, repeats=repeats)
        (write_top_k if two_stages else write_one_top_k)(g, "all_scores", "k", "scores", "rows")
    _pick(g, encoder.manifest.score_scale)
    write_attributions = _exact_attributions if exact else _similarity_attributions
    write_attributions(g, head_inputs, "vector_attributions" if repeats else "recent_attributions")
    if repeats:
        _add_repeats(g)
    written = {"user", *(output for node in g.nodes for output in node.output)}
    outputs = [name for name in RANKED_AXES if name in written]

    del head.graph.output[:]
    head.graph.node.extend(g.nodes)
    head.graph.initializer.extend(g.constants)
    ports = CHOSEN_PORTS if chosen else SCORE_PORTS
    head.graph.input.extend(value(name, *port) for name, port in ports.items())
    head.graph.output.extend(value(name, INT64 if name == "rows" else FLOAT, RANKED_AXES[name]) for name in outputs)
    return ScoringModel(head, tuple(head_inputs), tuple(outputs), exact)


def _load_head(encoder: Encoder) -> onnx.ModelProto:
    path = encoder.path(HEAD_MODEL)
    head = onnx.load(path)
    opset = next((o.version for o in head.opset_import if o.domain in ("", "ai.onnx")), 0)
    if opset < OPSET:
        try:
            head = version_converter.convert_version(head, OPSET)
        except Exception as error:  # the converter has no error class of its own
            raise EncoderError(
                f"'{path}' is of ONNX opset {opset} and can't be converted to opset {OPSET} ({error}): export it "
                f"anew with opset {OPSET} or later."
            ) from error
    # names inside the head get a prefix, so that they differ from the names of the other nodes
    head = compose.add_prefix(head, "head/", rename_inputs=False, rename_outputs=False)
    for item in [*head.graph.input, *head.graph.output]:  # two exporters may name free dimensions differently
        for dim in item.type.tensor_type.shape.dim:
            dim.ClearField("dim_param")
    return head


def _score(g: GraphWriter, bias: str, score_scale: float, *, repeats: bool) -> None:
    """Write all_scores = scale * user @ items.T + bias + adjust, of shape (B, N).

    With ``repeats`` each recent's score is added to its own item, in the same pass as the adjustments.
    """
    g.node("Gemm", ["user", "items", bias], "plain_scores", alpha=score_scale, beta=1.0, transB=1)  # (B, N)
    changed, amounts = "adjust_rows", "adjust"
    if repeats:
        g.constant("zero_i", 0, np.int64)
        g.node("Max", ["recent_rows", "zero_i"], "repeat_rows")  # an unknown item has the score 0
        changed = g.node("Concat", ["adjust_rows", "repeat_rows"], "changed_rows", axis=1)
        amounts = g.node("Concat", ["adjust", "recent_scores"], "changes", axis=1)
    g.node("ScatterElements", ["plain_scores", changed, amounts], "all_scores", axis=1, reduction="add")


def _pick(g: GraphWriter, score_scale: float) -> None:
    """Write the vectors, biases and adjustments of the chosen items."""
    g.node("Gather", ["items", "rows"], "picked")  # (B, k, d)
    g.node("Gather", ["bias", "rows"], "bias_attributions")  # (B, k)
    g.constant("axis_1", [1], np.int64)
    g.constant("axis_2", [2], np.int64)
    g.constant("scale", score_scale)
    g.constant("zero", 0.0)
    g.node("Unsqueeze", ["rows", "axis_2"], "rows_column")  # (B, k, 1)
    g.node("Unsqueeze", ["adjust_rows", "axis_1"], "adjust_rows_row")  # (B, 1, A)
    g.node("Equal", ["rows_column", "adjust_rows_row"], "is_adjusted")  # (B, k, A)
    g.node("Unsqueeze", ["adjust", "axis_1"], "adjust_row")
    g.node("Where", ["is_adjusted", "adjust_row", "zero"], "adjust_parts")
    g.node("ReduceSum", ["adjust_parts", "axis_2"], "adjustment_attributions", keepdims=0)  # (B, k)


def _add_repeats(g: GraphWriter) -> None:
    """Write the attributions of the recents: a recent's score of its own item is added to its attribution."""
    g.node("Unsqueeze", ["recent_rows", "axis_1"], "recent_rows_row")  # (B, 1, h)
    g.node("Equal", ["rows_column", "recent_rows_row"], "is_repeat")  # (B, k, h)
    g.node("Unsqueeze", ["recent_scores", "axis_1"], "recent_scores_row")
    g.node("Where", ["is_repeat", "recent_scores_row", "zero"], "repeat_attributions")
    g.node("Add", ["vector_attributions", "repeat_attributions"], "recent_attributions")


def _exact_attributions(g: GraphWriter, head_inputs: list[str], recent_attributions: str) -> None:
    """Write the attributions of a linear head: the terms of the dot product, by the head's own weights."""
    if "recent_vectors" in head_inputs:
        _weighted_sum(g, "recent_weights", "recent_vectors", "short")
        g.unit("short", "short_term")
        _dots(g, "recent_vectors", "recent_dots")  # (B, k, h)
        g.node("Unsqueeze", ["recent_weights", "axis_1"], "recent_weights_row")
        g.node("Mul", ["recent_weights_row", "scale"], "recent_scales")
        g.node("Mul", ["recent_dots", "recent_scales"], recent_attributions)
    if "sums" in head_inputs:
        _weighted_sum(g, "sum_weights", "sums", "long")
        g.unit("long", "long_term")
        g.node("Unsqueeze", ["long", "axis_1"], "long_row")
        _dots(g, "long_row", "long_dots")  # (B, k, 1)
        g.node("Squeeze", ["long_dots", "axis_2"], "long_dot")
        g.node("Mul", ["long_dot", "scale"], "older_attributions")


def _similarity_attributions(g: GraphWriter, head_inputs: list[str], recent_attributions: str) -> None:
    """Write the attributions of a head that is not linear, in proportion to positive similarity with the item.

    The part that no recent takes goes to ``older``, so the attributions still add up to the score.
    """
    g.node("Unsqueeze", ["user", "axis_1"], "user_row")
    _dots(g, "user_row", "user_dots")
    g.node("Mul", ["user_dots", "scale"], "model_part")  # (B, k, 1)
    similarities = []
    if "sums" in head_inputs:
        sums = "sums"
        if "mass" in head_inputs:
            g.constant("tiny", 1e-20)
            g.node("Max", ["mass", "tiny"], "safe_mass")
            g.node("Unsqueeze", ["safe_mass", "axis_2"], "mass_column")
            sums = g.node("Div", ["sums", "mass_column"], "means")
        g.node("ReduceSum", [sums, "axis_1"], "long", keepdims=0)
        g.unit("long", "long_term")
        g.node("Unsqueeze", ["long_term", "axis_1"], "long_row")
        _dots(g, "long_row", "long_dots")
        similarities.append(g.node("Relu", ["long_dots"], "older_similarity"))  # (B, k, 1)
    if "recent_vectors" in head_inputs:
        g.node("ReduceSum", ["recent_vectors", "axis_1"], "short", keepdims=0)
        g.unit("short", "short_term")
        _dots(g, "recent_vectors", "recent_dots")
        similarities.append(g.node("Relu", ["recent_dots"], "recent_similarity"))  # (B, k, h)
        g.node("Concat", similarities, "similarity", axis=2)
        g.node("ReduceSum", ["similarity", "axis_2"], "similarity_sum", keepdims=1)  # (B, k, 1)
        g.constant("least_similarity", 1e-6)  # with a smaller sum, nothing explains the score
        g.node("Max", ["similarity_sum", "least_similarity"], "safe_similarity")
        g.node("Div", ["recent_similarity", "safe_similarity"], "recent_ratio")
        g.node("Mul", ["recent_ratio", "model_part"], recent_attributions)
        g.node("ReduceSum", [recent_attributions, "axis_2"], "recent_total", keepdims=1)
        g.node("Sub", ["model_part", "recent_total"], "older_part")
    else:
        g.node("Identity", ["model_part"], "older_part")
    g.node("Squeeze", ["older_part", "axis_2"], "older_attributions")


def _weighted_sum(g: GraphWriter, weights: str, vectors: str, output: str) -> None:
    """Write a weighted sum of vectors: (B, n), (B, n, d) -> (B, d)."""
    g.node("Unsqueeze", [weights, "axis_1"], f"{output}/weights_row")
    g.node("MatMul", [f"{output}/weights_row", vectors], f"{output}/row")
    g.node("Squeeze", [f"{output}/row", "axis_1"], output)


def _dots(g: GraphWriter, vectors: str, output: str) -> None:
    """Write the dot product of each picked item with each vector: (B, k, d), (B, n, d) -> (B, k, n)."""
    g.node("Transpose", [vectors], f"{output}/columns", perm=[0, 2, 1])
    g.node("MatMul", ["picked", f"{output}/columns"], output)
