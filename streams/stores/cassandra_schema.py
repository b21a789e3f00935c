"""Creates the missing keyspace and tables of the Cassandra store, and refuses an unsafe consistency.

Does not import the driver.
"""

from typing import Any

from streams.stores.base import StoreMisconfigured
from streams.stores.cassandra_options import WEAK, CassandraOptions

DDL_TIMEOUT_S = 30.0  # all servers have to agree on a change of the schema
TABLES = {
    "profiles": "user_id text PRIMARY KEY, partition int, version bigint, state blob, short_term blob, long_term blob, "
    "mixed blob, encoder text",
    "terms": "name text PRIMARY KEY, term bigint",
    "owners": "partition int PRIMARY KEY, term bigint, worker text",
    "trending": "partition int PRIMARY KEY, version bigint, state blob",
}


def create_keyspace(keyspace: str, replication: dict[str, int] | int) -> str:
    """Return the statement that creates a keyspace.

    A single number as ``replication`` means: so many copies in each datacentre that the cluster has now.

    >>> create_keyspace("shop", {"paris": 3})
    "CREATE KEYSPACE IF NOT EXISTS shop WITH replication = {'class': 'NetworkTopologyStrategy', 'paris': 3}"
    """
    copies = replication if isinstance(replication, dict) else {"replication_factor": replication}
    options = "".join(", '{}': {:d}".format(name.replace("'", "''"), count) for name, count in copies.items())
    return (
        f"CREATE KEYSPACE IF NOT EXISTS {keyspace} WITH replication = {{'class': 'NetworkTopologyStrategy'{options}}}"
    )


def create_table(keyspace: str, table: str) -> str:
    """Return the statement that creates one of the ``TABLES``."""
    return f"CREATE TABLE IF NOT EXISTS {keyspace}.{table} ({TABLES[table]})"


def prepare_schema(session: Any, options: CassandraOptions) -> None:
    """Create the missing keyspace and tables through a driver session; blocks the calling thread.

    No statement is sent for a keyspace or table that exists. So workers need no right to create, and workers that start
    at once rarely create a table twice, which is not always safe in Cassandra.
    """
    keyspaces = session.cluster.metadata.keyspaces
    nodes = session.cluster.metadata.all_hosts()
    if options.keyspace not in keyspaces:
        statement = create_keyspace(options.keyspace, options.replication)
        if not options.create_keyspace:
            raise StoreMisconfigured(
                f"{options.where}: the keyspace does not exist, and the settings forbid to create it. Create it "
                f"yourself, e.g. with: {statement}"
            )
        refuse_copies(options, _planned_copies(options.replication, nodes), len(nodes))
        session.execute(statement, timeout=DDL_TIMEOUT_S)
        session.cluster.refresh_keyspace_metadata(options.keyspace)  # perhaps another worker created it
    refuse_copies(options, copies_of(keyspaces[options.keyspace].replication_strategy), len(nodes))
    for table in TABLES:
        if table not in keyspaces[options.keyspace].tables:
            session.execute(create_table(options.keyspace, table), timeout=DDL_TIMEOUT_S)


def refuse_copies(options: CassandraOptions, copies: int | None, nodes: int) -> None:
    """Raise `StoreMisconfigured` if reads may miss the last save, or if no quorum of the copies can answer.

    A new owner that misses a save would build on an old profile, and events would be lost.

    Parameters
    ----------
    copies : copies of each row in all datacentres; None if unknown
    nodes : nodes of the cluster, including those that are down
    """
    if options.consistency in WEAK and copies != 1:
        raise StoreMisconfigured(
            f"{options.where} keeps {copies or 'an unknown number of'} copies of each row, and consistency "
            f"{options.consistency} may read a copy that lacks the last save: set LOCAL_QUORUM."
        )
    quorum = 0 if copies is None else copies // 2 + 1
    if quorum > nodes:
        raise StoreMisconfigured(
            f"{options.where} keeps {copies} copies of each row, but the cluster has {nodes} "
            f"node{'' if nodes == 1 else 's'}: a quorum of {quorum} copies can never answer. Add nodes, or keep fewer "
            "copies: set store.cassandra.replication_factor, or, if the keyspace exists already, ALTER KEYSPACE."
        )


def _planned_copies(replication: dict[str, int] | int, nodes: list[Any]) -> int:
    """Return the copies of each row in all datacentres, if the keyspace is created."""
    if isinstance(replication, int):
        return replication * len({node.datacenter for node in nodes})
    return sum(replication.values())


def copies_of(strategy: Any) -> int | None:
    """Return the copies of each row in all datacentres together; None if the strategy does not say."""
    centres = getattr(strategy, "dc_replication_factors", None)
    if centres is not None:
        return int(sum(centres.values()))
    copies = getattr(strategy, "replication_factor", None)
    return None if copies is None else int(copies)
