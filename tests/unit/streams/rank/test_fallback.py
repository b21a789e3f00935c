"""Lists that exclusions leave short are filled up with items seen long ago, and with no others."""

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from encoders.index.item_index import ItemIndex
from encoders.ranking.exact_ranker import ExactRanker
from encoders.ranking.ranking_io import LEAST_SCORE, Ranked
from schemas.ids import id_hashes
from streams.arrays import BoolArray
from streams.rank.exclusions import Exclusions, excluded_rows
from streams.rank.fallback import fill_up
from streams.rank.head_inputs import head_inputs
from streams.rank.loaded_encoder import LoadedEncoder
from streams.state.profile_shape import ProfileShape
from streams.state.profile_table import ProfileTable
from streams.state.profile_update import SumsConfig, apply_batch
from tests.unit.streams.conftest import DIMENSION, HISTORY
from tests.unit.streams.profile_model import COLUMNS, PARTITION, Ev, batch_of

CLICK, PURCHASE = 0, 2
DAY_MS = 86_400_000
SHAPE = ProfileShape(history=8, dimension=DIMENSION, half_lives=2, duplicate_window=8, purchases=8, pending=9)
CONFIG = SumsConfig(np.array([3_600.0, 86_400.0]), np.ones((3, 2), np.float32))
Event = tuple[int, int]  # item, type


def item(number: int) -> str:
    return f"item-{number}"


def encoder_of(graph: ExactRanker, items: int) -> LoadedEncoder:
    vectors = np.random.default_rng(3).standard_normal((items, DIMENSION)).astype(np.float32)
    index = ItemIndex(DIMENSION)
    index.put([item(n) for n in range(items)], vectors / np.linalg.norm(vectors, axis=1, keepdims=True))
    return LoadedEncoder(version="v1", index=index, ranker=graph, sums=CONFIG)


def lists_of(
    encoder: LoadedEncoder,
    histories: Sequence[Sequence[Event]],
    k: int,
    exclusions: Exclusions = Exclusions(),  # noqa: B008  # frozen
    step_ms: int = 60_000,
) -> tuple[list[list[str]], Ranked, BoolArray]:
    """The filled lists of users with these histories; the last event of each is the cause."""
    table = ProfileTable(16, SHAPE)
    table.set_logs(COLUMNS)
    users = [f"user-{n}" for n in range(len(histories))]
    table.allocate(users, PARTITION, 1)
    events = [
        Ev(user, item(number), f"{user}-{n}", kind, n * step_ms, n)
        for user, history in zip(users, histories, strict=True)
        for n, (number, kind) in enumerate(history)
    ]
    apply_batch(table, batch_of(events), table.find([event.user for event in events]), encoder.index, CONFIG)
    slots = table.find(users)
    inputs = head_inputs(table, slots, encoder.index, HISTORY)
    excluded = excluded_rows(table, slots, encoder.index, exclusions)
    ranked = encoder.rank(inputs, excluded, k)
    causes = id_hashes(item(history[-1][0]) for history in histories)
    filled, seen_again = fill_up(encoder, table, slots, inputs, exclusions, causes, ranked)
    shown = [
        [encoder.index.item_ids[row] for row, score in zip(rows, scores, strict=True) if score > LEAST_SCORE]
        for rows, scores in zip(filled.rows.tolist(), filled.scores.tolist(), strict=True)
    ]
    return shown, filled, seen_again


def test_items_seen_long_ago_fill_up_a_list_behind_all_others(graph: ExactRanker) -> None:
    encoder = encoder_of(graph, 6)
    seen = [(0, CLICK), (1, CLICK), (0, CLICK), (2, CLICK), (3, CLICK)]
    (shown,), filled, seen_again = lists_of(encoder, [seen], 4)
    assert set(shown[:2]) == {item(4), item(5)}
    # item 0 was seen again after item 1
    assert shown[2:] == [item(1), item(0)]
    assert seen_again.tolist() == [[False, False, True, True]]
    assert filled.adjustment_attributions.tolist() == [[0.0] * 4]


def test_who_has_seen_everything_gets_all_of_it_but_the_item_of_the_event(graph: ExactRanker) -> None:
    (shown,), _, _ = lists_of(encoder_of(graph, 3), [[(0, CLICK), (1, CLICK), (2, CLICK)]], 3)
    assert shown == [item(0), item(1)]


def test_the_item_of_the_event_comes_back_only_into_an_empty_list(graph: ExactRanker) -> None:
    (alone,), _, _ = lists_of(encoder_of(graph, 1), [[(0, CLICK)]], 3)
    assert alone == [item(0)]
    (beside,), _, _ = lists_of(encoder_of(graph, 2), [[(0, CLICK)]], 3)
    assert beside == [item(1)]


def test_a_recent_purchase_never_comes_back_and_an_old_one_does(graph: ExactRanker) -> None:
    bought = [(0, PURCHASE), (1, PURCHASE), (2, CLICK)]
    encoder = encoder_of(graph, 3)
    assert lists_of(encoder, [bought], 3)[0] == [[item(2)]]
    assert lists_of(encoder, [bought], 3, step_ms=31 * DAY_MS)[0] == [[item(0), item(1)]]


def test_who_has_bought_everything_gets_an_empty_list(graph: ExactRanker) -> None:
    assert lists_of(encoder_of(graph, 2), [[(0, PURCHASE), (1, PURCHASE)]], 3)[0] == [[]]


def test_what_is_withdrawn_or_removed_never_comes_back(graph: ExactRanker) -> None:
    encoder = encoder_of(graph, 4)
    encoder.index.withdraw([item(0)])
    encoder.index.remove([item(1)])
    assert lists_of(encoder, [[(n, CLICK) for n in range(4)]], 4)[0] == [[item(2)]]


def test_full_lists_and_users_of_unknown_taste_are_left_alone(graph: ExactRanker) -> None:
    encoder = encoder_of(graph, 4)
    histories = [[(0, CLICK)], [(9, CLICK)], [(n, CLICK) for n in range(4)]]  # item 9 is not in the index
    shown, filled, seen_again = lists_of(encoder, histories, 3)
    assert seen_again.any(axis=1).tolist() == [False, False, True]
    assert set(shown[0]) == {item(1), item(2), item(3)}
    assert not filled.user[1].any()


def test_where_seen_items_are_kept_nothing_is_ranked_twice(graph: ExactRanker) -> None:
    encoder = encoder_of(graph, 2)
    shown, _, seen_again = lists_of(encoder, [[(0, PURCHASE)]], 2, Exclusions(30.0, exclude_seen_events=0))
    assert (shown, seen_again.any()) == ([[item(1)]], False)


histories = st.lists(
    st.lists(st.tuples(st.integers(0, 9), st.sampled_from([CLICK, PURCHASE])), min_size=1, max_size=12),
    min_size=1,
    max_size=5,
)


@settings(max_examples=60, deadline=None)
@given(histories, st.integers(1, 12), st.integers(1, 10), st.integers(0, 10), st.sampled_from([60_000, 9 * DAY_MS]))
def test_a_filled_list_is_the_short_one_and_then_what_is_only_seen(
    graph: ExactRanker, histories: list[list[Event]], k: int, items: int, window: int, step_ms: int
) -> None:
    encoder, exclusions = encoder_of(graph, items), Exclusions(30.0, exclude_seen_events=window)
    shown, filled, seen_again = lists_of(encoder, histories, k, exclusions, step_ms)
    for user, history in enumerate(histories):
        listed = shown[user]
        assert len(listed) == len(set(listed)) <= k
        now = (len(history) - 1) * step_ms
        bought = {
            number for n, (number, kind) in enumerate(history) if kind == PURCHASE and now - n * step_ms <= 30 * DAY_MS
        }
        window_start = max(0, len(history) - min(window, SHAPE.history))
        last_seen = {number: n for n, (number, _) in enumerate(history) if n >= window_start and number < items}
        cause = history[-1][0]
        fresh = set(range(items)) - bought - last_seen.keys()
        again = [int(name.split("-")[1]) for name, back in zip(listed, seen_again[user], strict=False) if back]
        if not filled.user[user].any():
            assert not seen_again[user].any()
            continue
        assert listed[: len(listed) - len(again)] == [name for name in listed if int(name.split("-")[1]) in fresh]
        assert len(listed) - len(again) == min(k, len(fresh))
        pool = sorted(last_seen.keys() - bought - {cause}, key=last_seen.__getitem__)
        if not pool and not fresh and cause in last_seen.keys() - bought:
            pool = [cause]
        assert again == pool[: max(0, min(k, items) - len(fresh))]


@pytest.mark.parametrize("k", [2, 5])
def test_scores_and_parts_are_those_of_a_ranking_without_exclusions(graph: ExactRanker, k: int) -> None:
    encoder = encoder_of(graph, 5)
    history = [(0, CLICK), (1, CLICK), (2, CLICK), (3, CLICK), (0, CLICK)]
    _, filled, _ = lists_of(encoder, [history], k)
    _, free, _ = lists_of(encoder, [history], 5, Exclusions(0, 0))
    place = {row: n for n, row in enumerate(free.rows[0].tolist())}
    for n, row in enumerate(filled.rows[0].tolist()):
        if filled.scores[0, n] > LEAST_SCORE:
            assert filled.scores[0, n] == pytest.approx(free.scores[0, place[row]], abs=1e-6)
            parts = [filled.recent_attributions[0, n].sum(), filled.older_attributions[0, n]]
            assert sum(parts) + filled.bias_attributions[0, n] == pytest.approx(filled.scores[0, n], abs=1e-5)
            assert np.allclose(filled.recent_attributions[0, n], free.recent_attributions[0, place[row]], atol=1e-6)


def test_an_empty_catalog_gives_empty_lists(graph: ExactRanker) -> None:
    encoder = LoadedEncoder(version="v1", index=ItemIndex(DIMENSION), ranker=graph, sums=CONFIG)
    shown, _, seen_again = lists_of(encoder, [[(0, CLICK)]], 3)
    assert (shown, seen_again.shape) == ([[]], (1, 0))
