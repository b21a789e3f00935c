"""Events as arrays: the result of decoding, and all that the update of profiles and the ranking know of events."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from schemas.actions import Action
from streams.arrays import BoolArray, Int64Array, IntpArray, UInt64Array
from streams.kafka.log_id import LogId


@dataclass(frozen=True, kw_only=True)
class EventBatch:
    """B events in order of arrival; every array has shape (B,).

    Each line of an order is an event. The lines of an order stand side by side.
    """

    user_ids: list[str]
    item_ids: list[str]
    event_ids: list[str]
    items: UInt64Array  # hashes of item_ids
    id_hashes: UInt64Array  # hashes of event_ids
    ids: UInt64Array  # identities of the events: see `schemas.ids`
    record_ids: UInt64Array  # identities of their records: as ids, but for the lines of an order
    continues: BoolArray  # True for the second line of an order and those behind it
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

    def first_lines(self, indices: IntpArray) -> IntpArray:
        """Return for each of these events the index of the first line of its record: of its own, if it is no order."""
        if not self.continues.any():
            return indices
        starts = np.flatnonzero(~self.continues)
        return starts[np.searchsorted(starts, indices, side="right") - 1]

    def take(self, indices: list[int]) -> "EventBatch":
        """Return the events at these indices: of an order, all lines or none."""
        chosen = np.array(indices, np.intp)
        return EventBatch(
            user_ids=[self.user_ids[i] for i in indices],
            item_ids=[self.item_ids[i] for i in indices],
            event_ids=[self.event_ids[i] for i in indices],
            items=self.items[chosen],
            id_hashes=self.id_hashes[chosen],
            ids=self.ids[chosen],
            record_ids=self.record_ids[chosen],
            continues=self.continues[chosen],
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
class ActionBatch:
    """B actions of users in order of arrival."""

    actions: list[Action]
    events: EventBatch
    """The actions as events, with indices in `schemas.actions.CAUSE_TYPES` as types. An action without an item has an
    empty item id; its ``items`` are hashes of `schemas.actions.thing_of`."""

    def __len__(self) -> int:
        return len(self.actions)

    def take(self, indices: list[int]) -> "ActionBatch":
        """Return the actions at these indices."""
        return ActionBatch(actions=[self.actions[index] for index in indices], events=self.events.take(indices))


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
