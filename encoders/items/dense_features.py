"""What the catalog says of an item as plain vectors: of its text, its picture, its price. Each is projected to items.

Training reads them here as encoding does, so that a new item is seen as those that were learned from.
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
    """Which of them an encoder reads, and how."""

    sentences: SentenceModel | None = None
    sentence_folder: Path | None = None  # where that comes from
    image_dimension: int = 0  # length of image vectors; 0: not read
    price_scales: Mapping[str, Sequence[float]] = field(default_factory=dict)  # see ``prices``; empty: not read

    @classmethod
    def of_catalog(
        cls, items: Sequence[CatalogItem | None], runtime: Runtime | None = None, sentence_folder: Path | None = None
    ) -> "DenseInputs":
        """All that these items have: prices by their scales, image vectors of the length that most are of.

        With a runtime and a Hugging Face folder their texts are read too.
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
        """What a folder's item graph takes."""
        manifest = encoder.manifest
        reads = SENTENCES in manifest.item_inputs
        return cls(
            SentenceModel(runtime, encoder.folder) if reads else None,
            encoder.folder if reads else None,
            manifest.image_dimension,
            manifest.price_scales,
        )

    def read(self, items: Sequence[CatalogItem | None]) -> dict[str, Float32Array]:
        """The inputs by name, each float32 (N, D); a row is zero where an item has none, or None stands for it."""
        found: dict[str, Float32Array] = {}
        if self.sentences is not None:
            found[SENTENCES] = self.sentences.encode(["" if item is None else text_of(item) for item in items])
        if self.image_dimension:
            found[IMAGES] = _images(items, self.image_dimension)
        if self.price_scales:
            found[PRICES] = prices.knot_weights(items, self.price_scales)
        return found


def _images(items: Sequence[CatalogItem | None], dimension: int) -> Float32Array:
    """Unit image vectors (N, D); one of another length is of another model, and as good as none."""
    vectors = np.zeros((len(items), dimension), np.float64)
    for row, item in enumerate(items):
        if item is not None and item.image_vector is not None and len(item.image_vector) == dimension:
            vectors[row] = item.image_vector
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit = np.divide(vectors, lengths, out=np.zeros_like(vectors), where=lengths > 0)
    return np.asarray(unit, np.float32)
