"""An event counts once, whichever paths bring it: crashes, workers that hang and wake up, and topics that grow."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from encoders.index.item_index import ItemIndex
from streams.checkpoint.profile_rows import encode_rows, fill_slot
from streams.checkpoint.snapshot import take_snapshot
from streams.checkpoint.stored_profile import AppliedOffset, ProfileState, encode_state
from streams.kafka.log_id import LogId
from streams.state.applied_offsets import OtherLog
from streams.state.profile_shape import ProfileShape
from streams.state.profile_table import ProfileTable
from streams.stores.base import StoredProfile

SHAPE = ProfileShape(history=2, dimension=2, half_lives=1)
TOPIC, TOPIC_ID = "clicks", "id-1"
WRITTEN_TO = 9
"""The partition of `clicks` that the user's events were written to."""
DAY_MS = 86_400_000


class Session:
    """A worker that reads one partition, from the committed offset on, under one partition count."""

    def __init__(self, shop: "Shop", partition: int, start: int) -> None:
        self.shop, self.partition, self.position, self.growth = shop, partition, start, shop.growth
        self.owned: Owned | None = None

    @property
    def right(self) -> int:
        """The partition that the user belongs to, by this session's partition count."""
        return self.shop.rights[self.growth]


class Owned:
    """The user's profile in a worker's memory."""

    def __init__(self, row: StoredProfile | None, partition: int, partition_count: int, applied: list[int]) -> None:
        self.table = ProfileTable(1, SHAPE)
        self.table.set_logs([(TOPIC, TOPIC_ID), ("profile-commands", "id-2")])
        self.table.offsets.partition_count = partition_count
        self.table.allocate(["anna"], partition, 1)
        if row is not None:
            fill_slot(self.table, 0, row, "v1", ItemIndex(2), np.array([60.0]))
        self.applied = list(applied)

    def apply(self, log: LogId, offset: int) -> None:
        if self.table.offsets.apply_once(0, log, offset):
            self.applied.append(offset)

    def row(self) -> StoredProfile:
        self.table.dirty[0] = True
        return encode_rows(take_snapshot(self.table, np.array([0]), "v1"), 1, 0)[0]


class Shop:
    """A log with one user's events, the topic `rerouted`, the store, and the workers, alive or hung."""

    def __init__(self, rights: list[int], offsets: list[int]) -> None:
        self.rights, self.growth = rights, 0
        self.counted = 0
        """The growth that a worker has seen: a number in the store, which only grows."""
        self.logs: dict[tuple[str, int], list[tuple[LogId, int]]] = {
            (TOPIC, WRITTEN_TO): [(LogId(TOPIC, TOPIC_ID, WRITTEN_TO), offset) for offset in offsets]
        }
        self.logs |= {("rerouted", partition): [] for partition in {*rights}}
        self.committed = dict.fromkeys(self.logs, 0)
        self.row: StoredProfile | None = None
        self.applied: list[int] = []
        self.owner: Session | None = None
        self.alive = {key: Session(self, key[1], 0) for key in self.logs}
        self.hung: list[tuple[tuple[str, int], Session]] = []

    def read(self, key: tuple[str, int], session: Session, count: int, is_alive: bool) -> None:
        """Read the next records of a partition: apply them, or reroute them."""
        for log, offset in self.logs[key][session.position : session.position + count]:
            session.position += 1
            if session.right == key[1]:
                if is_alive:
                    self._apply(session, log, offset)
            else:
                passed = log.detour(key[1]) if key[0] == "rerouted" else log
                self.logs["rerouted", session.right].append((passed.rerouted(session.growth + 1), offset))

    def _apply(self, session: Session, log: LogId, offset: int) -> None:
        if self.owner is not session:
            if session.owned is not None or session.growth < self.counted:
                return  # its term is over: what it does is not saved any more
            session.owned = Owned(self.row, session.partition, session.growth + 1, self.applied)
            self.owner = session
        assert session.owned is not None
        session.owned.apply(log, offset)

    def save(self, key: tuple[str, int], commits: bool) -> None:
        session = self.alive[key]
        # `Ownership.verify`: another worker is the owner by now, or has counted more partitions
        if session.growth < self.counted or (session.owned is not None and self.owner is not session):
            self.restart(key, hangs=False)
            return
        if session.owned is not None:
            self.row, self.applied = session.owned.row(), list(session.owned.applied)
        if commits:
            self.committed[key] = session.position

    def restart(self, key: tuple[str, int], hangs: bool) -> None:
        former = self.alive[key]
        if hangs:
            self.hung.append((key, former))
        if self.owner is former:
            self.owner = None
        self.alive[key] = Session(self, key[1], self.committed[key])
        self.counted = self.growth

    def drain(self) -> None:
        """Let all records be read, by workers that know the present partition count."""
        self.growth = len(self.rights) - 1
        for key in self.logs:
            self.restart(key, hangs=False)
        for _ in range(len(self.rights) + 2):
            for key in self.logs:
                self.read(key, self.alive[key], 10_000, is_alive=True)
                self.save(key, commits=True)


steps = st.lists(
    st.one_of(
        st.tuples(st.just("read"), st.integers(0, 5), st.integers(1, 9)),
        st.tuples(st.just("hung"), st.integers(0, 5), st.integers(1, 4)),
        st.tuples(st.just("save"), st.integers(0, 5), st.integers(0, 1)),
        st.tuples(st.just("restart"), st.integers(0, 5), st.integers(0, 1)),
        st.tuples(st.just("grow"), st.integers(0, 5), st.integers(0, 1)),
    ),
    min_size=10,
    max_size=60,
)


@settings(max_examples=800, deadline=None)
@given(
    rights=st.lists(st.integers(8, 10), min_size=1, max_size=4),
    offsets=st.sets(st.integers(0, 400), min_size=1, max_size=25),
    todo=steps,
)
def test_every_event_counts_once_whichever_paths_bring_it(rights: list[int], offsets: set[int], todo: list) -> None:
    # topics grow: a user who has left a partition may come back to it with a later growth
    shop = Shop(rights, sorted(offsets))
    keys = sorted(shop.logs)
    for what, which, number in todo:
        key = keys[which % len(keys)]
        if what == "read":
            shop.read(key, shop.alive[key], number, is_alive=True)
        elif what == "hung" and shop.hung:
            hung_key, session = shop.hung[which % len(shop.hung)]
            shop.read(hung_key, session, number, is_alive=False)
        elif what == "save":
            shop.save(key, commits=bool(number))
        elif what == "restart":
            shop.restart(key, hangs=bool(number))
        elif what == "grow" and shop.growth < len(rights) - 1:
            shop.growth += 1
            shop.restart(key, hangs=bool(number))
    shop.drain()
    assert sorted(shop.applied) == sorted(offsets)


def make_table(partition: int = 3) -> ProfileTable:
    table = ProfileTable(2, SHAPE)
    table.set_logs([(TOPIC, TOPIC_ID)])
    table.allocate(["anna"], partition, 1)
    return table


def test_an_event_that_grew_apart_counts_once_after_any_number_of_others() -> None:
    """Regression: only the last 64 offsets of a log were remembered, so that the 65th counted twice."""
    offsets, direct = make_table().offsets, LogId(TOPIC, TOPIC_ID, 9)
    for offset in range(100):
        assert offsets.apply_once(0, direct, offset)
    for offset in range(100):
        assert not offsets.apply_once(0, direct.detour(1), offset)


def test_offsets_of_logs_that_can_not_come_again_are_dropped() -> None:
    offsets = make_table().offsets
    offsets.records_live_s = lambda: 14 * DAY_MS / 1000
    for day in range(100):
        offsets.apply_once(0, LogId(TOPIC, TOPIC_ID, 100 + day), 5, received_ms=(1 + day) * DAY_MS)
    assert len(offsets.others[0]) == 16


@pytest.mark.parametrize("logs", [1, 10, 100])
def test_a_row_keeps_some_bytes_for_each_log(logs: int) -> None:
    table = make_table()
    for partition in range(logs):
        for offset in range(1_000, 1_000 + 70 * 1_000, 1_000):
            table.offsets.apply_once(0, LogId(TOPIC, "a" * 22, 10 + partition), offset, received_ms=20_000 * DAY_MS)
    table.dirty[0] = True
    row = encode_rows(take_snapshot(table, np.array([0]), "v1"), 1, 0)[0]
    assert len(row.state) < 400 + 50 * logs
    loaded = make_table()
    fill_slot(loaded, 0, row, "v1", ItemIndex(2), np.array([60.0]))
    assert loaded.offsets.others == table.offsets.others
    assert loaded.offsets.look(0, LogId(TOPIC, "a" * 22, 10)) == OtherLog(70_001, 1_000, 20_000)


def test_a_span_does_not_reach_beyond_the_growth_of_the_topics() -> None:
    """Events that wait on the former path are new, though newer ones came over the new path already."""
    shop = Shop([8, 10], [1, 2, 3, 4, 5])
    source, former, present = (TOPIC, WRITTEN_TO), ("rerouted", 8), ("rerouted", 10)
    shop.read(source, shop.alive[source], 3, is_alive=True)
    shop.save(source, commits=True)
    shop.read(former, shop.alive[former], 1, is_alive=True)
    shop.save(former, commits=True)
    shop.growth = 1
    shop.restart(source, hangs=False)
    shop.read(source, shop.alive[source], 2, is_alive=True)
    shop.restart(present, hangs=False)
    shop.read(present, shop.alive[present], 2, is_alive=True)
    shop.save(present, commits=True)
    assert shop.applied == [1, 4, 5]
    shop.drain()
    assert sorted(shop.applied) == [1, 2, 3, 4, 5]


def test_events_that_were_saved_but_not_acked_before_a_growth_count_once() -> None:
    shop = Shop([8, 10], [1, 2, 3])
    source, former = (TOPIC, WRITTEN_TO), ("rerouted", 8)
    shop.read(source, shop.alive[source], 3, is_alive=True)
    shop.save(source, commits=True)
    shop.read(former, shop.alive[former], 3, is_alive=True)
    shop.save(former, commits=False)
    shop.drain()
    assert sorted(shop.applied) == [1, 2, 3]


def back_and_forth(commits: bool) -> Shop:
    """The user's events are read directly, then rerouted and left there, then read directly again."""
    shop = Shop([9, 8, 9], [1, 2, 3, 4])
    source = (TOPIC, WRITTEN_TO)
    for growth, count in enumerate((1, 2 if commits else 3, 1)):
        shop.growth = growth
        shop.restart(source, hangs=False)
        shop.read(source, shop.alive[source], count, is_alive=True)
        shop.save(source, commits=commits or growth > 0)
    return shop


def test_a_span_of_events_that_were_read_directly_ends_when_the_topics_grow() -> None:
    """Regression: events on the way to a partition that their user had left and came back to were lost."""
    shop = back_and_forth(commits=True)
    assert shop.applied == [1, 4]
    shop.drain()
    assert sorted(shop.applied) == [1, 2, 3, 4]


def test_a_span_that_has_ended_is_remembered() -> None:
    shop = back_and_forth(commits=False)
    assert shop.applied == [1, 4]
    shop.drain()
    assert sorted(shop.applied) == [1, 2, 3, 4]


def test_events_that_wait_behind_newer_ones_on_a_partition_that_the_user_came_back_to_count() -> None:
    """Regression: the applied offset of direct reading hid older events that were still on `rerouted`."""
    shop = Shop([8, 9, 8], [0, 1, 2])
    source = (TOPIC, WRITTEN_TO)
    shop.read(source, shop.alive[source], 2, is_alive=True)
    shop.save(source, commits=True)
    shop.growth = 1
    shop.restart(source, hangs=False)
    shop.read(source, shop.alive[source], 1, is_alive=True)
    shop.save(source, commits=False)
    shop.drain()
    assert sorted(shop.applied) == [0, 1, 2]


def test_a_row_of_the_former_release_has_counted_all_below_its_applied_offsets() -> None:
    table, log = make_table(), LogId(TOPIC, TOPIC_ID, 9)
    state = ProfileState(fences=[AppliedOffset(*log[:3], 50), AppliedOffset(*log.detour(1)[:3], 70)])
    row = StoredProfile("anna", 3, 1, encode_state(state), b"", b"", b"", "")
    fill_slot(table, 0, row, "v1", ItemIndex(2), np.array([60.0]))
    offsets = table.offsets
    assert not offsets.apply_once(0, log, 49)
    assert not offsets.apply_once(0, log.rerouted(8), 49)
    assert not offsets.apply_once(0, log.detour(1).rerouted(8), 69)
    assert offsets.apply_once(0, log.rerouted(8), 50)
    assert offsets.apply_once(0, log.detour(1).rerouted(8), 90)


def test_events_of_two_partition_counts_on_one_partition_are_paths_of_their_own() -> None:
    """Regression: one span held both, and with them events in between that had taken another path."""
    shop = Shop([8, 10, 8], [0, 1, 2, 3])
    source = (TOPIC, WRITTEN_TO)
    for growth, count in enumerate((2, 1, 1)):
        shop.growth = growth
        shop.restart(source, hangs=False)
        shop.read(source, shop.alive[source], count, is_alive=True)
        shop.save(source, commits=True)
    former = ("rerouted", 8)
    shop.restart(former, hangs=False)
    shop.read(former, shop.alive[former], 3, is_alive=True)
    shop.save(former, commits=True)
    assert shop.applied == [0, 1, 3]
    shop.drain()
    assert sorted(shop.applied) == [0, 1, 2, 3]


@pytest.mark.parametrize("former_first", [True, False])
def test_an_event_that_workers_of_two_releases_reroute_counts_once(former_first: bool) -> None:
    # release 0.1.0 writes no path, this release does; each reroutes the event, because the first was killed
    owned = Owned(None, 8, 4, [])
    paths = [LogId(TOPIC, TOPIC_ID, WRITTEN_TO), LogId(TOPIC, TOPIC_ID, WRITTEN_TO).rerouted(4)]
    for log in paths if former_first else reversed(paths):
        owned.apply(log, 370)
    assert owned.applied == [370]
