"""Dense inputs of an item encoder: the item's text, picture and price as plain vectors, read from the catalog.

A trained encoder projects each of them to item vectors. Training and encoding both read them here, so that a new item
gets the same inputs as the items of the training.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from encoders.arrays import Float32Array
from encoders.artifact.manifest import Encoder
from encoders.artifact.signature import IMAGES, PRICES, SENTENCES
from encoders.items import prices
from encoders.items.sentences import SentenceModel, text_of
from encoders.runtime import Runtime
from schemas.catalog import CatalogItem


@dataclass(frozen=True, slots=True)
class DenseInputs:
    """The dense inputs that an encoder reads, and how it reads them."""

    sentences: SentenceModel | None = None
    sentence_folder: Path | None = None  # where the sentence model is
    image_dimension: int = 0  # length of the image vectors; 0: not read
    price_scales: Mapping[str, Sequence[float]] = field(default_factory=dict)  # see ``prices``; empty: not read

    @classmethod
    def of_catalog(
        cls, items: Sequence[CatalogItem | None], runtime: Runtime | None = None, sentence_folder: Path | None = None
    ) -> "DenseInputs":
        """The dense inputs that these items have: prices by currency, image vectors of the most frequent length.

        With a runtime and a Hugging Face folder, the encoder also reads their texts.
        """
        known = [item for item in items if item is not None]
        lengths = Counter(len(item.image_vector) for item in known if item.image_vector is not None)
        return cls(
            None if runtime is None or sentence_folder is None else SentenceModel(runtime, sentence_folder),
            sentence_folder,
            max(lengths, key=lambda length: (lengths[length], length), default=0),
            prices.scales(known),
        )

    @classmethod
    def of_encoder(cls, runtime: Runtime, encoder: Encoder) -> "DenseInputs":
        """The dense inputs that the item graph of a folder takes."""
        manifest = encoder.manifest
        reads = SENTENCES in manifest.item_inputs
        return cls(
            SentenceModel(runtime, encoder.folder) if reads else None,
            encoder.folder if reads else None,
            manifest.image_dimension,
            manifest.price_scales,
        )

    def read(self, items: Sequence[CatalogItem | None]) -> dict[str, Float32Array]:
        """The inputs by name, each float32 of shape (N, D); zero for None and for an item without it."""
        inputs: dict[str, Float32Array] = {}
        if self.sentences is not None:
            inputs[SENTENCES] = self.sentences.encode(["" if item is None else text_of(item) for item in items])
        if self.image_dimension:
            inputs[IMAGES] = _images(items, self.image_dimension)
        if self.price_scales:
            inputs[PRICES] = prices.knot_weights(items, self.price_scales)
        return inputs


def _images(items: Sequence[CatalogItem | None], dimension: int) -> Float32Array:
    """Unit image vectors, (N, D); zero for an item without one."""
    # a vector of another length comes from another image model, so it counts as none
    vectors = np.zeros((len(items), dimension), np.float64)
    for row, item in enumerate(items):
        if item is not None and item.image_vector is not None and len(item.image_vector) == dimension:
            vectors[row] = item.image_vector
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit = np.divide(vectors, lengths, out=np.zeros_like(vectors), where=lengths > 0)
    return np.asarray(unit, np.float32)
