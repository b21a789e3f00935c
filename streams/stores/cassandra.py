"""A session with an Apache Cassandra cluster, for asyncio; the only module that imports the driver.

The protocol version is fixed to 4, which every server of today speaks. A fixed version avoids three downgrades, and
their warnings, at each connect. Version 5 takes a quarter more client CPU, for checksums that the driver computes in
Python.
"""

import asyncio
import logging
import socket
import struct
import sys
from collections import deque
from collections.abc import Callable, Hashable, Iterable, Sequence
from contextlib import suppress
from io import BytesIO
from types import ModuleType
from typing import Any

from cassandra import (
    AuthenticationFailed,
    ConsistencyLevel,
    DependencyException,
    DriverException,
    RequestValidationException,
    Timeout,
    UnresolvableContactPoints,
)

try:
    from cassandra.cluster import EXEC_PROFILE_DEFAULT, Cluster, ExecutionProfile, NoHostAvailable, Session
except DependencyException:
    # A driver that was built without libev uses asyncore, which Python 3.12 no longer has: then the import fails. The
    # driver also has an event loop for asyncio, but does not try it by itself. So that loop takes asyncore's place.
    from cassandra.io.asyncioreactor import AsyncioConnection

    _stand_in = ModuleType("cassandra.io.asyncorereactor")
    _stand_in.AsyncoreConnection = AsyncioConnection  # type: ignore[attr-defined]
    sys.modules[_stand_in.__name__] = _stand_in
    from cassandra.cluster import EXEC_PROFILE_DEFAULT, Cluster, ExecutionProfile, NoHostAvailable, Session

from cassandra.auth import PlainTextAuthProvider
from cassandra.connection import ConnectionException
from cassandra.policies import DCAwareRoundRobinPolicy, ExponentialReconnectionPolicy, HostDistance, TokenAwarePolicy
from cassandra.pool import NoConnectionsAvailable
from cassandra.protocol import BatchMessage, ErrorMessage, ProtocolHandler
from cassandra.query import BatchStatement, BatchType, BoundStatement, PreparedStatement, tuple_factory

from streams.stores import cassandra_cql as cql
from streams.stores.base import StoreError, StoreMisconfigured, StoreUnavailable
from streams.stores.cassandra_options import CassandraOptions
from streams.stores.cassandra_schema import prepare_schema
from streams.stores.write_pace import WritePace

RECONNECT_MAX_S = 5.0
HEARTBEAT_S = 10.0
WRITES_IN_FLIGHT = 32
"""A larger number makes a request cheaper for the client, because more answers arrive at once. But it keeps the servers
busy with the save, and the users that events wait for are loaded later."""
FAILURES = (DriverException, NoHostAvailable, ErrorMessage, ConnectionException, NoConnectionsAvailable, OSError)


class ServerTimeout(StoreUnavailable):
    """Raised when a server reports that too few replicas answered in time; the request may still take effect."""


class _RoutedStatement(BoundStatement):  # type: ignore[misc]
    """A bound statement with a routing key of its own: the driver finds none in ``IN ?``."""

    routing_key: bytes | None = None


class _Connection(Cluster.connection_class):  # type: ignore[misc]
    """A connection that reads and writes 128 KiB at a time: one send for a request, a few reads for an answer."""

    # the driver's own size is 4 KiB, each of which costs a system call

    in_buffer_size = out_buffer_size = 128 << 10


class EncodedBatch(BatchStatement):  # type: ignore[misc]
    """An unlogged batch of encoded writes, each of which may be repeated.

    A query is the result of `CassandraSession.query_of`, followed by the values; before each value stands its length,
    as an int of four bytes.
    """

    # 2 us a row; bound statements, with `CassandraSession.batch`, take 8 us

    def __init__(self, queries: Sequence[bytes], keyspace: str, routing_key: bytes) -> None:
        super().__init__(batch_type=BatchType.UNLOGGED)
        self.is_idempotent = True
        self.keyspace, self.routing_key = keyspace, routing_key
        self._statements_and_parameters = _Queries(queries)  # the driver passes this on to the message


class _Queries(list[bytes]):
    """A list of encoded queries; `_Protocol` recognises the message by this type."""


class _EncodedBatchMessage(BatchMessage):  # type: ignore[misc]
    """A message whose queries are encoded already; the driver encodes the parts before and after them."""

    queries: Sequence[bytes]

    def send_body(self, f: Any, protocol_version: int) -> None:
        queries, self.queries = self.queries, ()
        around = BytesIO()
        super().send_body(around, protocol_version)  # type of the batch, number of queries, options
        frame = around.getvalue()
        f.write(frame[:1] + struct.pack(">H", len(queries)) + b"".join(queries) + frame[3:])
        self.queries = queries


class _Protocol(ProtocolHandler):  # type: ignore[misc]
    """The driver's protocol handler, which here also sends encoded batches."""

    @classmethod
    def encode_message(cls, msg: Any, *args: Any, **options: Any) -> Any:
        if isinstance(getattr(msg, "queries", None), _Queries):
            levels = (msg.consistency_level, msg.serial_consistency_level)
            msg = _EncodedBatchMessage(msg.batch_type, msg.queries, *levels, msg.timestamp, msg.keyspace)
        return super().encode_message(msg, *args, **options)


class CassandraSession:
    """A connection pool and the prepared statements of ``cassandra_cql``.

    The driver works in threads of its own; only finished requests reach the event loop. It reconnects by itself within
    about 5 s after a server returns.
    """

    def __init__(self, options: CassandraOptions) -> None:
        self._options = options
        self._policy: Any = None
        self._session: Session | None = None
        self._prepared: dict[str, PreparedStatement] = {}
        self._writing: set[asyncio.Future[None]] = set()

    async def open(self) -> None:
        if self._session is None:
            self._session = await asyncio.to_thread(self._connect)

    async def close(self) -> None:
        if self._writing:  # the driver does not answer requests that are under way when it shuts down
            await asyncio.wait(self._writing, timeout=self._options.request_timeout_s)
        session, self._session = self._session, None
        if session is not None:
            await asyncio.to_thread(session.cluster.shutdown)

    def bind(self, statement: str, *values: Any) -> BoundStatement:
        self._opened()
        return self._prepared[statement].bind(values)

    def query_of(self, statement: str) -> bytes:
        """Return the bytes with which an `EncodedBatch` query of this prepared statement begins."""
        self._opened()
        prepared = self._prepared[statement]
        query_id = prepared.query_id
        return struct.pack(f">BH{len(query_id)}sH", 1, len(query_id), query_id, len(prepared.column_metadata))

    def bind_keys(self, statement: str, keys: Sequence[str]) -> BoundStatement:
        """Bind a statement with one ``IN ?``, and route it to a server that holds the first key."""
        self._opened()
        bound = _RoutedStatement(self._prepared[statement]).bind((keys,))
        bound.routing_key = keys[0].encode()
        return bound

    def batch(self, statements: Sequence[BoundStatement]) -> BoundStatement | BatchStatement:
        """Combine several writes into one request; each write may be repeated."""
        if len(statements) == 1:
            return statements[0]
        batch = BatchStatement(batch_type=BatchType.UNLOGGED)
        batch.is_idempotent = True
        for statement in statements:
            batch.add(statement)
        return batch

    def replicas(self) -> Callable[[bytes], Hashable]:
        """Return a function from a key to the server that the driver would ask first for it; None if none is up.

        Rows that are grouped by this server make batches whose rows all lie on one server.
        """
        metadata, keyspace, policy = self._opened().cluster.metadata, self._options.keyspace, self._policy
        asked: dict[Any, Hashable] = {
            host: host.endpoint
            for host in metadata.all_hosts()
            if host.is_up and policy.distance(host) == HostDistance.LOCAL
        }

        def first(key: bytes) -> Hashable:
            for host in metadata.get_replicas(keyspace, key):
                if host in asked:
                    return asked[host]
            return None

        return first

    async def execute(self, doing: str, statement: Any, paging_state: bytes | None = None) -> Any:
        """Send one request; return the first page of its answer."""
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

    async def write(self, doing: str, requests: Iterable[Any], pace: WritePace | None = None) -> None:
        """Send many requests, WRITES_IN_FLIGHT at once, or one by one as long as ``pace`` is not hurried.

        The first failure ends the call.
        """
        # in a thread: if each answer woke the event loop, a request would cost half as much again
        writing = asyncio.ensure_future(asyncio.to_thread(self._write, doing, requests, pace or WritePace()))
        self._writing.add(writing)
        writing.add_done_callback(self._written)
        await asyncio.shield(writing)  # the thread goes on if the caller is cancelled

    def _written(self, writing: asyncio.Future[None]) -> None:
        self._writing.discard(writing)
        if not writing.cancelled():
            writing.exception()  # marks the error as seen, in case the caller was cancelled

    def _write(self, doing: str, requests: Iterable[Any], pace: WritePace) -> None:
        session, unanswered = self._opened(), deque[Any]()
        try:
            for request in requests:
                if not pace.hurried:
                    # waits for the answer: a load waits for a single request, and a failure shows at once
                    session.execute(request)
                    continue
                if len(unanswered) == WRITES_IN_FLIGHT:
                    # waits for half of the answers, beginning with the last: to wake up for each one would be a tenth
                    # of the whole cost
                    for response in reversed([unanswered.popleft() for _ in range(WRITES_IN_FLIGHT // 2)]):
                        response.result()
                unanswered.append(session.execute_async(request))
            for response in reversed(unanswered):
                response.result()
        except FAILURES as error:
            raise self._translated(doing, error) from error

    async def rows(self, doing: str, statement: BoundStatement) -> list[tuple[Any, ...]]:
        """Send one request and return all rows of its answer, which must fit into one page."""
        return list((await self.execute(doing, statement)).current_rows)

    def _opened(self) -> Session:
        if self._session is None:
            raise StoreError(f"The profile store is not open: {self._options.where}: call open() before it is used.")
        return self._session

    def _connect(self) -> Session:
        options = self._options
        self._policy = TokenAwarePolicy(DCAwareRoundRobinPolicy(options.local_dc or ""))
        profile = ExecutionProfile(
            load_balancing_policy=self._policy,
            consistency_level=ConsistencyLevel.name_to_value[options.consistency],
            serial_consistency_level=ConsistencyLevel.SERIAL,
            request_timeout=options.request_timeout_s,
            row_factory=tuple_factory,
        )
        _protocol_log.addFilter(_wanted)
        cluster = None
        try:
            cluster = Cluster(
                options.hosts,
                options.port,
                connection_class=_Connection,
                protocol_version=4,
                execution_profiles={EXEC_PROFILE_DEFAULT: profile},
                auth_provider=PlainTextAuthProvider(options.username, options.password) if options.username else None,
                ssl_context=options.tls.context() if options.tls else None,
                # for ever: by default the driver gives a server up after 64 attempts
                reconnection_policy=ExponentialReconnectionPolicy(0.5, RECONNECT_MAX_S, max_attempts=None),
                connect_timeout=options.request_timeout_s,
                control_connection_timeout=options.request_timeout_s,
                idle_heartbeat_interval=HEARTBEAT_S,
                idle_heartbeat_timeout=options.request_timeout_s,
                # otherwise the end of a request waits, up to 40 ms, until the server acknowledges its beginning
                sockopts=[(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)],
            )
            session = cluster.connect()
            session.client_protocol_handler = _Protocol
            prepare_schema(session, options)
            for statement in cql.ALL:
                prepared = session.prepare(statement.format(options.keyspace))
                prepared.is_idempotent = statement not in cql.CONDITIONAL
                if statement in cql.SERIAL_READS:
                    prepared.consistency_level = ConsistencyLevel.SERIAL
                self._prepared[statement] = prepared
        except BaseException as error:
            centres: set[str] = set()
            if cluster is not None:
                centres = {host.datacenter for host in cluster.metadata.all_hosts() if host.datacenter}
                cluster.shutdown()
            if not isinstance(error, FAILURES):
                raise
            raise self._wrong_setting(error, centres) or self._translated("open the profile store", error) from error
        return session

    def _wrong_setting(self, error: BaseException, centres: set[str]) -> StoreMisconfigured | None:
        """Return an error that names the wrong setting, or None if the store failed to open for another reason."""
        options, causes = self._options, _causes(error)
        if any(isinstance(cause, AuthenticationFailed) for cause in causes):
            advice = "Set the user name and the password that the servers know."
        elif any("CERTIFICATE_VERIFY_FAILED" in str(cause) for cause in causes):  # the driver keeps the text only
            advice = (
                "Set the CA file of the authority that signed the servers' certificates. The certificates must name "
                "the servers' addresses."
            )
        elif centres and options.local_dc not in (None, *centres):
            advice = f"Set local_dc to one of {', '.join(sorted(centres))}; there is no {options.local_dc!r}."
        else:
            return None
        return StoreMisconfigured(f"Could not open the profile store: {options.where}: {_reason(error)}. {advice}")

    def _translated(self, doing: str, error: BaseException) -> StoreError:
        message = f"Could not {doing}: {self._options.where}: {_reason(error)}"
        if isinstance(error, RequestValidationException):
            return StoreMisconfigured(f"{message}. The server refused the request, and would refuse it again.")
        kind = ServerTimeout if isinstance(error, Timeout) else StoreUnavailable
        return kind(
            f"{message}. Check that the servers are running, that they can be reached from this machine, and that the "
            "TLS settings fit the servers; then try again."
        )


def _causes(error: BaseException) -> list[BaseException]:
    """Return the error itself, or the error of each server if several servers were tried."""
    tried = error.errors if isinstance(error, NoHostAvailable) else None
    return list(tried.values()) if tried and isinstance(tried, dict) else [error]


def _reason(error: BaseException) -> str:
    if isinstance(error, UnresolvableContactPoints):
        return "no address is known for these names"
    if isinstance(error, NoHostAvailable) and not error.errors:
        return "none of the servers is up"
    return "; ".join(sorted({f"{type(cause).__name__}: {cause}".rstrip(".") for cause in _causes(error)}))


_protocol_log = logging.getLogger("cassandra.protocol")


def _wanted(record: logging.LogRecord) -> bool:
    """Drop the server's two warnings about unlogged batches, which would be logged with each batch.

    The batches are so large, and have so many keys, on purpose: all rows of a batch have the same first replica.
    """
    text = str(record.args[0]) if isinstance(record.args, tuple) and record.args else ""
    return not text.startswith(("Batch for [", "Unlogged batch covering"))
