"""What is special to profiles in an SQLite file."""

import asyncio
import os
import sqlite3
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from streams.stores import sqlite as sqlite_module
from streams.stores.base import StoredProfile, StoreError, StoreFull, StoreMisconfigured, StoreUnavailable
from streams.stores.sqlite import SqliteStore
from tests.contract.rows import by_user, profile


@pytest.fixture
async def store(tmp_path):
    store = SqliteStore(tmp_path / "store.db")
    await store.open()
    yield store
    await store.close()


def rows_in(path: Path, select: str = "SELECT * FROM profiles") -> list[tuple]:
    db = sqlite3.connect(path)
    try:
        return db.execute(select).fetchall()
    finally:
        db.close()


async def test_commits_are_synced_to_the_disk(tmp_path, monkeypatch):
    statements: list[str] = []
    connect = sqlite3.connect

    def traced(*args, **kwargs):
        db = connect(*args, **kwargs)
        db.set_trace_callback(statements.append)
        return db

    monkeypatch.setattr(sqlite3, "connect", traced)
    store = SqliteStore(tmp_path / "store.db")
    await store.open()
    await store.close()
    assert {"PRAGMA journal_mode = WAL", "PRAGMA synchronous = FULL", "PRAGMA fullfsync = ON"} <= set(statements)


async def test_a_file_of_a_newer_version_is_refused(tmp_path):
    path = tmp_path / "store.db"
    db = sqlite3.connect(path)
    db.execute("PRAGMA user_version = 7")
    db.close()
    with pytest.raises(StoreMisconfigured, match=r"store\.db has schema version 7.*up to 1: run the newer"):
        await SqliteStore(path).open()


async def test_a_file_of_another_program_is_refused_and_left_alone(tmp_path):
    path = tmp_path / "shop.db"
    db = sqlite3.connect(path)
    db.execute("CREATE TABLE orders (id INTEGER)")
    db.close()
    with pytest.raises(StoreMisconfigured, match="another program"):
        await SqliteStore(path).open()
    assert rows_in(path, "SELECT name FROM sqlite_master") == [("orders",)]


async def test_a_file_that_is_no_database_is_refused_and_left_alone(tmp_path):
    path = tmp_path / "notes.txt"
    path.write_text("a shopping list, not a database " * 40)
    with pytest.raises(StoreMisconfigured, match=r"notes\.txt is not an SQLite file"):
        await SqliteStore(path).open()
    assert path.read_text().startswith("a shopping list")


async def test_a_damaged_file_says_so(tmp_path):
    path = tmp_path / "store.db"
    store = SqliteStore(path)
    await store.open()
    await store.save([profile(f"user-{number}", size=3_000) for number in range(50)])
    await store.close()
    content = bytearray(path.read_bytes())
    content[8192:] = os.urandom(len(content) - 8192)
    path.write_bytes(content)
    store = SqliteStore(path)
    with pytest.raises(StoreError, match=r"store\.db is damaged"):  # noqa: PT012  # at open or at the first read
        await store.open()
        await store.load([f"user-{number}" for number in range(50)])
    await store.close()


async def test_a_full_disk_fails_whole_and_heals(tmp_path, monkeypatch):
    connect = sqlite3.connect
    limited: list[sqlite3.Connection] = []

    def small(*args, **kwargs):
        limited.append(connect(*args, **{**kwargs, "check_same_thread": False}))
        limited[0].execute("PRAGMA max_page_count = 64")
        return limited[0]

    monkeypatch.setattr(sqlite3, "connect", small)
    store = SqliteStore(tmp_path / "store.db")
    await store.open()
    kept = profile("kept", size=2_000)
    await store.save([kept])
    rows = [profile(f"user-{number}", size=3_000) for number in range(200)]
    with pytest.raises(StoreFull, match=r"disk of the SQLite store .*store\.db is full: make room"):
        await store.save(rows)
    assert [row async for row in store.scan()] == [kept]
    limited[0].execute("PRAGMA max_page_count = 100000")
    await store.save(rows)
    assert by_user([row async for row in store.scan()]) == by_user([kept, *rows])
    await store.close()


async def test_a_file_that_may_not_be_written_says_so(store, tmp_path, monkeypatch):
    connect = sqlite3.connect

    def read_only(path, **kwargs):
        return connect(f"file:{path}?mode=ro", uri=True, **kwargs)

    monkeypatch.setattr(sqlite3, "connect", read_only)
    with pytest.raises(StoreFull, match=r"store\.db may not be written.*allow it"):
        await SqliteStore(tmp_path / "store.db").open()


async def test_a_lock_held_too_long_is_named_and_nothing_is_lost(store, tmp_path, monkeypatch):
    monkeypatch.setattr(sqlite_module, "BUSY_TIMEOUT_S", 0.1)
    hurried = SqliteStore(tmp_path / "store.db")
    await hurried.open()
    holder = sqlite3.connect(tmp_path / "store.db", isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    row = profile("user")
    with pytest.raises(StoreUnavailable, match="locked by another process"):
        await hurried.save([row])
    holder.execute("ROLLBACK")
    holder.close()
    await hurried.save([row])
    assert await store.load(["user"]) == {"user": row}
    await hurried.close()


async def test_two_processes_share_one_file(tmp_path):
    program = textwrap.dedent("""
        import asyncio, sys
        from streams.stores.base import StoredProfile, version
        from streams.stores.sqlite import SqliteStore

        async def main(path, name):
            store = SqliteStore(path)
            await store.open()
            for _ in range(20):
                term = (await store.take_term(name, [0])).number
                print(term)
                users = [f"user-{n}" for n in range(50)]
                state = name.encode()
                await store.save([StoredProfile(u, 0, version(term, 0), state, b"", b"", b"", "e") for u in users])
            await store.close()

        asyncio.run(main(*sys.argv[1:]))
    """)
    path = tmp_path / "store.db"
    root = Path(__file__).parents[2]
    processes = [
        subprocess.Popen([sys.executable, "-c", program, path, name], cwd=root, stdout=subprocess.PIPE, text=True)
        for name in ("one", "two")
    ]
    outputs = await asyncio.gather(*(asyncio.to_thread(process.communicate, timeout=60) for process in processes))
    assert [process.returncode for process in processes] == [0, 0]
    terms = [[int(line) for line in output.split()] for output, _ in outputs]
    assert sorted(terms[0] + terms[1]) == list(range(1, 41))
    store = SqliteStore(path)
    await store.open()
    last = "one" if terms[0][-1] == 40 else "two"
    assert {row.state async for row in store.scan()} == {last.encode()}
    assert (await store.owners([0]))[0].term == 40
    await store.close()


async def test_terms_go_on_above_the_owners_when_the_counter_is_emptied(store, tmp_path):
    await store.take_term("worker", [])
    before = (await store.take_term("worker", [0])).number
    db = sqlite3.connect(tmp_path / "store.db", isolation_level=None)
    db.execute("DELETE FROM terms")
    db.close()
    assert (await store.take_term("worker", [0])).number == before + 1


async def test_traces_of_deleted_and_expired_rows_go_after_ten_days(tmp_path, monkeypatch):
    path, now_s = tmp_path / "store.db", time.time()
    store = SqliteStore(path)
    await store.open()
    await store.save([profile("deleted"), profile("expired", expires_s=60), profile("kept")])
    await store.delete(["deleted"], 1)
    assert len(rows_in(path)) == 3
    for days, left in ((9, 3), (11, 1)):
        await store.close()
        monkeypatch.setattr(time, "time", lambda days=days: now_s + days * 24 * 3600)
        await store.open()
        assert len(rows_in(path)) == left
    assert [row.user_id async for row in store.scan()] == ["kept"]
    await store.close()


async def test_a_deleted_row_keeps_none_of_the_user_s_data(store, tmp_path):
    await store.save([StoredProfile("user", 1, 1, b"secret", b"secret", b"secret", b"secret", "secret")])
    await store.delete(["user"], 2)
    (row,) = rows_in(tmp_path / "store.db", "SELECT state, short_term, long_term, mixed, encoder FROM profiles")
    assert row == (None,) * 5


async def test_overlapping_writes_do_not_disturb_each_other(store):
    """A cursor freed in the event loop's thread resets a statement that the store's thread is running."""
    rows = [profile(f"user-{number}") for number in range(500)]
    for _ in range(3):
        await asyncio.gather(*(store.save([row]) for row in rows))
    assert by_user([row async for row in store.scan()]) == by_user(rows)
