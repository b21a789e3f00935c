"""What names a log that events come from."""

from typing import NamedTuple


class LogId(NamedTuple):
    """A log that events come from: a partition of one life of a topic (a recreated topic has a new id).

    Events that were sent on twice come by a path of their own, with another order: ``topic_id`` then ends with ``>``
    and the partition in between.
    """

    topic: str
    topic_id: str
    partition: int

    def by(self, partition: int) -> "LogId":
        """The path over a partition of ``rerouted`` that was not the last."""
        return self._replace(topic_id=f"{self.topic_id}>{partition}")

    @property
    def origin(self) -> "LogId":
        """The log that the events were first written to, whatever their path."""
        return self._replace(topic_id=self.topic_id.partition(">")[0])
