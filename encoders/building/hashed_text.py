"""Writes the folder of the hashed text encoder."""

import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from encoders.arrays import Float32Array
from encoders.artifact.manifest import Encoder
from encoders.building import folder_writer
from encoders.building.folder_writer import UserSide
from encoders.items.hashed_text import BUCKETS, FIELD_WEIGHTS
from encoders.onnx_builder import FLOAT, INT64, GraphWriter


def build(
    folder: str | Path,
    dimension: int = 64,
    seed: int = 0,
    version: str = "hashed-text-1",
    *,
    name: str = "hashed-text",
    field_weights: Mapping[str, float] | None = None,
    user: UserSide | None = None,
) -> Encoder:
    """Write a complete encoder folder. The same arguments give the same bytes, on any machine.

    Parameters
    ----------
    dimension : d, components of the vectors
    seed : of the features' random directions
    field_weights : weights of the fields of texts; ``FIELD_WEIGHTS`` by default
    user : how a user's events become the user vector; the default head if it is left out

    Raises
    ------
    ValueError
        A field of ``field_weights`` is unknown.
    """
    weights = dict(FIELD_WEIGHTS if field_weights is None else field_weights)
    unknown = {*weights} - {*FIELD_WEIGHTS}
    if unknown:
        raise ValueError(f"unknown text fields {', '.join(sorted(unknown))}: known are {', '.join(FIELD_WEIGHTS)}")
    g = GraphWriter()
    g.constant("directions", random_directions(BUCKETS, dimension, seed))
    g.constant("axis_1", [1], np.int64)
    g.node("Gather", ["directions", "feature_ids"], "features")  # (B, M, d)
    g.node("Unsqueeze", ["feature_weights", "axis_1"], "weight_row")  # (B, 1, M)
    g.node("MatMul", ["weight_row", "features"], "sum_row")  # (B, 1, d)
    g.node("Squeeze", ["sum_row", "axis_1"], "sum")
    g.unit("sum", "vectors")
    items = g.model(
        "hashed_text",
        {"feature_ids": (INT64, ("B", "M")), "feature_weights": (FLOAT, ("B", "M"))},
        {"vectors": (FLOAT, ("B", dimension))},
    )
    return folder_writer.write(
        Path(folder),
        name=name,
        version=version,
        kind="text",
        dimension=dimension,
        items=items,
        item_inputs=["feature_ids", "feature_weights"],
        user=user or UserSide(),
        text_fields=weights,
        text_buckets=BUCKETS,
    )


def random_directions(buckets: int, dimension: int, seed: int) -> Float32Array:
    """Random unit vectors with components of +-1 / sqrt(d): float32 of shape (buckets, d)."""
    # from the raw bits of PCG64, which are the same on every machine and in every release
    words = -(-buckets * dimension // 64)
    bits = np.random.PCG64(seed).random_raw(words).astype("<u8").view(np.uint8)
    signs = np.unpackbits(bits, count=buckets * dimension).astype(np.float32) * 2 - 1
    return (signs / math.sqrt(dimension)).reshape(buckets, dimension).astype(np.float32)
