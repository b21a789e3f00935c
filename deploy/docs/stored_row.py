"""The page of the stored row, from the stores' tables, the row format and the columns of a profile."""

import sqlite3
from typing import Any, Final

import msgspec
import numpy as np

from deploy.docs import markdown
from deploy.docs.markdown import table
from schemas.events import EVENT_TYPES
from schemas.recommendation import REASON_KINDS
from streams.checkpoint.stored_profile import FORMAT, Counters, EncoderSums, EventLog, ProfileState, RecommendedList
from streams.settings import Settings
from streams.state.profile_columns import CORE_COLUMNS, ProfileColumn
from streams.state.profile_shape import ProfileShape
from streams.state.user_actions import UserActions
from streams.state.version_sums import KEPT
from streams.stores.cassandra_schema import TABLES
from streams.stores.sqlite_sql import SCHEMA
from streams.worker.feature_table import features_of

INTRO = """\
A profile is one row of the table `profiles`. The row holds the latest events one by one, decayed sums of item vectors
for everything older, purchases, the ids of events seen, counters, the list that was recommended last (hashes and
reasons), and three preference vectors. Whoever builds segments or audiences on Cassandra reads the vectors as they
are.

Readers may rely on these rules:

- Columns and fields are only ever added, never renamed or removed. A row that an older release wrote lacks the newer
  fields.
- Numbers in `blob` columns are little-endian, arrays without a header: `float32` needs 4 bytes a number.
- An id of an item, an event or a recommendation is stored as a hash: XXH3 with 64 bits, of the id in UTF-8.
- Times are UTC milliseconds.
- Only workers write rows. A row that another program writes breaks the counting.

The keyspace is `prefstream`, or `NAMESPACE_prefstream`. The SQLite file is the one that the setting
[`store.path`](settings.md#store) names. Why a row can't be overwritten by a worker that has lost its partitions is in
[Exactly once](../explanation/exactly-once.md)."""

VECTORS = """\
The three vectors have as many numbers as the encoder's item vectors. Each is of unit length, or all zero while the
user's taste is unknown, as no item of the user's events has a vector yet. What they stand for is in [Recents and
sums](../explanation/recents-and-sums.md).

The row of a forgotten user keeps the counters, the applied offsets and `forgotten_ms` only. It expires once no input
can hold an event from before ([Forget a user](../how-to/forget-a-user.md#what-happens-to-the-data))."""

EXAMPLE = """\
To read the rows of a Cassandra cluster in Python:

<!-- not run: needs rows of your own in Cassandra -->
```python
import msgspec
import numpy as np
from cassandra.cluster import Cluster

with Cluster(["cassandra-1"], port=9042) as cluster:
    session = cluster.connect("prefstream")
    for row in session.execute("SELECT user_id, encoder, mixed, state FROM profiles"):
        mixed = np.frombuffer(row.mixed, "<f4")
        state = msgspec.msgpack.decode(row.state)
        times_ms = np.frombuffer(state["recents"]["times"], "<i8")
        print(row.user_id, row.encoder, mixed.shape, times_ms.max(initial=0), state["counters"]["applied"])
```"""

PROFILES: Final = {
    "user_id": "Id of the user, as in the events.",
    "partition": "Partition of the inputs to which the user's events hash.",
    "version": "Version of the row: `term << 32 | save number`. The term is that of the worker that saved the row; the "
    "save number counts the saves of a worker. The row of the largest version is the newest.",
    "state": "All other state of the user: see [The field `state`](#the-field-state).",
    "short_term": "Preference vector of the latest events, `float32`.",
    "long_term": "Preference vector of the older events, `float32`.",
    "mixed": "Preference vector that ranks items, `float32`.",
    "encoder": "Encoder version whose vector space the three preference vectors belong to.",
    "expires_at_s": "Seconds since 1970 at which the row of a forgotten user expires; 0: never. Cassandra has a "
    "time to live (TTL) instead. Where `state` is NULL, the row is deleted, and this is the time of the deletion.",
}
OTHER_TABLES: Final = {
    "terms": (
        "The counter of terms. A term is a fencing token: each assignment of partitions takes the next number.",
        {"name": "Always `global`.", "term": "The last term that was taken."},
    ),
    "owners": (
        "Who owns each partition of the inputs. A negative partition is a note of what newer workers have begun: minus "
        "the contract that knows it, with a sentence on what has to be drained before an older release may start.",
        {
            "partition": "Number of the partition; or minus a contract.",
            "term": "The largest term that was taken for the partition; 0 in a note.",
            "worker": "Name of the worker that took the term: an id, which a worker draws at each start, a slash, and "
            "the worker's contract. A name without a contract is of a release that does not tell it. In a note, the "
            "sentence.",
        },
    ),
    "trending": (
        "Counts of popular items, so that a new owner of a partition continues them.",
        {
            "partition": "Number of the partition.",
            "version": "As in `profiles`.",
            "state": "A [trending-counts](topics.md#trending-counts) message, in JSON.",
        },
    ),
}

STATE: Final = {
    "format": ("integer", f"Format of the fields, now {FORMAT}. It grows when the meaning of a field changes."),
    "recents": ("[event log](#event-log)", "The latest `profiles.history` events, the newest first."),
    "pending": (
        "[event log](#event-log)",
        "Events that have left the recents and wait for the vector of their item, up to `profiles.pending`.",
    ),
    "sums": (
        "list of [sums](#sums)",
        f"Decayed sums of item vectors: an entry for the active encoder version, and up to {KEPT} for other "
        "versions. The entries hold different events; together they hold all events that have left the recents.",
    ),
    "purchased_items": (
        "bytes, `uint64`",
        "Hashes of the purchased items, each once, the latest first, up to `profiles.purchases`. Rows of earlier "
        "releases hold an item again for each purchase.",
    ),
    "purchased_times": ("bytes, `int64`", "Time of each item's latest purchase."),
    "seen_ids": (
        "bytes, `uint64`",
        "[Identities](#identities) of the latest `profiles.duplicate_window` records, the oldest first. Entries that "
        "earlier releases wrote are hashes of event ids.",
    ),
    "fences": (
        "list of [topic, topic id, partition, next offset]",
        "The applied offset of each log: events of the log below it are in the profile. A log is one partition of a "
        "topic with one topic id; a topic that is created again has another id.",
    ),
    "firsts": (
        "list of integers",
        "For each entry of `fences`: the first offset of the span that ends there. Over this path, the log has brought "
        "every event of the user in the span. -1: unknown.",
    ),
    "paths": (
        "list of strings",
        "For the last entries of `fences`: the path of rerouted events, as the partition counts by which each worker "
        "on it chose the partition (`4>8`).",
    ),
    "days": (
        "list of integers",
        "For the last entries of `fences`: the day since 1970 when the log's last record was received. 0: unknown.",
    ),
    "counters": ("[counters](#counters)", "Counts of the user's events."),
    "sent_on": (
        "list of [topic, topic id, partition, offsets]",
        "For each log from which events were rerouted: the offsets of the last 64 that were applied. Only rows of "
        "release 0.1.0 have any.",
    ),
    "spans": (
        "list of [topic, topic id, partition, [first, end, ...]]",
        "Spans that ended when the input topics grew.",
    ),
    "partition_count": ("integer", "Partitions of each input when the row was saved. 0: unknown."),
    "forgotten_ms": (
        "integer",
        "Kafka's time of the last command to forget the user. Events that were written up to then only count in the "
        "counters. 0: never forgotten.",
    ),
    "actions": ("[actions](#actions) or nil", "Refunds, hidden items and consents of the user."),
    "offered": ("[recommended list](#recommended-list) or nil", "The list that was recommended last."),
    "taken_items": ("bytes, `uint64`", "Hashes of recommended items that the user visited, the oldest first."),
    "taken_reasons": ("bytes, `uint8`", "Reason code of each visited item, as in the recommended list."),
}
EVENT_LOG: Final = {
    "items": ("bytes, `uint64`", "Hashes of the item ids."),
    "types": (
        "bytes, `uint8`",
        f"Event types: {', '.join(f'{code} {name}' for code, name in enumerate(EVENT_TYPES))}.",
    ),
    "times": ("bytes, `int64`", "Event times."),
    "ids": (
        "bytes, `uint64`",
        "[Identities](#identities) of the events. Entries that earlier releases wrote are hashes of event ids.",
    ),
    "written": ("bytes, `int64`", "Kafka's times of the events. Rows of release 0.1.0 and pending events lack it."),
}
SUMS: Final = {
    "encoder": ("text", "Encoder version in whose vector space the sums are."),
    "sums": (
        "bytes, `float32`",
        "T sums of d numbers each: a sum for each half-life of the encoder, one after another.",
    ),
    "mass": ("bytes, `float32`", "Total weight of each sum, T numbers."),
    "time_ms": ("integer", "Time to which the sums are decayed."),
}
COUNTERS: Final = {
    "applied": ("list of integers", f"Applied events by type: {', '.join(EVENT_TYPES)}."),
    "duplicates": ("integer", "Events that were dropped as duplicates."),
    "pending_dropped": ("integer", "Events that were dropped because `pending` was full."),
}
ACTIONS: Final = {
    "time_ms": ("integer", "time of the latest action (UTC ms)"),
    "refunds": ("map", "hash of a refunded item → its latest refund: time, Kafka's time (UTC ms)"),
    "hidden_items": ("map", "hash of a hidden item → time, Kafka's time, and until when it is hidden (UTC ms)"),
    "hidden_labels": ("map", "the same by the hash of `brand=NAME` or `category=NAME`"),
    "consents": ("map", "purpose → time, Kafka's time (UTC ms), and whether the consent is given"),
    "pending": (
        "array",
        "refunds and removals from the cart that wait for their item's vector: hash of the item, type of the event "
        "that is taken back, time (UTC ms), identity",
    ),
}
RECOMMENDED: Final = {
    "items": ("bytes, `uint64`", "Hashes of the item ids, the best first."),
    "reasons": (
        "bytes, `uint8`",
        f"Reason code of each item: {', '.join(f'{code} {name}' for code, name in enumerate(REASON_KINDS, 1))}.",
    ),
    "id": ("integer", "Hash of the recommendation's id."),
    "encoder": ("text", "Encoder version that made the list."),
}

FIELD_OF: Final = {
    "items": "`recents.items`",
    "types": "`recents.types`",
    "times": "`recents.times`",
    "ids": "`recents.ids`",
    "written": "`recents.written`",
    "sums": "`sums[].sums`",
    "total_weight": "`sums[].mass`",
    "sums_time": "`sums[].time_ms`",
    "preferences": "`short_term`, `long_term`, `mixed` of the row",
    "seen": "`seen_ids`",
    "seen_count": "length of `seen_ids`",
    "purchased_items": "`purchased_items`",
    "purchased_times": "`purchased_times`",
    "recommended_items": "`offered.items`",
    "recommended_reasons": "`offered.reasons`",
    "recommendation_id_hash": "`offered.id`",
    "recommended_by": "`offered.encoder`",
    "applied": "`counters.applied`",
    "duplicates": "`counters.duplicates`",
    "pending_dropped": "`counters.pending_dropped`",
    "applied_offsets": "`fences`",
    "first_offsets": "`firsts`",
    "partition": "`partition` of the row",
    "term": "`version` of the row",
    "forgotten": "expiry of the row",
    "forgotten_ms": "`forgotten_ms`",
}
"""Where the row keeps each saved column of the core."""

IDENTITIES = """\
An event is recognised by its id, its type and its set of items. Its identity is a number of 64 bits:
`mix(event + (type + 1) * 0x9E3779B97F4A7C15) + items`, modulo 2^64. `event` is the hash of the event id, `type` the
event type as in the event log, `items` the sum of the hashes of its item ids, and `mix` the finaliser of SplitMix64:
`x ^= x >> 30; x *= 0xBF58476D1CE4E5B9; x ^= x >> 27; x *= 0x94D049BB133111EB; x ^= x >> 31`.

`seen_ids` hold the identities of records: of an order with all of its items. The event log holds those of lines: of an
order each line with its own item."""

COLUMNS = """\
A worker holds the profiles of active users in arrays with an entry for each user; `streams/state/profile_columns.py`
declares them. A column "of the encoder" starts blank when another encoder version becomes active. A feature adds
columns of its own, each with its own field in `state`. The sizes are:

{sizes}"""

SHAPE: Final = {
    "history": ("L", "`profiles.history`"),
    "dimension": ("d", "length of an item vector, from the encoder"),
    "half_lives": ("T", "number of half-lives, from the encoder"),
    "duplicate_window": ("D", "`profiles.duplicate_window`"),
    "purchases": ("M", "`profiles.purchases`"),
    "recommended": ("k", "`ranking.k`"),
    "logs": ("logs", "logs of the user's own partition"),
}


def page() -> str:
    """Return the text of the page."""
    columns = [*CORE_COLUMNS, *(column for feature in _features() for column in feature.columns)]
    own_fields = [str(column.field) for column in columns if column.field]
    assert set(own_fields) <= set(STATE), "a feature stores a field that this page does not explain"
    sizes = "\n".join(f"- {symbol}: {meaning}" for symbol, meaning in SHAPE.values())
    return markdown.page(
        "The stored row",
        INTRO,
        "## The table `profiles`",
        _table("profiles", PROFILES),
        VECTORS,
        EXAMPLE,
        "## The field `state`",
        "`state` is a MessagePack map. A reader must ignore fields that it does not know.",
        _fields(ProfileState, STATE),
        "### Event log",
        "Parallel arrays: the same number of entries in each.",
        _fields(EventLog, EVENT_LOG),
        "### Identities",
        IDENTITIES,
        "### Sums",
        _fields(EncoderSums, SUMS),
        "### Counters",
        _fields(Counters, COUNTERS),
        "### Actions",
        "Fields that are empty are left out.",
        _fields(UserActions, ACTIONS),
        "### Recommended list",
        _fields(RecommendedList, RECOMMENDED),
        "## The other tables",
        *(
            part
            for name, (text, meanings) in OTHER_TABLES.items()
            for part in (f"### `{name}`", text, _table(name, meanings))
        ),
        "## The columns of a profile in memory",
        COLUMNS.format(sizes=sizes),
        table(
            ("column", "type", "size", "in the row", "kept when forgotten", "of the encoder"),
            [_column(column, columns) for column in columns],
        ),
    )


def _features() -> list[Any]:
    return features_of(Settings.model_construct())


def _table(name: str, meanings: dict[str, str]) -> str:
    """Return the columns of a table in both stores."""
    cassandra = dict(part.split()[:2] for part in TABLES[name].split(", "))
    sqlite = _sqlite_columns(name)
    assert meanings.keys() == cassandra.keys() | sqlite.keys(), f"the meanings of {name} do not fit its columns"
    rows = [
        (f"`{column}`", cassandra.get(column, ""), sqlite.get(column, ""), meaning)
        for column, meaning in meanings.items()
    ]
    return table(("column", "Cassandra", "SQLite", "meaning"), rows)


def _sqlite_columns(name: str) -> dict[str, str]:
    database = sqlite3.connect(":memory:")
    try:
        for statement in SCHEMA:
            database.execute(statement)
        return {column: kind for _, column, kind, *_ in database.execute(f"PRAGMA table_info({name})")}
    finally:
        database.close()


def _fields(struct: type[msgspec.Struct], meanings: dict[str, tuple[str, str]]) -> str:
    assert list(meanings) == [field.name for field in msgspec.structs.fields(struct)], struct.__name__
    return table(("field", "type", "meaning"), [(f"`{name}`", *meaning) for name, meaning in meanings.items()])


def _column(column: ProfileColumn, columns: list[ProfileColumn]) -> tuple[str, ...]:
    return (
        f"`{column.name}`",
        f"`{np.dtype(column.dtype).name}`",
        _size(column),
        _place(column, columns),
        "yes" if column.kept_when_forgotten else "",
        "yes" if column.of_encoder else "",
    )


def _place(column: ProfileColumn, columns: list[ProfileColumn]) -> str:
    """Return where the row keeps a column; nothing for a column that is not stored."""
    if column.field:
        return f"`{column.field}`"
    rings = [other for other in columns if other.ring_count == column.name]
    if rings:
        return f"length of `{rings[0].field}`"
    return FIELD_OF[column.name] if column.saved else ""


def _size(column: ProfileColumn) -> str:
    """Return the shape of a user's entry, in the letters of `SHAPE`."""
    names = list(SHAPE)
    numbers = {name: 1_000_000 + index for index, name in enumerate(names)}  # no real size is so large
    sizes = column.shape(ProfileShape(**numbers))
    return " × ".join(SHAPE[names[size - 1_000_000]][0] if size >= 1_000_000 else str(size) for size in sizes) or "1"
