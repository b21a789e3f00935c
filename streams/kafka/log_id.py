"""The identity of a log that events come from."""

from typing import NamedTuple


class LogId(NamedTuple):
    """Identifies a log that events come from: one partition of a topic with one topic id.

    A topic that was deleted and created again has a new id, so its partitions are other logs. Events that come over
    different paths count as logs of their own, because they arrive in another order. The ``topic_id`` of events that
    were rerouted twice ends with ``>`` and the partition of ``rerouted`` that they passed in between.
    """

    topic: str
    topic_id: str
    partition: int
    counts: str = ""
    """The path of rerouted events: the partition count by which each worker on it chose the partition, as in ``4>8``.
    Empty for events that were not rerouted, and for those that release 0.1.0 rerouted."""

    def rerouted(self, partition_count: int) -> "LogId":
        """Return the log of those events that a worker reroutes which knows this partition count."""
        return self._replace(counts=f"{self.counts}>{partition_count}" if self.counts else str(partition_count))

    def detour(self, partition: int) -> "LogId":
        """Return the log of those events that came over this partition of ``rerouted`` and were rerouted again."""
        return self._replace(topic_id=f"{self.topic_id}>{partition}")

    @property
    def is_detour(self) -> bool:
        """Whether the events were rerouted more than once."""
        return ">" in self.topic_id

    @property
    def origin(self) -> "LogId":
        """The log that the events were first written to, however often they were rerouted."""
        return self._replace(topic_id=self.topic_id.partition(">")[0], counts="")
