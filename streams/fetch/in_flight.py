"""The batches of a consumer from their fetch until their offsets are committed.

Does not import Faust or aiokafka.
"""

from collections import deque
from collections.abc import Iterable, Mapping

from streams.fetch.record_batch import RecordBatch

Partition = tuple[str, int]
"""A topic and a partition."""


class InFlightBatches:
    """The batches of each partition that were fetched and not committed yet, in order of their offsets.

    Knows too how far each partition is read: the position lies beyond the last record after a transaction marker or an
    aborted transaction.
    """

    def __init__(self) -> None:
        self._batches: dict[Partition, deque[RecordBatch]] = {}
        self._last_fetched: dict[Partition, int] = {}
        self._positions: dict[Partition, int] = {}
        self._moved: set[Partition] = set()  # whose position is beyond what `take_acked` has returned

    def add(self, batch: RecordBatch) -> None:
        """Add a batch that was just fetched. Until it is acked, it holds back the commit of all later ones."""
        self._last_fetched[batch.tp] = batch.last_offset
        self._batches.setdefault(batch.tp, deque()).append(batch)

    def __contains__(self, batch: RecordBatch) -> bool:
        return batch in self._batches.get(batch.tp, ())

    def last_fetched(self, tp: Partition) -> int:
        """Return the offset of the record that was fetched last since the last seek; -1 if there is none."""
        return self._last_fetched.get(tp, -1)

    def read_to(self, tp: Partition, position: int) -> bool:
        """Note how far a partition is read, after the batches of that fetch were added; return whether that is news."""
        if self._positions.get(tp) == position:
            return False
        self._positions[tp] = position
        self._moved.add(tp)
        return True

    def position(self, tp: Partition) -> int | None:
        """Return how far a partition is read; None if it is not known."""
        return self._positions.get(tp)

    def first_offset(self, tp: Partition) -> int | None:
        """Return the offset of the first record in flight; None if there is none."""
        batches = self._batches.get(tp)
        return batches[0].first_offset if batches else None

    def take_acked(self, tp: Partition) -> int | None:
        """Remove the acked batches at the front, and return the offset after them; None if there is none to commit.

        Once no batch is left, that is the position: a committed offset that stays before a transaction marker would
        look like lost records when retention deletes the marker.
        """
        batches = self._batches.get(tp)
        offset = None
        while batches and batches[0].acked:
            offset = batches.popleft().last_offset + 1
        if not batches and tp in self._moved:
            self._moved.discard(tp)
            offset = max(offset or 0, self._positions[tp])
        return offset

    def drop(self, partitions: Iterable[Partition]) -> None:
        """Forget the batches of partitions that were taken away; acking them does nothing from now on."""
        for tp in partitions:
            self._batches.pop(tp, None)
            self._last_fetched.pop(tp, None)
            self._positions.pop(tp, None)
            self._moved.discard(tp)

    def clear(self, positions: Mapping[Partition, int] | None = None) -> None:
        """Forget all batches, because a seek lets them be fetched again; acking them does nothing from now on.

        ``positions`` is where the seek led.
        """
        self._batches.clear()
        self._last_fetched.clear()
        self._moved.clear()
        self._positions = dict(positions or {})
