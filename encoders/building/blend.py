"""Writes the folder of a blended encoder: a trained vector for each known item, plus vectors of its catalog entry.

    vector = unit(own_row + sum_f weight_f * feature_f + sum_x projection_x(x))

with f the features of the item's text, and x its dense inputs (``items.dense_features``): the sentence vector of a
transformer in the folder, the image vector and the price, as far as the encoder was trained on them. An item that was
not in the training has the last two sums alone, and so it has a vector as soon as it is in the catalog.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from encoders.arrays import Int64Array
from encoders.artifact.manifest import Encoder
from encoders.artifact.signature import IMAGES, PRICES, SENTENCES
from encoders.building import folder_writer
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
    item_ids : ids of the items of the training, N of them, each once
    own : array of shape (N, d), the items' own vectors
    bias : array of shape (N,), added to the item's scores; an unknown item gets their median
    feature_buckets : int64 array of shape (F,), the bucket of each feature, in [0, buckets)
    feature_vectors : array of shape (F, d)
    field_weights : weights of the fields of texts, as for ``items.hashed_text.features``
    buckets : number of buckets that features are hashed into
    projections : for each dense input, by its name, an array of shape (D, d) that projects it to item vectors
    dense : how the dense inputs are read; the transformer for sentences is copied into the folder

    Raises
    ------
    ValueError
        Shapes disagree, or an id comes twice.
    """
    projections, dense = projections or {}, dense or DenseInputs()
    own, biases, directions = (np.asarray(array, np.float32) for array in (own, bias, feature_vectors))
    n, dimension = own.shape
    if len({*item_ids}) != n or biases.shape != (n,) or directions.shape != (len(feature_buckets), dimension):
        raise ValueError(
            f"{len({*item_ids})} different item ids, own {own.shape}, bias {biases.shape}, {len(feature_buckets)} "
            f"buckets, feature_vectors {directions.shape}"
        )
    # row of each bucket's feature vector; a bucket without a feature has row 0, a zero vector
    rows = np.zeros(buckets, np.int64)
    rows[feature_buckets] = np.arange(1, len(feature_buckets) + 1)
    g = GraphWriter()
    # an unknown item, row -1, has the first row
    g.constant("own", np.concatenate([np.zeros((1, dimension), np.float32), own]))
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
    for dense_name, projection in projections.items():
        matrix = np.asarray(projection, np.float32)
        g.constant(f"projection_{dense_name}", matrix)
        g.node("MatMul", [dense_name, f"projection_{dense_name}"], f"projected_{dense_name}")
        blended = g.node("Add", [blended, f"projected_{dense_name}"], f"blended_{dense_name}")
        takes[dense_name] = (FLOAT, ("B", len(matrix)))
    g.unit(blended, "vectors")
    if SENTENCES in projections and dense.sentence_folder is not None:
        sentences.copy(dense.sentence_folder, folder)
    items = g.model(
        "blend",
        takes,
        {"vectors": (FLOAT, ("B", dimension)), "bias": (FLOAT, ("B",))},
    )
    write_ids(folder, item_ids)
    return folder_writer.write(
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
