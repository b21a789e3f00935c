"""The blended encoder: a trained vector of each known item, plus vectors of what its text says, which any item has.

    vector = unit(own_row + sum_f weight_f * feature_f + sum_x projection_x(x))

with x the sentence vector of a transformer that the folder holds, the image vector, and the price (see ``dense.py``),
as far as it was trained on them. An item that was not trained on has these and its text alone, and so a vector as soon
as it is in the catalog.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from encoders.arrays import Int64Array
from encoders.artifact.manifest import Encoder
from encoders.artifact.signature import IMAGES, PRICES, SENTENCES
from encoders.building import folder_writer as encoder_folder
from encoders.building.folder_writer import UserSide
from encoders.building.lookup import write_ids
from encoders.items import sentences
from encoders.items.dense_features import DenseInputs
from encoders.onnx_builder import FLOAT, INT64, GraphWriter, Shape


def build(
    folder: str | Path,
    item_ids: Sequence[str],
    own: npt.ArrayLike,
    bias: npt.ArrayLike,
    feature_buckets: Int64Array,
    feature_vectors: npt.ArrayLike,
    version: str,
    *,
    field_weights: Mapping[str, float],
    buckets: int,
    name: str = "blend",
    user: UserSide | None = None,
    projections: Mapping[str, npt.ArrayLike] | None = None,
    dense: DenseInputs | None = None,
) -> Encoder:
    """Write a complete encoder folder.

    Parameters
    ----------
    item_ids : ids of the items that were trained on, N of them, each once
    own : array of shape (N, d)
    bias : array of shape (N,), added to the item's scores; an unknown item has their median
    feature_buckets : int64 array of shape (F,), the bucket of each feature (see ``text.features``), in [0, buckets)
    feature_vectors : array of shape (F, d)
    projections : by the name of each of the dense inputs an array of shape (D, d), from it to item vectors
    dense : how these inputs are read; a transformer that reads sentences is copied into the folder
    """
    projections, dense = projections or {}, dense or DenseInputs()
    own, biases, directions = (np.asarray(each, np.float32) for each in (own, bias, feature_vectors))
    n, dimension = own.shape
    if len({*item_ids}) != n or biases.shape != (n,) or directions.shape != (len(feature_buckets), dimension):
        raise ValueError(
            f"{len({*item_ids})} different item ids, own {own.shape}, bias {biases.shape}, {len(feature_buckets)} "
            f"buckets, feature_vectors {directions.shape}"
        )
    rows = np.zeros(buckets, np.int64)  # of each bucket's feature; one that was never seen has row 0, which is zero
    rows[feature_buckets] = np.arange(1, len(feature_buckets) + 1)
    g = GraphWriter()
    g.constant("own", np.concatenate([np.zeros((1, dimension), np.float32), own]))  # row -1, unknown, is the first
    g.constant("item_bias", np.append(np.median(biases) if n else 0.0, biases))
    g.constant("bucket_rows", rows, np.int64)
    g.constant("directions", np.concatenate([np.zeros((1, dimension), np.float32), directions]))
    g.constant("axis_1", [1], np.int64)
    g.constant("one_i", 1, np.int64)
    g.node("Add", ["item_row", "one_i"], "own_row")
    g.node("Gather", ["own", "own_row"], "own_vectors")
    g.node("Gather", ["item_bias", "own_row"], "bias")
    g.node("Gather", ["bucket_rows", "feature_ids"], "feature_rows")
    g.node("Gather", ["directions", "feature_rows"], "features")  # (B, M, d)
    g.node("Unsqueeze", ["feature_weights", "axis_1"], "weight_row")  # (B, 1, M)
    g.node("MatMul", ["weight_row", "features"], "described_row")
    g.node("Squeeze", ["described_row", "axis_1"], "described")
    g.node("Add", ["own_vectors", "described"], "blended")
    takes: dict[str, tuple[int, Shape]] = {
        "item_row": (INT64, ("B",)),
        "feature_ids": (INT64, ("B", "M")),
        "feature_weights": (FLOAT, ("B", "M")),
    }
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    blended = "blended"
    for each, projection in projections.items():
        matrix = np.asarray(projection, np.float32)
        g.constant(f"projection_{each}", matrix)
        g.node("MatMul", [each, f"projection_{each}"], f"projected_{each}")
        blended = g.node("Add", [blended, f"projected_{each}"], f"blended_{each}")
        takes[each] = (FLOAT, ("B", len(matrix)))
    g.unit(blended, "vectors")
    if SENTENCES in projections and dense.sentence_folder is not None:
        sentences.copy(dense.sentence_folder, folder)
    items = g.model(
        "blend",
        takes,
        {"vectors": (FLOAT, ("B", dimension)), "bias": (FLOAT, ("B",))},
    )
    write_ids(folder, item_ids)
    return encoder_folder.write(
        folder,
        name=name,
        version=version,
        kind="blend",
        dimension=dimension,
        items=items,
        item_inputs=list(takes),
        user=user or UserSide(),
        text_fields=dict(field_weights),
        text_buckets=buckets,
        image_dimension=dense.image_dimension if IMAGES in projections else 0,
        price_scales=dense.price_scales if PRICES in projections else {},
    )
