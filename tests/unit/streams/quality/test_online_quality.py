"""Events are scored against what their users were last given: vectorised, and the same as one by one."""

from collections import Counter
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from encoders.index.item_index import ItemIndex
from schemas.ids import id_hash, id_hashes
from schemas.recommendation import REASON_KINDS
from streams.checkpoint.profile_rows import encode_rows, fill_slot
from streams.checkpoint.snapshot import take_snapshot
from streams.clock import now_ms
from streams.monitoring.metrics import Metrics
from streams.quality.list_statistics import Drift, ListStatistics
from streams.quality.observer import COLUMNS as QUALITY_COLUMNS
from streams.quality.online_quality import NEW_USER_EVENTS, VISITED, OnlineQuality
from streams.rank.exclusions import Exclusions
from streams.state.profile_shape import ProfileShape
from streams.state.profile_table import ProfileTable
from streams.state.profile_update import SumsConfig, apply_batch
from streams.state.state import State
from streams.state.trending import Trending
from tests.unit.streams.profile_model import COLUMNS, DIMENSION, PARTITION, Ev, batch_of, know

SHAPE = ProfileShape(
    history=4, dimension=DIMENSION, half_lives=2, duplicate_window=50, purchases=3, pending=9, recommended=3
)
CONFIG = SumsConfig(np.array([3_600.0, 86_400.0]), np.ones((3, 2), np.float32))
ITEMS = [f"item-{n}" for n in range(8)]
CLICK, BROWSE, PURCHASE = 0, 1, 2
MODEL = "v1"


def serving(index: ItemIndex) -> Any:
    return SimpleNamespace(encoder=SimpleNamespace(index=index))


class Shop:
    """A table, an index that knows every item, and what was counted."""

    def __init__(self) -> None:
        self.table = ProfileTable(16, SHAPE, QUALITY_COLUMNS)
        self.table.set_logs(COLUMNS)
        self.index = ItemIndex(DIMENSION)
        know(self.index, ITEMS)
        self.trending = Trending(1e9, [1.0, 1.0, 1.0], now_ms)
        self.metrics = Metrics()
        self.quality = OnlineQuality(
            State(self.table, self.trending), serving(self.index), Exclusions(), self.metrics.quality
        )
        self.offset = 0

    def offer(self, user: str, items: Sequence[str], reason: str = "recent", id_: str = "r1") -> None:
        rows = np.array([[self.index.row(item) for item in items]], np.int64)
        reasons = np.full(rows.shape, REASON_KINDS.index(reason) + 1, np.uint8)  # type: ignore[arg-type]
        self.table.note_recommended(self.slots([user]), self.index.hashes(rows), reasons, id_hashes([id_]), MODEL)

    def slots(self, users: Sequence[str]) -> np.ndarray[tuple[int], np.dtype[np.intp]]:
        absent = [user for user in dict.fromkeys(users) if user not in self.table.slot_of]
        self.table.allocate(absent, PARTITION, 1)
        return self.table.find(users)

    def see(self, *events: tuple[str, str, int], recommendation: str = "", ids: Sequence[str] = ()) -> None:
        """A batch of (user, item, type)."""
        evs = []
        for place, (user, item, kind) in enumerate(events):
            self.offset += 1
            id_ = ids[place] if ids else f"e{self.offset}"
            evs.append(Ev(user, item, id_, kind, self.offset * 1_000, self.offset, recommendation=recommendation))
        batch = batch_of(evs)
        slots = self.slots(batch.user_ids)
        checked = self.quality.check(batch, slots)
        applied = apply_batch(self.table, batch, slots, self.index, CONFIG)
        self.quality.record(checked, batch, slots, applied.events)
        self.quality.publish()

    def count(self, name: str, **labels: str) -> float:
        """Sum of the samples of a metric that carry the labels."""
        return sum(
            sample.value
            for metric in self.metrics.registry.collect()
            for sample in metric.samples
            if sample.name == f"prefstream_{name}" and labels.items() <= sample.labels.items()
        )


def test_a_hit_counts_with_its_reason_rank_user_and_model() -> None:
    shop = Shop()
    shop.offer("anna", ITEMS[:3], "older")
    shop.see(("anna", ITEMS[1], BROWSE))
    assert shop.count("online_events_total", model=MODEL, user="new") == 1
    assert shop.count("online_hits_total", model=MODEL, user="new", reason="older") == 1
    assert shop.count("online_reciprocal_rank_total", reason="older") == 0.5
    shop.see(*[("anna", ITEMS[7], BROWSE)] * (NEW_USER_EVENTS - 1))
    shop.offer("anna", ITEMS[4:7])
    shop.see(("anna", ITEMS[4], CLICK))
    assert shop.count("online_hits_total", user="known", reason="recent") == 1


def test_an_event_without_a_list_or_of_an_item_that_the_rules_keep_out_is_not_scored() -> None:
    shop = Shop()
    shop.see(("anna", ITEMS[0], CLICK))
    assert shop.count("online_unscored_events_total", why="no-list") == 1
    shop.offer("anna", ITEMS[1:4])
    shop.see(("anna", ITEMS[0], CLICK))
    assert shop.count("online_unscored_events_total", why="left-out") == 1
    assert shop.count("online_events_total") == 0
    shop.see(("anna", "never-encoded", CLICK))
    assert (shop.count("online_events_total"), shop.count("unknown_item_events_total")) == (1, 1)


def test_replayed_and_duplicate_events_do_not_count() -> None:
    shop = Shop()
    shop.offer("anna", ITEMS[:3])
    shop.see(("anna", ITEMS[0], CLICK), ids=["a"])
    shop.offer("anna", ITEMS[:3])
    shop.see(("anna", ITEMS[0], CLICK), ids=["a"])
    shop.offset -= 2
    shop.see(("anna", ITEMS[2], CLICK), ids=["b"])
    assert (shop.count("online_events_total"), shop.count("online_hits_total")) == (1, 1)


def test_the_baseline_is_what_the_user_would_have_been_given_of_what_is_trending() -> None:
    shop = Shop()
    shop.trending.count(
        np.full(10, PARTITION, np.int32),
        [ITEMS[n] for n in (7, 7, 7, 7, 6, 6, 6, 5, 5, 4)],
        np.zeros(10, np.uint8),
        np.full(10, 1),
    )
    shop.quality.look_at_trending()
    shop.see(("anna", ITEMS[7], CLICK))
    shop.offer("anna", ITEMS[:3])
    shop.see(("anna", ITEMS[4], CLICK))  # third, as the first is just seen
    assert shop.count("online_baseline_hits_total") == 1
    assert shop.count("online_baseline_reciprocal_rank_total") == pytest.approx(1 / 3)
    shop.offer("ben", ITEMS[:3])
    shop.see(("ben", ITEMS[4], CLICK))  # fourth of all, and only three are given
    assert shop.count("online_baseline_hits_total") == 1


def test_a_purchase_converts_by_the_list_by_an_earlier_visit_or_by_its_id() -> None:
    shop = Shop()
    shop.offer("anna", ITEMS[:3], "older")
    shop.see(("anna", ITEMS[0], PURCHASE))
    shop.see(("anna", ITEMS[1], CLICK))
    shop.offer("anna", ITEMS[4:7])
    shop.see(("anna", ITEMS[1], PURCHASE))
    shop.see(("anna", ITEMS[7], PURCHASE), recommendation="somewhere-else")
    shop.see(("anna", ITEMS[7], PURCHASE))
    assert shop.count("purchases_total") == 4
    assert shop.count("conversions_total") == 3
    assert shop.count("conversions_total", via="list", reason="older") == 1
    assert shop.count("conversions_total", via="visit", reason="older") == 1
    assert shop.count("conversions_total", via="id", reason="unknown") == 1


def test_several_items_of_a_list_visited_in_one_batch_all_convert_later() -> None:
    shop = Shop()
    shop.offer("anna", ITEMS[:3])
    shop.see(("anna", ITEMS[0], CLICK), ("anna", ITEMS[1], CLICK))
    shop.offer("anna", ITEMS[4:7])
    shop.see(("anna", ITEMS[0], PURCHASE), ("anna", ITEMS[1], PURCHASE))
    assert shop.count("conversions_total", via="visit") == 2


def test_events_that_name_a_recommendation_are_attributed() -> None:
    shop = Shop()
    shop.offer("anna", ITEMS[:3], id_="r9")
    shop.see(("anna", ITEMS[0], CLICK), ("anna", ITEMS[1], BROWSE), recommendation="r9")
    shop.see(("anna", ITEMS[2], CLICK), recommendation="r8")
    assert shop.count("attributed_events_total", type="click", list="last") == 1
    assert shop.count("attributed_events_total", type="browse", list="last") == 1
    assert shop.count("attributed_events_total", type="click", list="earlier") == 1


def test_what_was_given_and_taken_outlives_the_worker_and_is_forgotten_with_the_user() -> None:
    shop = Shop()
    for number in range(VISITED + 3):
        shop.offer("anna", [f"item-{number % 8}"], id_=f"r{number}")
        shop.table.times[0] = 0  # nothing is just seen
        shop.see(("anna", f"item-{number % 8}", CLICK))
    slots = shop.slots(["anna"])
    row = encode_rows(take_snapshot(shop.table, slots, MODEL), 1, 60)[0]
    fresh = ProfileTable(4, SHAPE, QUALITY_COLUMNS)
    fresh.set_logs(COLUMNS)
    fresh.allocate(["anna"], PARTITION, 2)
    fill_slot(fresh, 0, row, MODEL, shop.index, CONFIG.half_life_s)
    for name in ("recommended_items", "recommended_reasons", "recommendation_id_hash"):
        assert fresh.arrays[name][0].tolist() == shop.table.arrays[name][0].tolist()
    assert fresh.encoder_versions[fresh.recommended_by[0]] == MODEL
    assert set(fresh.arrays["visited_items"][0].tolist()) == set(shop.table.arrays["visited_items"][0].tolist())
    assert fresh.arrays["visited_items"][0][-1] == id_hash(f"item-{(VISITED + 2) % 8}")
    assert fresh.arrays["visited_count"][0] == VISITED
    fresh.wipe(0, 1)
    blank = ProfileTable(1, SHAPE, QUALITY_COLUMNS)
    for name in (
        "recommended_items",
        "recommended_reasons",
        "recommendation_id_hash",
        "recommended_by",
        "visited_items",
        "visited_count",
    ):
        assert np.array_equal(fresh.arrays[name][0], blank.arrays[name][0])


def test_a_reason_of_a_newer_release_counts_as_none() -> None:
    shop = Shop()
    shop.offer("anna", ITEMS[:3])
    shop.table.recommended_reasons[0, 1] = 200
    row = encode_rows(take_snapshot(shop.table, shop.slots(["anna"]), MODEL), 1, 60)[0]
    shop.table.evict(shop.slots(["anna"]))
    slot = int(shop.slots(["anna"])[0])
    fill_slot(shop.table, slot, row, MODEL, shop.index, CONFIG.half_life_s)
    shop.see(("anna", ITEMS[1], CLICK), ("anna", ITEMS[2], CLICK))
    assert (shop.count("online_events_total"), shop.count("online_hits_total")) == (2, 1)


USERS = ("anna", "ben", "cleo")
event = st.tuples(st.sampled_from(USERS), st.sampled_from([*ITEMS, "unknown"]), st.sampled_from([CLICK, PURCHASE]))


@settings(deadline=None, max_examples=60)
@given(
    lists=st.lists(
        st.tuples(st.sampled_from(USERS), st.lists(st.sampled_from(ITEMS), unique=True, max_size=3)), max_size=6
    ),
    before=st.lists(event, max_size=6),
    events=st.lists(event, max_size=12),
)
def test_a_batch_scores_as_its_events_one_by_one(
    lists: list[tuple[str, list[str]]], before: list[tuple[str, str, int]], events: list[tuple[str, str, int]]
) -> None:
    shop = Shop()
    shop.see(*before)
    given_items: dict[str, list[str]] = {}
    for user, items in lists:
        shop.offer(user, items)
        given_items[user] = items
    # what the rules leave out: the recents that are kept, and purchases, of items that are known
    out = {
        user: {item for who, item, _ in [one for one in before if one[0] == user][-SHAPE.history :]}
        | {item for who, item, kind in [o for o in before if o[0] == user and o[2] == PURCHASE][-SHAPE.purchases :]}
        for user in USERS
    }
    wanted: Counter[str] = Counter()
    for user, item, _ in events:
        items = given_items.get(user, [])
        if not items:
            wanted["no-list"] += 1
        elif item in out[user] and item != "unknown":
            wanted["left-out"] += 1
        else:
            wanted["scored"] += 1
            wanted["hits"] += item in items
            wanted["ranks"] += 12 // (1 + items.index(item)) if item in items else 0
    base = Counter({why: shop.count("online_unscored_events_total", why=why) for why in ("no-list", "left-out")})
    shop.see(*events)
    assert shop.count("online_unscored_events_total", why="no-list") - base["no-list"] == wanted["no-list"]
    assert shop.count("online_unscored_events_total", why="left-out") - base["left-out"] == wanted["left-out"]
    assert shop.count("online_events_total") == wanted["scored"]
    assert shop.count("online_hits_total") == wanted["hits"]
    assert shop.count("online_reciprocal_rank_total") == pytest.approx(wanted["ranks"] / 12)


def test_coverage_counts_the_items_of_the_last_hour_and_novelty_their_surprise() -> None:
    index = ItemIndex(DIMENSION)
    know(index, ITEMS)
    metrics, now = Metrics(), [0.0]
    served = serving(index)
    statistics = ListStatistics(served, metrics.quality, lambda: now[0])

    def value(name: str, **labels: str) -> float:
        return metrics.registry.get_sample_value(f"prefstream_{name}", {"namespace": "", **labels}) or 0.0

    users = np.eye(2, DIMENSION, dtype=np.float32)
    statistics.demanded(np.array([0] * 7 + [-1]))
    statistics.publish()
    statistics.recommended(np.array([[0, 1], [0, -1]]), np.array([[1, 3], [1, 0]], np.uint8), users)
    statistics.publish()
    assert value("recommended_items_distinct") == 2
    assert value("catalog_coverage_ratio") == 2 / 8
    assert value("recommended_items_total", reason="recent") == 2
    assert value("recommended_items_total", reason="trending") == 1
    # p = (7 + 1) / (7 + 8) of the first item, (0 + 1) / 15 of the second
    assert value("recommended_self_information_bits_total") == pytest.approx(
        2 * np.log2(15 / 8) + np.log2(15), rel=1e-5
    )
    now[0] = 3_601.0
    statistics.publish()
    assert value("recommended_items_distinct") == 0
    know(index, ["another"])
    statistics.recommended(np.array([[8]]), np.array([[1]], np.uint8), users[:1])
    statistics.publish()
    assert value("recommended_items_distinct") == 1
    served.encoder.index = another = ItemIndex(DIMENSION)  # another encoder version takes over
    know(another, ITEMS[:2])
    statistics.recommended(np.array([[1, -1]]), np.array([[1, 0]], np.uint8), users[:1])
    statistics.publish()
    assert value("catalog_coverage_ratio") == 1 / 2


def test_drift_is_the_distance_of_the_recent_mean_from_the_old_one() -> None:
    drift = Drift(2, 0.0)
    assert drift.distance == 0.0
    drift.add(np.array([[1, 0]] * 9, np.float32), 0.0)
    assert drift.distance == pytest.approx(0.0, abs=1e-12)
    drift.add(np.zeros((3, 2), np.float32), 10.0)
    assert drift.distance == pytest.approx(0.0, abs=1e-12)
    drift.add(np.array([[0, 1]] * 9, np.float32), 3_600.0)
    assert 0.2 < drift.distance < 0.5
