"""What is special to profiles in Cassandra: the settings it refuses, and how it lives through outages."""

import asyncio
import contextlib
import logging
import random
import subprocess
import sys
import textwrap
import time
import uuid
from pathlib import Path

import msgspec
import pytest

from streams.stores import cassandra_store
from streams.stores.base import StoreMisconfigured, StoreUnavailable
from streams.stores.cassandra import CassandraSession, ServerTimeout
from streams.stores.cassandra_options import CassandraOptions, CassandraTls
from streams.stores.cassandra_store import BATCH_ROWS, CassandraStore
from streams.stores.write_pace import WritePace
from tests.contract.rows import by_user, profile


class Proxy:
    """A TCP way to the server that can be cut, refused, and left silent."""

    def __init__(self, address: tuple[str, int]) -> None:
        self._target = address
        self._writers: set[asyncio.StreamWriter] = set()
        self._forwarding = asyncio.Event()
        self._forwarding.set()
        self._server: asyncio.Server | None = None
        self.port = 0

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """As if the server were gone: connections break, new ones are refused."""
        if self._server is not None:
            self._server.close()
        for writer in self._writers:
            writer.transport.abort()
        self._writers.clear()

    def freeze(self) -> None:
        self._forwarding.clear()

    def thaw(self) -> None:
        self._forwarding.set()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection(*self._target)
        self._writers |= {writer, far_writer}
        with contextlib.suppress(OSError):
            await asyncio.gather(self._pump(reader, far_writer), self._pump(far_reader, writer))

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            await self._forwarding.wait()
            writer.write(data)
            await writer.drain()
        writer.close()


@pytest.fixture
async def proxy(cassandra_address):
    proxy = Proxy(cassandra_address)
    await proxy.start()
    yield proxy
    await proxy.stop()


@pytest.fixture
async def open_store():
    stores = []

    async def open_store(options: CassandraOptions) -> CassandraStore:
        stores.append(CassandraStore(options))
        await stores[-1].open()
        return stores[-1]

    yield open_store
    for store in stores:
        await store.close()


@pytest.fixture
def new_keyspace(cassandra_options, cassandra_admin):
    keyspace = f"contract_{uuid.uuid4().hex[:12]}"
    yield msgspec.structs.replace(cassandra_options, keyspace=keyspace)
    cassandra_admin.execute(f"DROP KEYSPACE IF EXISTS {keyspace}")


async def within(seconds: float, attempt):
    """The result of the first attempt that succeeds."""
    start = time.monotonic()
    while True:
        try:
            return await attempt()
        except StoreUnavailable:
            assert time.monotonic() - start < seconds, f"still unavailable after {seconds} s"
            await asyncio.sleep(0.05)


async def test_it_comes_back_by_itself_after_the_server_was_away(proxy, cassandra_options, open_store, ids):
    options = msgspec.structs.replace(cassandra_options, port=proxy.port)
    store = await open_store(options)
    rows = [profile(user) for user in ids(50)]
    await store.save(rows)
    await proxy.stop()
    start = time.monotonic()
    for call in (store.save(rows), store.load([rows[0].user_id]), store.take_term("worker", [1]), store.owners([1])):
        with pytest.raises(StoreUnavailable, match=rf"127\.0\.0\.1:{proxy.port} \(keyspace contract_\w+\).*try again"):
            await call
    assert time.monotonic() - start < options.request_timeout_s, "a server that is away is known at once"
    await proxy.start()
    loaded = await within(20, lambda: store.load([row.user_id for row in rows]))
    assert loaded == by_user(rows)
    newer = [profile(row.user_id, version=2) for row in rows]
    await store.save(newer)
    assert await store.load([row.user_id for row in rows]) == by_user(newer)


async def test_a_server_that_is_silent_costs_one_timeout(proxy, cassandra_options, open_store, ids):
    options = msgspec.structs.replace(cassandra_options, port=proxy.port, request_timeout_s=1)
    store = await open_store(options)
    rows = [profile(user) for user in ids(5)]
    proxy.freeze()
    start = time.monotonic()
    with pytest.raises(StoreUnavailable, match="OperationTimedOut"):
        await store.save(rows)
    assert time.monotonic() - start < 10
    proxy.thaw()
    await within(20, lambda: store.save(rows))
    assert await store.load([row.user_id for row in rows]) == by_user(rows)


async def test_workers_that_start_at_once_on_nothing_share_one_schema(new_keyspace, open_store):
    stores = await asyncio.gather(*(open_store(new_keyspace) for _ in range(3)))
    terms = await asyncio.gather(*(store.take_term("worker", [0]) for store in stores))
    assert sorted(term.number for term in terms) == [1, 2, 3]


async def test_terms_go_on_above_the_owners_when_the_counter_is_emptied(new_keyspace, open_store, cassandra_admin):
    store = await open_store(new_keyspace)
    await store.take_term("worker", [0])
    before = (await store.take_term("worker", [0, 1])).number
    cassandra_admin.execute(f"TRUNCATE {new_keyspace.keyspace}.terms")
    assert (await store.take_term("worker", [0])).number == before + 1


async def test_a_missing_keyspace_that_may_not_be_created_is_named(new_keyspace, open_store):
    options = msgspec.structs.replace(new_keyspace, create_keyspace=False)
    with pytest.raises(StoreMisconfigured, match=rf"does not exist.*CREATE KEYSPACE IF NOT EXISTS {options.keyspace} "):
        await open_store(options)


async def test_a_weak_consistency_needs_a_single_copy(new_keyspace, open_store, cassandra_admin):
    weak = msgspec.structs.replace(new_keyspace, consistency="LOCAL_ONE")
    with pytest.raises(StoreMisconfigured, match=r"keeps 2 copies .* LOCAL_ONE .* set LOCAL_QUORUM"):
        await open_store(msgspec.structs.replace(weak, replication=2))
    assert not list(
        cassandra_admin.execute(
            "SELECT keyspace_name FROM system_schema.keyspaces WHERE keyspace_name = %s", [weak.keyspace]
        )
    ), "a refused store leaves nothing behind"
    cassandra_admin.execute(
        f"CREATE KEYSPACE {weak.keyspace} WITH replication = {{'class': 'SimpleStrategy', 'replication_factor': 3}}"
    )
    with pytest.raises(StoreMisconfigured, match="keeps 3 copies"):
        await open_store(weak)
    cassandra_admin.execute(
        f"ALTER KEYSPACE {weak.keyspace} WITH replication = {{'class': 'SimpleStrategy', 'replication_factor': 1}}"
    )
    store = await open_store(weak)
    await store.save([profile("user")])


async def test_more_copies_than_a_quorum_of_nodes_are_refused(new_keyspace, open_store, cassandra_admin):
    many = msgspec.structs.replace(new_keyspace, replication=3)
    with pytest.raises(StoreMisconfigured, match=r"3 copies .* has 1 node: a quorum of 2 copies .*replication_factor"):
        await open_store(many)
    cassandra_admin.execute(
        f"CREATE KEYSPACE {many.keyspace} WITH replication = {{'class': 'SimpleStrategy', 'replication_factor': 3}}"
    )
    with pytest.raises(StoreMisconfigured, match="ALTER KEYSPACE"):
        await open_store(many)


async def test_a_datacentre_that_is_not_there_is_named(cassandra_options, open_store):
    with pytest.raises(StoreMisconfigured, match="Set local_dc to one of datacenter1; there is no 'atlantis'"):
        await open_store(msgspec.structs.replace(cassandra_options, local_dc="atlantis"))


async def test_a_host_name_that_is_not_known_is_named(open_store):
    with pytest.raises(StoreUnavailable, match=r"no-such-host\.invalid:9042"):
        await open_store(CassandraOptions(hosts=["no-such-host.invalid"]))


async def test_tls_against_a_server_without_it_is_named(cassandra_options, open_store):
    options = msgspec.structs.replace(cassandra_options, tls=CassandraTls(verify_hostname=False), request_timeout_s=2)
    with pytest.raises(StoreUnavailable, match="TLS settings fit the servers"):
        await open_store(options)


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"hosts": []}, "list of hosts is empty"),
        ({"keyspace": "Shop-1"}, "'Shop-1' must be 1 to 48 lower-case letters"),
        ({"consistency": "ANY"}, "'ANY' must be one of LOCAL_QUORUM"),
    ],
)
def test_a_wrong_option_is_refused_at_once(changed, sentence):
    with pytest.raises(StoreMisconfigured, match=sentence):
        CassandraOptions(**{"hosts": ["localhost"], **changed})


def test_tls_files_that_cannot_be_read_are_named(tmp_path):
    ca_file = tmp_path / "ca.pem"
    with pytest.raises(StoreMisconfigured, match=r"ca\.pem.*No such file"):
        CassandraTls(ca_file=str(ca_file)).context()
    ca_file.write_text("not a certificate")
    with pytest.raises(StoreMisconfigured, match=r"ca\.pem.*must be readable PEM files"):
        CassandraTls(ca_file=str(ca_file)).context()


async def test_large_batches_leave_no_warnings_in_the_log(cassandra_options, open_store, ids, caplog):
    store = await open_store(cassandra_options)
    with caplog.at_level(logging.INFO):
        await store.save([profile(user, size=2_000) for user in ids(60)])
    assert [record.getMessage() for record in caplog.records if "atch" in record.getMessage()] == []


async def test_a_save_at_a_pace_takes_its_time_and_sends_one_request_after_the_other(
    cassandra_options, open_store, ids, monkeypatch
):
    store = await open_store(cassandra_options)
    session = store._session._opened()
    send, sent, unanswered = session.execute_async, [], []

    def note(request):
        unanswered.append(sum(not one._event.is_set() for one in sent))
        sent.append(send(request))
        return sent[-1]

    monkeypatch.setattr(session, "execute_async", note)
    monkeypatch.setattr(session, "execute", lambda request: note(request).result())
    rows = [profile(user, size=2_000) for user in ids(400)]
    pace = WritePace(0.5)
    pace.begin(len(rows))
    start = time.monotonic()
    await store.save(rows, pace)
    assert time.monotonic() - start >= 0.5 * (1 - BATCH_ROWS / len(rows)) - 0.005  # nothing waits behind the last
    assert len(sent) > 10
    assert max(unanswered) == 0
    await store.save([msgspec.structs.replace(row, version=row.version + 1) for row in rows])
    assert max(unanswered) > 1  # as it is without a pace
    monkeypatch.undo()
    assert len(await store.load([row.user_id for row in rows])) == len(rows)


async def test_a_failure_ends_a_save_at_a_pace_at_once(cassandra_options, open_store, ids, monkeypatch):
    store = await open_store(cassandra_options)

    def fail(request):
        raise OSError("gone")

    monkeypatch.setattr(store._session._opened(), "execute", fail)
    rows = [profile(user, size=2_000) for user in ids(100)]
    pace = WritePace(600.0)
    pace.begin(len(rows))
    with pytest.raises(StoreUnavailable, match="gone"):
        await asyncio.wait_for(store.save(rows, pace), 60.0)
    assert pace.waited_s == 0.0


async def test_closing_waits_for_a_save_that_was_cancelled(cassandra_options, open_store, ids):
    """Regression: its thread waited for answers that the driver never gives once it is shut down."""
    store = await open_store(cassandra_options)
    rows = [profile(user, size=2_000) for user in ids(400)]
    saving = asyncio.create_task(store.save(rows))
    while not store._session._writing:
        await asyncio.sleep(0)
    saving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await saving
    writing = list(store._session._writing)
    await store.close()
    assert all(one.done() and one.exception() is None for one in writing)
    await store.open()
    assert await store.load([row.user_id for row in rows]) == by_user(rows)


async def test_a_save_is_as_fast_as_it_can_be_once_somebody_is_in_a_hurry(cassandra_options, open_store, ids):
    store = await open_store(cassandra_options)
    rows = [profile(user, size=2_000) for user in ids(100)]
    pace = WritePace(600.0)
    pace.begin(len(rows))
    saving = asyncio.create_task(store.save(rows, pace))
    while len(await store.load([row.user_id for row in rows])) == 0:
        assert not saving.done()
    pace.hurry()
    await asyncio.wait_for(saving, 60.0)
    assert await store.load([row.user_id for row in rows]) == by_user(rows)


async def test_an_outdated_user_of_a_dropped_keyspace_is_told(new_keyspace, open_store, cassandra_admin):
    store = await open_store(new_keyspace)
    cassandra_admin.execute(f"DROP KEYSPACE {new_keyspace.keyspace}")
    with pytest.raises(StoreMisconfigured, match="refuse"):
        await store.save([profile("user")])


async def test_a_race_that_the_server_gives_up_on_is_run_on(cassandra_options, open_store, partitions, monkeypatch):
    execute, draw = CassandraSession.execute, random.Random(3)

    async def gives_up_now_and_then(self, doing, statement, paging_state=None):
        result = await execute(self, doing, statement, paging_state)
        if doing == "take a term" and draw.random() < 0.4:
            raise ServerTimeout("applied, and not told")
        return result

    monkeypatch.setattr(CassandraSession, "execute", gives_up_now_and_then)
    store = await open_store(cassandra_options)
    first = await store.take_term("one", partitions)
    second = await store.take_term("two", partitions)
    assert first.replaced == {}
    assert second.number > first.number
    assert second.replaced == dict.fromkeys(partitions, first.number)
    assert {owner.term for owner in (await store.owners(partitions)).values()} == {second.number}


async def test_a_race_without_end_is_given_up(cassandra_options, open_store, partitions, monkeypatch):
    async def gives_up(self, doing, statement, paging_state=None):
        raise ServerTimeout("overloaded")

    store = await open_store(cassandra_options)
    monkeypatch.setattr(CassandraSession, "execute", gives_up)
    monkeypatch.setattr(cassandra_store, "TERM_TIMEOUT_S", 0.3)
    with pytest.raises(StoreUnavailable, match=r"Could not take a term.*within 0\.3 s"):
        await store.take_term("worker", partitions)


def test_it_works_without_libev_and_asyncore(cassandra_options, ids):
    program = textwrap.dedent("""
        import asyncio, sys
        sys.modules["cassandra.io.libevwrapper"] = sys.modules["asyncore"] = None  # as on Python 3.12 without libev
        import msgspec
        from streams.stores.base import StoredProfile
        from streams.stores.cassandra_options import CassandraOptions
        from streams.stores.cassandra_store import CassandraStore

        async def main(options, users):
            store = CassandraStore(msgspec.json.decode(options, type=CassandraOptions))
            await store.open()
            rows = [StoredProfile(user, 0, 1, b"x" * 2000, b"", b"", b"", "e") for user in users.split()]
            await store.save(rows)
            assert await store.load(users.split()) == {row.user_id: row for row in rows}
            assert "cassandra.io.asyncioreactor" in sys.modules
            await store.close()

        asyncio.run(main(*sys.argv[1:]))
    """)
    options = msgspec.json.encode(cassandra_options).decode()
    subprocess.run(
        [sys.executable, "-c", program, options, " ".join(ids(200))],
        cwd=Path(__file__).parents[2],
        check=True,
        timeout=60,
    )
