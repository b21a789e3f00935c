"""Events as arrays: the result of decoding, and all that the update of profiles and the ranking know of events."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from streams.arrays import Int64Array, IntpArray, UInt64Array
from streams.kafka.log_id import LogId


@dataclass(frozen=True, kw_only=True)
class EventBatch:
    """B events in order of arrival; every array has shape (B,)."""

    user_ids: list[str]
    item_ids: list[str]
    event_ids: list[str]
    items: UInt64Array  # hashes of item_ids
    ids: UInt64Array  # hashes of event_ids
    types: NDArray[np.uint8]  # indices in EVENT_TYPES
    times: Int64Array  # event times, UTC ms
    written: Int64Array  # Kafka timestamps of the records, UTC ms
    received: Int64Array  # when this process received the records, UTC ms
    sources: list[LogId]
    source: IntpArray  # indices in sources: the log that each event was first written to
    offsets: Int64Array  # offset in that log
    recommendations: UInt64Array  # hashes of the recommendation_ids that events carry, 0 = none

    def __len__(self) -> int:
        return len(self.user_ids)

    def take(self, indices: list[int]) -> "EventBatch":
        """Return the events at these indices."""
        chosen = np.array(indices, np.intp)
        return EventBatch(
            user_ids=[self.user_ids[i] for i in indices],
            item_ids=[self.item_ids[i] for i in indices],
            event_ids=[self.event_ids[i] for i in indices],
            items=self.items[chosen],
            ids=self.ids[chosen],
            types=self.types[chosen],
            times=self.times[chosen],
            written=self.written[chosen],
            received=self.received[chosen],
            sources=self.sources,
            source=self.source[chosen],
            offsets=self.offsets[chosen],
            recommendations=self.recommendations[chosen],
        )


@dataclass(frozen=True, kw_only=True)
class CommandBatch:
    """Profile commands in order of arrival."""

    user_ids: list[str] = field(default_factory=list)
    commands: list[str] = field(default_factory=list)
    sources: list[LogId] = field(default_factory=list)
    offsets: list[int] = field(default_factory=list)
    written: list[int] = field(default_factory=list)
    """Kafka timestamps of the records, UTC ms."""

    def __len__(self) -> int:
        return len(self.user_ids)
