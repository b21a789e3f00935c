"""Refunds, removals from the cart, hidden items and consents in the profile."""

import itertools
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from encoders.index.item_index import ItemIndex
from schemas.ids import id_hash
from streams.checkpoint.profile_rows import encode_rows, fill_slot
from streams.checkpoint.snapshot import take_snapshot
from streams.checkpoint.stored_profile import ProfileState, decode_state, is_erased
from streams.rank.exclusions import Exclusions, excluded_rows, hide_labels
from streams.state.action_update import apply_actions
from streams.state.profile_shape import ProfileShape
from streams.state.profile_table import ProfileTable
from streams.state.profile_update import SumsConfig, apply_batch, fold_pending
from streams.stores.base import StoredProfile
from tests.unit.streams.actions import DAY_MS, NOW_MS, WRITTEN_MS, action, batch_of_actions
from tests.unit.streams.profile_model import COLUMNS, PARTITION, Ev, batch_of

CLICK, PURCHASE = 0, 2
WEIGHTS = np.array([[1.0, 0.5], [0.25, 0.75], [2.0, 4.0]], np.float32)
CONFIG = SumsConfig(np.array([3_600.0, 86_400.0]), WEIGHTS)
SHAPE = ProfileShape(history=2, dimension=2, half_lives=2, duplicate_window=8, purchases=3, pending=9)
VECTORS = {"tea": [1.0, 0.0], "pot": [0.0, 1.0], "cup": [0.6, 0.8]}


class Anna:
    """A profile of one user."""

    def __init__(self) -> None:
        self.index = ItemIndex(2)
        labels = [("brand=Leaf", "category=Tea"), ("brand=Kiln", "category=Pots"), ("brand=Kiln", "category=Cups")]
        self.index.put(list(VECTORS), np.array(list(VECTORS.values()), np.float32), labels=labels)
        self.table = ProfileTable(4, SHAPE)
        self.table.set_logs([*COLUMNS, ("actions", "id-of-actions")])
        self.slots = self.table.allocate(["anna"], PARTITION, 1)
        self.slot = int(self.slots[0])
        self.offset = 0

    def act(self, *actions: dict[str, Any], **more: Any) -> list[int]:
        """Apply actions, and return their outcomes."""
        batch = batch_of_actions(*actions, **({"offset": self.offset} | more))
        self.offset += len(actions)
        return apply_actions(self.table, batch, np.repeat(self.slots, len(actions)), self.index, CONFIG).tolist()

    def does(self, *events: tuple[str, int, int]) -> None:
        """Apply events: item, type, time after NOW_MS."""
        for item, kind, after_ms in events:
            self.offset += 1
            event = Ev("anna", item, f"e{self.offset}", kind, NOW_MS + after_ms, self.offset)
            apply_batch(self.table, batch_of([event]), self.slots, self.index, CONFIG, 30 * DAY_MS)

    def excluded(self, days: float = 30.0) -> set[str]:
        """Items that are excluded, but for those just seen."""
        found = excluded_rows(self.table, self.slots, self.index, Exclusions(days, exclude_seen_events=0))
        return {self.index.item_ids[row] for row in found[0].tolist() if row >= 0}

    def row(self) -> Any:
        [row] = encode_rows(take_snapshot(self.table, self.slots, "v1"), 1, 60)
        return row

    def state(self) -> ProfileState:
        return decode_state(self.row().state, "anna")


def test_a_refund_takes_the_weight_of_its_purchase_back() -> None:
    anna = Anna()
    # the recents hold two events: the purchase has left them
    anna.does(("tea", PURCHASE, 0), ("pot", CLICK, 1_000), ("pot", CLICK, 2_000))
    np.testing.assert_allclose(anna.table.sums[anna.slot], np.outer(WEIGHTS[PURCHASE], VECTORS["tea"]))
    assert anna.act(action("refund", "r1", item_id="tea")) == [0]
    np.testing.assert_allclose(anna.table.sums[anna.slot], 0, atol=1e-6)
    # the mean of the sums stays within the unit ball
    np.testing.assert_allclose(anna.table.total_weight[anna.slot], 2 * WEIGHTS[PURCHASE])


def test_a_removal_from_the_cart_takes_the_weight_of_a_click_back() -> None:
    anna = Anna()
    anna.act(action("cart_removal", "c1", item_id="pot"))
    np.testing.assert_allclose(anna.table.sums[anna.slot], -np.outer(WEIGHTS[CLICK], VECTORS["pot"]))
    assert anna.excluded() == set()


def test_a_refunded_item_may_be_recommended_again_until_it_is_purchased_again() -> None:
    anna = Anna()
    anna.does(("tea", PURCHASE, 0), ("pot", PURCHASE, 0))
    anna.act(action("refund", "r1", NOW_MS, item_id="tea"))
    assert anna.excluded() == {"pot"}
    anna.does(("tea", PURCHASE, 5_000))
    assert anna.excluded() == {"tea", "pot"}
    anna.act(action("refund", "r2", NOW_MS + 4_000, item_id="tea"))  # an older one
    assert anna.excluded() == {"tea", "pot"}


def test_the_order_of_reading_does_not_matter() -> None:
    steps: list[Any] = [
        [("tea", PURCHASE, 0)],
        [("pot", PURCHASE, 1_000)],
        action("refund", "r1", NOW_MS + 500, item_id="tea"),
        action("refund", "r2", NOW_MS + 900, item_id="pot"),
        action("hide", "h1", NOW_MS + 100, item_id="cup"),
        action("hide", "h2", NOW_MS + 200, item_id="cup", until_ms=0),
        action("consent", "c1", NOW_MS + 100, given=True),
        action("consent", "c2", NOW_MS + 200, given=False),
    ]
    found = []
    for turn in itertools.islice(iter(lambda: random.Random(len(found)).sample(steps, len(steps)), None), 60):
        anna = Anna()
        for step in turn:
            anna.act(step) if isinstance(step, dict) else anna.does(*step)
        sums = np.round(anna.table.sums[anna.slot], 6).tolist()
        actions = anna.state().actions
        assert actions is not None
        found.append((sums, anna.excluded(), actions.refunds, actions.hidden_items, actions.consents))
    assert all(one == found[0] for one in found)
    assert found[0][1] == {"pot"}
    assert [given for _, _, given in found[0][4].values()] == [False]


def test_an_action_that_is_read_again_or_sent_again_changes_nothing() -> None:
    anna = Anna()
    refund = action("refund", "r1", item_id="tea")
    assert anna.act(refund, offset=5) == [0]
    before = anna.state()
    assert anna.act(refund, offset=5) == [2]
    assert anna.act(refund, offset=6) == [3]
    after = anna.state()
    assert (after.sums, after.actions, after.counters.duplicates) == (before.sums, before.actions, 1)


def test_actions_on_other_things_may_share_an_id() -> None:
    anna = Anna()
    same = [
        action("hide", "x", brand="Kiln"),
        action("hide", "x", category="Tea"),
        action("consent", "x", given=True),
        action("consent", "x", given=True, purpose="ads"),
        action("refund", "x", item_id="tea"),
        action("refund", "x", item_id="pot"),
    ]
    assert anna.act(*same) == [0] * len(same)


def test_a_refund_waits_for_the_vector_of_its_item() -> None:
    anna = Anna()
    anna.act(action("refund", "r1", item_id="new"))
    assert anna.state().actions is not None
    reloaded = Anna()
    fill_slot(reloaded.table, reloaded.slot, anna.row(), "v1", reloaded.index, CONFIG.half_life_s)
    for profile in (anna, reloaded):
        profile.index.put(["new"], [[0.8, 0.6]])
        assert fold_pending(profile.table, {id_hash("new")}, profile.index, CONFIG) == 1
        np.testing.assert_allclose(
            profile.table.sums[profile.slot], -np.outer(WEIGHTS[PURCHASE], [0.8, 0.6]), rtol=1e-6
        )
        assert profile.table.waited_for() == set()


@pytest.mark.parametrize(
    ("hidden", "items"),
    [({"item_id": "cup"}, {"cup"}), ({"brand": "Kiln"}, {"pot", "cup"}), ({"category": "Tea"}, {"tea"})],
)
def test_what_is_hidden_is_excluded_until_its_time(hidden: dict[str, str], items: set[str]) -> None:
    anna = Anna()
    anna.act(action("hide", "h1", NOW_MS, until_ms=NOW_MS + 5_000, **hidden))
    assert anna.excluded(days=0) == items
    assert hide_labels(anna.table, anna.slots).tolist() == ["item_id" not in hidden]
    anna.does(("tea", CLICK, 4_999))
    assert anna.excluded(days=0) == items
    anna.act(action("refund", "r1", NOW_MS + 5_000, item_id="pot"))  # an action tells the time too
    assert anna.excluded(days=0) == set()
    anna.act(action("hide", "h2", NOW_MS + 6_000, **hidden))
    assert anna.excluded(days=0) == items
    anna.act(action("hide", "h3", NOW_MS + 7_000, until_ms=0, **hidden))
    assert anna.excluded(days=0) == set()


def test_the_latest_refunds_and_hides_are_kept() -> None:
    anna = Anna()
    anna.act(*(action("refund", f"r{n}", NOW_MS + n, item_id=f"i{n}") for n in range(5)))
    anna.act(*(action("hide", f"h{n}", NOW_MS + n, item_id=f"i{n}") for n in range(300)))
    actions = anna.state().actions
    assert actions is not None
    assert set(actions.refunds) == {id_hash(f"i{n}") for n in (2, 3, 4)}
    assert set(actions.hidden_items) == {id_hash(f"i{n}") for n in range(44, 300)}


def test_forgetting_takes_what_was_written_before_the_command() -> None:
    anna = Anna()
    everything = [
        action("refund", "r1", item_id="new"),
        action("hide", "h1", item_id="cup"),
        action("hide", "h2", brand="Leaf"),
        action("consent", "c1", given=True),
    ]
    anna.act(*everything)
    anna.table.wipe(anna.slot, WRITTEN_MS)
    assert is_erased(anna.state())
    assert anna.table.forgotten[anna.slot]
    # read after the command, and written before it
    assert anna.act(action("consent", "c2", given=True)) == [1]
    assert is_erased(anna.state())
    # written after it
    assert anna.act(action("hide", "h3", item_id="cup"), written_ms=WRITTEN_MS + 1) == [0]
    assert not anna.table.forgotten[anna.slot]
    anna.table.wipe(anna.slot, WRITTEN_MS)
    assert anna.excluded() == {"cup"}
    assert not is_erased(anna.state())


def test_a_row_holds_the_actions() -> None:
    anna = Anna()
    anna.act(
        action("refund", "r1", item_id="tea"),
        action("hide", "h1", item_id="cup"),
        action("hide", "h2", brand="Leaf", until_ms=NOW_MS + 10**9),
        action("consent", "c1", given=True, purpose="ads"),
    )
    reloaded = Anna()
    fill_slot(reloaded.table, reloaded.slot, anna.row(), "v1", reloaded.index, CONFIG.half_life_s)
    assert reloaded.row().state == anna.row().state
    assert reloaded.excluded() == anna.excluded() == {"tea", "cup"}


def test_a_slot_that_is_given_away_keeps_no_action() -> None:
    anna = Anna()
    anna.act(action("hide", "h1", item_id="cup"), action("refund", "r1", item_id="new"))
    anna.table.evict(anna.slots)
    assert anna.table.allocate(["bert"], PARTITION, 1).tolist() == anna.slots.tolist()
    assert (anna.excluded(), anna.table.waited_for()) == (set(), set())


def test_a_recorded_row_is_read() -> None:
    row = (Path(__file__).parents[3] / "golden" / "v0.1.0" / "rows" / "actions.msgpack").read_bytes()
    anna = Anna()
    stored = StoredProfile("anna", PARTITION, 1, row, b"", b"", b"", "v1", 0)
    anna.index.put(["milk", "tv"], np.eye(2))
    fill_slot(anna.table, anna.slot, stored, "v1", anna.index, CONFIG.half_life_s)
    # milk was refunded; tv was purchased, and is hidden; tea has the hidden brand
    assert anna.excluded() == {"tv", "tea"}
    actions = anna.state().actions
    assert actions is not None
    assert actions.consents == {"marketing": (NOW_MS + 7_000, NOW_MS + 7_100, True)}
    assert actions.pending == [(id_hash("new"), PURCHASE, NOW_MS + 4_000, 7)]
