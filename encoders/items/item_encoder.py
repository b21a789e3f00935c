"""Catalog items to vectors, by an encoder folder's item graph."""

from collections.abc import Sequence

import numpy as np

from encoders.arrays import BoolArray, Float32Array, Int64Array
from encoders.artifact.manifest import ITEMS_MODEL, Encoder
from encoders.items import hashed_text, lookup
from encoders.items.dense_features import DenseInputs
from encoders.runtime import Array, Runtime
from schemas.catalog import CatalogItem

BATCH = 512  # items a run: their gathered features stay in a core's cache


class ItemEncoder:
    """The item side of an encoder."""

    def __init__(self, runtime: Runtime, encoder: Encoder) -> None:
        self.encoder = encoder
        self._manifest = encoder.manifest
        self._session = runtime.session(encoder.path(ITEMS_MODEL))
        self._dense = DenseInputs.of_encoder(runtime, encoder)
        self._rows = lookup.read_rows(encoder) if self._manifest.kind != "text" else {}

    def encode(self, items: Sequence[CatalogItem]) -> tuple[Float32Array, BoolArray]:
        """Vectors of items.

        Returns
        -------
        float32 array of shape (N, d): unit rows, zero where unknown
        bool array of shape (N,): known. False for an item that says nothing (text) or that was not trained (lookup).
        """
        vectors, known, _ = self.encode_with_bias(items)
        return vectors, known

    def encode_with_bias(self, items: Sequence[CatalogItem]) -> tuple[Float32Array, BoolArray, Float32Array]:
        """As ``encode``; and what the encoder adds to every score of these items: float32 (N,), 0 where unknown."""
        vectors = np.zeros((len(items), self._manifest.dimension), np.float32)
        bias = np.zeros(len(items), np.float32)
        out: dict[str, Array] = {"vectors": vectors, "bias": bias}
        names = [name for name in out if name in self._session.outputs]
        for start in range(0, len(items), BATCH):
            feeds, where = self._feeds(items[start : start + BATCH])
            if len(where):
                for name, found in zip(names, self._session.run(names, feeds), strict=True):
                    out[name][start + where] = found
        known = np.einsum("nd,nd->n", vectors, vectors) > 0
        return vectors, np.asarray(known, np.bool_), bias

    def _feeds(self, items: Sequence[CatalogItem]) -> tuple[dict[str, Array], Int64Array]:
        """Inputs of the graph, and which of the items they stand for."""
        rows = np.fromiter((self._rows.get(item.item_id, -1) for item in items), np.int64, len(items))
        if self._manifest.kind == "lookup":
            where = np.flatnonzero(rows >= 0)
            return {"item_row": rows[where]}, where
        fields, buckets = self._manifest.text_fields, self._manifest.text_buckets
        found = [hashed_text.features(item, fields, buckets) for item in items]
        counts = np.fromiter(map(len, found), np.int64, len(found))
        # one that is known by its own vector needs no text
        known = (counts > 0) | (rows >= 0)
        dense = self._dense.read(items)
        for vectors in dense.values():
            known |= vectors.any(axis=1)
        where = np.flatnonzero(known)
        found, counts = [found[i] for i in where.tolist()], counts[where]
        used = np.arange(counts.max(initial=1)) < counts[:, None]  # (B, M)
        ids = np.zeros(used.shape, np.int64)
        weights = np.zeros(used.shape, np.float32)
        ids[used] = np.fromiter((i for each in found for i in each), np.int64)
        weights[used] = np.fromiter((w for each in found for w in each.values()), np.float32)
        feeds: dict[str, Array] = {"feature_ids": ids, "feature_weights": weights}
        feeds |= {name: vectors[where] for name, vectors in dense.items()}
        return feeds | ({"item_row": rows[where]} if self._manifest.kind == "blend" else {}), where
