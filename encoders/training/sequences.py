"""Users' or sessions' events in order, as flat arrays: what a model is trained on."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from encoders.arrays import BoolArray, Float32Array, Float64Array, Int32Array, Int64Array, UInt8Array

_AGED = 2_000  # predictions whose older events show how old these are
_COUNTED = 65_536  # histories at a time: all of a long log at once would be gigabytes


@dataclass(frozen=True, slots=True)
class Sequences:
    """S sequences, one after the other, each in order of time."""

    item_ids: list[str]  # id of each item number
    items: Int32Array  # (E,) item numbers
    types: UInt8Array  # (E,) places in EVENT_TYPES
    starts: Int64Array  # (S + 1,) where each sequence starts; the last is E
    times_ms: Int64Array | None = None  # (E,); None: position is the clock

    def __len__(self) -> int:
        return len(self.starts) - 1

    def learned(self) -> BoolArray:
        """Which items a training sees in more than draws: bool (N,), those of sequences of two events or more."""
        lengths = np.diff(self.starts)
        seen = np.zeros(len(self.item_ids), np.bool_)
        seen[self.items[np.repeat(lengths > 1, lengths)]] = True
        return seen

    def take(self, chosen: Int64Array) -> "Sequences":
        """These sequences, in the order given; the items keep their numbers."""
        lengths = self.starts[chosen + 1] - self.starts[chosen]
        starts = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        where = np.repeat(self.starts[chosen] - starts[:-1], lengths) + np.arange(starts[-1])
        times_ms = None if self.times_ms is None else self.times_ms[where]
        return Sequences(self.item_ids, self.items[where], self.types[where], starts, times_ms)

    def split(self, share: float) -> tuple["Sequences", "Sequences"]:
        """All but the last ``share`` of the sequences, and those: in a log sorted by time they are the latest days.

        At least one of several is held out, where any shall be.
        """
        held_out = max(round(share * len(self)), int(share > 0 and len(self) > 1))
        order = np.arange(len(self))
        return self.take(order[: len(self) - held_out]), self.take(order[len(self) - held_out :])


def from_lists(
    sequences: Sequence[Sequence[str]],
    types: Sequence[Sequence[int]] | None = None,
    times_ms: Sequence[Sequence[int]] | None = None,
) -> Sequences:
    """Sequences of item ids, with the type of each event (clicks, if none is given).

    Times count only where every event has one.

    >>> from_lists([["a", "b"], ["b", "a", "b"]]).items.tolist()
    [0, 1, 1, 0, 1]
    """
    numbers: dict[str, int] = {}
    flat = [numbers.setdefault(item, len(numbers)) for sequence in sequences for item in sequence]
    kinds = np.zeros(len(flat), np.uint8) if types is None else np.array([t for each in types for t in each], np.uint8)
    starts = np.concatenate([[0], np.cumsum([len(sequence) for sequence in sequences])]).astype(np.int64)
    clock = np.array([time_ms for each in times_ms or () for time_ms in each], np.int64)
    timed = clock if len(clock) == len(flat) else None
    return Sequences(list(numbers), np.array(flat, np.int32), kinds, starts, timed)


@dataclass(frozen=True, slots=True)
class Examples:
    """P predictions: an event, up to h events before it, and up to O before those."""

    histories: Int64Array  # (P, h) item numbers, newest first, -1 where there is none
    types: Int64Array  # (P, h) places in EVENT_TYPES, -1 where there is none
    targets: Int64Array  # (P,)
    older: Int64Array  # (P, O) item numbers of what is older than the history, newest first, -1 where there is none
    older_types: Int64Array  # (P, O)
    older_ages_s: Float32Array  # (P, O) seconds before the newest of the older events, 0 where none

    @property
    def counts(self) -> Int64Array:
        """Events in each history: int64 (P,)."""
        counts: Int64Array = np.count_nonzero(self.types >= 0, axis=1).astype(np.int64)
        return counts


class ExampleSource:
    """Every event but the first of each sequence, as something to predict from the events before it.

    Parameters
    ----------
    history : h, recents
    older : events before those at most; there are none without times, and no more than the longest sequence has
    """

    def __init__(self, sequences: Sequences, history: int, older: int = 0) -> None:
        self._sequences = sequences
        self._history = history
        lengths = np.diff(sequences.starts)
        most = int(lengths.max(initial=0)) - 1 - history
        self.older = 0 if sequences.times_ms is None else max(0, min(older, most))
        """O."""
        self._first = np.repeat(sequences.starts[:-1], lengths)  # (E,) start of each event's sequence
        self._targets = np.arange(len(sequences.items)) > self._first

    def __len__(self) -> int:
        return int(np.count_nonzero(self._targets))

    def shuffled(self, rng: np.random.Generator) -> Int64Array:
        """Places of all events to predict; sequences in random order, the events of each together and in order.

        Together, because a batch whose events share their histories needs fewer item vectors.
        """
        order = rng.permutation(len(self._sequences))
        starts = self._sequences.starts
        lengths = starts[order + 1] - starts[order]
        begins = np.cumsum(lengths) - lengths
        places: Int64Array = np.repeat(starts[order] - begins, lengths) + np.arange(lengths.sum())
        return np.compress(self._targets[places], places)

    def all(self) -> Int64Array:
        """Places of all events to predict, in order."""
        return np.flatnonzero(self._targets)

    def repeats(self) -> int:
        """How many of the events to predict are of an item that is in their history."""
        places = self.all()
        parts = (self.examples(places[start : start + _COUNTED]) for start in range(0, len(places), _COUNTED))
        return sum(int((part.histories == part.targets[:, None]).any(axis=1).sum()) for part in parts)

    def examples(self, places: Int64Array) -> Examples:
        """The events at these places with their histories."""
        recents, types, _ = self._before(places, 0, self._history)
        older, older_types, positions = self._before(places, self._history, self.older)
        ages = np.zeros(older.shape, np.float32)
        if self.older and self._sequences.times_ms is not None:
            times_ms = self._sequences.times_ms[positions]
            ages = np.where(older >= 0, (times_ms[:, :1] - times_ms) / 1000, 0).astype(np.float32)
        return Examples(recents, types, self._sequences.items[places].astype(np.int64), older, older_types, ages)

    def first_half_lives(self, count: int) -> Float64Array:
        """Seconds to start learning half-lives from, spread over how old older events are: float64 (count,)."""
        places = self.all()
        places = places[places - self._first[places] > self._history + 1]  # so that some are of different ages
        examples = self.examples(places[:: max(1, len(places) // _AGED)])
        ages = examples.older_ages_s[(examples.older >= 0) & (examples.older_ages_s > 0)]
        shares = (np.arange(count) + 0.5) / count
        return np.quantile(ages, shares) if len(ages) else np.full(count, 86_400.0)

    def _before(self, places: Int64Array, skipped: int, count: int) -> tuple[Int64Array, Int64Array, Int64Array]:
        """The ``count`` events before those ``skipped`` before each place: items, types (-1 for none), positions."""
        before = places[:, None] - 1 - skipped - np.arange(count)
        there = before >= self._first[places][:, None]
        before = np.where(there, before, 0)
        return (
            np.where(there, self._sequences.items[before], -1).astype(np.int64),
            np.where(there, self._sequences.types[before].astype(np.int64), -1),
            before,
        )
