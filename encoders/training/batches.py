"""Batches of predictions and of the items that compete in them; they have few shapes, as JAX compiles each shape."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from encoders.arrays import BoolArray, Float32Array, Int32Array, Int64Array
from encoders.ranking.repeat_consumption import patterns
from encoders.training.options import TrainingOptions
from encoders.training.sequences import Examples, ExampleSource

_LEAST_DRAWN = 1024  # the fewest competitors drawn in addition to the batch's own items
_GROWTH = 2048  # step in which the number of candidates grows where there are more of the batch's own items


class Batch(NamedTuple):
    """R predictions among C candidates. Positions are indices in ``candidates``; the position C means no item."""

    candidates: Int32Array  # (C,) item numbers
    correction: Float32Array  # (C,) added to the logits: a drawn item stands for many others
    histories: Int32Array  # (R, h) positions, newest first
    types: Int32Array  # (R, h) event types, 3 for no event
    counts: Int32Array  # (R,) events in each history
    targets: Int32Array  # (R,) positions
    pattern: Int32Array  # (R,) pattern of repeats
    newest: BoolArray  # (R, h) whether the event is the newest of its item
    weight: Float32Array  # (R,) 0 for padding
    older: Int32Array  # (R, O) positions of the events that are older than the history
    older_types: Int32Array  # (R, O) event types, 3 for no event
    older_ages_s: Float32Array  # (R, O) seconds


class Batches:
    """Draws the batches of an epoch."""

    def __init__(self, source: ExampleSource, items: int, options: TrainingOptions) -> None:
        self._source, self._items, self._options = source, items, options
        # position of each item among a batch's candidates; valid for the candidates only
        self._position = np.zeros(items, np.int32)

    @property
    def steps(self) -> int:
        """Batches in an epoch."""
        return -(-len(self._source) // self._options.batch)

    def epoch(self, rng: np.random.Generator) -> Iterator[Batch]:
        """Batches of all predictions, each once, in random order of their sequences; the last batch is padded."""
        return self.of_events(self._source.shuffled(rng), rng)

    def of_events(self, events: Int64Array, rng: np.random.Generator) -> Iterator[Batch]:
        """Batches of the predictions of these events, in order."""
        for start in range(0, len(events), self._options.batch):
            yield self._batch(self._source.examples(events[start : start + self._options.batch]), rng)

    def _batch(self, examples: Examples, rng: np.random.Generator) -> Batch:
        rows = self._options.batch
        candidates, correction = self._compete(examples, rng)
        self._position[candidates] = np.arange(len(candidates))
        none = np.int32(len(candidates))
        pattern, newest = patterns(examples.histories, examples.counts)
        is_event = examples.histories >= 0
        return Batch(
            candidates,
            correction,
            _pad(np.where(is_event, self._position[examples.histories], none), rows, len(candidates)),
            _pad(np.where(is_event, examples.types, 3).astype(np.int32), rows, 3),
            _pad(examples.counts.astype(np.int32), rows, 0),
            _pad(self._position[examples.targets], rows, 0),
            _pad(pattern.astype(np.int32), rows, 0),
            _pad(newest, rows, 0),
            _pad(np.ones(len(examples.targets), np.float32), rows, 0),
            _pad(np.where(examples.older >= 0, self._position[examples.older], none), rows, len(candidates)),
            _pad(np.where(examples.older >= 0, examples.older_types, 3).astype(np.int32), rows, 3),
            _pad(examples.older_ages_s, rows, 0),
        )

    def _compete(self, examples: Examples, rng: np.random.Generator) -> tuple[Int32Array, Float32Array]:
        """Candidates and their corrections: the batch's own items, and uniform draws that stand for all other items.

        The logit of a drawn item is corrected by log(others / drawn).
        """
        wanted = self._options.candidates
        if not wanted or wanted >= self._items:
            return np.arange(self._items, dtype=np.int32), np.zeros(self._items, np.float32)
        own = np.zeros(self._items, np.bool_)
        own[examples.targets] = True
        own[examples.histories[examples.histories >= 0]] = True
        own[examples.older[examples.older >= 0]] = True
        mine = int(np.count_nonzero(own))
        while wanted < min(self._items, mine + _LEAST_DRAWN):
            wanted = min(self._items, wanted + _GROWTH)
        drawn = wanted - mine
        others = self._items - mine
        # the items with the smallest random numbers are a draw without replacement
        keys = rng.random(self._items, np.float32)
        keys[own] = -1.0
        candidates = np.sort(np.argpartition(keys, wanted - 1)[:wanted]) if wanted < self._items else np.arange(wanted)
        correction = np.where(own[candidates], 0.0, np.log(max(others, 1) / max(drawn, 1)))
        return candidates.astype(np.int32), correction.astype(np.float32)


def _pad(values: npt.NDArray[Any], rows: int, blank: float) -> npt.NDArray[Any]:
    """Pad with ``blank`` to ``rows`` rows."""
    short = rows - len(values)
    if short <= 0:
        return values
    return np.concatenate([values, np.full((short, *values.shape[1:]), blank, values.dtype)])
