"""A session with an Apache Cassandra cluster, for asyncio; the only module that imports the driver.

Protocol version 4 is fixed: every server of today speaks it, naming it spares three downgrades and their warnings at
each connect, and version 5 takes a quarter more client CPU for checksums that the driver computes in Python.
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
"""With more, a request costs the client less, as more answers come at once; and users that events wait for are loaded
later, as the servers are busy with the save."""
FAILURES = (DriverException, NoHostAvailable, ErrorMessage, ConnectionException, NoConnectionsAvailable, OSError)


class ServerTimeout(StoreUnavailable):
    """A server answered that too few replicas did so in time; what was asked may happen all the same."""


class _RoutedStatement(BoundStatement):  # type: ignore[misc]
    """A bound statement that is told where to go: the driver finds no routing key in ``IN ?``."""

    routing_key: bytes | None = None


class _Connection(Cluster.connection_class):  # type: ignore[misc]
    """A request is one send and an answer a few reads; the driver's 4 KiB a time cost a system call each."""

    in_buffer_size = out_buffer_size = 128 << 10


class EncodedBatch(BatchStatement):  # type: ignore[misc]
    """An unlogged batch of writes in the server's own encoding, each of which may be repeated.

    A query is `CassandraSession.query_of` its statement and the values, each behind its length as an int of four bytes.
    Two microseconds a row; by `CassandraSession.batch` of bound statements it is eight.
    """

    def __init__(self, queries: Sequence[bytes], keyspace: str, routing_key: bytes) -> None:
        super().__init__(batch_type=BatchType.UNLOGGED)
        self.is_idempotent = True
        self.keyspace, self.routing_key = keyspace, routing_key
        self._statements_and_parameters = _Queries(queries)  # the driver hands it on to the message


class _Queries(list[bytes]):
    """Marks a message whose queries are encoded."""


class _EncodedBatchMessage(BatchMessage):  # type: ignore[misc]
    """A message with queries that are encoded already; what stands around them is the driver's."""

    queries: Sequence[bytes]

    def send_body(self, f: Any, protocol_version: int) -> None:
        queries, self.queries = self.queries, ()
        around = BytesIO()
        super().send_body(around, protocol_version)  # type of the batch, number of queries, options
        frame = around.getvalue()
        f.write(frame[:1] + struct.pack(">H", len(queries)) + b"".join(queries) + frame[3:])
        self.queries = queries


class _Protocol(ProtocolHandler):  # type: ignore[misc]
    """The driver's, and batches that are encoded."""

    @classmethod
    def encode_message(cls, msg: Any, *args: Any, **options: Any) -> Any:
        if isinstance(getattr(msg, "queries", None), _Queries):
            levels = (msg.consistency_level, msg.serial_consistency_level)
            msg = _EncodedBatchMessage(msg.batch_type, msg.queries, *levels, msg.timestamp, msg.keyspace)
        return super().encode_message(msg, *args, **options)


class CassandraSession:
    """One connection pool and the prepared statements of ``cassandra_cql``.

    The driver works in threads of its own; only completions reach the event loop. It reconnects by itself within
    about 5 s of a server's return.
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
        if self._writing:  # the driver never answers what is under way when it shuts down
            await asyncio.wait(self._writing, timeout=self._options.request_timeout_s)
        session, self._session = self._session, None
        if session is not None:
            await asyncio.to_thread(session.cluster.shutdown)

    def bind(self, statement: str, *values: Any) -> BoundStatement:
        self._opened()
        return self._prepared[statement].bind(values)

    def query_of(self, statement: str) -> bytes:
        """What begins each of the ``EncodedBatch``'s queries of a prepared statement."""
        self._opened()
        prepared = self._prepared[statement]
        query_id = prepared.query_id
        return struct.pack(f">BH{len(query_id)}sH", 1, len(query_id), query_id, len(prepared.column_metadata))

    def bind_keys(self, statement: str, keys: Sequence[str]) -> BoundStatement:
        """Bind a statement with one ``IN ?``, to be sent to a server that holds the first key."""
        self._opened()
        bound = _RoutedStatement(self._prepared[statement]).bind((keys,))
        bound.routing_key = keys[0].encode()
        return bound

    def batch(self, statements: Sequence[BoundStatement]) -> BoundStatement | BatchStatement:
        """One request for several writes, each of which may be repeated."""
        if len(statements) == 1:
            return statements[0]
        batch = BatchStatement(batch_type=BatchType.UNLOGGED)
        batch.is_idempotent = True
        for statement in statements:
            batch.add(statement)
        return batch

    def replicas(self) -> Callable[[bytes], Hashable]:
        """What groups rows: the server that the driver would ask first for a key, so that it holds all of a batch."""
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

    async def write(self, doing: str, requests: Iterable[Any], pace: WritePace | None = None) -> None:
        """Send many requests, WRITES_IN_FLIGHT at once, or one by one at a pace; the first failure ends it.

        In a thread of its own: with answers that wake the event loop one by one, a request costs half as much again.
        """
        writing = asyncio.ensure_future(asyncio.to_thread(self._write, doing, requests, pace or WritePace()))
        self._writing.add(writing)
        writing.add_done_callback(self._written)
        await asyncio.shield(writing)  # the thread goes on where its caller is cancelled

    def _written(self, writing: asyncio.Future[None]) -> None:
        self._writing.discard(writing)
        if not writing.cancelled():
            writing.exception()  # perhaps nobody waits for it any more

    def _write(self, doing: str, requests: Iterable[Any], pace: WritePace) -> None:
        session, unanswered = self._opened(), deque[Any]()
        try:
            for request in requests:
                if not pace.hurried:
                    session.execute(request)  # a load waits for no more than this one, and a failure shows at once
                    continue
                if len(unanswered) == WRITES_IN_FLIGHT:
                    # half of them, the last one first: a thread that wakes up for each answer is a tenth of the cost
                    for response in reversed([unanswered.popleft() for _ in range(WRITES_IN_FLIGHT // 2)]):
                        response.result()
                unanswered.append(session.execute_async(request))
            for response in reversed(unanswered):
                response.result()
        except FAILURES as error:
            raise self._translated(doing, error) from error

    async def rows(self, doing: str, statement: BoundStatement) -> list[tuple[Any, ...]]:
        """The rows of an answer that fits one page."""
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
                # without an end: the driver's default gives a server up after 64 attempts
                reconnection_policy=ExponentialReconnectionPolicy(0.5, RECONNECT_MAX_S, max_attempts=None),
                connect_timeout=options.request_timeout_s,
                control_connection_timeout=options.request_timeout_s,
                idle_heartbeat_interval=HEARTBEAT_S,
                idle_heartbeat_timeout=options.request_timeout_s,
                # or the end of a request waits until the server acknowledges its beginning, up to 40 ms
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
            raise self._refused(error, centres) or self._translated("open the profile store", error) from error
        return session

    def _refused(self, error: BaseException, centres: set[str]) -> StoreMisconfigured | None:
        """The wrong setting that kept the store from opening, if it was one."""
        options, causes = self._options, _causes(error)
        if any(isinstance(cause, AuthenticationFailed) for cause in causes):
            advice = "Set the user name and the password that the servers know."
        elif any("CERTIFICATE_VERIFY_FAILED" in str(cause) for cause in causes):  # the driver keeps the text only
            advice = (
                "Set the CA file of those who signed the servers' certificates, which must name the servers' addresses."
            )
        elif centres and options.local_dc not in (None, *centres):
            advice = f"Set local_dc to one of {', '.join(sorted(centres))}; there is no {options.local_dc!r}."
        else:
            return None
        return StoreMisconfigured(f"Could not open the profile store: {options.where}: {_reason(error)}. {advice}")

    def _translated(self, doing: str, error: BaseException) -> StoreError:
        said = f"Could not {doing}: {self._options.where}: {_reason(error)}"
        if isinstance(error, RequestValidationException):
            return StoreMisconfigured(f"{said}. The server refused it, and would refuse the same again.")
        kind = ServerTimeout if isinstance(error, Timeout) else StoreUnavailable
        return kind(
            f"{said}. See whether the servers run, can be reached from here, and want TLS as set; then try again."
        )


def _causes(error: BaseException) -> list[BaseException]:
    """The error itself, or what each server said if several were tried."""
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
    """Not the server's two remarks on large unlogged batches, which would be in the log with each batch.

    Our batches are what they advise against on purpose: the rows of one have the same first replica.
    """
    text = str(record.args[0]) if isinstance(record.args, tuple) and record.args else ""
    return not text.startswith(("Batch for [", "Unlogged batch covering"))
