"""Turns catalog items into vectors, by the item graph of an encoder folder."""

from collections.abc import Sequence

import numpy as np

from encoders.arrays import BoolArray, Float32Array, Int64Array
from encoders.artifact.manifest import ITEMS_MODEL, Encoder
from encoders.items import hashed_text, lookup
from encoders.items.dense_features import DenseInputs
from encoders.runtime import Array, Runtime
from schemas.catalog import CatalogItem

BATCH = 512  # items in a run: their gathered features fit into a core's cache


class ItemEncoder:
    """Loads an encoder's item graph and its dense inputs, and encodes items."""

    def __init__(self, runtime: Runtime, encoder: Encoder) -> None:
        self.encoder = encoder
        self._manifest = encoder.manifest
        self._session = runtime.session(encoder.path(ITEMS_MODEL))
        self._dense = DenseInputs.of_encoder(runtime, encoder)
        self._rows = lookup.read_rows(encoder) if self._manifest.kind != "text" else {}

    def encode(self, items: Sequence[CatalogItem]) -> tuple[Float32Array, BoolArray]:
        """Encode items to vectors.

        Returns
        -------
        float32 array of shape (N, d): unit vectors, zero for an unknown item
        bool array of shape (N,): whether each item is known. A text encoder does not know an item without texts, a
            lookup encoder an item that was not in its training, a blend an item that is unknown in both ways.

        No items give shapes (0, d) and (0,).
        """
        vectors, known, _ = self.encode_with_bias(items)
        return vectors, known

    def encode_with_bias(self, items: Sequence[CatalogItem]) -> tuple[Float32Array, BoolArray, Float32Array]:
        """Encode items as ``encode`` does; also gives the bias of their scores, float32 (N,), 0 for an unknown item."""
        vectors = np.zeros((len(items), self._manifest.dimension), np.float32)
        bias = np.zeros(len(items), np.float32)
        out: dict[str, Array] = {"vectors": vectors, "bias": bias}
        names = [name for name in out if name in self._session.outputs]
        for start in range(0, len(items), BATCH):
            feeds, positions = self._feeds(items[start : start + BATCH])
            if len(positions):
                for name, array in zip(names, self._session.run(names, feeds), strict=True):
                    out[name][start + positions] = array
        known = np.einsum("nd,nd->n", vectors, vectors) > 0
        return vectors, np.asarray(known, np.bool_), bias

    def _feeds(self, items: Sequence[CatalogItem]) -> tuple[dict[str, Array], Int64Array]:
        """Inputs of the graph for the known items, and the positions of these items."""
        rows = np.fromiter((self._rows.get(item.item_id, -1) for item in items), np.int64, len(items))
        if self._manifest.kind == "lookup":
            positions = np.flatnonzero(rows >= 0)
            return {"item_row": rows[positions]}, positions
        fields, buckets = self._manifest.text_fields, self._manifest.text_buckets
        features = [hashed_text.features(item, fields, buckets) for item in items]
        counts = np.fromiter(map(len, features), np.int64, len(features))
        # an item with a vector of its own needs no text
        known = (counts > 0) | (rows >= 0)
        dense = self._dense.read(items)
        for vectors in dense.values():
            known |= vectors.any(axis=1)
        positions = np.flatnonzero(known)
        features, counts = [features[i] for i in positions.tolist()], counts[positions]
        used = np.arange(counts.max(initial=1)) < counts[:, None]  # (B, M)
        ids = np.zeros(used.shape, np.int64)
        weights = np.zeros(used.shape, np.float32)
        ids[used] = np.fromiter((i for weight_of in features for i in weight_of), np.int64)
        weights[used] = np.fromiter((w for weight_of in features for w in weight_of.values()), np.float32)
        feeds: dict[str, Array] = {"feature_ids": ids, "feature_weights": weights}
        feeds |= {name: vectors[positions] for name, vectors in dense.items()}
        return feeds | ({"item_row": rows[positions]} if self._manifest.kind == "blend" else {}), positions
