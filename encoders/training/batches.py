"""Batches of predictions with the items that compete in them, of few fixed shapes: each shape is compiled once."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from encoders.arrays import BoolArray, Float32Array, Int32Array, Int64Array
from encoders.ranking.repeat_consumption import patterns
from encoders.training.options import TrainingOptions
from encoders.training.sequences import Examples, ExampleSource

_LEAST_DRAWN = 1024  # competitors drawn beside the batch's own items, at least
_GROWTH = 2048


class Batch(NamedTuple):
    """R predictions among C items. Places are columns of ``candidates``; C itself stands for "none"."""

    candidates: Int32Array  # (C,) item numbers
    correction: Float32Array  # (C,) added to the logits: a drawn item stands for many that were not
    histories: Int32Array  # (R, h) places, newest first
    types: Int32Array  # (R, h), 3 where there is none
    counts: Int32Array  # (R,)
    targets: Int32Array  # (R,) places
    pattern: Int32Array  # (R,) of repeats
    newest: BoolArray  # (R, h) the newest event of its item
    weight: Float32Array  # (R,) 0 for padding
    older: Int32Array  # (R, O) places of what is older than the history
    older_types: Int32Array  # (R, O), 3 where there is none
    older_ages_s: Float32Array  # (R, O)


class Batches:
    """Draws batches for epochs."""

    def __init__(self, source: ExampleSource, items: int, options: TrainingOptions) -> None:
        self._source, self._items, self._options = source, items, options
        self._place = np.zeros(items, np.int32)  # of each item among a batch's candidates; valid for those only

    @property
    def steps(self) -> int:
        """Batches an epoch."""
        return -(-len(self._source) // self._options.batch)

    def epoch(self, rng: np.random.Generator) -> Iterator[Batch]:
        """All predictions once, in random order of their sequences; the last batch is padded."""
        return self.at(self._source.shuffled(rng), rng)

    def at(self, places: Int64Array, rng: np.random.Generator) -> Iterator[Batch]:
        """The predictions at these places, in order."""
        for start in range(0, len(places), self._options.batch):
            yield self._batch(self._source.examples(places[start : start + self._options.batch]), rng)

    def _batch(self, examples: Examples, rng: np.random.Generator) -> Batch:
        rows = self._options.batch
        candidates, correction = self._compete(examples, rng)
        self._place[candidates] = np.arange(len(candidates))
        none = np.int32(len(candidates))
        pattern, newest = patterns(examples.histories, examples.counts)
        there = examples.histories >= 0
        return Batch(
            candidates,
            correction,
            _pad(np.where(there, self._place[examples.histories], none), rows, len(candidates)),
            _pad(np.where(there, examples.types, 3).astype(np.int32), rows, 3),
            _pad(examples.counts.astype(np.int32), rows, 0),
            _pad(self._place[examples.targets], rows, 0),
            _pad(pattern.astype(np.int32), rows, 0),
            _pad(newest, rows, 0),
            _pad(np.ones(len(examples.targets), np.float32), rows, 0),
            _pad(np.where(examples.older >= 0, self._place[examples.older], none), rows, len(candidates)),
            _pad(np.where(examples.older >= 0, examples.older_types, 3).astype(np.int32), rows, 3),
            _pad(examples.older_ages_s, rows, 0),
        )

    def _compete(self, examples: Examples, rng: np.random.Generator) -> tuple[Int32Array, Float32Array]:
        """The batch's own items, and uniform draws that stand for all others: log(others / drawn) corrects theirs."""
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
        # the smallest of random numbers are a draw without replacement
        keys = rng.random(self._items, np.float32)
        keys[own] = -1.0
        candidates = np.sort(np.argpartition(keys, wanted - 1)[:wanted]) if wanted < self._items else np.arange(wanted)
        correction = np.where(own[candidates], 0.0, np.log(max(others, 1) / max(drawn, 1)))
        return candidates.astype(np.int32), correction.astype(np.float32)


def _pad(values: npt.NDArray[Any], rows: int, blank: float) -> npt.NDArray[Any]:
    short = rows - len(values)
    if short <= 0:
        return values
    return np.concatenate([values, np.full((short, *values.shape[1:]), blank, values.dtype)])
