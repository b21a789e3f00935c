"""Writes the folder of a lookup encoder."""

from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt

from encoders.artifact.manifest import ITEM_IDS_FILE, Encoder
from encoders.building import folder_writer
from encoders.building.folder_writer import UserSide
from encoders.onnx_builder import FLOAT, INT64, GraphWriter


def build(
    folder: str | Path,
    item_ids: Sequence[str],
    vectors: npt.ArrayLike,
    version: str,
    bias: npt.ArrayLike | None = None,
    *,
    name: str = "lookup",
    user: UserSide | None = None,
) -> Encoder:
    """Write a complete encoder folder.

    Parameters
    ----------
    item_ids : ids, N of them, each once
    vectors : array of shape (N, d); they are scaled to unit length
    bias : array of shape (N,), added to the item's scores; 0 by default

    Raises
    ------
    ValueError
        Shapes disagree, an id comes twice, there are no items, or a vector or bias is not finite or a vector is zero.
    """
    rows = np.asarray(vectors, np.float64)
    biases = np.zeros(len(item_ids)) if bias is None else np.asarray(bias, np.float64)
    if rows.ndim != 2 or len(rows) != len(item_ids) or not len(rows) or biases.shape != (len(rows),):
        raise ValueError(
            f"{len(item_ids)} item ids, vectors of shape {rows.shape}, bias of shape {biases.shape}: expected N ids, "
            "(N, d) and (N,), with N of 1 or more"
        )
    if len({*item_ids}) != len(item_ids):
        raise ValueError("an item id comes twice: give each item once")
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    bad = np.flatnonzero(~(np.isfinite(lengths[:, 0]) & (lengths[:, 0] > 0) & np.isfinite(biases)))
    if len(bad):
        raise ValueError(
            f"{len(bad)} items have a zero or non-finite vector or bias, the first is {item_ids[bad[0]]!r}"
        )
    dimension = rows.shape[1]
    g = GraphWriter()
    g.constant("item_vectors", rows / lengths)
    g.constant("item_bias", biases)
    g.node("Gather", ["item_vectors", "item_row"], "vectors")
    g.node("Gather", ["item_bias", "item_row"], "bias")
    items = g.model(
        "lookup",
        {"item_row": (INT64, ("B",))},
        {"vectors": (FLOAT, ("B", dimension)), "bias": (FLOAT, ("B",))},
    )
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    write_ids(folder, item_ids)
    return folder_writer.write(
        folder,
        name=name,
        version=version,
        kind="lookup",
        dimension=dimension,
        items=items,
        item_inputs=["item_row"],
        user=user or UserSide(),
    )


def write_ids(folder: Path, item_ids: Sequence[str]) -> None:
    """Write the file of item ids, in the order of the rows."""
    # one JSON string a line, because an id may hold any character, a line break too
    (folder / ITEM_IDS_FILE).write_bytes(b"".join(msgspec.json.encode(item_id) + b"\n" for item_id in item_ids))
