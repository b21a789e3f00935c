"""Profiles in Apache Cassandra; the only module that imports its driver.

Protocol version 4 is fixed: every server of today speaks it, naming it spares three downgrades and their warnings at
each connect, and version 5 takes a quarter more client CPU for checksums that the driver computes in Python.
"""

import asyncio
import logging
import ssl
import struct
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Hashable, Iterable, Sequence
from contextlib import suppress
from itertools import islice
from types import ModuleType
from typing import Any, TypeVar

from cassandra import (
    AuthenticationFailed,
    ConsistencyLevel,
    DependencyException,
    DriverException,
    RequestValidationException,
)

try:
    from cassandra.cluster import EXEC_PROFILE_DEFAULT, Cluster, ExecutionProfile, NoHostAvailable, Session
except DependencyException:
    # Where the driver was built without libev and Python has no asyncore any more (3.12), the driver finds no event
    # loop and can't even be imported. It has an asyncio one that it does not try by itself; it gets asyncore's place.
    from cassandra.io.asyncioreactor import AsyncioConnection

    _stand_in = ModuleType("cassandra.io.asyncorereactor")
    _stand_in.AsyncoreConnection = AsyncioConnection  # type: ignore[attr-defined]
    sys.modules[_stand_in.__name__] = _stand_in
    from cassandra.cluster import EXEC_PROFILE_DEFAULT, Cluster, ExecutionProfile, NoHostAvailable, Session

from cassandra.auth import PlainTextAuthProvider
from cassandra.connection import ConnectionException
from cassandra.policies import DCAwareRoundRobinPolicy, ExponentialReconnectionPolicy, HostDistance, TokenAwarePolicy
from cassandra.pool import NoConnectionsAvailable
from cassandra.protocol import ErrorMessage
from cassandra.query import BatchStatement, BatchType, BoundStatement, PreparedStatement, tuple_factory

from streams.stores import cassandra_cql as cql
from streams.stores.base import Owner, StoredProfile, StoreError, StoreMisconfigured, StoreUnavailable
from streams.stores.batching import batches
from streams.stores.cassandra_options import CassandraOptions, CassandraTls
from streams.stores.cassandra_schema import prepare_schema

__all__ = ["CassandraOptions", "CassandraStore", "CassandraTls"]

BATCH_ROWS = 20
BATCH_BYTES = 40 * 1024  # the server refuses batches of more than 50 KiB
ROW_OVERHEAD = 200  # bytes that the server counts for a row's cells, beside their content
LOAD_KEYS = 50
SCAN_ROWS = 100
IN_FLIGHT = 16
RECONNECT_MAX_S = 5.0

FAILURES = (DriverException, NoHostAvailable, ErrorMessage, ConnectionException, NoConnectionsAvailable, OSError)
SERIAL_READS = (cql.READ_TERM, cql.READ_OWNER)
CONDITIONAL = (cql.FIRST_TERM, cql.NEXT_TERM, cql.FIRST_OWNER, cql.NEXT_OWNER)
PLAIN = (
    *(cql.SAVE, cql.DELETE, cql.LOAD, cql.SCAN),
    *(cql.ALL_OWNER_TERMS, cql.SAVE_TRENDING, cql.LOAD_TRENDING),
)

_int32 = struct.Struct(">i").pack
_int64 = struct.Struct(">q").pack

Item = TypeVar("Item")


class _RoutedStatement(BoundStatement):  # type: ignore[misc]
    """A bound statement that is told where to go: the driver finds no routing key in ``IN ?``."""

    routing_key: bytes | None = None


class CassandraStore:
    """A ``ProfileStore`` in a Cassandra cluster, for any number of workers.

    The driver works in threads of its own; only completions reach the event loop. It reconnects by itself within
    about 5 s of the server's return.
    """

    def __init__(self, options: CassandraOptions) -> None:
        self._options = options
        self._policy = TokenAwarePolicy(DCAwareRoundRobinPolicy(options.local_dc or ""))
        self._session: Session | None = None
        self._statements: dict[str, PreparedStatement] = {}

    async def open(self) -> None:
        if self._session is None:
            self._session = await asyncio.to_thread(self._connect)

    async def close(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            await asyncio.to_thread(session.cluster.shutdown)

    async def take_term(self, worker: str, partitions: Sequence[int]) -> int:
        term = await self._next_term()

        async def own(partition: int) -> None:
            while True:
                applied, current = await self._conditional(cql.NEXT_OWNER, term, worker, partition, term)
                if applied or current.get("term") is not None:  # ours, or somebody's with a larger term
                    return
                applied, _ = await self._conditional(cql.FIRST_OWNER, partition, term, worker)
                if applied:
                    return

        await _in_lanes(own, partitions)
        return term

    async def owners(self, partitions: Sequence[int]) -> dict[int, Owner]:
        found: dict[int, Owner] = {}

        async def read(partition: int) -> None:
            for row in await self._rows("read owners", self._bind(cql.READ_OWNER, partition)):
                found[row[0]] = Owner(*row)

        await _in_lanes(read, partitions)
        return found

    async def load(self, user_ids: Sequence[str]) -> dict[str, StoredProfile]:
        found: dict[str, StoredProfile] = {}
        replica_of = self._replicas()
        keyed = ((replica_of(user_id.encode()), 0, user_id) for user_id in dict.fromkeys(user_ids))

        async def read(chunk: list[str]) -> None:
            statement = _RoutedStatement(self._statements[cql.LOAD]).bind((chunk,))
            statement.routing_key = chunk[0].encode()
            for row in await self._rows("load profiles", statement):
                found[row[0]] = _profile(row)

        await _in_lanes(read, batches(keyed, LOAD_KEYS))
        return found

    async def save(self, rows: Sequence[StoredProfile]) -> None:
        await self._write_in_batches("save profiles", map(self._insert, rows))

    async def delete(self, user_ids: Sequence[str], version: int) -> None:
        await self._write_in_batches("delete profiles", (self._bind(cql.DELETE, version, user) for user in user_ids))

    async def save_trending(self, partition: int, state: bytes, version: int) -> None:
        await self._rows("save trending counts", self._bind(cql.SAVE_TRENDING, partition, version, state, version))

    async def load_trending(self, partitions: Sequence[int]) -> dict[int, bytes]:
        if not partitions:
            return {}
        return dict(await self._rows("load trending counts", self._bind(cql.LOAD_TRENDING, list(partitions))))

    async def scan(self) -> AsyncIterator[StoredProfile]:
        statement = self._bind(cql.SCAN)
        statement.fetch_size = SCAN_ROWS
        page = await self._execute("scan profiles", statement)
        while True:
            for row in page.current_rows:
                yield _profile(row)
            if not page.has_more_pages:
                return
            page = await self._execute("scan profiles", statement, page.paging_state)

    async def _next_term(self) -> int:
        while True:
            row = next(iter(await self._rows("take a term", self._bind(cql.READ_TERM))), None)
            if row is None:
                # the owners are the floor, in case somebody emptied the counter
                terms = await self._rows("take a term", self._bind(cql.ALL_OWNER_TERMS))
                term = max((row[0] for row in terms), default=0) + 1
                applied, _ = await self._conditional(cql.FIRST_TERM, term)
            else:
                term = row[0] + 1
                applied, _ = await self._conditional(cql.NEXT_TERM, term, row[0])
            if applied:
                return int(term)

    async def _conditional(self, statement: str, *values: Any) -> tuple[bool, dict[str, Any]]:
        """Run a lightweight transaction: whether it was applied, and if not, the row in its way."""
        result = await self._execute("take a term", self._bind(statement, *values))
        row = dict(zip(result.column_names, result.current_rows[0], strict=True))
        return row.pop("[applied]"), row

    def _bind(self, statement: str, *values: Any) -> BoundStatement:
        self._opened()
        return self._statements[statement].bind(values)

    def _insert(self, row: StoredProfile) -> BoundStatement:
        # bind() looks each column up again and takes 9 us; this, of the same bytes, takes one
        statement = BoundStatement(self._statements[cql.SAVE])
        version = _int64(row.version)
        statement.values = [
            *(row.user_id.encode(), _int32(row.partition), version),
            *(row.state, row.short_term, row.long_term, row.mixed, row.encoder.encode()),
            *(version, _int32(row.expires_s)),
        ]
        return statement

    async def _write_in_batches(self, doing: str, statements: Iterable[BoundStatement]) -> None:
        replica_of = self._replicas()
        sized = ((replica_of(one.routing_key), ROW_OVERHEAD + sum(map(len, one.values)), one) for one in statements)

        async def write(batch: list[BoundStatement]) -> None:
            statement = batch[0]
            if len(batch) > 1:
                statement = BatchStatement(batch_type=BatchType.UNLOGGED)
                statement.is_idempotent = True
                for one in batch:
                    statement.add(one)
            await self._execute(doing, statement)

        await _in_lanes(write, batches(sized, BATCH_ROWS, BATCH_BYTES))

    def _replicas(self) -> Callable[[bytes], Hashable]:
        """What groups rows: the server that the driver would ask first for a key, so that it holds all of a batch."""
        metadata, keyspace, policy = self._opened().cluster.metadata, self._options.keyspace, self._policy
        if len(metadata.all_hosts()) == 1:
            return lambda key: None

        def first(key: bytes) -> Hashable:
            for host in metadata.get_replicas(keyspace, key):
                if host.is_up and policy.distance(host) == HostDistance.LOCAL:
                    return host.endpoint  # type: ignore[no-any-return]
            return None

        return first

    async def _rows(self, doing: str, statement: BoundStatement) -> list[tuple[Any, ...]]:
        return list((await self._execute(doing, statement)).current_rows)

    async def _execute(self, doing: str, statement: Any, paging_state: bytes | None = None) -> Any:
        """Send one request; its first page."""
        session, loop = self._opened(), asyncio.get_running_loop()
        answered = asyncio.Event()

        def wake(_: Any) -> None:
            with suppress(RuntimeError):  # the loop is closed: nobody waits any more
                loop.call_soon_threadsafe(answered.set)

        try:
            response = session.execute_async(statement, paging_state=paging_state)
            response.add_callbacks(wake, wake)
            await answered.wait()
            return response.result()
        except FAILURES as error:
            raise self._translated(doing, error) from error

    def _connect(self) -> Session:
        options = self._options
        profile = ExecutionProfile(
            load_balancing_policy=self._policy,
            consistency_level=ConsistencyLevel.name_to_value[options.consistency],
            serial_consistency_level=ConsistencyLevel.SERIAL,
            request_timeout=options.request_timeout_s,
            row_factory=tuple_factory,
        )
        cluster = Cluster(
            options.hosts,
            options.port,
            protocol_version=4,
            execution_profiles={EXEC_PROFILE_DEFAULT: profile},
            auth_provider=options.username and PlainTextAuthProvider(options.username, options.password),
            ssl_context=options.tls and options.tls.context(),
            # without an end: the driver's default gives a server up after 64 attempts
            reconnection_policy=ExponentialReconnectionPolicy(0.5, RECONNECT_MAX_S, max_attempts=None),
            connect_timeout=options.request_timeout_s,
            control_connection_timeout=options.request_timeout_s,
            idle_heartbeat_interval=10,
            idle_heartbeat_timeout=options.request_timeout_s,
        )
        _protocol_log.addFilter(_wanted)
        try:
            session = cluster.connect()
            prepare_schema(session, options)
            for statement in (*PLAIN, *SERIAL_READS, *CONDITIONAL):
                prepared = session.prepare(statement.format(options.keyspace))
                prepared.is_idempotent = statement not in CONDITIONAL
                if statement in SERIAL_READS:
                    prepared.consistency_level = ConsistencyLevel.SERIAL
                self._statements[statement] = prepared
        except BaseException as error:
            centres = {host.datacenter for host in cluster.metadata.all_hosts() if host.datacenter}
            cluster.shutdown()
            if isinstance(error, NoHostAvailable) and centres and options.local_dc not in (None, *centres):
                raise StoreMisconfigured(
                    f"{options.where} has no datacentre {options.local_dc!r}: local_dc must be one of "
                    f"{', '.join(sorted(centres))}."
                ) from error
            if isinstance(error, FAILURES):
                raise self._translated("be opened", error) from error
            raise
        return session

    def _translated(self, doing: str, error: BaseException) -> StoreError:
        """What went wrong, as our error."""
        where, causes = self._options.where, [error]
        if isinstance(error, NoHostAvailable):
            causes = list(error.errors.values()) or causes
        reason = "; ".join(sorted({f"{type(cause).__name__}: {cause}" for cause in causes}))
        if any(isinstance(cause, AuthenticationFailed) for cause in causes):
            return StoreMisconfigured(f"{where} refused the user name or the password: {reason}")
        if any(isinstance(cause, ssl.SSLError) for cause in causes):
            return StoreMisconfigured(f"{where} and this worker can't agree on TLS; see its TLS settings: {reason}")
        if isinstance(error, RequestValidationException):
            return StoreMisconfigured(f"{where} refused to {doing}: {reason}")
        return StoreUnavailable(
            f"{where} could not {doing}: {reason}. See whether its servers run and are reachable there, and whether "
            "they want TLS; then repeat."
        )

    def _opened(self) -> Session:
        if self._session is None:
            raise StoreError(f"The store {self._options.where} is not open: call open() before it is used.")
        return self._session


def _profile(row: tuple[Any, ...]) -> StoredProfile:
    return StoredProfile(*row[:8], expires_s=row[8] or 0)


async def _in_lanes(work: Callable[[Item], Awaitable[None]], items: Iterable[Item]) -> None:
    """Do ``work`` for every item, ``IN_FLIGHT`` at a time; the first error ends it."""
    queue = iter(items)

    async def lane(first: Item) -> None:
        await work(first)
        for item in queue:
            await work(item)

    lanes = [asyncio.ensure_future(lane(first)) for first in islice(queue, IN_FLIGHT)]
    try:
        await asyncio.gather(*lanes)
    finally:
        for one in lanes:
            one.cancel()


_protocol_log = logging.getLogger("cassandra.protocol")


def _wanted(record: logging.LogRecord) -> bool:
    """Not the server's two remarks on large unlogged batches, which would be in the log with each batch.

    Our batches are what they advise against on purpose: the rows of one have the same first replica.
    """
    text = str(record.args[0]) if isinstance(record.args, tuple) and record.args else ""
    return not text.startswith(("Batch for [", "Unlogged batch covering"))
