"""The candidate search against exact ranking: the same where all clusters are looked into, and as fresh."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from encoders.candidates import CandidateRanking
from encoders.clusters import Clusters
from encoders.graph import RankingGraph
from encoders.index import ItemIndex
from encoders.manifest import Encoder
from encoders.ranked import LEAST_SCORE, LEAVE_OUT, HeadInputs, Ranked
from encoders.runtime import Runtime
from tests.unit.encoders import reference

CLOSE = {"rtol": 2e-5, "atol": 2e-6}
ALL = 10_000


@pytest.fixture(scope="module")
def exact(runtime: Runtime, encoder: Encoder) -> RankingGraph:
    return RankingGraph(runtime, encoder)


@pytest.fixture(scope="module")
def candidates(runtime: Runtime, encoder: Encoder) -> CandidateRanking:
    return CandidateRanking(runtime, encoder)


def clusters_of(index: ItemIndex, encoder: Encoder) -> Clusters:
    clusters = Clusters.build(index.snapshot(), encoder.manifest.score_scale)
    clusters.refresh(index)
    return clusters


def assert_same(found: Ranked, expected: Ranked) -> None:
    """The same scores at the same places; items of one score may change places."""
    good = expected.scores > LEAST_SCORE
    np.testing.assert_array_equal(found.scores > LEAST_SCORE, good)
    np.testing.assert_allclose(found.scores[good], expected.scores[good], **CLOSE)
    same = good & (found.rows == expected.rows)
    assert same.sum() >= 0.99 * good.sum()
    for name in ("recent_shares", "older_shares", "bias_shares", "adjust_shares"):
        np.testing.assert_allclose(getattr(found, name)[same], getattr(expected, name)[same], **CLOSE)
    for name in ("user", "short_term", "long_term"):
        np.testing.assert_allclose(getattr(found, name), getattr(expected, name), **CLOSE)


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    users=st.integers(1, 200),
    items=st.integers(1, 400),
    k=st.integers(1, 30),
    adjusted=st.integers(0, 6),
)
def test_looking_into_all_clusters_is_exact(
    exact: RankingGraph,
    candidates: CandidateRanking,
    encoder: Encoder,
    seed: int,
    users: int,
    items: int,
    k: int,
    adjusted: int,
) -> None:
    rng = np.random.default_rng(seed)
    inputs = reference.make_users(rng, users, 2, 16, 6)
    index = reference.make_index(rng, items, 16)
    rows = rng.integers(-1, items, (users, adjusted))
    kinds = rng.random(rows.shape)
    adjust = np.select([kinds < 0.4, kinds < 0.7], [LEAVE_OUT, 2.0], rng.standard_normal(rows.shape))
    case = (rows, adjust.astype(np.float32), k)
    found = candidates.rank(inputs, index.snapshot(), clusters_of(index, encoder), ALL, *case)
    assert_same(found, exact.rank(inputs, index.snapshot(), *case))


def test_a_few_clusters_hold_most_of_the_best_items(
    exact: RankingGraph, candidates: CandidateRanking, encoder: Encoder, rng: np.random.Generator
) -> None:
    kinds = np.sort(rng.integers(0, 60, 6_000))
    vectors = reference.random_unit(rng, 60, 16)[kinds] + 0.5 * reference.random_unit(rng, 6_000, 16)
    index = ItemIndex(16)
    index.put([f"i{n}" for n in range(6_000)], reference.unit(vectors).astype(np.float32))
    # users who look at items of one kind and the next
    rows = (rng.integers(0, 5_800, (300, 1)) + rng.integers(0, 200, (300, 6))) % 6_000
    inputs = HeadInputs(
        sums=np.zeros((300, 2, 16), np.float32),
        mass=np.zeros((300, 2), np.float32),
        recent_vectors=index.gather(rows),
        recent_types=np.zeros((300, 6), np.int64),
    )
    clusters = clusters_of(index, encoder)
    nothing = np.zeros((300, 0), np.int64), np.zeros((300, 0), np.float32)
    best = exact.rank(inputs, index.snapshot(), *nothing, 20).rows
    shares = []
    for probes in (1, clusters.count // 4):
        found = candidates.rank(inputs, index.snapshot(), clusters, probes, *nothing, 20).rows
        shares.append(np.mean([len(np.intersect1d(a, b)) / 20 for a, b in zip(best, found, strict=True)]))
    assert shares[0] < shares[1] > 0.97


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_the_clusters_follow_the_index(
    exact: RankingGraph, candidates: CandidateRanking, encoder: Encoder, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    index = reference.make_index(rng, 120, 16)
    before = index.snapshot()
    clusters = Clusters.build(before, encoder.manifest.score_scale)
    for _ in range(3):  # some of it while a build would be under way
        some = [f"item-{n}" for n in rng.integers(0, 260, 90)]
        index.put(some, reference.random_unit(rng, 90, 16), rng.standard_normal(90).astype(np.float32))
        index.withdraw(some[:20])
        index.remove(some[20:40])
        if rng.random() < 0.5:
            clusters.refresh(index)
    clusters.refresh(index)
    inputs = reference.make_users(rng, 30, 2, 16, 6)
    nothing = np.zeros((30, 0), np.int64), np.zeros((30, 0), np.float32)
    found = candidates.rank(inputs, index.snapshot(), clusters, ALL, *nothing, 15)
    assert_same(found, exact.rank(inputs, index.snapshot(), *nothing, 15))


def test_clusters_wear_out_as_items_come(encoder: Encoder, rng: np.random.Generator) -> None:
    index = ItemIndex(16)
    index.put([f"i{n}" for n in range(500)], reference.random_unit(rng, 500, 16))
    clusters = clusters_of(index, encoder)
    assert not clusters.worn
    index.put([f"j{n}" for n in range(6_000)], reference.random_unit(rng, 6_000, 16))
    clusters.refresh(index)
    assert clusters.worn
    assert not clusters_of(index, encoder).worn


def test_nothing_to_recommend(candidates: CandidateRanking, encoder: Encoder, rng: np.random.Generator) -> None:
    index = ItemIndex(16)
    index.put(["gone"], np.ones((1, 16), np.float32))
    index.withdraw(["gone"])
    clusters = clusters_of(index, encoder)
    nothing = np.zeros((3, 0), np.int64), np.zeros((3, 0), np.float32)
    found = candidates.rank(reference.make_users(rng, 3, 2, 16, 6), index.snapshot(), clusters, 4, *nothing, 5)
    assert (found.scores < LEAST_SCORE).all()
    assert found.rows.shape == (3, 1)


def test_a_user_whose_vector_is_no_number_harms_nobody(encoder: Encoder, rng: np.random.Generator) -> None:
    """Regression: what was not found was whatever the memory held, and the worker died of it."""
    index = reference.make_index(rng, 900, 16)
    clusters = clusters_of(index, encoder)
    users = reference.random_unit(rng, 40, 16)
    alone = clusters.search(users, 3, 20)
    users[7] = np.nan
    found = clusters.search(users, 3, 20)
    assert (found[7] == -1).all()
    np.testing.assert_array_equal(np.sort(np.delete(found, 7, 0)), np.sort(np.delete(alone, 7, 0)))
