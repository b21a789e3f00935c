"""Features of a catalog, for which a model learns vectors."""

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from encoders.arrays import Int64Array
from encoders.artifact.signature import PRICES
from encoders.items import hashed_text
from encoders.items.dense_features import DenseInputs
from encoders.training.model import Features
from schemas.catalog import CatalogItem

BUCKETS = 2**18  # of hashed features; only features that occur get a vector, so many buckets cost little
FIELD_WEIGHTS = {"title": 1.0, "category": 1.0, "brand": 0.5, "price": 0.3, "attributes": 0.5}


class FeatureTable:
    """The features of a catalog, numbered.

    Parameters
    ----------
    items : the items, in the order of their numbers; None for an item that is not in the catalog
    field_weights : weights of the fields of texts
    buckets : number of buckets that features are hashed into
    least_items : the fewest items that a feature with a vector has
    dense : the dense inputs to read; prices among them replace the price bands of the texts
    """

    def __init__(
        self,
        items: Sequence[CatalogItem | None],
        field_weights: Mapping[str, float] = FIELD_WEIGHTS,
        buckets: int = BUCKETS,
        least_items: int = 1,
        dense: DenseInputs | None = None,
    ) -> None:
        self.dense, self.buckets = dense or DenseInputs(), buckets
        inputs = self.dense.read(items)
        self.field_weights = {name: w for name, w in field_weights.items() if name != "price" or PRICES not in inputs}
        features = [{} if item is None else hashed_text.features(item, self.field_weights, buckets) for item in items]
        self.fields = [name for name in self.field_weights if any(_has(item, name) for item in items)]
        """The fields of the texts that at least one item has."""
        counts = Counter(bucket for weight_of in features for bucket in weight_of)
        kept = sorted(bucket for bucket, count in counts.items() if count >= least_items)
        self.bucket_of: Int64Array = np.array(kept, np.int64)
        """(F,) bucket of each feature number."""
        number = {bucket: i for i, bucket in enumerate(kept)}
        rows = [
            [(number[bucket], weight) for bucket, weight in weight_of.items() if bucket in number]
            for weight_of in features
        ]
        width = max(1, max(map(len, rows), default=1))
        ids = np.zeros((len(items), width), np.int32)
        weights = np.zeros((len(items), width), np.float32)
        for i, row in enumerate(rows):
            for j, (feature, weight) in enumerate(row):
                ids[i, j], weights[i, j] = feature, weight
        self.features = Features(ids, weights, len(kept), inputs)


def _has(item: CatalogItem | None, field: str) -> bool:
    return item is not None and getattr(item, field) not in (None, "", [], {})
