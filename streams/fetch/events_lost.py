"""The error of a worker whose input no longer holds the records that it has to read next.

Does not import Faust or aiokafka.
"""

from streams.errors import PrefstreamError


class EventsLost(PrefstreamError):
    """Raised when the position in an input lies outside its log; the message says what to do."""

    def __init__(self, *, topic: str, partition: int, position: int, start: int, end: int, group: str, servers: str):
        """``start`` and ``end`` are the offsets that the log holds now, without ``end``."""
        held = f"holds offsets {start} to {end - 1}" if end > start else f"is empty, and its next offset is {end}"
        if position < start:
            lost = (
                f"Records {position} to {start - 1} were deleted before they were read, so their events are lost: "
                "look at the topic's retention."
            )
            target = "earliest"
        else:
            lost = (
                "Records that were in the log are gone, so their events may be lost: look for a broker whose data were "
                "put back from an older copy, or that became leader without being in sync."
            )
            target = "latest"
        super().__init__(
            f"Consumer group {group!r} has to read on at offset {position} of partition {partition} of {topic}, "
            f"but the log {held}. {lost} To go on without them, stop all workers, run `kafka-consumer-groups.sh "
            f"--bootstrap-server {servers} --group {group} --topic {topic}:{partition} --reset-offsets "
            f"--to-{target} --execute`, and start the workers again."
        )
