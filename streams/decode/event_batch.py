"""A batch of events as arrays: what decoding makes of records, and all that the update and the ranking see."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from streams.arrays import Int64Array, IntpArray, UInt64Array
from streams.kafka.log_id import LogId


@dataclass(frozen=True)
class EventBatch:
    """B events in order of arrival; every array has shape (B,)."""

    user_ids: list[str]
    item_ids: list[str]
    event_ids: list[str]
    items: UInt64Array  # hashes of item_ids
    ids: UInt64Array  # hashes of event_ids
    types: NDArray[np.uint8]  # places in EVENT_TYPES
    times: Int64Array  # event times, UTC ms
    written: Int64Array  # Kafka timestamps of the records, UTC ms
    received: Int64Array  # when this process had them, UTC ms
    sources: list[LogId]
    source: IntpArray  # place in sources: the log each event was first written to
    offsets: Int64Array  # offset in that log
    recommendations: UInt64Array  # hashes of the recommendation_ids that events carry, 0 = none

    def __len__(self) -> int:
        return len(self.user_ids)

    def take(self, places: list[int]) -> "EventBatch":
        """The events at these places."""
        chosen = np.array(places, np.intp)
        return EventBatch(
            user_ids=[self.user_ids[i] for i in places],
            item_ids=[self.item_ids[i] for i in places],
            event_ids=[self.event_ids[i] for i in places],
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


@dataclass(frozen=True)
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
