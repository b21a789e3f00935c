"""The training loop: one-cycle AdamW, figures on held-out sequences after each epoch, and a checkpoint file."""

import hashlib
import io
import json
import math
import os
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from encoders.arrays import BoolArray, Float32Array
from encoders.errors import EncoderError
from encoders.training import model
from encoders.training.batches import Batch, Batches
from encoders.training.model import Features, Params
from encoders.training.options import TrainingOptions
from encoders.training.sequences import ExampleSource, Sequences

_VALIDATION_BATCH = 256  # predictions in a batch; their scores of all items are one matrix
_ITEMS_AT_ONCE = 4096  # items whose vectors are computed together; their words' vectors take many times the memory
_MOST_VALIDATION = 8192  # predictions; more of them would only cost time


@dataclass(frozen=True, slots=True)
class Figures:
    """How well held-out events are predicted, each among all items; NaN if nothing is held out."""

    recall_at_20: float
    mrr_at_20: float
    ndcg_at_20: float


@dataclass(frozen=True, slots=True)
class Progress:
    """Progress of a training."""

    epoch: int  # from 1
    step: int  # of the epoch, from 1
    steps: int  # of an epoch
    loss: float  # mean over the steps of the epoch so far
    figures: Figures | None = None  # at the end of an epoch


@dataclass(frozen=True, slots=True)
class Trained:
    """Result of a training: the parameters of the best epoch, and the figures of every epoch."""

    params: dict[str, Float32Array]
    history: list[Figures]
    best_epoch: int  # the epoch of the parameters, from 1
    learned: BoolArray  # (N,) whether an item's own vector was learned


def fit(
    sequences: Sequences,
    options: TrainingOptions,
    features: Features | None = None,
    checkpoint: Path | None = None,
    report: Callable[[Progress], None] = lambda progress: None,
) -> Trained:
    """Train a model on all sequences but those that ``options.validation`` holds out.

    Parameters
    ----------
    sequences : sequences in order of time, so that the last ones are the latest days; these are held out
    features : features of every item, in the order of ``sequences.item_ids``
    checkpoint : file that is written after every epoch; if it exists, the training continues from it
    report : called every ten steps, and at the end of every epoch

    Raises
    ------
    EncoderError
        There is nothing to learn from, or the checkpoint is damaged or of another training.
    """
    kept, held_out = sequences.split(options.validation)
    source = ExampleSource(kept, options.history, options.older)
    if not len(source):
        raise EncoderError(
            f"There is nothing to train on: {len(kept)} sequences, none of them of two events or more. Give more "
            "events, or hold out fewer."
        )
    items = len(sequences.item_ids)
    batches = Batches(source, items, options)
    validate = _Validation(held_out, items, replace(options, older=source.older), features)
    optimiser = _optimiser(options, batches.steps)
    first_half_lives_s = source.first_half_lives(options.half_lives) if source.older else None
    params = model.initial(items, options, features, _key(options.seed, 0), first_half_lives_s)
    if options.repeats and options.repeat_prior:
        # where nobody comes back, the score has to fall by 10 or more: too far for the learning rate
        params["repeat_patterns"] += math.log((source.repeats() + 1) / (len(source) + 1))
    state = (params, optimiser.init(params))
    best, done = params, 0
    history: list[Figures] = []
    data = _digest(sequences, features)
    if checkpoint is not None and checkpoint.is_file():
        state, best, history = _restore(checkpoint, options, data, state)
        done = len(history)

    @partial(jax.jit, donate_argnums=(0,))
    def step(state: Any, batch: Batch, key: jax.Array) -> Any:
        params, moments = state
        value, gradient = jax.value_and_grad(model.loss)(params, batch, features, options, key)
        updates, moments = optimiser.update(gradient, moments, params)
        return (optax.apply_updates(params, updates), moments), value

    for epoch in range(done, options.epochs):
        if _is_over(history, options.patience):
            break
        rng = np.random.default_rng([options.seed, epoch])
        total = jnp.zeros(())
        for number, batch in enumerate(batches.epoch(rng), 1):
            state, value = step(state, batch, _key(options.seed, 1 + epoch * batches.steps + number))
            total = total + value
            if number % 10 == 0 and number < batches.steps:
                report(Progress(epoch + 1, number, batches.steps, float(total) / number))
        history.append(validate(state[0]))
        if _best(history) == epoch:
            best = jax.tree.map(jnp.copy, state[0])  # a copy: the next step takes the state's memory
        if checkpoint is not None:
            _save(checkpoint, options, data, state, best, history)
        report(Progress(epoch + 1, batches.steps, batches.steps, float(total) / batches.steps, history[-1]))
    learned = kept.learned()
    return Trained({name: np.asarray(value) for name, value in best.items()}, history, _best(history) + 1, learned)


def _key(seed: int, number: int) -> jax.Array:
    """A key for random numbers, of a generator that is cheap on a CPU; it need not be secure."""
    return jax.random.fold_in(jax.random.key(seed, impl="unsafe_rbg"), number)


def _optimiser(options: TrainingOptions, steps: int) -> optax.GradientTransformation:
    total = options.epochs * steps
    rate = optax.cosine_onecycle_schedule(
        max(total, 10), options.learning_rate, pct_start=0.1, div_factor=25, final_div_factor=1e4
    )
    return optax.adamw(
        rate,
        weight_decay=options.weight_decay,
        mask=lambda params: {name: name not in model.NOT_DECAYED for name in params},
    )


def _best(history: list[Figures]) -> int:
    """Index of the epoch with the best figures; the last one if nothing is held out."""
    figures = [figures.ndcg_at_20 for figures in history]
    return len(figures) - 1 if np.isnan(figures[-1]) else int(np.argmax(figures))


def _is_over(history: list[Figures], patience: int) -> bool:
    return bool(patience and history) and len(history) - 1 - _best(history) >= patience


class _Validation:
    """Ranks the held-out events among all items."""

    def __init__(self, sequences: Sequences, items: int, options: TrainingOptions, features: Features | None) -> None:
        self._source = ExampleSource(sequences, options.history, options.older)
        self._rng = np.random.default_rng([options.seed, 0])
        events = self._source.all()
        if len(events) > _MOST_VALIDATION:
            events = np.sort(self._rng.choice(events, _MOST_VALIDATION, replace=False))
        self._events = events
        whole = replace(options, candidates=0, batch=_VALIDATION_BATCH)
        self._batches = Batches(self._source, items, whole)

        # all parts have one shape, so that JAX compiles once: the last part is padded with the last item
        starts = range(0, items, _ITEMS_AT_ONCE)
        self._parts = [np.minimum(np.arange(first, first + _ITEMS_AT_ONCE), items - 1) for first in starts]

        @jax.jit
        def vectors(params: Params, numbers: jax.Array) -> jax.Array:
            return model.item_vectors(params, numbers, features, whole, None)

        @jax.jit
        def ranks(params: Params, vectors: jax.Array, batch: Batch) -> jax.Array:
            scores = model.scores(params, batch, vectors, whole, None)
            target = jnp.take_along_axis(scores, batch.targets[:, None], axis=1)
            return (scores > target).sum(axis=1)

        self._items, self._vectors, self._ranks = items, vectors, ranks

    def __call__(self, params: Params) -> Figures:
        if not len(self._events):
            return Figures(np.nan, np.nan, np.nan)
        vectors = jnp.concatenate([self._vectors(params, part) for part in self._parts])[: self._items]
        ranks_of_batches = [
            np.asarray(self._ranks(params, vectors, batch))[batch.weight > 0]
            for batch in self._batches.of_events(self._events, self._rng)
        ]
        ranks = np.concatenate(ranks_of_batches)
        hit = ranks < 20
        return Figures(float(hit.mean()), float((hit / (ranks + 1)).mean()), float((hit / np.log2(ranks + 2.0)).mean()))


def _digest(sequences: Sequences, features: Features | None) -> str:
    """SHA-256 of all training data, in hex digits."""
    arrays = (sequences.items, sequences.types, sequences.starts, sequences.times_ms, *jax.tree.leaves(features))
    digest = hashlib.sha256("\n".join(sequences.item_ids).encode())
    for array in arrays:
        digest.update(np.ascontiguousarray(0 if array is None else array).tobytes())
    return digest.hexdigest()


def _save(path: Path, options: TrainingOptions, data: str, state: Any, best: Params, history: list[Figures]) -> None:
    arrays: dict[str, Any] = {f"leaf_{i}": np.asarray(leaf) for i, leaf in enumerate(jax.tree.leaves((state, best)))}
    figures = [[f.recall_at_20, f.mrr_at_20, f.ndcg_at_20] for f in history]
    buffer = io.BytesIO()
    np.savez(buffer, options=json.dumps(options.as_dict()), data=data, history=np.array(figures), **arrays)
    aside = path.with_suffix(".part.npz")
    aside.write_bytes(buffer.getvalue())
    os.replace(aside, path)


def _restore(path: Path, options: TrainingOptions, data: str, state: Any) -> tuple[Any, Params, list[Figures]]:
    try:
        opened = np.load(path)
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise EncoderError(f"'{path}' can't be read ({error}): delete it to start the training anew.") from None
    with opened as saved:
        leaves, tree = jax.tree.flatten((state, state[0]))
        saved_leaves = [saved[f"leaf_{i}"] for i in range(len(leaves)) if f"leaf_{i}" in saved]
        same = json.loads(str(saved["options"])) == options.as_dict() and str(saved.get("data", "")) == data
        if not same or [leaf.shape for leaf in leaves] != [leaf.shape for leaf in saved_leaves]:
            raise EncoderError(
                f"'{path}' was written by a training with other options or other data: delete it to start anew, or "
                "give the same options and data to continue."
            )
        state, best = jax.tree.unflatten(tree, [jnp.asarray(leaf) for leaf in saved_leaves])
        return state, best, [Figures(*row) for row in saved["history"].tolist()]
