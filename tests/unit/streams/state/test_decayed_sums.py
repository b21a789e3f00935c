"""The maths of a profile, against plain Python."""

import doctest
import importlib
import itertools
import pkgutil

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import streams
from streams.state.decayed_sums import NO_TIME, Sums, decay, fold, merge, rank_in_group

HALF_LIVES_S = np.array([10.0, 1_000.0])
DIMENSION = 3

event = st.tuples(
    st.integers(0, 2),  # user
    st.integers(0, 10**6),  # ms
    st.sampled_from([0.0, 0.5, 1.0, 4.0]),
    st.lists(st.floats(-1, 1, width=32), min_size=DIMENSION, max_size=DIMENSION),
)


def empty(users: int = 3) -> Sums:
    return Sums(np.zeros((users, 2, DIMENSION)), np.zeros((users, 2)), np.full(users, NO_TIME))


def fold_events(state: Sums, events: list[tuple]) -> Sums:
    return fold(
        state,
        np.array([user for user, *_ in events], np.intp),
        np.array([time_ms for _, time_ms, *_ in events], np.int64),
        np.array([[weight, weight / 2] for _, _, weight, _ in events], np.float32).reshape(-1, 2),
        np.array([vector for *_, vector in events], np.float32).reshape(-1, DIMENSION),
        HALF_LIVES_S,
    )


def plainly(events: list[tuple], user: int) -> tuple[np.ndarray, np.ndarray, int]:
    mine = [one for one in events if one[0] == user]
    newest = max((time_ms for _, time_ms, _, _ in mine), default=NO_TIME)
    sums, total_weight = np.zeros((2, DIMENSION)), np.zeros(2)
    for _, time_ms, weight, vector in mine:
        for t, half_life_s in enumerate(HALF_LIVES_S):
            kept = weight / (t + 1) * 2.0 ** (-(newest - time_ms) / 1000 / half_life_s)
            total_weight[t] += kept
            sums[t] += kept * np.array(vector)
    return sums, total_weight, newest


def assert_same(state: Sums, events: list[tuple]) -> None:
    for user in range(3):
        sums, total_weight, newest = plainly(events, user)
        assert state.time_ms[user] == newest
        np.testing.assert_allclose(state.total_weight[user], total_weight, rtol=1e-5, atol=1e-7)
        np.testing.assert_allclose(state.sums[user], sums, rtol=1e-5, atol=1e-5 * max(1.0, total_weight.max()))


@pytest.mark.parametrize(
    ("age_s", "left"), [(0.0, 1.0), (-3.0, 1.0), (10.0, 0.5), (20.0, 0.25), (1e9, 0.0), (5.0, 2**-0.5)]
)
def test_decay_halves_at_each_half_life_and_takes_skew_for_now(age_s: float, left: float) -> None:
    assert decay(np.array([age_s]), np.array([10.0]))[0, 0] == pytest.approx(left, rel=1e-6, abs=1e-30)


def test_decay_has_a_row_an_age_and_a_column_a_half_life() -> None:
    assert decay(np.zeros(3), HALF_LIVES_S).shape == (3, 2)
    assert decay(np.empty(0), HALF_LIVES_S).shape == (0, 2)


@settings(max_examples=100, deadline=None)
@given(st.lists(event, max_size=20), st.data())
def test_folding_in_any_order_and_in_any_pieces_gives_the_plain_sum(events: list[tuple], data: st.DataObject) -> None:
    shuffled = data.draw(st.permutations(events))
    state = empty()
    while shuffled:
        size = data.draw(st.integers(1, len(shuffled)))
        state = fold_events(state, shuffled[:size])
        shuffled = shuffled[size:]
    assert_same(state, events)


@settings(max_examples=60, deadline=None)
@given(st.lists(event, max_size=12), st.lists(event, max_size=12))
def test_merging_two_profiles_equals_folding_all_their_events(first: list[tuple], second: list[tuple]) -> None:
    merged = merge(fold_events(empty(), first), fold_events(empty(), second), HALF_LIVES_S)
    assert_same(merged, first + second)


def test_folding_nothing_changes_nothing_and_folding_changes_no_input() -> None:
    state = fold_events(empty(), [(0, 5, 1.0, [1.0, 0.0, 0.0])])
    copies = [array.copy() for array in state]
    assert all(np.array_equal(one, other) for one, other in zip(fold_events(state, []), state, strict=True))
    fold_events(state, [(0, 50_000, 1.0, [0.0, 1.0, 0.0])])
    assert all(np.array_equal(one, other) for one, other in zip(state, copies, strict=True))


def test_many_small_steps_do_not_drift() -> None:
    """Regression: in float32 each step rounded the same way, and a busy user's sums were off by 3e-4."""
    steps, step_ms, half_life_s = 20_000, 3_000, 60 * 86_400.0
    state = Sums(np.zeros((1, 1, 1)), np.zeros((1, 1)), np.array([NO_TIME]))
    one = np.ones((1, 1), np.float32)
    for n in range(steps):
        state = fold(state, np.array([0]), np.array([n * step_ms]), one, one, np.array([half_life_s]))
    exact = np.exp2(-np.arange(steps) * step_ms / 1000 / half_life_s).sum()
    assert state.total_weight[0, 0] == pytest.approx(exact, rel=1e-6)
    assert state.sums[0, 0, 0] == pytest.approx(exact, rel=1e-6)


@given(st.lists(st.integers(0, 5)))
def test_rank_in_group_counts_earlier_equals(groups: list[int]) -> None:
    seen: dict[int, itertools.count[int]] = {}
    expected = [next(seen.setdefault(group, itertools.count())) for group in groups]
    assert rank_in_group(np.array(groups, np.intp)).tolist() == expected


def modules_with_examples() -> list[str]:
    names = [info.name for info in pkgutil.walk_packages(streams.__path__, "streams.")]
    return [name for name in names if ">>>" in (importlib.util.find_spec(name).loader.get_source(name) or "")]


@pytest.mark.parametrize("name", modules_with_examples())
def test_examples_in_docstrings_hold(name: str) -> None:
    result = doctest.testmod(importlib.import_module(name))
    assert result.attempted
    assert not result.failed
