"""The feature of online quality: scores events against lists, and describes all lists of a worker together."""

from collections.abc import Sequence

import numpy as np

from schemas.recommendation import REASON_KINDS
from streams.arrays import IntpArray
from streams.decode.event_batch import EventBatch
from streams.features.contract import AppliedEvents, Feature, FeatureContext, RecommendedLists, RecordToWrite
from streams.quality.list_statistics import ListStatistics
from streams.quality.online_quality import VISITED, Checked, OnlineQuality
from streams.state.profile_columns import ProfileColumn
from streams.state.profile_shape import ProfileShape


def _visited(_: ProfileShape) -> tuple[int, ...]:
    return (VISITED,)


# the fields of stored rows keep the names that they had in the first release
COLUMNS = (
    ProfileColumn(
        name="visited_items", dtype=np.uint64, shape=_visited, field="taken_items", ring_count="visited_count"
    ),
    ProfileColumn(
        name="visited_reasons",
        dtype=np.uint8,
        shape=_visited,
        field="taken_reasons",
        ring_count="visited_count",
        largest=len(REASON_KINDS),
    ),
    # below 2 * VISITED; from VISITED on, all places are in use
    ProfileColumn(name="visited_count", dtype=np.uint8),
)
"""Recommended items that the user visited: a later purchase of one of them is a conversion."""


class QualityObserver:
    """Observes a worker's micro-batches and lists. It changes no recommendation and writes no record."""

    def __init__(self, context: FeatureContext) -> None:
        metrics = context.metrics.quality
        self._quality = OnlineQuality(context.state, context.active, context.exclusions, metrics)
        self._statistics = ListStatistics(context.active, metrics)
        self._checked: Checked | None = None

    def before(self, events: EventBatch, slots: IntpArray) -> None:
        """Score B events against the lists that their users have, before they change the profiles."""
        self._checked = self._quality.check(events, slots)

    def applied(self, batch: AppliedEvents) -> Sequence[RecordToWrite]:
        """Count the applied events, with the scores from the last call of ``before``."""
        checked, self._checked = self._checked, None
        if checked is not None:
            self._quality.record(checked, batch.events, batch.slots, batch.applied)
            self._statistics.demanded(checked.rows[batch.applied])
        return ()

    def recommended(self, lists: RecommendedLists) -> Sequence[RecordToWrite]:
        """Add the lists to the statistics."""
        self._statistics.recommended(lists.rows, lists.reasons, lists.user_vectors)
        return ()

    def publish(self) -> None:
        """Store which items are trending now, and update the metrics."""
        self._quality.look_at_trending()
        self._quality.publish()
        self._statistics.publish()


FEATURE = Feature(name="quality", start=QualityObserver, columns=COLUMNS)
