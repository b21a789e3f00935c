"""The default user head: a linear mix of rank-decayed recents and time-decayed sums, as an ONNX graph."""

from dataclasses import dataclass

import numpy as np
import onnx

from encoders.onnx_builder import FLOAT, INT64, TINY, GraphWriter, Shape
from encoders.ranking import repeat_consumption
from encoders.ranking.repeat_consumption import RepeatScores

HALF_LIVES_S = (7 * 86_400.0, 60 * 86_400.0)  # a week and two months


@dataclass(frozen=True, slots=True)
class LinearHead:
    """Parameters of the linear head; the defaults were learned from session data.

    The user vector is the unit vector along

        u = sum_c mix_c * ( sum_{j < n} (1 - rho_c) * rho_c ** j * w(type_j) * v_j  +  rho_c ** n * older )
        older = sum_t a_t * sums_t / mass_t             (a half-life of mass 0 adds nothing)

    where ``v_0`` is the newest of the ``n`` recents (an event whose vector is unknown keeps its rank and adds zero),
    ``rho_c`` the decay of component ``c`` at each rank, ``w`` the weight of an event type, and ``mass_t`` the total
    weight of ``sums_t``. For a user with one recent, and every ``w`` 1, a component mixes the recent's vector and
    ``older`` at the ratio 1 - rho : rho. So a component is a mean over the whole history, which forgets the fraction
    1 - rho at each event.

    ``complete`` makes the weights of a component add up to 1 for a user without sums (or for any user, where every a_t
    is 0), as training on recents alone assumes: each component is divided by 1 - rho_c ** n.
    """

    rank_decays: tuple[float, ...] = (0.2, 0.5, 0.85, 0.99)  # rho_c
    mix: tuple[float, ...] = (0.2, 0.24, 0.28, 0.28)  # mix_c
    type_weights: tuple[float, float, float] = (1.0, 0.5, 2.0)  # w of click, browse, purchase
    half_life_mix: tuple[float, ...] = (0.5, 0.5)  # a_t
    complete: bool = False
    repeats: RepeatScores | None = None  # scores of items that are among the recents

    def __post_init__(self) -> None:
        if len(self.rank_decays) != len(self.mix):
            raise ValueError(f"{len(self.rank_decays)} rank decays for {len(self.mix)} parts of the mix: one each")
        if not all(0.0 <= rho < 1.0 for rho in self.rank_decays):
            raise ValueError(f"rank decays must lie in [0, 1), found {self.rank_decays}")


def inputs(head: LinearHead) -> list[str]:
    """Names of the inputs of the head's graph."""
    return ["sums", "mass", "recent_vectors", "recent_types", *(["recent_rows"] if head.repeats else [])]


def build(head: LinearHead, dimension: int, history: int) -> onnx.ModelProto:
    """Write the head as a graph.

    Its inputs are ``sums`` (B, T, d), ``mass`` (B, T), ``recent_vectors`` (B, h, d) newest first, and ``recent_types``
    (B, h) with -1 for no recent. Its outputs are ``user`` (B, d), of unit length, or zero for a user without a known
    vector; ``recent_weights`` (B, h) and ``sum_weights`` (B, T), with
    ``user = sum_j recent_weights_j * recent_vectors_j + sum_t sum_weights_t * sums_t``.

    With ``head.repeats`` the graph also takes ``recent_rows`` (B, h), rows of the recents' items, -1 for no recent or
    an unknown item. It then gives ``recent_scores`` (B, h): what each recent adds to the score of its own item.
    """
    half_lives = len(head.half_life_mix)
    rho = np.array(head.rank_decays)[:, None]
    mix = np.array(head.mix)[:, None]
    by_rank = mix * (1 - rho) * rho ** np.arange(history)  # (C, h)
    # by whether the user has older events, and by the count of recents: (2, h + 1, h)
    by_history = np.broadcast_to(by_rank.sum(axis=0), (2, history + 1, history)).copy()
    if head.complete:
        gaps = np.maximum(1 - rho ** np.arange(history + 1), 1e-12)  # (C, h + 1)
        by_history[0] = (by_rank[:, None] / gaps[:, :, None]).sum(axis=0)
        if not any(head.half_life_mix):
            by_history[1] = by_history[0]
    by_count = (mix * rho ** np.arange(history + 1)).sum(axis=0)  # (h + 1,)

    g = GraphWriter()
    g.constant("weight_by_history", by_history.reshape(-1, history))
    g.constant("weight_by_type", [*head.type_weights, 0.0])  # index -1, no recent, is the last
    g.constant("older_by_count", by_count)
    g.constant("half_life_mix", head.half_life_mix)
    g.constant("one", 1.0)
    g.constant("tiny", TINY)
    g.constant("zero_i", 0, np.int64)
    g.constant("axis_1", [1], np.int64)
    g.constant("counts_i", history + 1, np.int64)
    g.node("GreaterOrEqual", ["recent_types", "zero_i"], "present")
    g.node("Cast", ["present"], "present_i", to=INT64)
    g.node("ReduceSum", ["present_i", "axis_1"], "present_count", keepdims=1)  # (B, 1)
    g.node("Greater", ["mass", "tiny"], "has_mass")
    # weights of the recents: by rank, then by type
    g.node("Cast", ["has_mass"], "has_mass_i", to=INT64)
    g.node("ReduceMax", ["has_mass_i", "axis_1"], "has_older", keepdims=1)  # (B, 1)
    g.node("Mul", ["has_older", "counts_i"], "older_rows")
    g.node("Add", ["older_rows", "present_count"], "history_row")
    g.node("Squeeze", ["history_row", "axis_1"], "history_number")  # (B,)
    g.node("Gather", ["weight_by_history", "history_number"], "rank_weight")  # (B, h)
    g.node("Gather", ["weight_by_type", "recent_types"], "type_weight")
    g.node("Mul", ["type_weight", "rank_weight"], "recent_raw")  # (B, h)
    # weights of the sums: by the count of recents
    g.node("Gather", ["older_by_count", "present_count"], "older_weight")  # (B, 1)
    g.node("Where", ["has_mass", "mass", "one"], "safe_mass")
    g.node("Div", ["half_life_mix", "safe_mass"], "mean_weight")
    g.node("Cast", ["has_mass"], "has_mass_f", to=FLOAT)
    g.node("Mul", ["mean_weight", "has_mass_f"], "sum_mean")
    g.node("Mul", ["sum_mean", "older_weight"], "sum_raw")  # (B, T)
    # the mix, and its inverse length
    g.node("Unsqueeze", ["recent_raw", "axis_1"], "recent_row")  # (B, 1, h)
    g.node("MatMul", ["recent_row", "recent_vectors"], "recent_part")  # (B, 1, d)
    g.node("Unsqueeze", ["sum_raw", "axis_1"], "sum_row")
    g.node("MatMul", ["sum_row", "sums"], "sum_part")  # (B, 1, d)
    g.node("Add", ["recent_part", "sum_part"], "mixed_row")
    g.node("Squeeze", ["mixed_row", "axis_1"], "mixed")  # (B, d)
    inverse = g.inverse_length("mixed", "inverse_length")  # (B, 1)
    g.node("Mul", ["mixed", inverse], "user")
    g.node("Mul", ["recent_raw", inverse], "recent_weights")
    g.node("Mul", ["sum_raw", inverse], "sum_weights")
    takes: dict[str, tuple[int, Shape]] = {
        "sums": (FLOAT, ("B", half_lives, dimension)),
        "mass": (FLOAT, ("B", half_lives)),
        "recent_vectors": (FLOAT, ("B", history, dimension)),
        "recent_types": (INT64, ("B", history)),
    }
    gives: dict[str, tuple[int, Shape]] = {
        "user": (FLOAT, ("B", dimension)),
        "recent_weights": (FLOAT, ("B", history)),
        "sum_weights": (FLOAT, ("B", half_lives)),
    }
    if head.repeats is not None:
        _repeats(g, head.repeats, history)
        takes["recent_rows"] = (INT64, ("B", history))
        gives["recent_scores"] = (FLOAT, ("B", history))
    return g.model("linear_head", takes, gives)


def _repeats(g: GraphWriter, scores: RepeatScores, history: int) -> None:
    """Write ``recent_scores`` by the formula of ``RepeatScores``; the pattern is that of ``patterns``."""
    ranks = np.minimum(np.arange(history), repeat_consumption.RANKS - 1)
    g.constant("by_rank", scores.by_rank)
    g.constant("by_pattern", scores.by_pattern[:, ranks])  # (PATTERNS, h)
    g.constant("older_first", np.tri(history, k=-1))
    g.constant("pattern_weights", repeat_consumption.pattern_weights(history))
    g.constant("length_class", repeat_consumption.length_classes(history), np.int64)
    g.constant("lengths", repeat_consumption.LENGTHS)
    g.constant("axis_2", [2], np.int64)
    g.constant("axes_1_2", [1, 2], np.int64)
    g.constant("zero", 0.0)
    g.node("GreaterOrEqual", ["recent_rows", "zero_i"], "known")
    g.node("Cast", ["known"], "known_f", to=FLOAT)
    g.node("Unsqueeze", ["recent_rows", "axis_2"], "row_column")  # (B, h, 1)
    g.node("Unsqueeze", ["recent_rows", "axis_1"], "row_row")  # (B, 1, h)
    g.node("Equal", ["row_column", "row_row"], "same")
    g.node("Cast", ["same"], "same_f", to=FLOAT)
    g.node("Unsqueeze", ["known_f", "axis_2"], "known_column")
    g.node("Mul", ["same_f", "known_column"], "same_known")
    g.node("Mul", ["same_known", "older_first"], "again_pairs")  # (B, older, newer)
    g.node("ReduceMax", ["again_pairs", "axis_2"], "again", keepdims=0)  # (B, h)
    g.node("ReduceMax", ["again", "axis_1"], "any_again", keepdims=0)  # (B,)
    g.node("Mul", ["again_pairs", "pattern_weights"], "pattern_bits")
    g.node("ReduceSum", ["pattern_bits", "axes_1_2"], "pattern_number", keepdims=0)  # (B,)
    g.node("Mul", ["any_again", "lengths"], "pattern_repeat")
    g.node("Add", ["pattern_number", "pattern_repeat"], "pattern_f")
    g.node("Cast", ["pattern_f"], "pattern_i", to=INT64)
    g.node("Squeeze", ["present_count", "axis_1"], "present_number")
    g.node("Gather", ["length_class", "present_number"], "pattern_length")
    g.node("Add", ["pattern_i", "pattern_length"], "pattern")
    g.node("Gather", ["by_pattern", "pattern"], "pattern_scores")  # (B, h)
    # for each recent, how much nearer to the user the nearest recent is
    g.constant("lift", scores.lift)
    g.constant("farthest", -1.0)
    g.node("Unsqueeze", ["user", "axis_2"], "user_column")  # (B, d, 1)
    g.node("MatMul", ["recent_vectors", "user_column"], "cosine_column")  # (B, h, 1)
    g.node("Squeeze", ["cosine_column", "axis_2"], "cosines")
    g.node("Where", ["known", "cosines", "farthest"], "known_cosines")
    g.node("ReduceMax", ["known_cosines", "axis_1"], "nearest", keepdims=1)
    g.node("Sub", ["nearest", "cosines"], "behind")
    g.node("Mul", ["behind", "lift"], "lifted")
    g.node("Add", ["pattern_scores", "lifted"], "item_scores")
    g.node("Sub", ["one", "again"], "newest")
    g.node("Mul", ["item_scores", "newest"], "newest_scores")
    g.node("Add", ["newest_scores", "by_rank"], "any_scores")
    g.node("Mul", ["any_scores", "known_f"], "recent_scores")
