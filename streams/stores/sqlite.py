"""A store that keeps profiles in one SQLite file, for the embedded default and for small shops.

Commits are durable (``synchronous=FULL``). A checkpoint acks the events of a save, so Kafka does not deliver them
again; with ``NORMAL`` a power cut may lose the last commits, and so these events. A checkpoint is one transaction: the
price is one fsync a second.
"""

import asyncio
import sqlite3
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from schemas.contract import ContractChange
from streams.stores import sqlite_sql as sql
from streams.stores.base import Owner, StoredProfile, StoreError, StoreFull, StoreMisconfigured, StoreUnavailable, Term
from streams.stores.write_pace import WritePace

SCHEMA_VERSION = 1
BUSY_TIMEOUT_S = 5.0
IN_CHUNK = 500  # SQLite before 3.32 allows at most 999 variables
SCAN_ROWS = 200
# A deleted or expired row keeps its version so long, to hide older saves: as long as in Cassandra by default.
TOMBSTONE_S = 10 * 24 * 3600

Row = tuple[Any, ...]
Result = TypeVar("Result")


class SqliteStore:
    """A ``ProfileStore`` in one file. Several processes may share it: each waits up to 5 s for another's write.

    One thread owns the connection, so the event loop never waits for the disk.
    """

    def __init__(self, path: Path | str) -> None:
        self._path = Path(path)
        self._thread: ThreadPoolExecutor | None = None
        self._db: sqlite3.Connection | None = None

    async def open(self) -> None:
        if self._thread is not None:
            return
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="sqlite-store")
        try:
            await self._run(self._connect)
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        thread, self._thread = self._thread, None
        if thread is not None:
            await asyncio.get_running_loop().run_in_executor(thread, self._disconnect)
            thread.shutdown()

    async def take_term(self, worker: str, partitions: Sequence[int]) -> Term:
        def take(db: sqlite3.Connection) -> Term:
            rows = _select_in(db, sql.OWNERS, (), partitions)
            term = int(db.execute(sql.LAST_TERM).fetchone()[0]) + 1
            db.execute(sql.TAKE_TERM, (term,))
            db.executemany(sql.OWN, ((partition, term, worker) for partition in partitions))
            return Term(term, {partition: owner_term for partition, owner_term, _ in rows})

        return await self._write(take)

    async def owners(self, partitions: Sequence[int]) -> dict[int, Owner]:
        rows = await self._read(lambda db: _select_in(db, sql.OWNERS, (), partitions))
        return {row[0]: Owner(*row) for row in rows}

    async def raise_to(self, name: str, number: int) -> int:
        def raised(db: sqlite3.Connection) -> int:
            db.execute(sql.RAISE_NUMBER, (name, number))
            return int(db.execute(sql.READ_NUMBER, (name,)).fetchone()[0])

        return await self._write(raised)

    async def begin(self, change: ContractChange) -> None:
        await self._write_many(sql.BEGIN, [(-change.contract, change.drain)])

    async def begun(self) -> list[ContractChange]:
        return [ContractChange(*row) for row in await self._read(lambda db: db.execute(sql.BEGUN).fetchall())]

    async def end(self, contract: int) -> None:
        await self._write_many(sql.END, [(-contract,)])

    async def load(self, user_ids: Sequence[str]) -> dict[str, StoredProfile]:
        now_s = int(time.time())
        rows = await self._read(lambda db: _select_in(db, sql.LOAD, (now_s, now_s), user_ids))
        return {row[0]: StoredProfile(*row) for row in rows}

    async def save(self, rows: Sequence[StoredProfile], pace: WritePace | None = None) -> None:
        now_s = int(time.time())
        values = [
            (
                *(row.user_id, row.partition, row.version, row.state, row.short_term, row.long_term, row.mixed),
                *(row.encoder, now_s + row.expires_s if row.expires_s else 0),
            )
            for row in rows
        ]
        await self._write_many(sql.SAVE, values)

    async def delete(self, user_ids: Sequence[str], version: int) -> None:
        now_s = int(time.time())
        await self._write_many(sql.DELETE, [(user_id, version, now_s) for user_id in user_ids])

    async def save_trending(self, states: Mapping[int, bytes], version: int) -> None:
        await self._write_many(sql.SAVE_TRENDING, [(partition, version, state) for partition, state in states.items()])

    async def load_trending(self, partitions: Sequence[int]) -> dict[int, bytes]:
        return dict(await self._read(lambda db: _select_in(db, sql.LOAD_TRENDING, (), partitions)))

    async def scan(self) -> AsyncIterator[StoredProfile]:
        def page(after: str, db: sqlite3.Connection) -> list[Row]:
            now_s = int(time.time())
            return db.execute(sql.SCAN, (now_s, now_s, after, SCAN_ROWS)).fetchall()

        rows = await self._read(partial(page, ""))  # no id is empty
        while rows:
            for row in rows:
                yield StoredProfile(*row)
            rows = await self._read(partial(page, rows[-1][0]))

    async def _write_many(self, statement: str, values: Sequence[tuple[Any, ...]]) -> None:
        def write(db: sqlite3.Connection) -> None:
            # the cursor is freed in this thread: in another thread it would reset the statement during the next call
            db.executemany(statement, values)

        if values:
            await self._write(write)

    async def _write(self, work: Callable[[sqlite3.Connection], Result]) -> Result:
        def transaction(db: sqlite3.Connection) -> Result:
            with _transaction(db):
                return work(db)

        return await self._read(transaction)

    async def _read(self, work: Callable[[sqlite3.Connection], Result]) -> Result:
        def with_connection() -> Result:
            assert self._db is not None  # the thread disconnects only after its last call
            return work(self._db)

        return await self._run(with_connection)

    async def _run(self, work: Callable[[], Result]) -> Result:
        if self._thread is None:
            raise StoreError(f"The SQLite store {self._path} is not open: call open() before it is used.")
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, work)
        except sqlite3.Error as error:
            raise _translated(error, self._path) from error

    def _connect(self) -> None:
        self._db = db = sqlite3.connect(self._path, timeout=BUSY_TIMEOUT_S, isolation_level=None)
        _use_wal(db)
        db.execute("PRAGMA synchronous = FULL")
        db.execute("PRAGMA fullfsync = ON")  # macOS: its fsync alone leaves the data in the drive's cache
        with _transaction(db):
            self._prepare_schema(db)
            db.execute(sql.PURGE, (int(time.time()) - TOMBSTONE_S,))

    def _prepare_schema(self, db: sqlite3.Connection) -> None:
        schema_version = db.execute("PRAGMA user_version").fetchone()[0]
        if schema_version > SCHEMA_VERSION:
            raise StoreMisconfigured(
                f"The SQLite store {self._path} has schema version {schema_version}, and this prefstream knows "
                f"versions up to {SCHEMA_VERSION}: run the newer prefstream that wrote it, or set another file."
            )
        if schema_version == 0:
            if db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
                raise StoreMisconfigured(
                    f"{self._path} is an SQLite file of another program (it has tables, and no schema version of "
                    "prefstream): set another file."
                )
            for statement in sql.SCHEMA:
                db.execute(statement)
            db.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        db.execute(sql.NUMBERS)

    def _disconnect(self) -> None:
        if self._db is not None:
            self._db.close()
            self._db = None


def _select_in(db: sqlite3.Connection, select: str, params: tuple[Any, ...], keys: Sequence[Any]) -> list[Row]:
    """Return the rows of ``select`` whose key is one of ``keys``; ``select`` ends in the name of the key column."""
    rows: list[Row] = []
    for start in range(0, len(keys), IN_CHUNK):
        chunk = keys[start : start + IN_CHUNK]
        rows += db.execute(f"{select} IN ({','.join('?' * len(chunk))})", (*params, *chunk))
    return rows


@contextmanager
def _transaction(db: sqlite3.Connection) -> Iterator[None]:
    # IMMEDIATE waits for other writers now; a transaction that begins as a reader can't wait to become a writer
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:  # SQLite rolls back by itself if the disk is full
            db.execute("ROLLBACK")
        raise


def _use_wal(db: sqlite3.Connection) -> None:
    """Switch the journal to WAL; wait if another process does the same, which SQLite's busy timeout does not cover."""
    deadline = time.monotonic() + BUSY_TIMEOUT_S
    while True:
        try:
            db.execute("PRAGMA journal_mode = WAL").fetchone()
            return
        except sqlite3.OperationalError as error:
            if _code(error) != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(0.01)


def _code(error: sqlite3.Error) -> int:
    return getattr(error, "sqlite_errorcode", 0) & 0xFF  # the low byte is the primary code, without the detail


def _translated(error: sqlite3.Error, path: Path) -> StoreError:
    code = _code(error)
    if code == sqlite3.SQLITE_FULL:
        return StoreFull(f"The disk of the SQLite store {path} is full: make room there; writes are tried again.")
    if code in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM):
        return StoreFull(f"The SQLite store {path} may not be written ({error}): allow it for the file and its folder.")
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return StoreUnavailable(
            f"The SQLite store {path} has been locked by another process for {BUSY_TIMEOUT_S:g} s: find that "
            "process (e.g. with lsof) and let it finish, or end it."
        )
    if code == sqlite3.SQLITE_CANTOPEN:
        return StoreUnavailable(
            f"The SQLite store {path} can't be opened: its folder must exist and be writable, and the path must be a "
            "file's."
        )
    if code == sqlite3.SQLITE_NOTADB:
        return StoreMisconfigured(
            f"{path} is not an SQLite file: set the path of a prefstream store, or of a new file."
        )
    if code == sqlite3.SQLITE_CORRUPT:
        return StoreError(f"The SQLite store {path} is damaged ({error}): restore it from a backup.")
    return StoreUnavailable(f"The SQLite store {path} failed: {error}. Check that its disk is healthy.")
