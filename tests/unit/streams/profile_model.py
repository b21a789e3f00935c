"""What a profile should be, in plain Python and float64, an event at a time: it shares no maths with the product."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from encoders.index.item_index import ItemIndex
from schemas.ids import id_hash, id_hashes, line_identities, record_identities
from streams.decode.event_batch import EventBatch
from streams.kafka.log_id import LogId
from streams.quality.observer import COLUMNS as QUALITY_COLUMNS
from streams.state.decayed_sums import NO_TIME
from streams.state.profile_shape import ProfileShape
from streams.state.profile_table import ProfileTable
from streams.state.profile_update import SumsConfig

DIMENSION = 4
SHAPE = ProfileShape(history=3, dimension=DIMENSION, half_lives=2, duplicate_window=10, purchases=2, pending=1_000)
HALF_LIVES_S = (20.0, 300.0)
TYPE_WEIGHTS = ((1.0, 0.5), (0.25, 0.75), (2.0, 4.0))  # click, browse, purchase; a weight a half-life
CONFIG = SumsConfig(np.array(HALF_LIVES_S), np.array(TYPE_WEIGHTS, np.float32))
PARTITION = 2
OWN = LogId("clicks", "id-1", PARTITION)
COLUMNS = [("clicks", "id-1"), ("browses", "id-1")]


@dataclass(frozen=True)
class Ev:
    """An event as the tests write it, and where it was first read."""

    user: str
    item: str
    id: str
    type: int
    time_ms: int
    offset: int
    source: LogId = OWN
    recommendation: str = ""
    continues: bool = False
    """Whether it is a further line of the order before it."""


def batch_of(events: Sequence[Ev]) -> EventBatch:
    sources = list(dict.fromkeys(event.source for event in events))
    items, ids = [event.item for event in events], [event.id for event in events]
    types = np.array([event.type for event in events], np.uint8)
    lines = line_identities(id_hashes(ids), types, id_hashes(items))
    continues = np.array([event.continues for event in events], np.bool_)
    starts = np.flatnonzero(~continues)
    records = record_identities(lines, id_hashes(items), starts) if len(starts) else lines
    return EventBatch(
        user_ids=[event.user for event in events],
        item_ids=items,
        event_ids=ids,
        items=id_hashes(items),
        id_hashes=id_hashes(ids),
        ids=lines,
        record_ids=np.repeat(records, np.diff([*starts, len(events)])),
        continues=continues,
        types=types,
        times=np.array([event.time_ms for event in events], np.int64),
        written=np.array([event.time_ms for event in events], np.int64),
        received=np.array([event.time_ms + 1 for event in events], np.int64),
        sources=sources,
        source=np.array([sources.index(event.source) for event in events], np.intp),
        offsets=np.array([event.offset for event in events], np.int64),
        recommendations=np.array(
            [id_hash(event.recommendation) if event.recommendation else 0 for event in events], np.uint64
        ),
    )


def identity(event_id: str, kind: int, *items: str) -> int:
    """Identity of a record, in plain integers: the documented formula."""
    mixed = (id_hash(event_id) + (kind + 1) * 0x9E3779B97F4A7C15) % 2**64
    mixed = (mixed ^ mixed >> 30) * 0xBF58476D1CE4E5B9 % 2**64
    mixed = (mixed ^ mixed >> 27) * 0x94D049BB133111EB % 2**64
    return ((mixed ^ mixed >> 31) + sum(map(id_hash, items))) % 2**64


def records_of(events: Sequence[Ev]) -> list[list[Ev]]:
    """The lines of each record."""
    records: list[list[Ev]] = []
    for event in events:
        if event.continues:
            records[-1].append(event)
        else:
            records.append([event])
    return records


def vector_of(item: str) -> list[float]:
    rng = np.random.default_rng(id_hash(item) % 2**32)
    return [float(value) for value in rng.standard_normal(DIMENSION).astype(np.float32)]


def know(index: ItemIndex, items: Sequence[str]) -> None:
    index.put(items, np.array([vector_of(item) for item in items], np.float32).reshape(len(items), DIMENSION))


def make_table(capacity: int = 8, shape: ProfileShape = SHAPE) -> ProfileTable:
    table = ProfileTable(capacity, shape, QUALITY_COLUMNS)
    table.set_logs(COLUMNS)
    return table


@dataclass
class ProfileModel:
    """One user."""

    shape: ProfileShape = SHAPE
    applied_offsets: dict[LogId, int] = field(default_factory=dict)
    seen: list[int] = field(default_factory=list)
    applied: list[int] = field(default_factory=lambda: [0, 0, 0])
    duplicates: int = 0
    recents: list[tuple[int, int, int, int]] = field(default_factory=list)  # time, id, item, type
    folded: list[tuple[int, str, int]] = field(default_factory=list)  # time, item, type
    pending: list[tuple[int, int, str, int]] = field(default_factory=list)  # time, id, item, type
    bought: list[tuple[int, int]] = field(default_factory=list)  # time, item
    names: dict[int, str] = field(default_factory=dict)

    def take(self, record: list[Ev], known: set[str]) -> None:
        event = record[0]
        if event.offset < self.applied_offsets.get(event.source, 0):
            return
        self.applied_offsets[event.source] = event.offset + 1
        hashed = identity(event.id, event.type, *(line.item for line in record))
        if hashed in self.seen[-self.shape.duplicate_window :]:
            self.duplicates += 1
            return
        self.seen.append(hashed)
        for line in record:
            self._apply(line, known)

    def _apply(self, event: Ev, known: set[str]) -> None:
        hashed, item = identity(event.id, event.type, event.item), id_hash(event.item)
        self.names[item] = event.item
        self.applied[event.type] += 1
        if event.type == 2:
            latest = {bought: time_ms for time_ms, bought in self.bought}
            latest[item] = max(event.time_ms, latest.get(item, event.time_ms))
            self.bought = sorted(((time_ms, bought) for bought, time_ms in latest.items()), reverse=True)
            del self.bought[self.shape.purchases :]
        self.recents = sorted([*self.recents, (event.time_ms, hashed, item, event.type)], reverse=True)
        for time_ms, id_, left, kind in self.recents[self.shape.history :]:
            name = self.names[left]
            if name in known:
                self.folded.append((time_ms, name, kind))
            else:
                self.pending.append((time_ms, id_, name, kind))
        del self.recents[self.shape.history :]

    def learn(self, items: set[str]) -> None:
        self.folded += [(time_ms, item, kind) for time_ms, _, item, kind in self.pending if item in items]
        self.pending = [event for event in self.pending if event[2] not in items]

    def sums(self) -> tuple[np.ndarray, np.ndarray, int]:
        sums, total_weight = np.zeros((2, DIMENSION)), np.zeros(2)
        newest = max((time_ms for time_ms, _, _ in self.folded), default=NO_TIME)
        for time_ms, item, kind in self.folded:
            for t, half_life_s in enumerate(HALF_LIVES_S):
                weight = TYPE_WEIGHTS[kind][t] * 2.0 ** (-(newest - time_ms) / 1000.0 / half_life_s)
                total_weight[t] += weight
                sums[t] += weight * np.array(vector_of(item))
        return sums, total_weight, newest


class Models(defaultdict[str, ProfileModel]):
    """All users, fed in order of arrival."""

    def __init__(self, shape: ProfileShape = SHAPE) -> None:
        super().__init__(lambda: ProfileModel(shape))

    def take(self, events: Sequence[Ev], known: set[str]) -> None:
        for record in records_of(events):
            self[record[0].user].take(record, known)


def assert_profile(table: ProfileTable, slot: int, model: ProfileModel) -> None:
    """The slot holds what the model says."""
    n = len(model.recents)
    found = list(
        zip(*(getattr(table, name)[slot].tolist() for name in ("times", "ids", "items", "types")), strict=True)
    )
    assert found[:n] == model.recents
    assert [time_ms for time_ms, *_ in found[n:]] == [NO_TIME] * (table.shape.history - n)
    assert table.applied[slot].tolist() == model.applied
    assert table.duplicates[slot] == model.duplicates
    assert table.pending_dropped[slot] == 0
    bought = list(zip(table.purchased_times[slot].tolist(), table.purchased_items[slot].tolist(), strict=True))
    assert [pair for pair in bought if pair[0] != NO_TIME] == model.bought
    window = table.shape.duplicate_window
    kept = min(int(table.seen_count[slot]), window)
    assert sorted(table.seen[slot, :kept].tolist()) == sorted(model.seen[-window:])
    waiting = [(event.time_ms, event.id, event.item, event.type) for event in table.pending.by_slot.get(slot, [])]
    assert sorted(waiting) == sorted((time_ms, id_, id_hash(item), kind) for time_ms, id_, item, kind in model.pending)
    assert {source: table.offsets.get(slot, source) for source in model.applied_offsets} == model.applied_offsets
    assert_sums(table, slot, model)


def assert_sums(table: ProfileTable, slot: int, model: ProfileModel) -> None:
    sums, total_weight, newest = model.sums()
    assert table.sums_time[slot] == newest
    # relative to what went in, not to what may have cancelled out
    assert np.abs(table.total_weight[slot] - total_weight).max() <= 1e-4 * total_weight.max(initial=0.0) + 1e-30
    assert np.abs(table.sums[slot] - sums).max() <= 1e-4 * 5 * total_weight.max(initial=0.0) + 1e-30


def applied_offsets_of(table: ProfileTable, slot: int) -> Mapping[LogId, int]:
    """Return every applied offset of a slot, from the table and from the dictionaries."""
    own = {
        LogId(topic, topic_id, int(table.partition[slot])): int(table.applied_offsets[slot, column])
        for column, (topic, topic_id) in enumerate(table.offsets.logs)
        if table.applied_offsets[slot, column]
    }
    return own | {log: known.next_offset for log, known in table.offsets.others.get(slot, {}).items()}
