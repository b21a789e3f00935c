"""The keyspace and tables of the Cassandra store: made where missing, refused where unsafe. Free of the driver."""

from typing import Any

from streams.stores.base import StoreMisconfigured
from streams.stores.cassandra_options import WEAK, CassandraOptions

DDL_TIMEOUT_S = 30.0  # the servers have to agree on it
TABLES = {
    "profiles": "user_id text PRIMARY KEY, partition int, version bigint, state blob, short_term blob, long_term blob, "
    "mixed blob, encoder text",
    "terms": "name text PRIMARY KEY, term bigint",
    "owners": "partition int PRIMARY KEY, term bigint, worker text",
    "trending": "partition int PRIMARY KEY, version bigint, state blob",
}


def create_keyspace(keyspace: str, replication: dict[str, int] | int) -> str:
    """The statement for a new keyspace; one number means that many copies in each datacentre there is now.

    >>> create_keyspace("shop", {"paris": 3})
    "CREATE KEYSPACE IF NOT EXISTS shop WITH replication = {'class': 'NetworkTopologyStrategy', 'paris': 3}"
    """
    copies = replication if isinstance(replication, dict) else {"replication_factor": replication}
    options = "".join(", '{}': {:d}".format(name.replace("'", "''"), count) for name, count in copies.items())
    return (
        f"CREATE KEYSPACE IF NOT EXISTS {keyspace} WITH replication = {{'class': 'NetworkTopologyStrategy'{options}}}"
    )


def create_table(keyspace: str, table: str) -> str:
    return f"CREATE TABLE IF NOT EXISTS {keyspace}.{table} ({TABLES[table]})"


def prepare_schema(session: Any, options: CassandraOptions) -> None:
    """Create what is missing, through a driver session that may block.

    What exists is left alone, so that workers need no right to create, and so that several that start at once do not
    create one table twice, of which Cassandra is not always safe.
    """
    keyspaces = session.cluster.metadata.keyspaces
    if options.keyspace not in keyspaces:
        statement = create_keyspace(options.keyspace, options.replication)
        if not options.create_keyspace:
            raise StoreMisconfigured(
                f"{options.where}: the keyspace does not exist and may not be created by the settings; create it, "
                f"e.g. with: {statement}"
            )
        planned = options.replication
        refuse_weak_consistency(options, planned if isinstance(planned, int) else sum(planned.values()))
        session.execute(statement, timeout=DDL_TIMEOUT_S)
        session.cluster.refresh_keyspace_metadata(options.keyspace)  # another worker may have been the one to create it
    refuse_weak_consistency(options, copies_of(keyspaces[options.keyspace].replication_strategy))
    for table in TABLES:
        if table not in keyspaces[options.keyspace].tables:
            session.execute(create_table(options.keyspace, table), timeout=DDL_TIMEOUT_S)


def refuse_weak_consistency(options: CassandraOptions, copies: int | None) -> None:
    """A read that may miss the last save would let a new owner build on an old profile, and lose events."""
    if options.consistency in WEAK and copies != 1:
        raise StoreMisconfigured(
            f"{options.where} keeps {copies or 'an unknown number of'} copies of each row, and consistency "
            f"{options.consistency} may read one that misses the last save: set LOCAL_QUORUM."
        )


def copies_of(strategy: Any) -> int | None:
    """Copies of each row over all datacentres; None if the strategy does not say."""
    centres = getattr(strategy, "dc_replication_factors", None)
    if centres is not None:
        return int(sum(centres.values()))
    copies = getattr(strategy, "replication_factor", None)
    return None if copies is None else int(copies)
