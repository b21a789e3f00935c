"""Rules and reasons of the top-k."""

from collections.abc import Sequence

import numpy as np
import pytest

from encoders.building import hashed_text
from encoders.building.folder_writer import UserSide
from encoders.index.item_index import ItemIndex
from encoders.ranking.exact_ranker import ExactRanker
from encoders.ranking.ranking_io import EXCLUDED_SCORE
from encoders.ranking.repeat_consumption import PATTERNS, RANKS, RepeatScores
from encoders.ranking.user_head import LinearHead
from encoders.runtime import Runtime
from schemas.codec import decode
from schemas.recommendation import RecommendedItem
from streams.emit.list_json import ListEncoder, reason_codes
from streams.rank.exclusions import Exclusions, adjustments, excluded_rows
from streams.rank.head_inputs import head_inputs, refresh_rows
from streams.rank.popular_items import popular, trending_items, trending_places
from streams.state.decayed_sums import NO_TIME
from streams.state.profile_shape import ProfileShape
from streams.state.profile_table import ProfileTable
from streams.state.profile_update import SumsConfig, apply_batch
from tests.unit.streams.conftest import DIMENSION, HISTORY
from tests.unit.streams.profile_model import COLUMNS, PARTITION, Ev, batch_of

K = 5
DAY_MS = 86_400_000
ITEMS = [f"item-{n}" for n in range(30)]
SHAPE = ProfileShape(history=4, dimension=DIMENSION, half_lives=2, duplicate_window=8, purchases=3, pending=9)


@pytest.fixture
def index() -> ItemIndex:
    rng = np.random.default_rng(3)
    vectors = rng.standard_normal((len(ITEMS), DIMENSION)).astype(np.float32)
    made = ItemIndex(DIMENSION)
    bias = (rng.standard_normal(len(ITEMS)) * 0.05).astype(np.float32)
    made.put(ITEMS, vectors / np.linalg.norm(vectors, axis=1, keepdims=True), bias)
    return made


def table_with(index: ItemIndex, events: Sequence[Ev]) -> ProfileTable:
    table = ProfileTable(16, SHAPE)
    table.set_logs(COLUMNS)
    table.allocate(list(dict.fromkeys(event.user for event in events)), PARTITION, 1)
    config = SumsConfig(np.array([3_600.0, 86_400.0]), np.ones((3, 2), np.float32))
    apply_batch(table, batch_of(events), table.find([event.user for event in events]), index, config)
    return table


def events_of(user: str, items: Sequence[int], kind: int = 0, start: int = 0, step_ms: int = 60_000) -> list[Ev]:
    return [
        Ev(user, ITEMS[item], f"{user}-{start + n}", kind, (start + n) * step_ms, start + n)
        for n, item in enumerate(items)
    ]


def rows_excluded(table: ProfileTable, index: ItemIndex, rules: Exclusions, user: str = "anna") -> set[int]:
    slots = np.array([table.slot_of[user]])
    refresh_rows(table, slots, index)
    found = excluded_rows(table, slots, index, rules)
    assert found.shape[0] == 1
    return set(found[0].tolist()) - {-1}


def test_what_was_just_seen_is_excluded_as_far_back_as_set_or_kept(index: ItemIndex) -> None:
    table = table_with(index, events_of("anna", [1, 2, 3, 4, 5]))
    assert rows_excluded(table, index, Exclusions(0, exclude_seen_events=2)) == {4, 5}
    assert rows_excluded(table, index, Exclusions(0, exclude_seen_events=20)) == {
        2,
        3,
        4,
        5,
    }  # all the recents there are
    assert rows_excluded(table, index, Exclusions(0, exclude_seen_events=0)) == set()


@pytest.mark.parametrize(("age_ms", "out"), [(30 * DAY_MS, True), (30 * DAY_MS + 1, False)])
def test_a_purchase_is_excluded_for_its_days_by_the_users_own_clock(index: ItemIndex, age_ms: int, out: bool) -> None:
    bought = Ev("anna", ITEMS[7], "buy", 2, 1_000, 0)
    table = table_with(index, [bought, Ev("anna", ITEMS[1], "now", 0, 1_000 + age_ms, 1)])
    assert rows_excluded(table, index, Exclusions(30.0, exclude_seen_events=0)) == ({7} if out else set())
    assert rows_excluded(table, index, Exclusions(0.0, exclude_seen_events=0)) == set()


def test_a_purchase_that_left_the_recents_is_still_excluded(index: ItemIndex) -> None:
    table = table_with(index, [Ev("anna", ITEMS[9], "buy", 2, 0, 0), *events_of("anna", [1, 2, 3, 4, 5], start=1)])
    assert rows_excluded(table, index, Exclusions(30.0, exclude_seen_events=0)) == {9}


def test_users_of_one_batch_do_not_exclude_each_others_items(index: ItemIndex) -> None:
    """Regression: unused entries named row 0, and item 0 was excluded for users who had fewer events than another."""
    events = [*events_of("ben", [3]), *events_of("anna", [1, 2, 4, 5, 6]), Ev("cleo", ITEMS[8], "buy", 2, 0, 90)]
    table = table_with(index, events)
    rules = Exclusions(30.0, exclude_seen_events=20)
    together = excluded_rows(table, table.find(["ben", "anna", "cleo"]), index, rules)
    assert [set(row) - {-1} for row in together.tolist()] == [{3}, {2, 4, 5, 6}, {8}]


def test_an_unknown_item_excludes_nothing_until_it_is_known(index: ItemIndex) -> None:
    table = table_with(index, [Ev("anna", "new", "e", 2, 0, 0)])
    assert rows_excluded(table, index, Exclusions()) == set()
    index.put(["new"], np.ones((1, DIMENSION), np.float32))
    assert rows_excluded(table, index, Exclusions()) == {index.row("new")}


def test_adjustments_exclude_rows_and_nothing_else() -> None:
    rows = np.array([[3, -1], [-1, -1]])
    assert adjustments(rows).tolist() == [[EXCLUDED_SCORE, 0.0], [0.0, 0.0]]
    assert adjustments(np.empty((2, 0), np.int64)).shape == (2, 0)


def test_head_inputs_are_cut_or_padded_to_what_the_encoder_wants(index: ItemIndex) -> None:
    table = table_with(index, events_of("anna", [1, 2], kind=1))
    slots = table.find(["anna"])
    for history in (1, 3, 9):
        inputs = head_inputs(table, slots, index, history)
        assert inputs.recent_vectors is not None
        assert inputs.recent_types is not None
        assert inputs.recent_ages is not None
        expected = [1] * min(2, history) + [-1] * (history - 2)
        assert inputs.recent_types.tolist() == [expected]
        assert inputs.recent_ages[0, :2].tolist() == [0.0, 60.0][:history]
        assert inputs.recent_vectors.shape == (1, history, DIMENSION)
        assert not inputs.recent_vectors[0, 2:].any()
        assert np.array_equal(inputs.recent_vectors[0, 0], index.gather(np.array([2]))[0])


def test_a_user_without_events_reads_as_nothing(index: ItemIndex) -> None:
    table = ProfileTable(1, SHAPE)
    slots = table.allocate(["anna"], 0, 1)
    inputs = head_inputs(table, slots, index, HISTORY)
    assert table.times[0, 0] == NO_TIME
    for name in ("sums", "mass", "recent_vectors", "recent_ages"):
        assert not getattr(inputs, name).any(), name


def recommend(
    graph: ExactRanker, table: ProfileTable, index: ItemIndex, users: Sequence[str], rules: Exclusions
) -> list[list[RecommendedItem]]:
    slots = table.find(users)
    inputs = head_inputs(table, slots, index, HISTORY)
    excluded = excluded_rows(table, slots, index, rules)
    ranked = graph.rank(inputs, index.snapshot(), excluded, adjustments(excluded), K)
    lists = ListEncoder(index).encode(table.rows[slots], table.types[slots], ranked, reason_codes(ranked))
    return [decode(list[RecommendedItem], items) for items in lists]


def crowd() -> list[Ev]:
    rng = np.random.default_rng(11)
    events = []
    for number in range(9):
        items = rng.integers(0, len(ITEMS), rng.integers(1, 14)).tolist()
        kinds = rng.integers(0, 3, len(items)).tolist()
        for n, (item, kind) in enumerate(zip(items, kinds, strict=True)):
            events.append(Ev(f"user-{number}", ITEMS[item], f"{number}-{n}", kind, n * 50_000, len(events)))
    return events


def test_the_parts_of_a_reason_add_up_to_the_score_and_its_kind_is_the_largest(
    graph: ExactRanker, index: ItemIndex
) -> None:
    events = crowd()
    table = table_with(index, events)
    users = list(table.slot_of)
    kinds = set()
    for user, items in zip(users, recommend(graph, table, index, users, Exclusions(30.0, 2)), strict=True):
        assert len(items) == K
        assert [item.score for item in items] == sorted((item.score for item in items), reverse=True)
        mine = {event.item for event in events if event.user == user}
        for item in items:
            reason = item.reason
            named = sum(share.share for share in reason.recents)
            total = named + reason.other_recents + reason.older + reason.bonus + reason.bias
            assert reason.exact
            assert total == pytest.approx(item.score, abs=2e-5)
            parts = {"recent": named + reason.other_recents, "older": reason.older, "bias": reason.bias}
            assert parts[reason.kind] == pytest.approx(max(*parts.values(), reason.bonus), abs=1e-6)
            shares = [share.share for share in reason.recents]
            assert shares == sorted(shares, reverse=True)
            assert {share.item_id for share in reason.recents} <= mine
            kinds.add(reason.kind)
    assert kinds == {"recent", "older"}


def test_coming_back_to_an_item_is_part_of_its_own_events_share(
    tmp_path_factory: pytest.TempPathFactory, index: ItemIndex
) -> None:
    scores = RepeatScores(np.full(HISTORY, 5.0, np.float32), np.zeros((PATTERNS, RANKS), np.float32))
    head = LinearHead(half_life_mix=(0.0, 0.0), complete=True, repeats=scores)
    folder = tmp_path_factory.mktemp("repeats") / "encoder"
    repeating = ExactRanker(
        Runtime("cpu", threads=1), hashed_text.build(folder, DIMENSION, user=UserSide(history=HISTORY, head=head))
    )
    table = table_with(index, events_of("anna", [1, 2, 1]))
    (items,) = recommend(repeating, table, index, ["anna"], Exclusions(0, 0))
    assert [item.item_id for item in items[:2]] == [ITEMS[1], ITEMS[2]]
    for item, times in zip(items, (2, 1, 0), strict=False):
        reason = item.reason
        named = sum(share.share for share in reason.recents)
        assert item.score == pytest.approx(named + reason.other_recents + reason.older + reason.bias, abs=2e-5)
        assert item.score == pytest.approx(5.0 * times, abs=1.2)
    assert {share.item_id for share in items[0].reason.recents[:2]} == {ITEMS[1]}
    (kept_out,) = recommend(repeating, table, index, ["anna"], Exclusions(0, 20))
    assert not {ITEMS[1], ITEMS[2]} & {item.item_id for item in kept_out}


def test_nothing_that_is_excluded_or_withdrawn_is_recommended(graph: ExactRanker, index: ItemIndex) -> None:
    index.withdraw(ITEMS[10:20])
    index.remove(ITEMS[20:25])
    table = table_with(index, crowd())
    users = list(table.slot_of)
    gone = set(ITEMS[10:25])
    for user, items in zip(users, recommend(graph, table, index, users, Exclusions(30.0, 20)), strict=True):
        seen = {ITEMS[row] for row in table.rows[table.slot_of[user]].tolist() if row >= 0}
        assert items
        assert not {item.item_id for item in items} & (gone | seen)


def test_a_list_is_shorter_where_there_is_too_little_to_recommend(graph: ExactRanker, index: ItemIndex) -> None:
    index.withdraw(ITEMS[3:])
    table = table_with(index, events_of("anna", [0]))
    assert {item.item_id for item in recommend(graph, table, index, ["anna"], Exclusions())[0]} == {ITEMS[1], ITEMS[2]}
    index.withdraw(ITEMS)
    assert recommend(graph, table, index, ["anna"], Exclusions()) == [[]]


def test_a_batch_is_ranked_as_its_users_one_by_one(graph: ExactRanker, index: ItemIndex) -> None:
    table = table_with(index, crowd())
    users = list(table.slot_of)
    together = recommend(graph, table, index, users, Exclusions())
    for user, items in zip(users, together, strict=True):
        alone = recommend(graph, table, index, [user], Exclusions())[0]
        assert [item.item_id for item in alone] == [item.item_id for item in items]
        assert [item.score for item in alone] == pytest.approx([item.score for item in items], abs=1e-5)
        assert [item.reason.kind for item in alone] == [item.reason.kind for item in items]


def test_what_is_trending_skips_what_is_excluded_and_ends_at_k(index: ItemIndex) -> None:
    top = popular([(ITEMS[row], score) for row, score in [(4, 1.0), (2, 0.5), (7, 0.25), (1, 0.1)]], index)
    places = trending_places(top.rows, np.array([[2, -1], [-1, -1], [1, 4]]), 2)
    assert places.tolist() == [[0, 2], [0, 1], [1, 2]]
    found = trending_items(top, places[0], index)
    assert [(item.item_id, item.score) for item in found] == [(ITEMS[4], 1.0), (ITEMS[7], 0.25)]
    assert {item.reason.kind for item in found} == {"trending"}
    assert all(item.reason.bonus == item.score for item in found)
    assert trending_places(top.rows, np.array([[2, -1]]), 5).tolist() == [[0, 2, 3, -1, -1]]
    assert trending_places(popular([], index).rows, np.array([[-1]]), 2).tolist() == [[-1, -1]]


def test_what_is_trending_and_unknown_or_withdrawn_is_not_given(index: ItemIndex) -> None:
    index.withdraw([ITEMS[4]])
    top = popular([(ITEMS[4], 1.0), ("never-encoded", 0.5), (ITEMS[7], 0.25)], index)
    assert (top.rows.tolist(), top.scores.tolist()) == ([7], [0.25])
