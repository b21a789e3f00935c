"""Heads that score items of the recents, and means that are complete without anything older."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from encoders.artifact.manifest import Encoder
from encoders.building import lookup
from encoders.building.folder_writer import UserSide
from encoders.errors import EncoderError
from encoders.index.item_index import ItemIndex
from encoders.onnx_builder import FLOAT, INT64, GraphWriter
from encoders.ranking import user_head
from encoders.ranking.exact_ranker import ExactRanker
from encoders.ranking.ranking_io import HeadInputs
from encoders.ranking.repeat_consumption import PATTERNS, RANKS, RepeatScores, patterns
from encoders.ranking.user_head import LinearHead
from encoders.runtime import Runtime
from tests.unit.encoders import reference

HISTORY, ITEMS, DIMENSION = 6, 30, 8


@pytest.fixture
def scores(rng: np.random.Generator) -> RepeatScores:
    return RepeatScores(
        rng.standard_normal(HISTORY).astype(np.float32),
        rng.standard_normal((PATTERNS, RANKS)).astype(np.float32),
        lift=2.5,
    )


@pytest.fixture
def encoder(tmp_path: Path, rng: np.random.Generator, scores: RepeatScores) -> Encoder:
    user = UserSide(
        head=LinearHead(half_life_mix=(0.0, 0.0), complete=True, repeats=scores), history=HISTORY, score_scale=7.0
    )
    ids = [f"item-{i}" for i in range(ITEMS)]
    return lookup.build(tmp_path / "encoder", ids, reference.random_unit(rng, ITEMS, DIMENSION), "v1", user=user)


def users(rng: np.random.Generator, count: int) -> HeadInputs:
    """Users who come back to few items; some events are of unknown items."""
    inputs = reference.make_users(rng, count, 2, DIMENSION, HISTORY)
    rows = np.where(inputs.recent_types >= 0, rng.integers(0, 4, (count, HISTORY)), -1)
    rows[rng.random(rows.shape) < 0.1] = -1
    return replace(inputs, recent_rows=rows)


def naive_scores(
    scores: RepeatScores, rows: np.ndarray, types: np.ndarray, vectors: np.ndarray, user: np.ndarray
) -> dict[int, float]:
    """Score of each item of one user's recents, by the definition."""
    count = int((types >= 0).sum())
    nearest = max((float(vectors[rank] @ user) for rank, row in enumerate(rows.tolist()) if row >= 0), default=0.0)
    number, _ = patterns(rows[None], np.array([count]))
    found: dict[int, float] = {}
    for rank, row in enumerate(rows.tolist()):
        if row < 0:
            continue
        if row not in found:
            found[row] = float(scores.by_pattern[number[0], min(rank, RANKS - 1)])
            found[row] += scores.lift * (nearest - float(vectors[rank] @ user))
        found[row] += float(scores.by_rank[rank])
    return found


@pytest.mark.parametrize(
    ("newest_first", "same_as"),
    [
        ([7, 7, 3], [1, 1, 2]),
        ([7, 3, 7], [1, 2, 1]),
        ([7, 3, 5, 7], [4, 2, 1, 4]),
        ([1, 2, 3, 4, 5, 5], [6, 7, 8, 9, 1, 1]),
    ],
)
def test_a_pattern_knows_equality_and_not_items(newest_first: list[int], same_as: list[int]) -> None:
    counts = np.array([len(newest_first)])
    first, second = (patterns(np.array([rows]), counts)[0] for rows in (newest_first, same_as))
    assert first == second
    distinct = np.arange(10, 10 + len(newest_first))[None]
    assert first != patterns(distinct, counts)[0]


def test_unknown_items_are_not_the_same_item() -> None:
    pattern, newest = patterns(np.array([[-1, -1, 4], [1, 2, 4]]), np.array([3, 3]))
    assert pattern[0] == pattern[1]
    assert newest.tolist() == [[False, False, True], [True, True, True]]


def test_ranking_adds_the_scores_of_repeats_and_the_attributions_add_up(
    runtime: Runtime, rng: np.random.Generator, encoder: Encoder, scores: RepeatScores
) -> None:
    index = reference.make_index(rng, ITEMS, DIMENSION)
    inputs = users(rng, 40)
    nothing = np.empty((40, 0), np.int64)
    ranked = ExactRanker(runtime, encoder).rank(inputs, index.snapshot(), nothing, nothing.astype(np.float32), ITEMS)
    plain = reference.scores(ranked.user, index.snapshot(), nothing, nothing, 7.0)
    for b in range(40):
        one = (inputs.recent_rows[b], inputs.recent_types[b], inputs.recent_vectors[b], ranked.user[b])
        for row, score in naive_scores(scores, *one).items():
            plain[b, row] += score
    shown = ranked.scores > -1e29
    np.testing.assert_allclose(
        ranked.scores[shown], np.take_along_axis(plain, ranked.rows, axis=1)[shown], rtol=1e-4, atol=1e-4
    )
    total = (
        ranked.recent_attributions.sum(axis=2)
        + ranked.older_attributions
        + ranked.bias_attributions
        + ranked.adjustment_attributions
    )
    np.testing.assert_allclose(ranked.scores[shown], total[shown], rtol=1e-4, atol=1e-4)
    assert ranked.exact


def test_vectors_alone_need_no_item(runtime: Runtime, rng: np.random.Generator, encoder: Encoder) -> None:
    user, short_term, _ = ExactRanker(runtime, encoder).vectors(users(rng, 5))
    assert user.shape == short_term.shape == (5, DIMENSION)


def test_a_row_beyond_the_snapshot_is_named(runtime: Runtime, rng: np.random.Generator, encoder: Encoder) -> None:
    inputs = users(rng, 5)
    index = ItemIndex(DIMENSION)
    index.put(["a"], reference.random_unit(rng, 1, DIMENSION))
    inputs.recent_rows[0] = 3
    nothing = np.empty((5, 0), np.int64)
    with pytest.raises(ValueError, match="recent_rows names row 3"):
        ExactRanker(runtime, encoder).rank(inputs, index.snapshot(), nothing, nothing.astype(np.float32), 1)


@pytest.mark.parametrize("half_life_mix", [(0.0, 0.0), (0.3, 0.7)])
def test_complete_means_fill_the_place_of_what_is_older(
    runtime: Runtime, rng: np.random.Generator, half_life_mix: tuple[float, float]
) -> None:
    params = LinearHead(rank_decays=(0.3, 0.99), mix=(0.4, 0.6), half_life_mix=half_life_mix, complete=True)
    inputs = reference.make_users(rng, 60, 2, DIMENSION, HISTORY)
    session = runtime.session(user_head.build(params, DIMENSION, HISTORY).SerializeToString())
    feeds = {name: getattr(inputs, name) for name in user_head.inputs(params)}
    (user,) = session.run(["user"], feeds)
    expected = np.zeros((60, DIMENSION))
    for b in range(60):
        count = int((inputs.recent_types[b] >= 0).sum())
        older = any(half_life_mix) and bool((inputs.mass[b] > 0).any())
        for rho, mix in zip(params.rank_decays, params.mix, strict=True):
            powers = (1 - rho) * rho ** np.arange(count)
            if not older and count:
                powers = powers / powers.sum()
            for j in range(count):
                weight = params.type_weights[inputs.recent_types[b, j]]
                expected[b] += mix * powers[j] * weight * inputs.recent_vectors[b, j]
            for t in range(2):
                if inputs.mass[b, t] > 0:
                    expected[b] += mix * rho**count * half_life_mix[t] * inputs.sums[b, t] / inputs.mass[b, t]
    np.testing.assert_allclose(user, reference.unit(expected), atol=1e-5)


def test_a_head_that_scores_repeats_has_to_take_the_rows(tmp_path: Path, encoder: Encoder) -> None:
    g = GraphWriter()
    g.constant("last_axis", [-1], np.int64)
    g.constant("axis_1", [1], np.int64)
    g.node("ReduceSum", ["recent_vectors", "last_axis"], "recent_scores", keepdims=0)
    g.node("ReduceSum", ["recent_vectors", "axis_1"], "user", keepdims=0)
    model = g.model(
        "wrong",
        {"recent_vectors": (FLOAT, ("B", HISTORY, DIMENSION))},
        {"user": (FLOAT, ("B", DIMENSION)), "recent_scores": (FLOAT, ("B", HISTORY))},
    )
    with pytest.raises(EncoderError, match="must take recent_vectors and recent_rows"):
        reference.replace_head(encoder, tmp_path / "wrong", model, ["recent_vectors"])


def test_a_head_that_is_not_linear_may_score_repeats_too(
    tmp_path: Path, runtime: Runtime, rng: np.random.Generator, encoder: Encoder
) -> None:
    g = GraphWriter()
    g.constant("axis_1", [1], np.int64)
    g.node("ReduceSum", ["recent_vectors", "axis_1"], "sum", keepdims=0)
    g.node("Tanh", ["sum"], "user")
    g.constant("bonus", np.full((1, HISTORY), 0.5))
    g.constant("zero_i", 0, np.int64)
    g.node("GreaterOrEqual", ["recent_rows", "zero_i"], "known")
    g.node("Cast", ["known"], "known_f", to=FLOAT)
    g.node("Mul", ["bonus", "known_f"], "recent_scores")
    model = g.model(
        "tanh",
        {"recent_vectors": (FLOAT, ("B", HISTORY, DIMENSION)), "recent_rows": (INT64, ("B", HISTORY))},
        {"user": (FLOAT, ("B", DIMENSION)), "recent_scores": (FLOAT, ("B", HISTORY))},
    )
    other = reference.replace_head(encoder, tmp_path / "tanh", model, ["recent_vectors", "recent_rows"])
    index = reference.make_index(rng, ITEMS, DIMENSION)
    nothing = np.empty((9, 0), np.int64)
    ranked = ExactRanker(runtime, other).rank(users(rng, 9), index.snapshot(), nothing, nothing.astype(np.float32), 5)
    total = (
        ranked.recent_attributions.sum(axis=2)
        + ranked.older_attributions
        + ranked.bias_attributions
        + ranked.adjustment_attributions
    )
    np.testing.assert_allclose(ranked.scores, total, rtol=1e-4, atol=1e-4)
    assert not ranked.exact
