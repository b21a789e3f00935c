"""Lists as JSON: any reader gets what the arrays say, and the schema takes it."""

import json
from typing import Any

import numpy as np
import pytest

from encoders.index.item_index import ItemIndex
from encoders.ranking.ranking_io import EXCLUDED_SCORE, Ranked
from schemas.codec import decode
from schemas.recommendation import REASON_KINDS, RecommendedItem
from streams.emit.list_json import ListEncoder, reason_codes
from streams.state.profile_shape import ProfileShape
from streams.state.profile_table import ProfileTable

DIMENSION, HISTORY = 4, 5
ITEMS = ["plain", 'with "quotes"', "back\\slash", "größe", "line\nend", *(f"item-{n}" for n in range(20))]


@pytest.fixture
def index() -> ItemIndex:
    made = ItemIndex(DIMENSION)
    made.put(ITEMS, np.ones((len(ITEMS), DIMENSION), np.float32))
    return made


def table_of(rows: list[list[int]]) -> tuple[ProfileTable, Any]:
    shape = ProfileShape(history=HISTORY, dimension=DIMENSION)
    table = ProfileTable(8, shape)
    slots = table.allocate([f"u{n}" for n in range(len(rows))], 0, 1)
    table.rows[slots] = rows
    table.types[slots] = np.arange(HISTORY) % 3
    return table, slots


def ranked_of(scores: Any, rows: Any, recent: Any, **parts: Any) -> Ranked:
    scores = np.array(scores, np.float32)
    users = np.zeros((len(scores), DIMENSION), np.float32)
    given = {
        name: np.zeros(scores.shape, np.float32)
        for name in ("older_attributions", "bias_attributions", "adjustment_attributions")
    }
    given |= {name: np.array(part, np.float32) for name, part in parts.items()}
    return Ranked(users, users, users, scores, np.array(rows), np.array(recent, np.float32), exact=True, **given)


def encoded(lists: ListEncoder, table: ProfileTable, slots: Any, ranked: Ranked) -> list[bytes]:
    return lists.encode(table.rows[slots], table.types[slots], ranked, reason_codes(ranked))


def test_a_list_says_what_the_arrays_say(index: ItemIndex) -> None:
    table, slots = table_of([[0, 1, 2, 3, 4]])
    ranked = ranked_of(
        [[0.9, -0.25]],
        [[1, 7]],
        [[[0.1, 0.5, 0.0, 0.2, -0.05], [-0.1, -0.2, 0, 0, 0]]],
        older_attributions=[[0.15, 0.05]],
    )
    first, second = decode(list[RecommendedItem], encoded(ListEncoder(index), table, slots, ranked)[0])
    assert (first.item_id, first.score) == ('with "quotes"', 0.9)
    reason = first.reason
    assert (reason.kind, reason.exact, reason.older, reason.bonus, reason.bias) == ("recent", True, 0.15, 0.0, 0.0)
    assert [(share.item_id, share.event_type, share.share) for share in reason.recents] == [
        ('with "quotes"', "browse", 0.5),
        ("größe", "click", 0.2),
        ("plain", "click", 0.1),
    ]
    assert reason.other_recents == pytest.approx(-0.05)
    assert (second.item_id, second.score, second.reason.kind) == ("item-2", -0.25, "older")
    # what had no part is not named, what spoke against could be
    assert second.reason.recents == []
    assert second.reason.other_recents == pytest.approx(-0.3)


def test_an_event_of_an_unknown_item_is_not_named_but_counts(index: ItemIndex) -> None:
    table, slots = table_of([[-1, 1, -1, 3, 4]])
    ranked = ranked_of([[1.0]], [[5]], [[[0.6, 0.3, 0.1, 0.0, 0.0]]])
    found = decode(list[RecommendedItem], encoded(ListEncoder(index), table, slots, ranked)[0])[0]
    assert [share.item_id for share in found.reason.recents] == [ITEMS[1]]
    assert found.reason.other_recents == pytest.approx(0.7)


def test_lists_are_cut_where_nothing_may_be_given_any_more(index: ItemIndex) -> None:
    table, slots = table_of([[0, 1, 2, 3, 4]] * 3)
    scores = [[1.0, 0.5], [1.0, EXCLUDED_SCORE], [EXCLUDED_SCORE, -np.inf]]
    ranked = ranked_of(
        scores, [[5, 6]] * 3, np.full((3, 2, HISTORY), 0.1), bias_attributions=[[0, 0], [0, -np.inf], [0, 0]]
    )
    lists = encoded(ListEncoder(index), table, slots, ranked)
    assert [[item["item_id"] for item in json.loads(one)] for one in lists] == [["item-0", "item-1"], ["item-0"], []]
    alone = ranked_of([[EXCLUDED_SCORE]], [[5]], np.zeros((1, 1, HISTORY)))
    assert encoded(ListEncoder(index), table, slots[:1], alone) == [b"[]"]
    nobody = ranked_of(np.zeros((0, 2)), np.zeros((0, 2), np.int64), np.zeros((0, 2, HISTORY)))
    assert encoded(ListEncoder(index), table, slots[:0], nobody) == []


def test_a_head_that_takes_more_or_fewer_recents_than_are_kept(index: ItemIndex) -> None:
    table, slots = table_of([[0, 1, 2, 3, 4]])
    for width in (0, 1, HISTORY + 4):
        recent = np.zeros((1, 1, width), np.float32)
        recent[..., : min(width, HISTORY)] = 0.25
        found = decode(
            list[RecommendedItem], encoded(ListEncoder(index), table, slots, ranked_of([[1.0]], [[5]], recent))[0]
        )
        assert len(found[0].reason.recents) == min(width, 3)


def test_items_that_come_later_have_their_texts_too(index: ItemIndex) -> None:
    table, slots = table_of([[0, 1, 2, 3, 4]])
    lists = ListEncoder(index)
    encoded(lists, table, slots, ranked_of([[1.0]], [[5]], np.zeros((1, 1, HISTORY))))
    index.put(["late"], np.ones((1, DIMENSION), np.float32))
    found = encoded(lists, table, slots, ranked_of([[1.0]], [[index.row("late")]], np.zeros((1, 1, HISTORY))))
    assert json.loads(found[0])[0]["item_id"] == "late"


def test_a_part_that_is_not_there_is_no_reason(index: ItemIndex) -> None:
    """Regression: where all recents spoke against an item, it was recommended for what was older, which was nothing."""
    against = np.full((1, 2, HISTORY), -0.1)
    against[0, 1] = 0.0
    ranked = ranked_of([[-0.5, 0.0]], [[5, 6]], against)
    assert [REASON_KINDS[code - 1] for code in reason_codes(ranked)[0]] == ["recent", "recent"]
    ranked = ranked_of(
        [[-0.7, -0.5]], [[5, 6]], against, older_attributions=[[-0.2, 0.0]], bias_attributions=[[0.0, -0.5]]
    )
    assert [REASON_KINDS[code - 1] for code in reason_codes(ranked)[0]] == ["older", "bias"]


def made_up(rng: np.random.Generator, users: int) -> tuple[ProfileTable, Any, Ranked]:
    """Lists of random parts; some recents are of unknown items, some parts are zero."""
    table, slots = table_of(rng.integers(-1, len(ITEMS), (users, HISTORY)).tolist())
    recent = rng.standard_normal((users, 4, HISTORY)) * rng.integers(0, 2, (users, 4, HISTORY))
    names = ("older_attributions", "bias_attributions", "adjustment_attributions")
    parts = {name: rng.standard_normal((users, 4)) * rng.integers(0, 2, (users, 4)) for name in names}
    scores = recent.sum(axis=2) + sum(parts.values())
    order = np.argsort(-scores, axis=1)
    parts = {name: np.take_along_axis(part, order, 1) for name, part in parts.items()}
    recent = np.take_along_axis(recent, order[:, :, None], 1)
    rows = rng.integers(0, len(ITEMS), (users, 4))
    return table, slots, ranked_of(np.take_along_axis(scores, order, 1), rows, recent, **parts)


@pytest.mark.parametrize("seed", range(20))
def test_the_largest_part_and_the_rest_add_up_to_the_score(index: ItemIndex, seed: int) -> None:
    table, slots, ranked = made_up(np.random.default_rng(seed), 5)
    full = [decode(list[RecommendedItem], one) for one in encoded(ListEncoder(index), table, slots, ranked)]
    brief = [decode(list[RecommendedItem], one) for one in encoded(ListEncoder(index, "largest"), table, slots, ranked)]
    for told, item in zip(sum(brief, []), sum(full, []), strict=True):  # noqa: RUF017
        assert (told.item_id, told.score) == (item.item_id, item.score)
        assert told.reason is not None
        assert item.reason is not None
        reason = told.reason
        assert (reason.kind, reason.exact) == (item.reason.kind, item.reason.exact)
        parts = [share.share for share in reason.recents] + [reason.older, reason.bonus, reason.bias]
        assert sum(parts) + reason.rest == pytest.approx(told.score, abs=2e-6)
        assert reason.other_recents == 0
        assert sum(part != 0 for part in parts) <= 1
        if reason.kind == "recent":
            assert reason.recents == item.reason.recents[:1]
        else:
            assert reason.recents == []
            name = reason.kind
            assert getattr(reason, name) == getattr(item.reason, name) != 0


def test_without_reasons_a_list_has_items_and_scores_only(index: ItemIndex) -> None:
    table, slots, ranked = made_up(np.random.default_rng(1), 3)
    for short, full in zip(
        encoded(ListEncoder(index, "none"), table, slots, ranked),
        encoded(ListEncoder(index), table, slots, ranked),
        strict=True,
    ):
        expected = [{"item_id": item["item_id"], "score": item["score"]} for item in json.loads(full)]
        assert json.loads(short) == expected
        assert all(item.reason is None for item in decode(list[RecommendedItem], short))
