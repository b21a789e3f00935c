"""What is sent to users: their lists, in messages that their own schema allows."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from encoders.index.item_index import ItemIndex
from encoders.ranking.exact_ranker import ExactRanker
from schemas.codec import decode
from schemas.recommendation import REASON_KINDS, ListReasons, Recommendation
from schemas.trending import TrendingCounts
from streams.clock import now_ms
from streams.features.contract import FeatureContext, RecordToWrite
from streams.features.running import RunningFeatures
from streams.monitoring.metrics import Metrics
from streams.pipeline.recommender import Recommender
from streams.quality.observer import COLUMNS as QUALITY_COLUMNS
from streams.quality.observer import QualityObserver
from streams.rank.exclusions import Exclusions
from streams.rank.loaded_encoder import ActiveEncoder, LoadedEncoder
from streams.rank.preference_vectors import PreferenceVectors
from streams.settings import Settings
from streams.state.profile_shape import ProfileShape
from streams.state.profile_table import ProfileTable
from streams.state.profile_update import SumsConfig, apply_batch
from streams.state.state import State
from streams.state.trending import Trending
from streams.state.version_sums import change_encoder
from tests.still_feed import StillFeed
from tests.unit.streams.conftest import DIMENSION
from tests.unit.streams.profile_model import COLUMNS, PARTITION, Ev, batch_of

SHAPE = ProfileShape(history=4, dimension=DIMENSION, half_lives=2, duplicate_window=8, purchases=3, pending=9)
ITEMS = [f"item-{n}" for n in range(12)]
VERSION = "v1"
CONFIG = SumsConfig(np.array([3_600.0, 86_400.0]), np.ones((3, 2), np.float32))


class Shop:
    """A recommender and what it reads."""

    def __init__(self, graph: ExactRanker, list_reasons: ListReasons = "full") -> None:
        self.sent: list[tuple[str, Recommendation]] = []
        self.written: list[RecordToWrite] = []
        self.state = State(ProfileTable(16, SHAPE, QUALITY_COLUMNS), Trending(3_600, [1.0, 0.5, 4.0], now_ms))
        self.table, self.trending = self.state.table, self.state.trending
        self.table.set_logs(COLUMNS)
        self.index = ItemIndex(DIMENSION)
        rng = np.random.default_rng(5)
        self.index.put(ITEMS, rng.standard_normal((len(ITEMS), DIMENSION)).astype(np.float32))
        self.active = ActiveEncoder(
            LoadedEncoder(version=VERSION, index=self.index, ranker=graph, sums=CONFIG), StillFeed()
        )
        self.preference_vectors = PreferenceVectors(self.table, self.active)
        emitter: Any = SimpleNamespace(
            recommend_all=lambda lists: self.sent.extend(
                (user, decode(Recommendation, value)) for user, value in lists
            ),
            write=self.written.extend,
        )
        self.metrics = metrics = Metrics()
        context = FeatureContext(
            settings=Settings(), state=self.state, active=self.active, exclusions=Exclusions(), metrics=metrics
        )
        self.recommender = Recommender(
            state=self.state,
            active=self.active,
            preference_vectors=self.preference_vectors,
            emitter=emitter,
            metrics=metrics,
            exclusions=Exclusions(),
            k=3,
            features=RunningFeatures({"quality": QualityObserver(context)}, metrics),
            list_reasons=list_reasons,
        )

    def refresh(self, events: list[Ev], causes: dict[str, int], term: int = 7) -> dict[str, Recommendation]:
        users = [user for user in dict.fromkeys(event.user for event in events) if user not in self.table.slot_of]
        self.table.allocate(users, PARTITION, term)
        batch = batch_of(events)
        apply_batch(self.table, batch, self.table.find(batch.user_ids), self.index, CONFIG)
        slots = self.table.find(list(causes))
        self.sent.clear()
        self.recommender.refresh(batch, slots, np.array(list(causes.values()), np.intp), term)
        return dict(self.sent)


@pytest.fixture
def shop(graph: ExactRanker) -> Shop:
    return Shop(graph)


def test_each_user_gets_one_list_with_its_cause_and_its_times(shop: Shop) -> None:
    events = [
        Ev("anna", ITEMS[0], "a1", 0, 9_000, 0),
        Ev("ben", ITEMS[1], "b1", 2, 5_000, 1),
        Ev("anna", ITEMS[2], "a2", 1, 4_000, 2),  # the latest to come, not the latest to happen
    ]
    sent = shop.refresh(events, {"anna": 2, "ben": 1})
    assert sent.keys() == {"anna", "ben"}
    anna = sent["anna"]
    assert (anna.cause.event_id, anna.cause.event_type, anna.cause.item_id) == ("a2", "browse", ITEMS[2])
    assert (anna.cause.event_time_ms, anna.event_time_ms, anna.received_ms) == (4_000, 9_000, 4_001)
    assert len(anna.items) == 3
    assert not {item.item_id for item in anna.items} & {ITEMS[0], ITEMS[2]}
    assert anna.emitted_ms >= anna.received_ms
    assert shop.table.preferences[shop.table.slot_of["anna"]].any()


def test_a_later_list_has_the_larger_revision_and_another_id(shop: Shop) -> None:
    first = shop.refresh([Ev("anna", ITEMS[0], "a1", 0, 1, 0)], {"anna": 0})["anna"]
    second = shop.refresh([Ev("anna", ITEMS[1], "a2", 0, 2, 1)], {"anna": 0})["anna"]
    third = shop.refresh([Ev("anna", ITEMS[1], "a3", 0, 3, 2)], {"anna": 0}, term=8)["anna"]
    assert first.revision < second.revision < third.revision
    assert len({first.recommendation_id, second.recommendation_id, third.recommendation_id}) == 3


def test_a_user_of_whom_nothing_is_known_gets_what_is_trending_and_available(shop: Shop) -> None:
    counts = [(ITEMS[5], 9.0), ("unheard-of", 8.0), (ITEMS[4], 6.0), (ITEMS[3], 3.0), (ITEMS[2], 2.0), (ITEMS[1], 1.0)]
    shop.trending.publish_seen(TrendingCounts(partition=0, time_ms=0, items=counts))
    shop.index.withdraw([ITEMS[4]])
    sent = shop.refresh([Ev("new", "not-encoded-yet", "n1", 0, 5, 0)], {"new": 0})
    assert [(item.item_id, item.reason.kind) for item in sent["new"].items] == [
        (ITEMS[5], "trending"),
        (ITEMS[3], "trending"),
        (ITEMS[2], "trending"),
    ]


def test_an_empty_list_replaces_one_that_is_no_longer_true(shop: Shop) -> None:
    shop.index.withdraw(ITEMS)
    sent = shop.refresh([Ev("anna", ITEMS[0], "a1", 0, 1, 0)], {"anna": 0})
    assert sent["anna"].items == []


def test_a_list_is_of_the_version_that_serves_when_its_user_is_ranked(shop: Shop, graph: ExactRanker) -> None:
    first = shop.refresh([Ev("anna", ITEMS[0], "a1", 0, 1, 0)], {"anna": 0})["anna"]
    other = ItemIndex(DIMENSION)
    other.put(ITEMS[::-1][:8], np.random.default_rng(6).standard_normal((8, DIMENSION)).astype(np.float32))
    loaded = LoadedEncoder(version="v2", index=other, ranker=graph, sums=CONFIG)
    change_encoder(shop.table, VERSION, "v2", SHAPE, {}, CONFIG.half_life_s)
    shop.active.swap(loaded, StillFeed())
    shop.index = other
    slots = shop.table.all_slots()
    shop.preference_vectors.note(slots)
    before = shop.table.preferences[slots].copy()
    second = shop.refresh([Ev("anna", ITEMS[0], "a2", 0, 2, 1)], {"anna": 0})["anna"]
    assert (first.encoder_version, second.encoder_version) == (VERSION, "v2")
    assert {item.item_id for item in second.items} <= set(ITEMS[4:])
    assert not before.any()  # the second version does not know what she looked at


def test_preferences_that_are_noted_are_those_of_a_ranking(shop: Shop) -> None:
    shop.refresh([Ev("anna", ITEMS[n % 5], f"a{n}", n % 3, n * 1_000, n) for n in range(9)], {"anna": 8})
    slots = shop.table.all_slots()
    ranked = shop.table.preferences[slots].copy()
    shop.table.preferences[slots] = 0
    shop.preference_vectors.note(slots)
    assert np.allclose(shop.table.preferences[slots], ranked, atol=1e-6)
    assert ranked.any(axis=2).all()


def short_lists(shop: Shop, kind: str) -> float:
    return shop.metrics.registry.get_sample_value("prefstream_short_lists_total", {"namespace": "", "kind": kind}) or 0


def test_a_list_that_exclusions_leave_short_is_filled_up_and_says_so(shop: Shop) -> None:
    shop.index.withdraw(ITEMS[4:])
    sent = shop.refresh([Ev("anna", ITEMS[n], f"a{n}", 0, n, n) for n in range(4)], {"anna": 3})["anna"]
    assert [(item.item_id, item.reason.kind) for item in sent.items if item.reason is not None] == [
        (ITEMS[0], "seen-again"),
        (ITEMS[1], "seen-again"),
        (ITEMS[2], "seen-again"),
    ]
    for item in sent.items:
        reason = item.reason
        assert reason is not None
        named = sum(share.share for share in reason.recents)
        assert named + reason.other_recents + reason.older + reason.bias == pytest.approx(item.score, abs=2e-5)
    slot = shop.table.slot_of["anna"]
    assert shop.table.recommended_reasons[slot, :3].tolist() == [REASON_KINDS.index("seen-again") + 1] * 3
    assert [short_lists(shop, kind) for kind in ("seen-again", "short", "empty")] == [1, 0, 0]


def test_short_and_empty_lists_are_counted(shop: Shop) -> None:
    shop.index.withdraw(ITEMS[1:])
    shop.refresh([Ev("anna", ITEMS[0], "a", 0, 1, 0)], {"anna": 0})
    shop.refresh([Ev("ben", ITEMS[0], "b", 2, 1, 1)], {"ben": 0})
    assert [short_lists(shop, kind) for kind in ("seen-again", "short", "empty")] == [1, 1, 1]


@pytest.mark.parametrize("reasons", ["full", "largest", "none"])
def test_lists_tell_the_reasons_that_are_wanted_whatever_made_them(graph: ExactRanker, reasons: ListReasons) -> None:
    shop = Shop(graph, reasons)
    shop.trending.publish_seen(TrendingCounts(partition=0, time_ms=0, items=[(ITEMS[5], 9.0)]))
    events = [Ev("anna", ITEMS[0], "a1", 0, 9_000, 0), Ev("new", "not-encoded-yet", "n1", 0, 5, 1)]
    sent = shop.refresh(events, {"anna": 0, "new": 1})
    for recommendation in sent.values():
        assert recommendation.reasons == reasons
        assert recommendation.items
        assert {item.reason is None for item in recommendation.items} == {reasons == "none"}
    # the row knows the kinds in any case: online quality reads them
    assert shop.table.recommended_reasons[shop.table.slot_of["anna"], :3].all()


def test_a_swap_of_the_encoder_keeps_the_reasons_that_are_wanted(graph: ExactRanker) -> None:
    shop = Shop(graph, "none")
    other = ItemIndex(DIMENSION)
    other.put(ITEMS, np.random.default_rng(6).standard_normal((len(ITEMS), DIMENSION)).astype(np.float32))
    shop.active.swap(LoadedEncoder(version="v2", index=other, ranker=graph, sums=CONFIG), StillFeed())
    shop.index = other
    sent = shop.refresh([Ev("anna", ITEMS[0], "a1", 0, 1, 0)], {"anna": 0})["anna"]
    assert [item.reason for item in sent.items] == [None] * 3
