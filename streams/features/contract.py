"""Types of features: their declaration, the calls that they get, and the records that they return.

``tests/unit/streams/features/test_running.py`` has a small feature from its columns to its records.

- After a crash events are read again. Events that are in a profile are not applied again, but records that followed
  from an unsaved micro-batch are written again: the key and the value must make a repeat harmless.
- When a user is forgotten, the columns are cleared, but for those with ``kept_when_forgotten``. A feature that writes a
  record for each user has to withdraw it itself.
- The columns of a feature that is switched off are not in the rows that are saved from then on.
- A slot that an event or a list changes is saved without being asked for.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from schemas.contract import ContractChange
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
    """The topic without the namespace; one of the feature's ``topics``."""
    key: str
    value: bytes | None
    """None is a tombstone."""


@dataclass(frozen=True, kw_only=True)
class AppliedEvents:
    """A micro-batch whose events have been applied to the profiles."""

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
    """A running feature of one worker. Every call is made with the state lock held, so calls never overlap."""

    def before(self, events: EventBatch, slots: IntpArray) -> None:
        """Look at B events before they change the profiles."""
        ...

    def applied(self, batch: AppliedEvents) -> Sequence[RecordToWrite]:
        """Handle a micro-batch that has changed the profiles; returns the records to write."""
        ...

    def recommended(self, lists: RecommendedLists) -> Sequence[RecordToWrite]:
        """Handle lists that are about to be sent; returns the records to write."""
        ...

    def publish(self) -> None:
        """Set gauges and count what waits to be counted; called about once a second."""
        ...


@dataclass(frozen=True, kw_only=True)
class FeatureContext:
    """The parts of a worker that a feature gets when it starts."""

    settings: Settings
    state: State
    active: ActiveEncoder
    exclusions: Exclusions
    metrics: Metrics
    group_release: Callable[[], int] = lambda: 0
    """Returns the lowest contract among the owners of the partitions; see `Feature.contract_change`."""


@dataclass(frozen=True, kw_only=True)
class Feature:
    """The declaration that a feature's folder exports: its start, and the columns and topics that it needs."""

    name: str
    """Names its stage in ``prefstream_stage_seconds``."""
    start: Callable[[FeatureContext], FeatureWork]
    columns: tuple[ProfileColumn, ...] = ()
    topics: tuple[str, ...] = ()
    contract_change: ContractChange | None = None
    """What workers of an older contract would drop or make dead letters of. The feature must not write any of it while
    ``group_release() < contract_change.contract``."""
