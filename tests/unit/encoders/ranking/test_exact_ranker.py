import dataclasses
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from encoders.arrays import Float32Array, Int64Array
from encoders.artifact.manifest import Encoder
from encoders.index.item_index import IndexSnapshot
from encoders.ranking.exact_ranker import ExactRanker
from encoders.ranking.ranking_io import EXCLUDED_SCORE, LEAST_SCORE, HeadInputs, Ranked
from encoders.ranking.user_head import LinearHead
from encoders.runtime import Runtime
from tests.unit.encoders import reference

PARAMS = LinearHead(half_life_mix=(0.3, 0.7))
SCALE = 3.0
CLOSE = {"rtol": 2e-5, "atol": 2e-6}


@pytest.fixture(scope="module")
def graph(runtime: Runtime, encoder: Encoder) -> ExactRanker:
    return ExactRanker(runtime, encoder)


def a_case(
    rng: np.random.Generator, users: int = 40, items: int = 90, adjusted: int = 5
) -> tuple[HeadInputs, IndexSnapshot, Int64Array, Float32Array]:
    inputs = reference.make_users(rng, users, 2, 16, 6)
    index = reference.make_index(rng, items, 16)
    rows = rng.integers(-1, items, (users, adjusted))
    adjust = np.where(rng.random(rows.shape) < 0.5, EXCLUDED_SCORE, rng.standard_normal(rows.shape)).astype(np.float32)
    return inputs, index.snapshot(), rows, adjust


def no_adjustments(users: int) -> tuple[Int64Array, Float32Array]:
    return np.zeros((users, 0), np.int64), np.zeros((users, 0), np.float32)


def all_attributions(ranked: Ranked) -> Float32Array:
    return (
        ranked.recent_attributions.sum(2)
        + ranked.older_attributions
        + ranked.bias_attributions
        + ranked.adjustment_attributions
    )


def test_every_output_equals_a_plain_computation(graph: ExactRanker, rng: np.random.Generator) -> None:
    inputs, snapshot, rows, adjust = a_case(rng)
    ranked = graph.rank(inputs, snapshot, rows, adjust, 12)
    user, short, long, recent_weights, sum_weights = reference.linear_head(PARAMS, inputs)
    np.testing.assert_allclose(ranked.user, user, **CLOSE)
    np.testing.assert_allclose(ranked.short_term, reference.unit(short), **CLOSE)
    np.testing.assert_allclose(ranked.long_term, reference.unit(long), **CLOSE)
    expected = reference.scores(user, snapshot, rows, adjust, SCALE)
    np.testing.assert_allclose(ranked.scores, -np.sort(-expected, axis=1)[:, :12], **CLOSE)
    np.testing.assert_allclose(ranked.scores, np.take_along_axis(expected, ranked.rows, axis=1), **CLOSE)
    picked = snapshot.items[ranked.rows].astype(np.float64)
    dots = np.einsum("bkd,bhd->bkh", picked, inputs.recent_vectors)
    np.testing.assert_allclose(ranked.recent_attributions, SCALE * recent_weights[:, None] * dots, **CLOSE)
    older = np.einsum("bkd,btd,bt->bk", picked, inputs.sums, sum_weights)
    np.testing.assert_allclose(ranked.older_attributions, SCALE * older, **CLOSE)
    np.testing.assert_array_equal(ranked.bias_attributions, snapshot.bias[ranked.rows])
    fallen = (ranked.rows[:, :, None] == rows[:, None]) * adjust[:, None]
    np.testing.assert_allclose(ranked.adjustment_attributions, fallen.sum(2), **CLOSE)
    assert ranked.exact


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32), users=st.integers(1, 9), items=st.integers(1, 40), k=st.integers(1, 50))
def test_the_attributions_add_up_to_the_score_and_what_is_left_out_stays_out(
    graph: ExactRanker, seed: int, users: int, items: int, k: int
) -> None:
    inputs, snapshot, rows, adjust = a_case(np.random.default_rng(seed), users, items)
    ranked = graph.rank(inputs, snapshot, rows, adjust, k)
    good = ranked.scores > LEAST_SCORE
    np.testing.assert_allclose(all_attributions(ranked)[good], ranked.scores[good], **CLOSE)
    left_out = ((ranked.rows[:, :, None] == rows[:, None]) & (adjust[:, None] == EXCLUDED_SCORE)).any(2)
    withdrawn = snapshot.bias[ranked.rows] == -np.inf
    assert ranked.rows.shape == (users, min(k, items))
    np.testing.assert_array_equal(good, ~left_out & ~withdrawn)


def test_top_k_equals_a_full_stable_sort_up_to_ties(graph: ExactRanker, rng: np.random.Generator) -> None:
    inputs, snapshot, rows, adjust = a_case(rng, users=60, items=200)
    repeated = IndexSnapshot(np.tile(snapshot.items[:50], (4, 1)), np.tile(snapshot.bias[:50], 4), snapshot.version)
    ranked = graph.rank(inputs, repeated, rows, adjust, 30)
    everything = graph.rank(inputs, repeated, rows, adjust, 200)
    by_row = np.zeros_like(everything.scores)
    np.put_along_axis(by_row, everything.rows, everything.scores, axis=1)
    order = np.argsort(-by_row, axis=1, kind="stable")
    np.testing.assert_array_equal(np.sort(everything.rows, axis=1), np.tile(np.arange(200), (60, 1)))
    np.testing.assert_array_equal(ranked.scores, np.take_along_axis(by_row, order[:, :30], axis=1))
    np.testing.assert_array_equal(ranked.scores, np.take_along_axis(by_row, ranked.rows, axis=1))


@pytest.mark.parametrize("chunk", [1, 7, 64])
def test_a_batch_equals_its_users_one_by_one(
    runtime: Runtime, encoder: Encoder, rng: np.random.Generator, chunk: int
) -> None:
    graph = ExactRanker(runtime, encoder, chunk=chunk)
    inputs, snapshot, rows, adjust = a_case(rng, users=33)
    together = graph.rank(inputs, snapshot, rows, adjust, 10)
    for b in range(33):
        one = slice(b, b + 1)
        alone = graph.rank(reference.take(inputs, one), snapshot, rows[one], adjust[one], 10)
        for field in dataclasses.fields(alone):
            if field.name != "exact":
                expected = getattr(together, field.name)[one]
                np.testing.assert_allclose(getattr(alone, field.name), expected, err_msg=field.name, **CLOSE)


def test_no_users_no_items_and_no_places_need_no_special_care(graph: ExactRanker, rng: np.random.Generator) -> None:
    inputs, snapshot, rows, adjust = a_case(rng, users=5)
    nobody = graph.rank(reference.take(inputs, slice(0)), snapshot, rows[:0], adjust[:0], 10)
    assert nobody.user.shape == (0, 16)
    assert nobody.recent_attributions.shape == (0, 0, 6)
    empty = IndexSnapshot(np.zeros((0, 16), np.float32), np.zeros(0, np.float32), 1)
    for found in (
        graph.rank(inputs, empty, *no_adjustments(5), 10),
        graph.rank(inputs, snapshot, rows, adjust, 0),
    ):
        assert found.rows.shape == found.scores.shape == (5, 0)
        assert found.rows.dtype == np.int64
        np.testing.assert_allclose(found.user, reference.linear_head(PARAMS, inputs)[0], **CLOSE)


def test_vectors_alone_equal_those_of_a_ranking(graph: ExactRanker, rng: np.random.Generator) -> None:
    inputs, snapshot, rows, adjust = a_case(rng)
    ranked = graph.rank(inputs, snapshot, rows, adjust, 3)
    for alone, expected in zip(graph.vectors(inputs), (ranked.user, ranked.short_term, ranked.long_term), strict=True):
        np.testing.assert_allclose(alone, expected, **CLOSE)


def test_an_unknown_user_is_ranked_by_bias_and_bonus_alone(graph: ExactRanker, rng: np.random.Generator) -> None:
    _, snapshot, _, _ = a_case(rng, users=1)
    nobody = HeadInputs(
        sums=np.zeros((1, 2, 16), np.float32),
        mass=np.zeros((1, 2), np.float32),
        recent_vectors=np.zeros((1, 6, 16), np.float32),
        recent_types=np.full((1, 6), -1),
    )
    ranked = graph.rank(nobody, snapshot, np.array([[4]]), np.array([[5.0]], np.float32), 8)
    assert not ranked.user.any()
    assert ranked.rows[0, 0] == 4
    expected = snapshot.bias.copy()
    expected[4] += 5
    np.testing.assert_allclose(ranked.scores[0], -np.sort(-expected)[:8], **CLOSE)


def test_a_head_that_is_not_linear_gets_an_explanation_that_still_adds_up(
    runtime: Runtime, encoder: Encoder, rng: np.random.Generator, tmp_path: Path
) -> None:
    other = reference.replace_head(
        encoder, tmp_path / "e", reference.attention_head(16, 6), ["recent_vectors", "recent_ages", "sums"]
    )
    graph = ExactRanker(runtime, other)
    inputs, snapshot, rows, adjust = a_case(rng)
    ranked = graph.rank(inputs, snapshot, rows, adjust, 10)
    user = reference.attention(inputs)
    assert not ranked.exact
    np.testing.assert_allclose(ranked.user, user, **CLOSE)
    expected = reference.scores(user, snapshot, rows, adjust, SCALE)
    np.testing.assert_allclose(ranked.scores, -np.sort(-expected, axis=1)[:, :10], **CLOSE)
    np.testing.assert_allclose(all_attributions(ranked), ranked.scores, **CLOSE)
    picked = snapshot.items[ranked.rows]
    similar = np.einsum("bkd,bhd->bkh", picked, inputs.recent_vectors) > 1e-6
    model_part = SCALE * np.einsum("bkd,bd->bk", picked, user)[:, :, None]
    assert (ranked.recent_attributions * model_part >= 0).all()
    assert (ranked.recent_attributions[~similar] == 0).all()
    assert (ranked.recent_attributions[similar & (np.abs(model_part) > 1e-3)] != 0).all()


def test_an_older_opset_is_brought_up(
    runtime: Runtime, encoder: Encoder, rng: np.random.Generator, tmp_path: Path
) -> None:
    other = reference.replace_head(
        encoder, tmp_path / "e", reference.attention_head(16, 6, opset=14), ["recent_vectors", "recent_ages", "sums"]
    )
    inputs, snapshot, rows, adjust = a_case(rng)
    ranked = ExactRanker(runtime, other).rank(inputs, snapshot, rows, adjust, 10)
    np.testing.assert_allclose(ranked.user, reference.attention(inputs), **CLOSE)


def test_a_linear_head_of_recents_alone_is_exact_without_sums(
    runtime: Runtime, encoder: Encoder, rng: np.random.Generator, tmp_path: Path
) -> None:
    other = reference.replace_head(encoder, tmp_path / "e", reference.newest_head(16, 6), ["recent_vectors"])
    graph = ExactRanker(runtime, other)
    inputs, snapshot, rows, adjust = a_case(rng)
    ranked = graph.rank(HeadInputs(recent_vectors=inputs.recent_vectors), snapshot, rows, adjust, 10)
    assert ranked.exact
    np.testing.assert_array_equal(ranked.user, inputs.recent_vectors[:, 0])
    assert not ranked.older_attributions.any()
    assert not ranked.long_term.any()
    assert not ranked.recent_attributions[:, :, 1:].any()
    np.testing.assert_allclose(all_attributions(ranked), ranked.scores, **CLOSE)


def test_wrong_arrays_are_named(graph: ExactRanker, rng: np.random.Generator) -> None:
    inputs, snapshot, rows, adjust = a_case(rng)
    with pytest.raises(ValueError, match="needs mass, which is missing"):
        graph.rank(dataclasses.replace(inputs, mass=None), snapshot, rows, adjust, 3)
    with pytest.raises(ValueError, match=r"recent_types has shape \(40, 5\).*expects \(40, 6\)"):
        graph.rank(dataclasses.replace(inputs, recent_types=inputs.recent_types[:, :5]), snapshot, rows, adjust, 3)
    with pytest.raises(ValueError, match=r"items of shape"):
        graph.rank(inputs, IndexSnapshot(snapshot.items[:, :3], snapshot.bias, 1), rows, adjust, 3)
    with pytest.raises(ValueError, match=r"must both be \(40, A\)"):
        graph.rank(inputs, snapshot, rows[:3], adjust[:3], 3)
    with pytest.raises(ValueError, match="names row 90, but the snapshot has 90 rows"):
        graph.rank(inputs, snapshot, np.full_like(rows, 90), adjust, 3)


def test_items_held_on_the_device_follow_every_change_of_the_index(
    runtime: Runtime, encoder: Encoder, rng: np.random.Generator
) -> None:
    plain, bound = ExactRanker(runtime, encoder), ExactRanker(runtime, encoder, chunk=16, bind=True)
    inputs, _, rows, adjust = a_case(rng)
    index = reference.make_index(rng, 90, 16)
    steps = [
        lambda: None,
        lambda: index.put(["item-3", "new"], reference.random_unit(rng, 2, 16), [2.0, 3.0]),
        lambda: index.withdraw(["item-3"]),
        lambda: index.remove(["new"]),
    ]
    for step in steps:
        step()
        expected = plain.rank(inputs, index.snapshot(), rows, adjust, 10)
        for _ in range(2):  # sent, then kept
            found = bound.rank(inputs, index.snapshot(), rows, adjust, 10)
            np.testing.assert_array_equal(found.rows, expected.rows)
            np.testing.assert_allclose(found.scores, expected.scores, **CLOSE)
