"""Training data: the events of users or sessions in order, as flat arrays."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from encoders.arrays import BoolArray, Float32Array, Float64Array, Int32Array, Int64Array, UInt8Array

_AGED = 2_000  # predictions that are looked at for the ages of older events
_COUNTED = 65_536  # histories that are read at once; all histories of a long log would take gigabytes


@dataclass(frozen=True, slots=True)
class Sequences:
    """S sequences of E events, concatenated; each is in order of time."""

    item_ids: list[str]  # id of each item number
    items: Int32Array  # (E,) item numbers
    types: UInt8Array  # (E,) indices in EVENT_TYPES
    starts: Int64Array  # (S + 1,) index of each sequence's first event; the last is E
    times_ms: Int64Array | None = None  # (E,); None: events have an order and no times

    def __len__(self) -> int:
        return len(self.starts) - 1

    def learned(self) -> BoolArray:
        """Items whose own vectors a training learns: bool (N,), those of sequences of two events or more."""
        lengths = np.diff(self.starts)
        seen = np.zeros(len(self.item_ids), np.bool_)
        seen[self.items[np.repeat(lengths > 1, lengths)]] = True
        return seen

    def take(self, chosen: Int64Array) -> "Sequences":
        """The sequences ``chosen``, in this order; items keep their numbers."""
        lengths = self.starts[chosen + 1] - self.starts[chosen]
        starts = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        where = np.repeat(self.starts[chosen] - starts[:-1], lengths) + np.arange(starts[-1])
        times_ms = None if self.times_ms is None else self.times_ms[where]
        return Sequences(self.item_ids, self.items[where], self.types[where], starts, times_ms)

    def split(self, fraction: float) -> tuple["Sequences", "Sequences"]:
        """Split off the last ``fraction`` of the sequences: in a log sorted by time, these are the latest days.

        Returns the sequences before, and the last ones: at least one of several, if ``fraction`` is above 0.
        """
        held_out = max(round(fraction * len(self)), int(fraction > 0 and len(self) > 1))
        order = np.arange(len(self))
        return self.take(order[: len(self) - held_out]), self.take(order[len(self) - held_out :])


def from_lists(
    sequences: Sequence[Sequence[str]],
    types: Sequence[Sequence[int]] | None = None,
    times_ms: Sequence[Sequence[int]] | None = None,
) -> Sequences:
    """Sequences from lists of item ids, with the type of each event (clicks by default).

    Times are used only if every event has a time.

    >>> from_lists([["a", "b"], ["b", "a", "b"]]).items.tolist()
    [0, 1, 1, 0, 1]
    """
    numbers: dict[str, int] = {}
    flat = [numbers.setdefault(item, len(numbers)) for sequence in sequences for item in sequence]
    kinds = np.zeros(len(flat), np.uint8) if types is None else np.array([t for row in types for t in row], np.uint8)
    starts = np.concatenate([[0], np.cumsum([len(sequence) for sequence in sequences])]).astype(np.int64)
    clock = np.array([time_ms for row in times_ms or () for time_ms in row], np.int64)
    timed = clock if len(clock) == len(flat) else None
    return Sequences(list(numbers), np.array(flat, np.int32), kinds, starts, timed)


@dataclass(frozen=True, slots=True)
class Examples:
    """P predictions: an event, up to h events before it, and up to O events before those."""

    histories: Int64Array  # (P, h) item numbers, newest first, -1 for no event
    types: Int64Array  # (P, h) indices in EVENT_TYPES, -1 for no event
    targets: Int64Array  # (P,) item numbers
    older: Int64Array  # (P, O) item numbers of events older than the history, newest first, -1 for no event
    older_types: Int64Array  # (P, O) indices in EVENT_TYPES, -1 for no event
    older_ages_s: Float32Array  # (P, O) seconds before the newest of the older events, 0 for no event

    @property
    def counts(self) -> Int64Array:
        """Events in each history: int64 (P,)."""
        counts: Int64Array = np.count_nonzero(self.types >= 0, axis=1).astype(np.int64)
        return counts


class ExampleSource:
    """Gives every event but the first of each sequence as a prediction from the events before it.

    Parameters
    ----------
    history : h, the most recents of a prediction
    older : the most events before the recents; 0 without times, and cut to the longest sequence
    """

    def __init__(self, sequences: Sequences, history: int, older: int = 0) -> None:
        self._sequences = sequences
        self._history = history
        lengths = np.diff(sequences.starts)
        most = int(lengths.max(initial=0)) - 1 - history
        self.older = 0 if sequences.times_ms is None else max(0, min(older, most))
        """O, the most events before the recents."""
        self._first = np.repeat(sequences.starts[:-1], lengths)  # (E,) first event of each event's sequence
        self._targets = np.arange(len(sequences.items)) > self._first

    def __len__(self) -> int:
        return int(np.count_nonzero(self._targets))

    def shuffled(self, rng: np.random.Generator) -> Int64Array:
        """Indices of all events to predict: sequences in random order, the events of each together and in order."""
        # together, because a batch whose events have a common history needs fewer item vectors
        order = rng.permutation(len(self._sequences))
        starts = self._sequences.starts
        lengths = starts[order + 1] - starts[order]
        begins = np.cumsum(lengths) - lengths
        events: Int64Array = np.repeat(starts[order] - begins, lengths) + np.arange(lengths.sum())
        return np.compress(self._targets[events], events)

    def all(self) -> Int64Array:
        """Indices of all events to predict, in order."""
        return np.flatnonzero(self._targets)

    def repeats(self) -> int:
        """Number of events to predict whose item is in their history."""
        events = self.all()
        parts = (self.examples(events[start : start + _COUNTED]) for start in range(0, len(events), _COUNTED))
        return sum(int((part.histories == part.targets[:, None]).any(axis=1).sum()) for part in parts)

    def examples(self, events: Int64Array) -> Examples:
        """Predictions of ``events``, indices in the sequences, with their histories."""
        recents, types, _ = self._before(events, 0, self._history)
        older, older_types, indices = self._before(events, self._history, self.older)
        ages = np.zeros(older.shape, np.float32)
        if self.older and self._sequences.times_ms is not None:
            times_ms = self._sequences.times_ms[indices]
            ages = np.where(older >= 0, (times_ms[:, :1] - times_ms) / 1000, 0).astype(np.float32)
        return Examples(recents, types, self._sequences.items[events].astype(np.int64), older, older_types, ages)

    def first_half_lives(self, count: int) -> Float64Array:
        """Half-lives to start learning from, in seconds: float64 (count,), spread over the ages of older events."""
        events = self.all()
        # with two older events at least, because ages are relative to the newest of them
        events = events[events - self._first[events] > self._history + 1]
        examples = self.examples(events[:: max(1, len(events) // _AGED)])
        ages = examples.older_ages_s[(examples.older >= 0) & (examples.older_ages_s > 0)]
        quantiles = (np.arange(count) + 0.5) / count
        return np.quantile(ages, quantiles) if len(ages) else np.full(count, 86_400.0)

    def _before(self, events: Int64Array, skipped: int, count: int) -> tuple[Int64Array, Int64Array, Int64Array]:
        """The ``count`` events before the ``skipped`` events before each event: items, types (-1 for none), indices."""
        before = events[:, None] - 1 - skipped - np.arange(count)
        exists = before >= self._first[events][:, None]
        before = np.where(exists, before, 0)
        return (
            np.where(exists, self._sequences.items[before], -1).astype(np.int64),
            np.where(exists, self._sequences.types[before].astype(np.int64), -1),
            before,
        )
