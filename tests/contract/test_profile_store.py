"""What every profile store promises, on each implementation. A store here is always a new object on shared data."""

import asyncio
import random
import socket
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import msgspec
import pytest

from schemas.contract import ContractChange
from streams.stores.base import Owner, ProfileStore, StoredProfile, StoreError, StoreUnavailable, version
from streams.stores.cassandra_options import CassandraOptions
from streams.stores.cassandra_store import CassandraStore
from streams.stores.sqlite import SqliteStore
from tests.contract.rows import by_user, profile

MakeStore = Callable[[], ProfileStore]


@pytest.fixture(params=["sqlite", "cassandra"])
async def make_store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[MakeStore]:
    if request.param == "cassandra":
        options = request.getfixturevalue("cassandra_options")
    made: list[ProfileStore] = []

    def make() -> ProfileStore:
        made.append(CassandraStore(options) if request.param == "cassandra" else SqliteStore(tmp_path / "store.db"))
        return made[-1]

    yield make
    for store in made:
        await store.close()


@pytest.fixture
async def store(make_store: MakeStore) -> ProfileStore:
    store = make_store()
    await store.open()
    return store


async def test_a_saved_profile_is_loaded_byte_for_byte(store, ids):
    all_bytes = bytes(range(256)) * 3
    row = StoredProfile(ids(1)[0], 2**31 - 1, version(2**31 - 1, 2**32 - 1), all_bytes, b"", b"\0", b"\xff", "enc/1 é")
    await store.save([row])
    assert await store.load([row.user_id]) == {row.user_id: row}


async def test_a_row_of_unknown_state_format_is_kept_as_it_is(store, ids):
    user = ids(1)[0]
    older = StoredProfile(user, 0, 1, b"\x00v0 not a state of today", b"", b"", b"", "encoder-of-long-ago")
    await store.save([older])
    assert (await store.load([user]))[user] == older


async def test_absent_users_are_absent(store, ids):
    here, gone = ids(2)
    await store.save([profile(here)])
    assert set(await store.load([gone, here, gone])) == {here}


async def test_empty_inputs_do_nothing(store):
    await store.save([])
    await store.delete([], 1)
    assert await store.load([]) == {}
    assert await store.owners([]) == {}
    assert await store.load_trending([]) == {}
    assert (await store.take_term("worker", [])).number < (await store.take_term("worker", [])).number


async def test_a_thousand_rows_with_big_ones_and_ids_in_unicode(store, ids):
    users = [f"{user}-ünï 用户 🛒 '\"\\%\n" for user in ids(1_000)]
    users[7] = users[7].ljust(256, "漢")
    rows = [profile(user, size=60 * 1024 if number % 100 == 0 else 500) for number, user in enumerate(users)]
    await store.save(rows)
    assert await store.load(users) == by_user(rows)


async def test_older_saves_are_refused(store, make_store, ids):
    user = ids(1)[0]
    newer, older = profile(user, version(2, 0)), profile(user, version(1, 2**32 - 1))
    late = make_store()
    await late.open()
    await store.save([newer])
    await late.save([older])
    assert await store.load([user]) == {user: newer}


async def test_newer_saves_win(store, ids):
    user = ids(1)[0]
    newer = profile(user, version(1, 1))
    await store.save([profile(user, version(1, 0))])
    await store.save([newer])
    assert await store.load([user]) == {user: newer}


async def test_in_one_save_the_largest_version_of_a_user_wins(store, ids):
    user = ids(1)[0]
    rows = [profile(user, version) for version in (2, 3, 1)]
    await store.save(rows)
    assert await store.load([user]) == {user: rows[1]}


async def test_repeating_a_save_is_harmless(store, ids):
    rows = [profile(user) for user in ids(30)]
    await asyncio.gather(store.save(rows), store.save(rows))
    await store.save(rows)
    assert await store.load([row.user_id for row in rows]) == by_user(rows)


async def test_a_deleted_profile_is_gone_and_others_stay(store, ids):
    users = ids(120)
    rows = [profile(user, version=5) for user in users]
    await store.save(rows)
    await store.delete(users[:100], 6)
    assert await store.load(users) == by_user(rows[100:])


async def test_a_delete_hides_older_and_equal_saves_that_come_later(store, ids):
    older, equal, newer, never = ids(4)
    await store.save([profile(older, version=4), profile(equal, version=4)])
    await store.delete([older, equal, newer, never], 5)
    row = profile(newer, version=6)
    await store.save([profile(older, version=4), profile(equal, version=5), profile(never, version=1), row])
    assert await store.load([older, equal, newer, never]) == {newer: row}


async def test_a_delete_of_an_older_version_hides_nothing(store, ids):
    user = ids(1)[0]
    row = profile(user, version=5)
    await store.save([row])
    await store.delete([user], 4)
    assert await store.load([user]) == {user: row}


@pytest.mark.parametrize("seed", range(3))
async def test_writes_in_any_order_leave_the_largest_version(store, ids, seed):
    draw = random.Random(seed)
    expected: dict[str, StoredProfile] = {}
    rounds: list[list[StoredProfile]] = [[] for _ in range(6)]
    for user in ids(40):
        rows = [profile(user, version=number) for number in draw.sample(range(1, 100), k=len(rounds))]
        deleted = [draw.random() < 0.3 for _ in rows]
        for position, row in enumerate(rows):
            rounds[position].append(msgspec.structs.replace(row, encoder="") if deleted[position] else row)
        last = max(range(len(rows)), key=lambda position: rows[position].version)
        if not deleted[last]:
            expected[user] = rows[last]
    for writes in rounds:
        await store.save([row for row in writes if row.encoder])
        await asyncio.gather(*(store.delete([row.user_id], row.version) for row in writes if not row.encoder))
    users = [row.user_id for row in rounds[0]]
    assert await store.load(users) == expected


async def test_a_row_expires(store, ids):
    short, long, kept = ids(3)
    await store.save([profile(short, expires_s=1), profile(long, expires_s=3600), profile(kept)])
    deadline = time.monotonic() + 20
    while short in (rows := await store.load([short, long, kept])):
        assert rows[short].expires_s <= 1
        assert time.monotonic() < deadline, "a row of one second is still there after twenty"
        await asyncio.sleep(0.05)
    assert set(rows) == {long, kept}
    assert 3500 < rows[long].expires_s <= 3600
    assert rows[kept].expires_s == 0
    assert short not in {row.user_id async for row in store.scan()}


async def test_a_later_save_without_expiry_lives_on(store, ids):
    user, watch = ids(2)
    last = profile(user, version=2)
    await store.save([profile(user, version=1, expires_s=1), profile(watch, expires_s=1)])
    await store.save([last])
    deadline = time.monotonic() + 20
    while watch in await store.load([watch]):
        assert time.monotonic() < deadline
        await asyncio.sleep(0.05)
    assert await store.load([user]) == {user: last}


async def test_an_expired_row_still_hides_older_saves(store, ids):
    user = ids(1)[0]
    await store.save([profile(user, version=2, expires_s=1)])
    deadline = time.monotonic() + 20
    while await store.load([user]):
        assert time.monotonic() < deadline
        await asyncio.sleep(0.05)
    await store.save([profile(user, version=1)])
    assert await store.load([user]) == {}


async def test_scan_yields_what_was_saved_once(store, ids):
    users = ids(501)
    rows = [profile(user, version=5) for user in users]
    await store.save(rows)
    await store.delete(users[:1], 5)
    seen = [row async for row in store.scan() if row.user_id in set(users)]
    assert len(seen) == 500
    assert by_user(seen) == by_user(rows[1:])


async def test_terms_grow_and_are_unique_under_concurrent_takers(store, make_store, partitions):
    other = make_store()
    await other.open()
    before = (await store.take_term("first", [])).number

    async def take(taker: ProfileStore, worker: str) -> list[int]:
        terms = [(await taker.take_term(worker, partitions[:2])).number for _ in range(3)]
        assert terms == sorted(terms)
        return terms

    taken = await asyncio.gather(
        *(take(taker, f"{name}-{n}") for name, taker in (("a", store), ("b", other)) for n in range(4))
    )
    terms = [term for terms in taken for term in terms]
    assert len(set(terms)) == 24
    assert min(terms) > before
    assert (await other.take_term("last", [])).number > max(terms)


async def test_the_owner_is_the_taker_of_the_largest_term(store, make_store, partitions):
    other = make_store()
    await other.open()

    async def take(taker: ProfileStore, worker: str) -> tuple[int, str]:
        return (await taker.take_term(worker, partitions)).number, worker

    taken = await asyncio.gather(*(take(taker, f"worker-{n}") for n, taker in enumerate([store, other] * 2)))
    term, worker = max(taken)
    assert await store.owners(partitions) == {number: Owner(number, term, worker) for number in partitions}


async def test_a_term_owns_only_its_partitions(store, partitions):
    left, right, nobody = partitions[:3]
    first = (await store.take_term("left", [left, right])).number
    second = (await store.take_term("right", [right])).number
    assert await store.owners([left, right, nobody]) == {
        left: Owner(left, first, "left"),
        right: Owner(right, second, "right"),
    }


async def test_a_term_says_which_terms_it_replaced(store, make_store, partitions):
    other = make_store()
    await other.open()
    left, right, new = partitions[:3]
    first = await store.take_term("one", [left, right])
    second = await other.take_term("two", [right])
    third = await store.take_term("one", [left, right, new])
    assert first.replaced == {}
    assert second.replaced == {right: first.number}
    assert third.replaced == {left: first.number, right: second.number}


async def test_each_owner_but_the_first_replaced_the_one_before(store, make_store, partitions):
    other = make_store()
    await other.open()
    partition = partitions[0]
    terms = await asyncio.gather(*(taker.take_term("worker", [partition]) for taker in [store, other] * 5))
    replaced = {term.number: term.replaced[partition] for term in terms if partition in term.replaced}
    owner, chain = (await store.owners([partition]))[partition].term, []
    assert owner == max(term.number for term in terms)
    while owner in replaced:
        owner = replaced[owner]
        chain.append(owner)
    assert chain == sorted(chain, reverse=True)
    assert len(chain) == len(replaced), "who did not become the owner replaced nobody"


async def test_a_number_only_grows_whoever_raises_it(store, make_store, partitions):
    other = make_store()
    await other.open()
    name = f"count {partitions[0]}"
    assert await store.raise_to(name, 4) == 4
    assert await other.raise_to(name, 3) == 4
    answers = await asyncio.gather(*(one.raise_to(name, n) for n in range(5, 13) for one in (store, other)))
    assert max(answers) == 12
    assert await store.raise_to(name, 0) == 12
    assert (await store.take_term("worker", partitions[:1])).number > 0
    assert await other.raise_to(f"{name} of another", 1) == 1


async def test_what_has_begun_is_noted_until_it_ends(store, make_store, partitions):
    other = make_store()
    await other.open()
    contract = partitions[0] + 2  # the suite shares one keyspace
    first, second = ContractChange(contract, "Drain the first."), ContractChange(contract + 1, "Drain the second: été.")
    term = (await store.take_term("worker", partitions[:1])).number
    for change in (second, first, ContractChange(contract, "a note of the same contract changes nothing")):
        await store.begin(change)
    assert [change for change in await other.begun() if change.contract in (contract, contract + 1)] == [
        first,
        second,
    ]
    assert await store.owners(partitions[:1]) == {partitions[0]: Owner(partitions[0], term, "worker")}
    assert (await other.take_term("worker", partitions[:1])).replaced == {partitions[0]: term}
    await store.end(contract)
    await store.end(contract)
    assert first not in await other.begun()
    assert second in await other.begun()
    await store.end(contract + 1)


async def test_trending_is_kept_by_version(store, partitions):
    one, two, none = partitions[:3]
    await store.save_trending({one: b"newer", two: b""}, 5)
    await store.save_trending({one: b"older"}, 4)
    await store.save_trending({two: b"\0two"}, 6)
    assert await store.load_trending([one, two, none]) == {one: b"newer", two: b"\0two"}


async def test_what_was_saved_is_there_for_the_next_process(store, make_store, ids, partitions):
    row = profile(ids(1)[0])
    await store.save([row])
    term = (await store.take_term("worker", partitions[:1])).number
    await store.save_trending({partitions[0]: b"counts"}, 1)
    await store.close()
    later = make_store()
    await later.open()
    assert await later.load([row.user_id]) == {row.user_id: row}
    assert await later.owners(partitions[:1]) == {partitions[0]: Owner(partitions[0], term, "worker")}
    assert await later.load_trending(partitions[:1]) == {partitions[0]: b"counts"}
    assert (await later.take_term("worker", [])).number > term


async def test_closing_twice_and_opening_again(store, ids):
    row = profile(ids(1)[0])
    await store.save([row])
    await store.close()
    await store.close()
    with pytest.raises(StoreError, match=r"not open.*open\(\)"):
        await store.load([row.user_id])
    await store.open()
    await store.open()
    assert await store.load([row.user_id]) == {row.user_id: row}


async def test_many_stores_open_at_once_on_nothing(make_store):
    stores = [make_store() for _ in range(4)]
    await asyncio.gather(*(store.open() for store in stores))
    terms = await asyncio.gather(*(store.take_term("worker", []) for store in stores))
    assert len({term.number for term in terms}) == 4


async def test_the_event_loop_goes_on_during_a_save(store, ids):
    saving = asyncio.ensure_future(store.save([profile(user, size=2_000) for user in ids(1_000)]))
    turns = 0
    while not saving.done():
        await asyncio.sleep(0)
        turns += 1
    await saving
    assert turns > 20


async def test_a_sqlite_path_that_cannot_be_opened_says_so(tmp_path):
    path = tmp_path / "no such folder" / "store.db"
    with pytest.raises(StoreUnavailable, match=r"no such folder/store\.db can't be opened.*folder must exist"):
        await SqliteStore(path).open()


async def test_a_cassandra_that_does_not_answer_says_so():
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    store = CassandraStore(CassandraOptions(hosts=["127.0.0.1"], port=port))
    with pytest.raises(StoreUnavailable, match=rf"127\.0\.0\.1:{port} .*Check that the servers are running"):
        await store.open()
    await store.close()


@pytest.mark.parametrize(("term", "save"), [(0, 0), (2**31, 0), (1, -1), (1, 2**32)])
def test_a_version_out_of_range_is_refused(term, save):
    with pytest.raises(ValueError, match="between"):
        version(term, save)


def test_a_later_term_beats_every_save_of_an_earlier_one():
    assert version(1, 2**32 - 1) < version(2, 0) < version(2**31 - 1, 2**32 - 1) < 2**63
