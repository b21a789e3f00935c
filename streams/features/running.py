"""Passes each call on to all features of a worker, and times each feature by its name."""

from streams.arrays import IntpArray
from streams.decode.event_batch import EventBatch
from streams.features.contract import AppliedEvents, FeatureWork, RecommendedLists, RecordToWrite
from streams.monitoring.metrics import Metrics


class RunningFeatures:
    """Calls every feature in the order in which they were given."""

    def __init__(self, works: dict[str, FeatureWork], metrics: Metrics) -> None:
        """``works`` holds the running features by their names."""
        self._works = works
        self._metrics = metrics

    def before(self, events: EventBatch, slots: IntpArray) -> None:
        """See `FeatureWork`."""
        for name, work in self._works.items():
            with self._metrics.stage(name):
                work.before(events, slots)

    def applied(self, batch: AppliedEvents) -> list[RecordToWrite]:
        """See `FeatureWork`; returns the records of all features."""
        records: list[RecordToWrite] = []
        for name, work in self._works.items():
            with self._metrics.stage(name):
                records += work.applied(batch)
        return records

    def recommended(self, lists: RecommendedLists) -> list[RecordToWrite]:
        """See `FeatureWork`; returns the records of all features."""
        records: list[RecordToWrite] = []
        for name, work in self._works.items():
            with self._metrics.stage(name):
                records += work.recommended(lists)
        return records

    def publish(self) -> None:
        """See `FeatureWork`."""
        for work in self._works.values():
            work.publish()
