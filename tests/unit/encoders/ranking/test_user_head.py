import numpy as np
import pytest

from encoders.ranking import user_head
from encoders.ranking.ranking_io import HeadInputs
from encoders.ranking.user_head import LinearHead
from encoders.runtime import Runtime
from tests.unit.encoders import reference


def run(runtime: Runtime, params: LinearHead, inputs: HeadInputs) -> list[np.ndarray]:
    _, history, dimension = inputs.recent_vectors.shape
    session = runtime.session(user_head.build(params, dimension, history).SerializeToString())
    feeds = {name: getattr(inputs, name) for name in user_head.inputs(params)}
    return session.run(["user", "recent_weights", "sum_weights"], feeds)


@pytest.mark.parametrize("history", [1, 3, 20])
@pytest.mark.parametrize(
    "params",
    [
        LinearHead(),
        LinearHead(rank_decays=(0.0,), mix=(1.0,), type_weights=(1.0, 1.0, 1.0), half_life_mix=(1.0,)),
        LinearHead(rank_decays=(0.9, 0.5), mix=(0.4, -0.1), half_life_mix=(0.2, 0.3, 0.5)),
    ],
)
def test_the_graph_equals_the_formula(
    runtime: Runtime, rng: np.random.Generator, params: LinearHead, history: int
) -> None:
    inputs = reference.make_users(rng, 50, len(params.half_life_mix), 8, history)
    user, recent_weights, sum_weights = run(runtime, params, inputs)
    expected, _, _, expected_recent, expected_sum = reference.linear_head(params, inputs)
    np.testing.assert_allclose(user, expected, atol=2e-6)
    np.testing.assert_allclose(recent_weights, expected_recent, rtol=2e-5, atol=1e-6)
    np.testing.assert_allclose(sum_weights, expected_sum, rtol=2e-5, atol=1e-6)


def test_the_weights_rebuild_the_user_vector(runtime: Runtime, rng: np.random.Generator) -> None:
    inputs = reference.make_users(rng, 80, 2, 8, 5)
    user, recent_weights, sum_weights = run(runtime, LinearHead(), inputs)
    rebuilt = np.einsum("bh,bhd->bd", recent_weights, inputs.recent_vectors)
    rebuilt += np.einsum("bt,btd->bd", sum_weights, inputs.sums)
    np.testing.assert_allclose(user, rebuilt, atol=1e-6)
    lengths = np.linalg.norm(user, axis=1)
    assert ((np.abs(lengths - 1) < 1e-5) | (lengths == 0)).all()
    assert (lengths == 0).any()
    assert (lengths > 0).sum() > 40


def test_a_purchase_moves_the_vector_more_than_a_browse(runtime: Runtime) -> None:
    vectors = np.eye(2, dtype=np.float32)[None]  # one user, two recents at right angles
    nothing = {"sums": np.zeros((1, 2, 2), np.float32), "mass": np.zeros((1, 2), np.float32)}
    after_browse = run(
        runtime, LinearHead(), HeadInputs(recent_vectors=vectors, recent_types=np.array([[1, 0]]), **nothing)
    )
    after_purchase = run(
        runtime, LinearHead(), HeadInputs(recent_vectors=vectors, recent_types=np.array([[2, 0]]), **nothing)
    )
    assert after_purchase[0][0, 0] > after_browse[0][0, 0] > 0


def test_tiny_and_huge_sums_neither_vanish_nor_overflow(runtime: Runtime) -> None:
    direction = np.array([0.6, 0.8], np.float32)
    for size in (1e-15, 1.0, 1e15):
        inputs = HeadInputs(
            sums=np.tile(direction * np.float32(size), (1, 2, 1)),
            mass=np.full((1, 2), size, np.float32),
            recent_vectors=np.zeros((1, 4, 2), np.float32),
            recent_types=np.full((1, 4), -1),
        )
        np.testing.assert_allclose(run(runtime, LinearHead(), inputs)[0], [direction], rtol=1e-5)


def test_wrong_parameters_are_refused() -> None:
    with pytest.raises(ValueError, match="4 rank decays for 1 parts of the mix"):
        LinearHead(mix=(1.0,))
    with pytest.raises(ValueError, match=r"must lie in \[0, 1\)"):
        LinearHead(rank_decays=(1.0,), mix=(1.0,))
