"""The default user head: a linear mix of rank-decayed recents and time-decayed sums, as an ONNX graph."""

from dataclasses import dataclass

import numpy as np
import onnx

from encoders.onnxfile import FLOAT, INT64, TINY, GraphWriter

HALF_LIVES_S = (7 * 86_400.0, 60 * 86_400.0)  # a week and two months


@dataclass(frozen=True, slots=True)
class LinearHead:
    """Parameters of the linear head. The defaults are what training on session data gave.

    The user vector is the unit vector along

        u = sum_c mix_c * ( sum_{j < n} (1 - rho_c) * rho_c ** j * w(type_j) * v_j  +  rho_c ** n * older )
        older = sum_t a_t * sums_t / mass_t             (a half-life of mass 0 gives nothing)

    where ``v_0`` is the newest of the ``n`` recents that are present (an event whose vector is unknown keeps its rank
    and gives zero), ``rho_c`` the decay a rank of component ``c``, ``w`` the weight of an event type. With every
    weight 1 and a user of one event a component is that event's vector and what is older at ratio 1 - rho : rho, so
    a component is a mean over the whole history that forgets a share 1 - rho at each event.
    """

    rank_decays: tuple[float, ...] = (0.2, 0.5, 0.85, 0.99)  # rho_c
    mix: tuple[float, ...] = (0.2, 0.24, 0.28, 0.28)  # mix_c
    type_weights: tuple[float, float, float] = (1.0, 0.5, 2.0)  # w of click, browse, purchase
    half_life_mix: tuple[float, ...] = (0.5, 0.5)  # a_t

    def __post_init__(self) -> None:
        if len(self.rank_decays) != len(self.mix):
            raise ValueError(f"{len(self.rank_decays)} rank decays for {len(self.mix)} parts of the mix: one each")
        if not all(0.0 <= rho < 1.0 for rho in self.rank_decays):
            raise ValueError(f"rank decays must lie in [0, 1), found {self.rank_decays}")


INPUTS = ["sums", "mass", "recent_vectors", "recent_types"]


def build(head: LinearHead, dimension: int, history: int) -> onnx.ModelProto:
    """The head as a graph.

    Inputs: ``sums`` (B, T, d), ``mass`` (B, T), ``recent_vectors`` (B, h, d) newest first, ``recent_types`` (B, h)
    with -1 where there is none. Outputs: ``user`` (B, d), of unit length, or zero for a user without a known vector;
    ``recent_weights`` (B, h) and ``sum_weights`` (B, T), with which
    ``user = sum_j recent_weights_j * recent_vectors_j + sum_t sum_weights_t * sums_t``.
    """
    half_lives = len(head.half_life_mix)
    rho = np.array(head.rank_decays)[:, None]
    mix = np.array(head.mix)[:, None]
    by_rank = (mix * (1 - rho) * rho ** np.arange(history)).sum(axis=0)  # (h,)
    by_count = (mix * rho ** np.arange(history + 1)).sum(axis=0)  # (h + 1,)

    g = GraphWriter()
    g.constant("weight_by_rank", by_rank)
    g.constant("weight_by_type", [*head.type_weights, 0.0])  # index -1, none, is the last
    g.constant("older_by_count", by_count)
    g.constant("half_life_mix", head.half_life_mix)
    g.constant("one", 1.0)
    g.constant("tiny", TINY)
    g.constant("zero_i", 0, np.int64)
    g.constant("axis_1", [1], np.int64)
    # recents: rank, then type
    g.node("Gather", ["weight_by_type", "recent_types"], "type_weight")
    g.node("Mul", ["type_weight", "weight_by_rank"], "recent_raw")  # (B, h)
    # sums: by how many recents go before them
    g.node("GreaterOrEqual", ["recent_types", "zero_i"], "present")
    g.node("Cast", ["present"], "present_i", to=INT64)
    g.node("ReduceSum", ["present_i", "axis_1"], "present_count", keepdims=1)  # (B, 1)
    g.node("Gather", ["older_by_count", "present_count"], "older_weight")  # (B, 1)
    g.node("Greater", ["mass", "tiny"], "has_mass")
    g.node("Where", ["has_mass", "mass", "one"], "safe_mass")
    g.node("Div", ["half_life_mix", "safe_mass"], "mean_weight")
    g.node("Cast", ["has_mass"], "has_mass_f", to=FLOAT)
    g.node("Mul", ["mean_weight", "has_mass_f"], "sum_mean")
    g.node("Mul", ["sum_mean", "older_weight"], "sum_raw")  # (B, T)
    # the mix, and its length
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
    return g.model(
        "linear_head",
        {
            "sums": (FLOAT, ("B", half_lives, dimension)),
            "mass": (FLOAT, ("B", half_lives)),
            "recent_vectors": (FLOAT, ("B", history, dimension)),
            "recent_types": (INT64, ("B", history)),
        },
        {
            "user": (FLOAT, ("B", dimension)),
            "recent_weights": (FLOAT, ("B", history)),
            "sum_weights": (FLOAT, ("B", half_lives)),
        },
    )
