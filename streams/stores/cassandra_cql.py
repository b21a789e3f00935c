"""The statements of the Cassandra store; ``{}`` stands for the keyspace.

A row is written ``USING TIMESTAMP`` of its version, with all its columns: so the cluster keeps the row of the largest
version, in whatever order writes arrive. ``terms`` and ``owners`` are written only by lightweight transactions. These
have timestamps of their own, and must not be mixed with plain writes.
"""

_COLUMNS = "user_id, partition, version, state, short_term, long_term, mixed, encoder"

SAVE = f"INSERT INTO {{}}.profiles ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?) USING TIMESTAMP ? AND TTL ?"
DELETE = "DELETE FROM {}.profiles USING TIMESTAMP ? WHERE user_id = ?"
LOAD = f"SELECT {_COLUMNS}, TTL(state) FROM {{}}.profiles WHERE user_id IN ?"
SCAN = f"SELECT {_COLUMNS}, TTL(state) FROM {{}}.profiles"

READ_TERM = "SELECT term FROM {}.terms WHERE name = 'global'"
FIRST_TERM = "INSERT INTO {}.terms (name, term) VALUES ('global', ?) IF NOT EXISTS"
NEXT_TERM = "UPDATE {}.terms SET term = ? WHERE name = 'global' IF term = ?"

READ_NUMBER = "SELECT term FROM {}.terms WHERE name = ?"
FIRST_NUMBER = "INSERT INTO {}.terms (name, term) VALUES (?, ?) IF NOT EXISTS"
RAISE_NUMBER = "UPDATE {}.terms SET term = ? WHERE name = ? IF term = ?"

READ_OWNER = "SELECT partition, term, worker FROM {}.owners WHERE partition = ?"
ALL_OWNER_TERMS = "SELECT term FROM {}.owners"
ALL_OWNERS = "SELECT partition, worker FROM {}.owners"
FIRST_OWNER = "INSERT INTO {}.owners (partition, term, worker) VALUES (?, ?, ?) IF NOT EXISTS"
NEXT_OWNER = "UPDATE {}.owners SET term = ?, worker = ? WHERE partition = ? IF term = ?"

# A note of what has begun is kept as the owner of partition -contract, because the stores of former releases have no
# table for it, and workers may lack the right to create one. Its term is 0, so that it never counts as a term.
BEGIN = "INSERT INTO {}.owners (partition, term, worker) VALUES (?, 0, ?) IF NOT EXISTS"
END = "DELETE FROM {}.owners WHERE partition = ? IF EXISTS"

SAVE_TRENDING = "INSERT INTO {}.trending (partition, version, state) VALUES (?, ?, ?) USING TIMESTAMP ?"
LOAD_TRENDING = "SELECT partition, state FROM {}.trending WHERE partition IN ?"

SERIAL_READS = (READ_TERM, READ_NUMBER, READ_OWNER)
CONDITIONAL = (FIRST_TERM, NEXT_TERM, FIRST_NUMBER, RAISE_NUMBER, FIRST_OWNER, NEXT_OWNER, BEGIN, END)
ALL = (SAVE, DELETE, LOAD, SCAN, ALL_OWNER_TERMS, ALL_OWNERS, SAVE_TRENDING, LOAD_TRENDING, *SERIAL_READS, *CONDITIONAL)
