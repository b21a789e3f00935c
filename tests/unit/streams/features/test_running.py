"""The door for features: a feature that nobody built before runs through the pipeline's own parts."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from encoders.index.item_index import ItemIndex
from streams.checkpoint.profile_rows import encode_rows, fill_slot
from streams.checkpoint.snapshot import take_snapshot
from streams.checkpoint.stored_profile import decode_state
from streams.features.contract import AppliedEvents, RecommendedLists, RecordToWrite
from streams.features.running import RunningFeatures
from streams.monitoring.metrics import Metrics
from streams.settings import Settings
from streams.state.profile_columns import ProfileColumn, bytes_per_user
from streams.state.profile_table import ProfileTable
from streams.worker.feature_table import FEATURES, features_of
from tests.unit.streams.profile_model import CONFIG, DIMENSION, SHAPE, Ev, batch_of

ROOT = Path(__file__).parents[4]

HOURS = ProfileColumn(name="events_by_hour", dtype=np.uint32, shape=lambda _: (24,), field="events_by_hour")
LEVEL = ProfileColumn(name="level", dtype=np.int16, blank=-1, kept_when_forgotten=True, field="level", largest=9)


class EventsByHour:
    """Counts a user's events by the hour of the day, and tells when the first one came in an hour."""

    def __init__(self, table: ProfileTable) -> None:
        self._hours = table.arrays["events_by_hour"]
        self.looked_at = 0
        self.published = 0

    def before(self, events: Any, slots: Any) -> None:
        self.looked_at += len(events)

    def applied(self, batch: AppliedEvents) -> list[RecordToWrite]:
        hours = batch.events.times[batch.applied] // 3_600_000 % 24
        np.add.at(self._hours, (batch.slots[batch.applied], hours), 1)
        users = [batch.events.user_ids[index] for index in batch.applied.tolist()]
        return [
            RecordToWrite(topic="hours", key=user, value=b"%d" % hour)
            for user, hour in zip(users, hours.tolist(), strict=True)
        ]

    def recommended(self, lists: RecommendedLists) -> list[RecordToWrite]:
        return [RecordToWrite(topic="hours", key=str(slot), value=None) for slot in lists.slots.tolist()]

    def publish(self) -> None:
        self.published += 1


@pytest.fixture
def table() -> ProfileTable:
    table = ProfileTable(4, SHAPE, (HOURS, LEVEL))
    table.allocate(["anna"], 0, 1)
    return table


def test_a_column_is_declared_once_and_is_found_everywhere(table: ProfileTable) -> None:
    slot = table.find(["anna"])
    assert table.arrays["events_by_hour"].shape == (4, 24)
    assert table.arrays["level"][slot].tolist() == [-1]  # blank
    assert bytes_per_user(SHAPE, (HOURS, LEVEL)) - bytes_per_user(SHAPE) == 24 * 4 + 2
    table.arrays["events_by_hour"][slot, 7] = 3_000_000_000
    table.arrays["level"][slot] = 5
    row = encode_rows(take_snapshot(table, slot, "v1"), 1, 60)[0]
    assert (
        len(decode_state(row.state, "anna", table.fields).__struct_fields__)
        == len(decode_state(row.state, "anna").__struct_fields__) + 2
    )
    # forgotten: blank, but for what is kept
    table.wipe(int(slot[0]), 5)
    assert not table.arrays["events_by_hour"][slot].any()
    assert table.arrays["level"][slot].tolist() == [5]
    # given to somebody else: blank
    table.evict(slot)
    again = table.allocate(["ben", "cleo", "dan", "anna"], 0, 1)
    assert not table.arrays["events_by_hour"].any()
    assert set(table.arrays["level"].tolist()) == {-1}
    # and loaded
    fill_slot(table, int(again[3]), row, "v1", ItemIndex(DIMENSION), CONFIG.half_life_s)
    assert table.arrays["events_by_hour"][again[3], 7] == 3_000_000_000
    assert table.arrays["level"][again[3]] == 5


def test_a_row_without_the_columns_and_one_of_a_newer_release_count_as_blank(table: ProfileTable) -> None:
    plain = ProfileTable(1, SHAPE)
    row = encode_rows(take_snapshot(plain, plain.allocate(["anna"], 0, 1), "v1"), 1, 60)[0]
    slot = int(table.find(["anna"])[0])
    table.arrays["level"][slot] = 3
    fill_slot(table, slot, row, "v1", ItemIndex(DIMENSION), CONFIG.half_life_s)
    assert table.arrays["level"][slot] == -1
    table.arrays["level"][slot] = 100  # beyond what this release knows
    newer = encode_rows(take_snapshot(table, table.find(["anna"]), "v1"), 2, 60)[0]
    fill_slot(table, slot, newer, "v1", ItemIndex(DIMENSION), CONFIG.half_life_s)
    assert table.arrays["level"][slot] == -1


def test_a_feature_returns_what_is_to_be_written_and_is_timed_by_its_name(table: ProfileTable) -> None:
    metrics = Metrics()
    work = EventsByHour(table)
    features = RunningFeatures({"hours": work}, metrics)
    events = batch_of([Ev("anna", "red", "e1", 0, 3_600_000 * 7, 0), Ev("anna", "red", "e2", 0, 5, 1)])
    slots = table.find(events.user_ids)
    features.before(events, slots)
    records = features.applied(AppliedEvents(events=events, slots=slots, applied=np.array([0])))
    assert [(record.topic, record.key, record.value) for record in records] == [("hours", "anna", b"7")]
    assert (work.looked_at, table.arrays["events_by_hour"][slots[0], 7]) == (2, 1)
    blank = np.zeros((1, 1))
    lists: Any = RecommendedLists(slots=slots[:1], rows=blank, reasons=blank, id_hashes=blank, user_vectors=blank)  # type: ignore[arg-type]
    assert [record.value for record in features.recommended(lists)] == [None]
    features.publish()
    assert work.published == 1
    count = metrics.registry.get_sample_value("prefstream_stage_seconds_count", {"namespace": "", "stage": "hours"})
    assert count == 3


def test_by_default_a_worker_has_no_feature_but_quality_and_no_extra_in_memory() -> None:
    assert [feature.name for feature in features_of(Settings())] == ["quality"]
    others = [module for module, _ in FEATURES if module != "streams.quality.observer"]
    code = (
        "import sys, streams.worker.worker\n"
        "from streams.settings import Settings\n"
        "from streams.worker.feature_table import features_of\n"
        "assert not any(name.startswith('streams.quality') for name in sys.modules), 'the core imports a feature'\n"
        "features_of(Settings())\n"
        f"unwanted = {others!r} + ['jax', 'optax', 'implicit', 'pyarrow', 'tokenizers', 'typer']\n"
        "unwanted += ['streams.offline', 'streams.console', 'streams.demo', 'streams.commands', 'encoders.training']\n"
        "found = [name for name in unwanted if name in sys.modules]\n"
        "assert not found, found\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr[-2_000:]
