"""The search in tiles against exact ranking: the same where all items are looked at, and as fresh."""

import os
import platform
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from encoders.artifact.manifest import Encoder
from encoders.building import lookup
from encoders.building.folder_writer import UserSide
from encoders.errors import EncoderError
from encoders.index.item_index import IndexSnapshot, ItemIndex
from encoders.index.tile_search import TileSearch
from encoders.ranking.candidate_ranker import CandidateRanker
from encoders.ranking.exact_ranker import ExactRanker
from encoders.ranking.ranking_io import EXCLUDED_SCORE, LEAST_SCORE, HeadInputs, Ranked
from encoders.ranking.repeat_consumption import PATTERNS, RANKS, RepeatScores
from encoders.ranking.user_head import LinearHead
from encoders.runtime import Runtime
from tests.unit.encoders import reference
from tests.unit.encoders.conftest import DIMENSION, HISTORY

Build = Callable[[IndexSnapshot, float], TileSearch]

CLOSE = {"rtol": 2e-5, "atol": 2e-6}
ALL = 10_000


@pytest.fixture(scope="module")
def exact(runtime: Runtime, encoder: Encoder) -> ExactRanker:
    return ExactRanker(runtime, encoder)


@pytest.fixture(scope="module")
def candidates(runtime: Runtime, encoder: Encoder) -> CandidateRanker:
    return CandidateRanker(runtime, encoder)


def make_users(rng: np.random.Generator, users: int) -> HeadInputs:
    return reference.make_users(rng, users, 2, DIMENSION, HISTORY)


def unadjusted(users: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
    """The arguments of a ranking without adjustments."""
    return np.zeros((users, 0), np.int64), np.zeros((users, 0), np.float32)


def index_of(vectors: npt.NDArray[Any]) -> ItemIndex:
    """An index of the items i0, i1 and so on."""
    index = ItemIndex(vectors.shape[1])
    index.put([f"i{n}" for n in range(len(vectors))], vectors.astype(np.float32))
    return index


def search_of(index: ItemIndex, encoder: Encoder, build: Build = TileSearch.build) -> TileSearch:
    search = build(index.snapshot(), encoder.manifest.score_scale)
    search.refresh(index)
    return search


def hard_index(rng: np.random.Generator, items: int, dimension: int) -> ItemIndex:
    """Items that int8 can't tell apart, equal, zero, tiny and long ones, huge biases; some of them withdrawn."""
    vectors = reference.random_unit(rng, items, dimension)
    kinds = rng.integers(0, 7, items) if rng.random() < 0.7 else np.full(items, rng.integers(0, 7))
    vectors[kinds == 1] = vectors[0] + 1e-4 * rng.standard_normal(((kinds == 1).sum(), dimension))
    vectors[kinds == 2] = vectors[-1]
    vectors[kinds == 3] = 0.0
    vectors[kinds == 4] *= np.float32(30.0)
    vectors[kinds == 5] *= 10.0 ** rng.integers(-44, 1, ((kinds == 5).sum(), 1))
    bias = np.where(rng.random(items) < 0.5, 0.0, rng.standard_normal(items))
    bias[kinds == 6] = 10.0 ** rng.integers(-3, 5, (kinds == 6).sum()) * rng.choice([-1, 1], (kinds == 6).sum())
    index = ItemIndex(dimension, capacity=4)
    index.put([f"item-{n}" for n in range(items)], vectors, bias.astype(np.float32))
    index.withdraw([f"item-{n}" for n in np.flatnonzero(rng.random(items) < 0.1)])
    index.remove([f"item-{n}" for n in np.flatnonzero(rng.random(items) < 0.05)])
    return index


def assert_same(found: Ranked, expected: Ranked) -> None:
    """The same scores at the same places; items of one score may change places."""
    good = expected.scores > LEAST_SCORE
    np.testing.assert_array_equal(found.scores > LEAST_SCORE, good)
    np.testing.assert_allclose(found.scores[good], expected.scores[good], **CLOSE)
    same = good & (found.rows == expected.rows)
    assert same.sum() >= 0.99 * good.sum()
    for name in ("recent_attributions", "older_attributions", "bias_attributions", "adjustment_attributions"):
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
def test_probing_all_lists_is_exact(
    exact: ExactRanker,
    candidates: CandidateRanker,
    encoder: Encoder,
    seed: int,
    users: int,
    items: int,
    k: int,
    adjusted: int,
) -> None:
    rng = np.random.default_rng(seed)
    inputs = make_users(rng, users)
    index = reference.make_index(rng, items, DIMENSION)
    rows = rng.integers(-1, items, (users, adjusted))
    kinds = rng.random(rows.shape)
    adjust = np.select([kinds < 0.4, kinds < 0.7], [EXCLUDED_SCORE, 2.0], rng.standard_normal(rows.shape))
    case = (rows, adjust.astype(np.float32), k)
    found = candidates.rank(inputs, index.snapshot(), search_of(index, encoder), ALL, *case)
    assert_same(found, exact.rank(inputs, index.snapshot(), *case))


def test_a_few_lists_hold_most_of_the_best_items(
    exact: ExactRanker, candidates: CandidateRanker, encoder: Encoder, rng: np.random.Generator
) -> None:
    kinds = np.sort(rng.integers(0, 60, 6_000))
    vectors = reference.random_unit(rng, 60, DIMENSION)[kinds] + 0.5 * reference.random_unit(rng, 6_000, DIMENSION)
    index = index_of(reference.unit(vectors))
    # users who look at items of one kind and the next
    rows = (rng.integers(0, 5_800, (300, 1)) + rng.integers(0, 200, (300, 6))) % 6_000
    inputs = HeadInputs(
        sums=np.zeros((300, 2, DIMENSION), np.float32),
        mass=np.zeros((300, 2), np.float32),
        recent_vectors=index.gather(rows),
        recent_types=np.zeros((300, 6), np.int64),
    )
    search = search_of(index, encoder)
    nothing = unadjusted(300)
    best = exact.rank(inputs, index.snapshot(), *nothing, 20).rows
    shares = []
    for nprobe in (1, search.nlist // 4):
        found = candidates.rank(inputs, index.snapshot(), search, nprobe, *nothing, 20).rows
        shares.append(np.mean([len(np.intersect1d(a, b)) / 20 for a, b in zip(best, found, strict=True)]))
    assert shares[0] < shares[1] > 0.97


def assert_as_good(found: Ranked, expected: Ranked, snapshot: IndexSnapshot, close: dict[str, float]) -> None:
    """The same scores at the same places, which add up, and no row twice; items of one score may change places."""
    good = expected.scores > LEAST_SCORE
    np.testing.assert_array_equal(found.scores > LEAST_SCORE, good)
    np.testing.assert_allclose(found.scores[good], expected.scores[good], **close)
    parts = (
        found.recent_attributions.sum(axis=2)
        + found.older_attributions
        + found.bias_attributions
        + found.adjustment_attributions
    )
    np.testing.assert_allclose(parts[good], found.scores[good], **close)
    np.testing.assert_allclose(found.user, expected.user, **CLOSE)
    for rows, shown in zip(found.rows, good, strict=True):
        assert len(np.unique(rows[shown])) == shown.sum()
        assert (snapshot.bias[rows[shown]] > -np.inf).all()


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    users=st.integers(1, 40),
    items=st.integers(1, 3_000),
    k=st.integers(1, 80),
    adjusted=st.integers(0, 30),
)
def test_undivided_items_are_ranked_exactly(
    exact: ExactRanker,
    candidates: CandidateRanker,
    encoder: Encoder,
    seed: int,
    users: int,
    items: int,
    k: int,
    adjusted: int,
) -> None:
    rng = np.random.default_rng(seed)
    inputs = make_users(rng, users)
    index = hard_index(rng, items, DIMENSION)
    snapshot = index.snapshot()
    adjust = rng.choice(np.array([EXCLUDED_SCORE, 2.0, -2.0, 0.0], np.float32), (users, adjusted))
    # mostly items that would be among the best
    best = exact.rank(inputs, snapshot, *unadjusted(users), 40).rows
    places = rng.integers(0, best.shape[1], (users, adjusted))
    rows = np.where(rng.random(adjust.shape) < 0.7, np.take_along_axis(best, places, axis=1), -1)
    found = candidates.rank(inputs, snapshot, search_of(index, encoder, TileSearch.undivided), 0, rows, adjust, k)
    # float32 sums of the longest vectors and the largest bias can't be closer
    expected = exact.rank(inputs, snapshot, rows, adjust, k)
    assert_as_good(found, expected, snapshot, {"rtol": 2e-5, "atol": 2e-4})


def test_undivided_items_are_ranked_exactly_with_repeats(tmp_path: Path, runtime: Runtime) -> None:
    rng = np.random.default_rng(11)
    by_rank = rng.standard_normal(6).astype(np.float32)
    scores = RepeatScores(by_rank, rng.standard_normal((PATTERNS, RANKS)).astype(np.float32), lift=2.5)
    user = UserSide(head=LinearHead(half_life_mix=(0.0, 0.0), complete=True, repeats=scores), history=6, score_scale=7)
    index = reference.make_index(rng, 2_000, DIMENSION)
    encoder = lookup.build(
        tmp_path / "encoder", index.item_ids[:3], reference.random_unit(rng, 3, DIMENSION), "repeats", user=user
    )
    inputs = make_users(rng, 300)
    recents = np.where(inputs.recent_types >= 0, rng.integers(0, 2_000, (300, 1)) + rng.integers(0, 3, (300, 6)), -1)
    inputs = replace(inputs, recent_rows=np.where(recents < 2_000, recents, -1))
    rows = rng.integers(-1, 2_000, (300, 5))
    case = (rows, rng.choice(np.array([EXCLUDED_SCORE, 1.0], np.float32), rows.shape), 20)
    snapshot = index.snapshot()
    search = search_of(index, encoder, TileSearch.undivided)
    found = CandidateRanker(runtime, encoder).rank(inputs, snapshot, search, 0, *case)
    assert_as_good(found, ExactRanker(runtime, encoder).rank(inputs, snapshot, *case), snapshot, CLOSE)


@pytest.mark.parametrize("head", ["newest", "attention"])
def test_attributions_of_other_heads_are_those_of_the_graph(
    runtime: Runtime, encoder: Encoder, rng: np.random.Generator, tmp_path: Path, head: str
) -> None:
    """One that is linear in the recents alone, and one that is not linear."""
    if head == "newest":
        model, takes = reference.newest_head(DIMENSION, HISTORY), ["recent_vectors"]
    else:
        model, takes = reference.attention_head(DIMENSION, HISTORY), ["recent_vectors", "recent_ages", "sums"]
    other = reference.replace_head(encoder, tmp_path / "other", model, takes)
    index, inputs = reference.make_index(rng, 2_500, DIMENSION), make_users(rng, 150)
    rows = rng.integers(-1, 2_500, (150, 4))
    case = (rows, rng.choice(np.array([EXCLUDED_SCORE, 1.0], np.float32), rows.shape), 10)
    search = search_of(index, other, TileSearch.undivided)
    found = CandidateRanker(runtime, other).rank(inputs, index.snapshot(), search, 0, *case)
    expected = ExactRanker(runtime, other).rank(inputs, index.snapshot(), *case)
    assert found.exact == expected.exact == (head == "newest")
    assert_same(found, expected)


def test_no_users_and_no_places(candidates: CandidateRanker, encoder: Encoder, rng: np.random.Generator) -> None:
    index = reference.make_index(rng, 500, DIMENSION)
    search = search_of(index, encoder, TileSearch.undivided)
    for users, k in ((0, 5), (3, 0)):
        nothing = unadjusted(users)
        inputs = make_users(rng, users)
        found = candidates.rank(inputs, index.snapshot(), search, 0, *nothing, k)
        assert found.rows.shape == (users, k)
        assert found.recent_attributions.shape == (users, k, HISTORY)


def test_a_head_that_gives_more_weights_than_it_should_is_refused(
    runtime: Runtime, encoder: Encoder, rng: np.random.Generator, tmp_path: Path
) -> None:
    """Regression: the compiled attributions wrote beyond their end."""
    wide = reference.replace_head(
        encoder, tmp_path / "wide", reference.newest_head(DIMENSION, HISTORY, extra=True), ["recent_vectors"]
    )
    index = hard_index(rng, 50, DIMENSION)
    search = search_of(index, wide, TileSearch.undivided)
    with pytest.raises(EncoderError, match=rf"recent_weights of shape \(2, {HISTORY + 1}\)"):
        CandidateRanker(runtime, wide).rank(make_users(rng, 2), index.snapshot(), search, 0, *unadjusted(2), 5)


def test_all_of_the_best_are_found_where_codes_are_equal(encoder: Encoder, rng: np.random.Generator) -> None:
    """Of 3,000 items within the error of int8, and so more than a buffer holds, none of the best is missed."""
    vectors = reference.random_unit(rng, 1, DIMENSION) + 1e-5 * rng.standard_normal((3_000, DIMENSION))
    index = index_of(vectors)
    users = np.concatenate([reference.random_unit(rng, 9, DIMENSION), np.zeros((1, DIMENSION), np.float32)])
    found = search_of(index, encoder, TileSearch.undivided).search(users, index.snapshot(), 0, 20)
    scores = users.astype(np.float64) @ index.snapshot().items.T
    for user in range(9):
        rows = found.rows[user, : found.counts[user]]
        assert len(np.unique(rows)) == len(rows) >= 20
        # float32 sums differ by some 1e-7
        assert np.sort(scores[user, rows])[-20] >= np.sort(scores[user])[-20] - 1e-6
    assert found.counts[9] >= 20  # all are equal to a user without a vector


@pytest.mark.parametrize("build", [TileSearch.build, TileSearch.undivided])
@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_the_tiles_follow_the_index(
    exact: ExactRanker, candidates: CandidateRanker, encoder: Encoder, build: Build, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    index = reference.make_index(rng, 120, DIMENSION)
    before = index.snapshot()
    search = build(before, encoder.manifest.score_scale)
    inputs = make_users(rng, 30)
    nothing = unadjusted(30)
    for _ in range(4):  # some of it while a build would be under way
        some = [f"item-{n}" for n in rng.integers(0, 260, 90)]
        index.put(some, reference.random_unit(rng, 90, DIMENSION), rng.standard_normal(90).astype(np.float32))
        index.withdraw(some[:20])
        index.remove(some[20:40])
        if rng.random() < 0.5:
            search.refresh(index)
            found = candidates.rank(inputs, index.snapshot(), search, ALL, *nothing, 15)
            assert_same(found, exact.rank(inputs, index.snapshot(), *nothing, 15))
    search.refresh(index)
    found = candidates.rank(inputs, index.snapshot(), search, ALL, *nothing, 15)
    assert_same(found, exact.rank(inputs, index.snapshot(), *nothing, 15))


@pytest.mark.parametrize("build", [TileSearch.build, TileSearch.undivided])
def test_items_that_go_and_return_take_no_new_room(encoder: Encoder, rng: np.random.Generator, build: Build) -> None:
    vectors = reference.random_unit(rng, 500, DIMENSION)
    index = index_of(vectors)
    ids = list(index.item_ids)
    search, held = search_of(index, encoder, build), 0
    for _ in range(300):
        index.withdraw(ids[::2])
        search.refresh(index)
        index.put(ids, vectors)
        search.refresh(index)
        held = held or search.nbytes  # after the first turn, which made room in advance
    assert search.nbytes == held
    assert not search.worn


def test_lists_wear_out_as_items_come(encoder: Encoder, rng: np.random.Generator) -> None:
    index = index_of(reference.random_unit(rng, 500, DIMENSION))
    search = search_of(index, encoder)
    assert not search.worn
    index.put([f"j{n}" for n in range(6_000)], reference.random_unit(rng, 6_000, DIMENSION))
    search.refresh(index)
    assert search.worn
    assert not search_of(index, encoder).worn


def test_nothing_to_recommend(candidates: CandidateRanker, encoder: Encoder, rng: np.random.Generator) -> None:
    index = ItemIndex(DIMENSION)
    index.put(["gone"], np.ones((1, DIMENSION), np.float32))
    index.withdraw(["gone"])
    search = search_of(index, encoder)
    nothing = unadjusted(3)
    found = candidates.rank(make_users(rng, 3), index.snapshot(), search, 4, *nothing, 5)
    assert (found.scores < LEAST_SCORE).all()
    assert found.rows.shape == (3, 1)


@pytest.mark.parametrize("build", [TileSearch.build, TileSearch.undivided])
def test_a_user_whose_vector_is_no_number_harms_nobody(
    encoder: Encoder, rng: np.random.Generator, build: Build
) -> None:
    """Regression: what was not found was whatever the memory held, and the worker died of it."""
    index = reference.make_index(rng, 900, DIMENSION)
    search = search_of(index, encoder, build)
    users = reference.random_unit(rng, 40, DIMENSION)
    alone = search.search(users, index.snapshot(), 3, 20)
    users[7] = np.nan
    found = search.search(users, index.snapshot(), 3, 20)
    assert found.counts[7] == 0
    assert (found.rows[7] == -1).all()
    np.testing.assert_array_equal(np.sort(np.delete(found.rows, 7, 0)), np.sort(np.delete(alone.rows, 7, 0)))


_ON_THIS_PROCESSOR = """
import numba, numpy as np
from encoders.index import int8_tile_scores as t

@numba.njit
def scores(tile, scales, biases, users, offsets, user_scales, who, bounds, found, above):
    t.score_four(tile, scales, biases, users, offsets, user_scales, who, 1, bounds, found, above)
    t.score_one(tile, scales, biases, users, offsets, user_scales, who, 0, bounds, found[4:], above[4:])

rng = np.random.default_rng(0)
ends = np.array([-127, -1, 0, 1, 127])
items, users = rng.integers(-127, 128, (t.TILE, 20)), rng.integers(-127, 128, (9, 20))
items[:5], users[:5] = ends[:, None], ends[:, None]
tile = (items + t.SHIFT).astype(np.uint8).reshape(t.TILE, -1, t.AXES).transpose(1, 0, 2).copy()
scales, biases = rng.random(t.TILE, np.float32), rng.standard_normal(t.TILE).astype(np.float32)
user_scales, bounds = rng.random(9, np.float32), rng.standard_normal(4).astype(np.float32)
who = np.array([8, 0, 4, 2, 7])
found, above = np.zeros((5, t.TILE), np.float32), np.zeros(5, np.uint64)
scores(tile, scales, biases, users.astype(np.int8), (-t.SHIFT * users.sum(axis=1)).astype(np.int32), user_scales, who,
       bounds, found, above)
who, bounds = np.roll(who, -1), np.append(bounds, bounds[0])
expected = (users[who] @ items.T) * user_scales[who, None] * scales + biases
np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
bits = ((above[:, None] >> np.arange(t.TILE, dtype=np.uint64)) & np.uint64(1)).astype(bool)
np.testing.assert_array_equal(bits, found > bounds[:, None])
"""


@pytest.mark.parametrize("processor", ["", "generic", "x86-64-v3"])
def test_scores_of_tiles_are_those_of_their_integers(processor: str) -> None:
    """Also where the processor lacks the instruction that this one may have."""
    if processor == "x86-64-v3" and platform.machine() != "x86_64":
        pytest.skip("not this kind of processor")
    features = "+avx2" if processor == "x86-64-v3" else ""
    chosen = {"NUMBA_CPU_NAME": processor, "NUMBA_CPU_FEATURES": features} if processor else {}
    subprocess.run([sys.executable, "-c", _ON_THIS_PROCESSOR], env=os.environ | chosen, check=True, timeout=100)
