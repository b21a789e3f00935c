"""The inputs and the outputs of a ranking: their types, checks and blank values."""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np

from encoders.arrays import Float32Array, Int64Array, IntpArray
from encoders.artifact.manifest import Encoder
from encoders.onnx_builder import INT64
from encoders.ranking.scoring_graph import HEAD_PORTS, RANKED_AXES
from encoders.runtime import Array

EXCLUDED_SCORE = np.float32(-1e30)  # an adjustment that excludes an item
LEAST_SCORE = np.float32(-1e29)  # an item with a lower score is excluded, withdrawn or removed


@dataclass(frozen=True, slots=True)
class HeadInputs:
    """Inputs of a user head for B users; only those that the encoder's ``head_inputs`` name have to be given."""

    sums: Float32Array | None = None  # (B, T, d), decayed sums of item vectors
    mass: Float32Array | None = None  # (B, T), total weight of the sums; `mass` is the name in saved graphs
    recent_vectors: Float32Array | None = None  # (B, h, d), newest first; zero for no recent or no vector
    recent_types: Int64Array | None = None  # (B, h), 0 click, 1 browse, 2 purchase, -1 no recent
    recent_ages: Float32Array | None = None  # (B, h), seconds before the user's newest event
    recent_rows: Int64Array | None = None  # (B, h), rows of the recents' items; -1 for no recent or no row

    def take(self, users: IntpArray) -> "HeadInputs":
        """Return the inputs of the users with these indexes."""
        columns = (getattr(self, column.name) for column in fields(self))
        return HeadInputs(*(None if column is None else column[users] for column in columns))


@dataclass(frozen=True, slots=True)
class Ranked:
    """The best items of B users, and the attributions of their scores.

        scores = recent_attributions.sum(2) + older_attributions + bias_attributions + adjustment_attributions

    up to rounding. With a linear head (``exact``) the attributions are the terms of the score; with another head they
    explain it by similarity. A score below ``LEAST_SCORE`` means that there were no more items to recommend.
    """

    user: Float32Array  # (B, d), unit or zero
    short_term: Float32Array  # (B, d), unit or zero: the part from the recents
    long_term: Float32Array  # (B, d), unit or zero: the part from the sums
    scores: Float32Array  # (B, k), best first
    rows: Int64Array  # (B, k), rows of the index
    recent_attributions: Float32Array  # (B, k, h)
    older_attributions: Float32Array  # (B, k)
    bias_attributions: Float32Array  # (B, k)
    adjustment_attributions: Float32Array  # (B, k)
    exact: bool


def head_feeds(encoder: Encoder, names: Sequence[str], inputs: HeadInputs) -> dict[str, Array]:
    """The head's inputs by name.

    Raises
    ------
    ValueError
        An input is missing, or its shape is wrong.
    """
    # checked here, because ONNX Runtime's own error about a shape is a page long
    manifest = encoder.manifest
    sizes = {"T": len(manifest.half_lives_s), "d": manifest.dimension, "h": manifest.history}
    feeds: dict[str, Array] = {}
    users: int | None = None
    for name in names:
        given = getattr(inputs, name)
        if given is None:
            raise ValueError(f"the head of encoder {manifest.version} needs {name}, which is missing")
        element, axes = HEAD_PORTS[name]
        feed = np.ascontiguousarray(given, np.int64 if element == INT64 else np.float32)
        users = len(feed) if users is None else users
        expected = (users, *(sizes[str(axis)] for axis in axes[1:]))
        if feed.shape != expected:
            raise ValueError(f"{name} has shape {feed.shape}, encoder {manifest.version} expects {expected}")
        feeds[name] = feed
    return feeds


def ranked(encoder: Encoder, outputs: dict[str, Array], users: int, k: int, *, exact: bool) -> Ranked:
    """Outputs as one object; an output that the graph does not have is zero."""
    sizes = {"B": users, "k": k, "d": encoder.manifest.dimension, "h": encoder.manifest.history}
    for name, axes in RANKED_AXES.items():
        if name not in outputs:
            outputs[name] = np.zeros([sizes[axis] for axis in axes], np.int64 if name == "rows" else np.float32)
    return Ranked(**outputs, exact=exact)


def checked_adjustments(rows: Int64Array, amounts: Float32Array, users: int, n: int) -> tuple[Int64Array, Float32Array]:
    """Rows and amounts as the graph needs them: at least one for each user, and no row below 0.

    Parameters
    ----------
    rows, amounts : int64 and float32 arrays of shape (B, A); a row of -1 is ignored
    users : B
    n : rows of the snapshot

    Raises
    ------
    ValueError
        The shapes disagree, or a row is ``n`` or more.
    """
    # ONNX counts negative rows from the end, so they become row 0 with the amount 0
    rows = np.ascontiguousarray(rows, np.int64)
    amounts = np.ascontiguousarray(amounts, np.float32)
    if rows.shape != amounts.shape or rows.ndim != 2 or len(rows) != users:
        raise ValueError(f"adjust_rows {rows.shape} and adjust {amounts.shape} must both be ({users}, A)")
    if rows.shape[1] == 0:
        return np.zeros((users, 1), np.int64), np.zeros((users, 1), np.float32)
    if rows.max(initial=-1) >= n:
        raise ValueError(
            f"adjust_rows names row {rows.max()}, but the snapshot has {n} rows: take the snapshot "
            "after looking rows up"
        )
    missing = rows < 0
    return np.where(missing, 0, rows), np.where(missing, np.float32(0), amounts)
