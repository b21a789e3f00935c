"""Users whose rows this worker can't read are set aside; all others go on."""

import msgspec
import pytest
from faust.types import TP

from streams.checkpoint.stored_profile import FORMAT, EventLog, ProfileState, encode_state
from streams.stores.base import StoredProfile, version
from tests.unit.streams.in_memory.worker import SimWorker
from tests.unit.streams.in_memory.world import World, right_partition, turns

pytestmark = pytest.mark.usefixtures("no_time")

ANNA, BERT = "anna", "bert"
ROWS = {
    "newer-format": ("profile-newer", encode_state(ProfileState(format=FORMAT + 1))),
    # its fields have other types, so this release can't even decode it
    "newer-types": ("profile-newer", msgspec.msgpack.encode({"format": FORMAT + 1, "recents": [1, 2, 3]})),
    "unknown-events": (
        "profile-newer",
        encode_state(ProfileState(recents=EventLog(items=b"\0" * 8, types=b"\3", times=b"\0" * 8, ids=b"\0" * 8))),
    ),
    "damaged": ("profile-unreadable", b"\xc1"),
}
"""The reason of the dead letters, and the row."""

each_row = pytest.mark.parametrize(("reason", "row"), ROWS.values(), ids=ROWS)


async def owner_of(world: World) -> SimWorker:
    worker = SimWorker(world)
    world.owner = {0: worker, 1: worker}
    worker.take_assignment(frozenset({0, 1}))
    await turns()
    return worker


async def work_through(worker: SimWorker) -> None:
    """Let a worker read all that is new, save and commit."""
    for tp in worker.partitions():
        worker.fetch(tp, 100)
    for _ in range(6):
        worker.work()
        await turns()
        if worker.processing is not None and worker.processing.done():
            worker.processing.result()
    await worker.start(worker.checkpoint.run())
    worker.commit()


def store_row(world: World, user: str, state: bytes) -> None:
    world.store.rows[user] = StoredProfile(user, right_partition(user), version(1, 0), state, b"", b"", b"", "v1")


def forget(world: World, user: str) -> None:
    value = b'{"command":"forget","user_id":"%s","requested_ms":1}' % user.encode()
    world.append(TP("profile-commands", right_partition(user)), value)


@each_row
async def test_events_of_a_user_whose_row_cannot_be_read_become_dead_letters_and_others_go_on(
    world: World, reason: str, row: bytes
) -> None:
    """Regression: a row of a newer release ended the worker, and each worker that took its partitions over."""
    store_row(world, ANNA, row)
    for time_ms in (1_000, 2_000):
        world.produce(ANNA, 0, time_ms)
        world.produce(BERT, 0, time_ms)
    worker = await owner_of(world)
    await work_through(worker)
    letters = [refused.letter for refused in worker.emitter.refused]
    assert [letter.reason for letter in letters] == [reason] * 2
    assert all("'anna'" in letter.detail for letter in letters)
    assert all(b'"anna"' in refused.record.value for refused in worker.emitter.refused)
    assert world.store.rows.pop(ANNA).state == row, "the row stays as it is"
    assert world.states()[BERT].counters.applied == [2, 0, 0]


async def test_events_that_a_newer_row_kept_out_count_once_when_they_are_sent_back(world: World) -> None:
    store_row(world, ANNA, ROWS["newer-format"][1])
    world.produce(ANNA, 0, 1_000)
    old = await owner_of(world)
    await work_through(old)
    old.kill()
    store_row(world, ANNA, encode_state(ProfileState()))  # what a worker that knows the newer format reads
    for refused in [*old.emitter.refused, *old.emitter.refused]:
        world.append(TP("clicks", right_partition(ANNA)), refused.record.value)
    await work_through(await owner_of(world))
    counters = world.states()[ANNA].counters
    assert (counters.applied, counters.duplicates) == ([1, 0, 0], 1)


@each_row
async def test_a_user_whose_row_cannot_be_read_is_forgotten_all_the_same(world: World, reason: str, row: bytes) -> None:
    store_row(world, ANNA, row)
    forget(world, ANNA)
    worker = await owner_of(world)
    await work_through(worker)
    assert world.states()[ANNA].forgotten_ms > 0
    assert worker.emitter.tombstones == [ANNA]
