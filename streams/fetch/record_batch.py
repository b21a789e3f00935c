"""The result of a fetch: consecutive records of one topic-partition, undecoded.

Does not import Faust or aiokafka.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field

import msgspec

Headers = tuple[tuple[str, bytes | None], ...]


class Record(msgspec.Struct, gc=False):
    """A lighter `aiokafka.ConsumerRecord`, undecoded: only the fields that prefstream reads."""

    topic: str
    partition: int
    offset: int
    timestamp: int | None  # UTC ms, -1 = unknown
    timestamp_type: int | None
    key: bytes | None
    value: bytes | None
    headers: Headers


NO_EPOCH = -1
"""The epoch of a batch that must not be processed."""


@dataclass(eq=False)
class RecordBatch:
    """One or more consecutive records of one topic-partition, undecoded."""

    tp: tuple[str, int]
    """Topic and partition of every record."""
    records: list[Record]
    epoch: int = 0
    """The assignment under which the batch was fetched; its results must not be used under another assignment."""
    on_ack: Callable[[tuple[str, int]], None] | None = None
    """Called with ``tp`` when the batch is acked."""
    received_ms: int = field(default_factory=lambda: time.time_ns() // 1_000_000)
    """When this process received the batch, UTC ms."""
    acked: bool = field(default=False, init=False)
    """Whether `ack` was called."""

    def ack(self) -> None:
        """Mark the batch as done; its offsets are committed once all earlier batches of the partition are done too."""
        self.acked = True
        if self.on_ack is not None:
            self.on_ack(self.tp)

    @property
    def topic(self) -> str:
        """Topic of every record."""
        return str(self.tp[0])

    @property
    def partition(self) -> int:
        """Partition of every record."""
        return int(self.tp[1])

    @property
    def first_offset(self) -> int:
        """Offset of the first record."""
        return int(self.records[0].offset)

    @property
    def last_offset(self) -> int:
        """Offset of the last record."""
        return int(self.records[-1].offset)

    def __len__(self) -> int:
        return len(self.records)
