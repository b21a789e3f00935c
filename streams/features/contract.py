"""What a feature declares, what it is told, and what it gives back."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from streams.arrays import Float32Array, Int64Array, IntpArray, UInt64Array
from streams.decode.event_batch import EventBatch
from streams.monitoring.metrics import Metrics
from streams.rank.exclusions import Exclusions
from streams.rank.loaded_encoder import ActiveEncoder
from streams.settings import Settings
from streams.state.profile_columns import ProfileColumn
from streams.state.state import State


@dataclass(frozen=True, kw_only=True)
class RecordToWrite:
    """A record that a feature wants on a topic of its own."""

    topic: str
    """Without the namespace; one of the feature's ``topics``."""
    key: str
    value: bytes | None
    """None is a tombstone."""


@dataclass(frozen=True, kw_only=True)
class AppliedEvents:
    """A micro-batch that is in the profiles now."""

    events: EventBatch  # B events
    slots: IntpArray  # (B,), the slot of each event's user
    applied: IntpArray  # (n,), indexes of the events that count; the others were replayed, repeated or forgotten


@dataclass(frozen=True, kw_only=True)
class RecommendedLists:
    """The lists that B users are given now."""

    slots: IntpArray  # (B,), each user once
    rows: Int64Array  # (B, k), rows of the index, best first, -1 behind the last item
    reasons: NDArray[np.uint8]  # (B, k), codes, 0 behind the last item
    id_hashes: UInt64Array  # (B,), hashes of the recommendation ids
    user_vectors: Float32Array  # (B, d), zero where the taste is unknown


class FeatureWork(Protocol):
    """A feature at work in one worker. All calls come with the state lock held, one at a time."""

    def before(self, events: EventBatch, slots: IntpArray) -> None:
        """Look at B events before they change the profiles."""
        ...

    def applied(self, batch: AppliedEvents) -> Sequence[RecordToWrite]:
        """Follow a micro-batch that has changed the profiles."""
        ...

    def recommended(self, lists: RecommendedLists) -> Sequence[RecordToWrite]:
        """Follow lists that are about to be sent."""
        ...

    def publish(self) -> None:
        """Set gauges and count what waits to be counted; called about once a second."""
        ...


@dataclass(frozen=True, kw_only=True)
class FeatureContext:
    """What a worker gives a feature to begin with."""

    settings: Settings
    state: State
    active: ActiveEncoder
    exclusions: Exclusions
    metrics: Metrics


@dataclass(frozen=True, kw_only=True)
class Feature:
    """What a folder exports: the columns and topics that it needs, and how it begins."""

    name: str
    """Names its stage in ``prefstream_stage_seconds``."""
    start: Callable[[FeatureContext], FeatureWork]
    columns: tuple[ProfileColumn, ...] = ()
    topics: tuple[str, ...] = ()
