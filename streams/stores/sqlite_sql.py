"""The tables and statements of the SQLite store.

``LOAD``, ``LOAD_TRENDING`` and ``OWNERS`` end in the name of the key column: the store adds ``IN (...)``.
"""

# Narrow columns come first, because SQLite reads a row's overflow pages only up to the last column that it needs.
SCHEMA = (
    """CREATE TABLE profiles (
        user_id TEXT PRIMARY KEY, partition INTEGER NOT NULL, version INTEGER NOT NULL,
        expires_at_s INTEGER NOT NULL,  -- since 1970; 0 = never
        encoder TEXT, short_term BLOB, long_term BLOB, mixed BLOB,
        state BLOB  -- NULL: deleted, then expires_at_s is the time of it
    )""",
    "CREATE INDEX profiles_expiring ON profiles (expires_at_s) WHERE expires_at_s > 0",
    "CREATE TABLE terms (name TEXT PRIMARY KEY, term INTEGER NOT NULL)",
    "CREATE TABLE owners (partition INTEGER PRIMARY KEY, term INTEGER NOT NULL, worker TEXT NOT NULL)",
    "CREATE TABLE trending (partition INTEGER PRIMARY KEY, version INTEGER NOT NULL, state BLOB NOT NULL)",
)
# a table of its own: release 0.1.0 reads all of `terms` for the global one
NUMBERS = "CREATE TABLE IF NOT EXISTS numbers (name TEXT PRIMARY KEY, number INTEGER NOT NULL)"
PURGE = "DELETE FROM profiles WHERE expires_at_s > 0 AND expires_at_s < ?"
SAVE = """
INSERT INTO profiles (user_id, partition, version, state, short_term, long_term, mixed, encoder, expires_at_s)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (user_id) DO UPDATE SET partition = excluded.partition, version = excluded.version,
    state = excluded.state, short_term = excluded.short_term, long_term = excluded.long_term,
    mixed = excluded.mixed, encoder = excluded.encoder, expires_at_s = excluded.expires_at_s
WHERE excluded.version > profiles.version
"""
DELETE = """
INSERT INTO profiles (user_id, partition, version, expires_at_s) VALUES (?, 0, ?, ?)
ON CONFLICT (user_id) DO UPDATE SET version = excluded.version, state = NULL, short_term = NULL, long_term = NULL,
    mixed = NULL, encoder = NULL, expires_at_s = excluded.expires_at_s
WHERE excluded.version >= profiles.version
"""
LOAD = """
SELECT user_id, partition, version, state, short_term, long_term, mixed, encoder,
    CASE expires_at_s WHEN 0 THEN 0 ELSE expires_at_s - ? END
FROM profiles WHERE state IS NOT NULL AND (expires_at_s = 0 OR expires_at_s > ?) AND user_id
"""
SCAN = f"{LOAD} > ? ORDER BY user_id LIMIT ?"
LOAD_TRENDING = "SELECT partition, state FROM trending WHERE partition"
OWNERS = "SELECT partition, term, worker FROM owners WHERE partition"
# Never below the term of an owner, in case somebody emptied the table of terms.
LAST_TERM = "SELECT max(coalesce((SELECT max(term) FROM owners), 0), coalesce((SELECT term FROM terms), 0))"
TAKE_TERM = "INSERT OR REPLACE INTO terms (name, term) VALUES ('global', ?)"
OWN = """
INSERT INTO owners (partition, term, worker) VALUES (?, ?, ?)
ON CONFLICT (partition) DO UPDATE SET term = excluded.term, worker = excluded.worker WHERE excluded.term > owners.term
"""
RAISE_NUMBER = """
INSERT INTO numbers (name, number) VALUES (?, ?)
ON CONFLICT (name) DO UPDATE SET number = max(number, excluded.number)
"""
READ_NUMBER = "SELECT number FROM numbers WHERE name = ?"
# A note of what has begun is kept as the owner of partition -contract, because the stores of former releases have no
# table for it. Its term is 0, so that it never counts as a term.
BEGIN = "INSERT INTO owners (partition, term, worker) VALUES (?, 0, ?) ON CONFLICT (partition) DO NOTHING"
BEGUN = "SELECT -partition, worker FROM owners WHERE partition < 0 ORDER BY partition DESC"
END = "DELETE FROM owners WHERE partition = ?"
SAVE_TRENDING = """
INSERT INTO trending (partition, version, state) VALUES (?, ?, ?)
ON CONFLICT (partition) DO UPDATE SET version = excluded.version, state = excluded.state
WHERE excluded.version > trending.version
"""
