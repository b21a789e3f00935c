"""What a ranking is given and what it gives, with the checks and the blanks of both."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from encoders.arrays import Float32Array, Int64Array
from encoders.artifact.manifest import Encoder
from encoders.onnx_builder import INT64
from encoders.ranking.scoring_graph import HEAD_PORTS, RANKED_AXES
from encoders.runtime import Array

EXCLUDED_SCORE = np.float32(-1e30)  # an adjustment that takes an item out
LEAST_SCORE = np.float32(-1e29)  # a score below is no recommendation: left out, withdrawn or removed


@dataclass(frozen=True, slots=True)
class HeadInputs:
    """What heads read of B users; only what the encoder's ``head_inputs`` name has to be there."""

    sums: Float32Array | None = None  # (B, T, d)
    mass: Float32Array | None = None  # (B, T)
    recent_vectors: Float32Array | None = None  # (B, h, d), newest first; zero rows where none or unknown
    recent_types: Int64Array | None = None  # (B, h): 0 click, 1 browse, 2 purchase, -1 none
    recent_ages: Float32Array | None = None  # (B, h), seconds before the user's newest event
    recent_rows: Int64Array | None = None  # (B, h), rows of the recents' items in the index, -1 none or unknown


@dataclass(frozen=True, slots=True)
class Ranked:
    """The best items of B users, and why.

        scores = recent_attributions.sum(2) + older_attributions + bias_attributions + adjustment_attributions

    up to rounding. With a linear head (``exact``) the attributions are what made the score; with another head they
    explain it by similarity. A score below ``LEAST_SCORE`` means that nothing more was left to recommend.
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
    """What the head reads, checked: the graph would answer a wrong shape with a page of its own."""
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


def ranked(encoder: Encoder, found: dict[str, Array], users: int, k: int, *, exact: bool) -> Ranked:
    """Outputs as one object; what the graph does not give (its head has no such part) is zero."""
    sizes = {"B": users, "k": k, "d": encoder.manifest.dimension, "h": encoder.manifest.history}
    for name, axes in RANKED_AXES.items():
        if name not in found:
            found[name] = np.zeros([sizes[axis] for axis in axes], np.int64 if name == "rows" else np.float32)
    return Ranked(**found, exact=exact)


def checked_adjustments(rows: Int64Array, amounts: Float32Array, users: int, n: int) -> tuple[Int64Array, Float32Array]:
    """Rows and amounts as the graph wants them: at least one a user, none below 0 (ONNX counts those from the end)."""
    rows = np.ascontiguousarray(rows, np.int64)
    amounts = np.ascontiguousarray(amounts, np.float32)
    if rows.shape != amounts.shape or rows.ndim != 2 or len(rows) != users:
        raise ValueError(f"adjust_rows {rows.shape} and adjust {amounts.shape} must both be ({users}, A)")
    if rows.shape[1] == 0:
        return np.zeros((users, 1), np.int64), np.zeros((users, 1), np.float32)
    if rows.max(initial=-1) >= n:
        raise ValueError(f"adjust_rows names row {rows.max()}, the snapshot has {n}: take it after looking rows up")
    absent = rows < 0
    return np.where(absent, 0, rows), np.where(absent, np.float32(0), amounts)
