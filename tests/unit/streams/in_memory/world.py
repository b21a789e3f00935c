"""A shop in memory: logs, a group and a store, around workers that move one step at a time.

No clock, no thread, no network: a step is some turns of the event loop, and everything outside (the store, Kafka's
confirmations, who owns what) does what the test says, when it says it.
"""

import asyncio
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import msgspec
from faust.types import TP

from schemas.events import EVENT_CLASSES, OrderLine
from streams.checkpoint.stored_profile import ProfileState, decode_state
from streams.decode.partitioner import partitions_of
from streams.kafka.log_id import LogId
from streams.kafka.topics import TopicNames
from streams.state.profile_shape import ProfileShape
from tests.unit.streams.profile_model import DIMENSION

if TYPE_CHECKING:
    from tests.unit.streams.in_memory.worker import SimWorker

from tests.unit.streams.in_memory.store import MemoryStore

NAMES = TopicNames()
# a window that no repeat falls out of, however the topics are read in turns
SHAPE = ProfileShape(history=3, dimension=DIMENSION, half_lives=2, duplicate_window=500, purchases=2, pending=1_000)
PARTITIONS = 2
START_MS = 1_700_000_000_000
"""Kafka's time of the first record."""
BASE_MS = START_MS - 1_000_000
"""The time of an event of time 0."""
ENCODER = "v1"
EVENT_TOPICS = ("clicks", "browses", "purchases")
ITEMS = ("red", "green", "blue", "grey")
MICRO_BATCH_RECORDS = 5
"""Records of a micro-batch: some batches are larger, and some micro-batches are of several batches."""
ROWS_AT_ONCE = 2
"""Of a save: some take several calls of the store."""
TOMBSTONES_AFTER_S = 20.0
"""Seconds between the two tombstones of a user who is forgotten."""
TURNS = 60
"""Turns of the loop that finish whatever is not waiting for the outside."""


def right_partition(user: str) -> int:
    return int(partitions_of([user], PARTITIONS, "murmur2")[0])


async def turns(count: int = TURNS) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


@dataclass
class World:
    """The outside of the workers."""

    loop: asyncio.AbstractEventLoop
    store: MemoryStore = field(default_factory=MemoryStore)
    logs: defaultdict[TP, list[Any]] = field(default_factory=lambda: defaultdict(list))
    committed: defaultdict[TP, int] = field(default_factory=lambda: defaultdict(int))
    owner: dict[int, "SimWorker"] = field(default_factory=dict)
    sent: dict[str, tuple[str, int, int]] = field(default_factory=dict)  # event id -> user, type, lines
    workers: list["SimWorker"] = field(default_factory=list)
    now_s: float = 0.0
    """What the workers' clocks say; they stand still."""

    def __post_init__(self) -> None:
        topics = {name: SimpleNamespace(error=None, partitions=range(PARTITIONS)) for name in NAMES.inputs}
        self.admin: Any = SimpleNamespace(list_topics=lambda *_, **__: SimpleNamespace(topics=topics))

    def member(self, worker: "SimWorker", partition: int) -> bool:
        return self.owner.get(partition) is worker

    def append(self, tp: TP, value: bytes | None, headers: tuple[Any, ...] = ()) -> None:
        offset = self.logs[tp][-1].offset + (2 if len(self.logs[tp]) % 3 == 0 else 1) if self.logs[tp] else 0
        self.logs[tp].append(
            SimpleNamespace(
                topic=tp.topic,
                partition=tp.partition,
                offset=offset,
                timestamp=START_MS + sum(map(len, self.logs.values())),  # no two at once
                timestamp_type=0,
                key=None,
                value=value,
                headers=headers,
            )
        )

    def produce(
        self,
        user: str,
        kind: int,
        time_ms: int,
        event_id: str | None = None,
        misplaced: bool = False,
        lines: Sequence[str] = (),
    ) -> str:
        name = event_id or f"e{len(self.sent)}"
        self.sent.setdefault(name, (user, kind, max(1, len(lines))))
        items: Any = (
            {"items": [OrderLine(item_id=item) for item in lines]} if lines else {"item_id": ITEMS[time_ms % 4]}
        )
        event = EVENT_CLASSES[kind](event_id=name, user_id=user, event_time_ms=BASE_MS + time_ms, **items)
        right = right_partition(user)
        partition = (right + 1) % PARTITIONS if misplaced else right
        self.append(TP(EVENT_TOPICS[kind], partition), msgspec.json.encode(event))
        return name

    def log_end(self, log_id: LogId, _: int) -> int:
        """An end that no applied offset is beyond."""
        return len(self.logs[TP(log_id.topic, log_id.partition)]) * 2 + 1

    def states(self) -> dict[str, ProfileState]:
        return {user: decode_state(row.state, user) for user, row in self.store.rows.items()}

    def records_of(self, user: str) -> int:
        """Number of records that count in the user's profile."""
        return sum(owner == user for owner, _, _ in self.sent.values())

    def expected(self) -> dict[str, list[int]]:
        counts: dict[str, list[int]] = {}
        for user, kind, lines in self.sent.values():
            counts.setdefault(user, [0, 0, 0])[kind] += lines
        return counts
