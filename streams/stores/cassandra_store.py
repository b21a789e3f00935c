"""A store that keeps profiles in Apache Cassandra, for any number of workers."""

import asyncio
import random
import struct
from collections.abc import AsyncIterator, Hashable, Iterator, Mapping, Sequence
from typing import Any

from schemas.contract import ContractChange
from streams.stores import cassandra_cql as cql
from streams.stores.base import Owner, StoredProfile, StoreUnavailable, Term
from streams.stores.batching import batches, in_lanes
from streams.stores.cassandra import CassandraSession, EncodedBatch, ServerTimeout
from streams.stores.cassandra_options import CassandraOptions
from streams.stores.write_pace import WritePace

BATCH_ROWS = 32
BATCH_BYTES = 46 * 1024  # the server refuses batches of more than 50 KiB
ROW_OVERHEAD = 200  # bytes that the server counts for a row's cells, besides their content
LOAD_KEYS = 50
SCAN_ROWS = 100
IN_FLIGHT = 16
TERM_TIMEOUT_S = 20.0
RACE_PAUSE_S = 0.1

_length = struct.Struct(">i").pack
_head = struct.Struct(">iiiqi").pack  # partition, version and the length of the state
_tail = struct.Struct(">iqii").pack  # timestamp and time to live


class CassandraStore:
    """A ``ProfileStore`` in one keyspace; the cluster itself keeps only the row of the largest version."""

    def __init__(self, options: CassandraOptions) -> None:
        self._options = options
        self._session = CassandraSession(options)

    async def open(self) -> None:
        await self._session.open()

    async def close(self) -> None:
        await self._session.close()

    async def take_term(self, worker: str, partitions: Sequence[int]) -> Term:
        replaced: dict[int, int] = {}

        async def own(partition: int) -> None:
            expected: int | None = None
            while True:
                if expected is None:
                    applied, row = await self._conditional(cql.FIRST_OWNER, partition, term, worker)
                else:
                    applied, row = await self._conditional(cql.NEXT_OWNER, term, worker, partition, expected)
                owner = term if applied else row.get("term")  # None: the row is gone, so the next try is an insert
                if owner == term:  # perhaps written by an earlier try, which timed out
                    if expected is not None:
                        replaced[partition] = expected
                    return
                if owner is not None and owner > term:
                    return
                expected = owner

        try:
            async with asyncio.timeout(TERM_TIMEOUT_S):
                term = await self._next_term()
                await in_lanes(own, partitions, IN_FLIGHT)
        except TimeoutError as error:
            raise StoreUnavailable(
                f"Could not take a term: {self._options.where}: no try succeeded within {TERM_TIMEOUT_S:g} s, because "
                "of other workers or timeouts of the servers. Check whether the servers are overloaded, then try again."
            ) from error
        return Term(term, replaced)

    async def owners(self, partitions: Sequence[int]) -> dict[int, Owner]:
        owners: dict[int, Owner] = {}

        async def read(partition: int) -> None:
            for row in await self._session.rows("read owners", self._session.bind(cql.READ_OWNER, partition)):
                owners[row[0]] = Owner(*row)

        await in_lanes(read, partitions, IN_FLIGHT)
        return owners

    async def raise_to(self, name: str, number: int) -> int:
        while True:
            row = (await self._serial(cql.READ_NUMBER, name)).one()
            if row is not None and row[0] >= number:
                return int(row[0])
            if row is None:
                applied, _ = await self._conditional(cql.FIRST_NUMBER, name, number)
            else:
                applied, _ = await self._conditional(cql.RAISE_NUMBER, number, name, row[0])
            if applied:
                return number

    async def begin(self, change: ContractChange) -> None:
        await self._serial(cql.BEGIN, -change.contract, change.drain)

    async def begun(self) -> list[ContractChange]:
        rows = await self._session.rows("read what has begun", self._session.bind(cql.ALL_OWNERS))
        return sorted(ContractChange(-partition, drain) for partition, drain in rows if partition < 0)

    async def end(self, contract: int) -> None:
        await self._serial(cql.END, -contract)

    async def load(self, user_ids: Sequence[str]) -> dict[str, StoredProfile]:
        profiles: dict[str, StoredProfile] = {}
        replica_of = self._session.replicas()
        keyed = ((replica_of(user_id.encode()), 0, user_id) for user_id in dict.fromkeys(user_ids))

        async def read(chunk: list[str]) -> None:
            for row in await self._session.rows("load profiles", self._session.bind_keys(cql.LOAD, chunk)):
                profiles[row[0]] = _profile(row)

        await in_lanes(read, batches(keyed, LOAD_KEYS), IN_FLIGHT)
        return profiles

    async def save(self, rows: Sequence[StoredProfile], pace: WritePace | None = None) -> None:
        replica_of, query, keyspace = self._session.replicas(), self._session.query_of(cql.SAVE), self._options.keyspace

        def encoded() -> Iterator[tuple[Hashable, int, tuple[bytes, bytes]]]:
            for row in rows:
                key = row.user_id.encode()
                values = _values(query, key, row)
                yield replica_of(key), ROW_OVERHEAD + len(values), (key, values)

        def requests() -> Iterator[EncodedBatch]:
            for batch in batches(encoded(), BATCH_ROWS, BATCH_BYTES):
                yield EncodedBatch([values for _, values in batch], keyspace, batch[0][0])
                if pace is not None:
                    pace.done(len(batch))

        await self._session.write("save profiles", requests(), pace)

    async def delete(self, user_ids: Sequence[str], version: int) -> None:
        replica_of = self._session.replicas()
        statements = (self._session.bind(cql.DELETE, version, user) for user in user_ids)
        keyed = ((replica_of(statement.routing_key), 0, statement) for statement in statements)
        await self._session.write("delete profiles", map(self._session.batch, batches(keyed, BATCH_ROWS)))

    async def save_trending(self, states: Mapping[int, bytes], version: int) -> None:
        # one request a partition: the counts may be large
        writes = (
            self._session.bind(cql.SAVE_TRENDING, part, version, state, version) for part, state in states.items()
        )
        await self._session.write("save trending counts", writes)

    async def load_trending(self, partitions: Sequence[int]) -> dict[int, bytes]:
        if not partitions:
            return {}
        statement = self._session.bind(cql.LOAD_TRENDING, list(partitions))
        return dict(await self._session.rows("load trending counts", statement))

    async def scan(self) -> AsyncIterator[StoredProfile]:
        statement = self._session.bind(cql.SCAN)
        statement.fetch_size = SCAN_ROWS
        page = await self._session.execute("scan profiles", statement)
        while True:
            for row in page.current_rows:
                yield _profile(row)
            if not page.has_more_pages:
                return
            page = await self._session.execute("scan profiles", statement, page.paging_state)

    async def _next_term(self) -> int:
        while True:
            row = (await self._serial(cql.READ_TERM)).one()
            if row is None:
                # never below the term of an owner, in case somebody emptied the table of terms
                owners = await self._serial(cql.ALL_OWNER_TERMS)
                term = max((owner[0] for owner in owners.current_rows), default=0) + 1
                applied, _ = await self._conditional(cql.FIRST_TERM, term)
            else:
                term = row[0] + 1
                applied, _ = await self._conditional(cql.NEXT_TERM, term, row[0])
            if applied:
                return int(term)

    async def _conditional(self, statement: str, *values: Any) -> tuple[bool, dict[str, Any]]:
        """Run a lightweight transaction; return whether it was applied, and if not, the row that stood in its way."""
        result = await self._serial(statement, *values)
        row = dict(zip(result.column_names, result.one(), strict=True))
        return row.pop("[applied]"), row

    async def _serial(self, statement: str, *values: Any) -> Any:
        """Run one statement of a race between workers; run it again if the server times out, as it does if many race.

        A statement that timed out may have been applied: then its repetition finds its own row in its way.
        """
        while True:
            try:
                return await self._session.execute("take a term", self._session.bind(statement, *values))
            except ServerTimeout:
                await asyncio.sleep(random.uniform(0, RACE_PAUSE_S))


def _values(query: bytes, key: bytes, row: StoredProfile) -> bytes:
    """Return the query of ``cql.SAVE`` and its values; before each value stands its length."""
    state, short_term, long_term, mixed, encoder = (
        *(row.state, row.short_term, row.long_term, row.mixed),
        row.encoder.encode(),
    )
    return b"".join(
        (
            *(query, _length(len(key)), key, _head(4, row.partition, 8, row.version, len(state)), state),
            *(_length(len(short_term)), short_term, _length(len(long_term)), long_term, _length(len(mixed)), mixed),
            *(_length(len(encoder)), encoder, _tail(8, row.version, 4, row.expires_s)),
        )
    )


def _profile(row: tuple[Any, ...]) -> StoredProfile:
    columns = (*row[:-1], row[-1] or 0)  # a row that lives for ever has a null as TTL
    return StoredProfile(*columns)
