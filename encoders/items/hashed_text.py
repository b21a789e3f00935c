"""The hashed-text encoder: an item's vector from its title, category, brand, price and attributes; no training.

Each feature (a word, a pair of words, a category prefix ...) is hashed into a bucket, each bucket has a random
direction, and the item's vector is the unit vector along the weighted sum. Random directions of d dimensions are
nearly orthogonal (cosines of about 1 / sqrt(d)), so the cosine of two items is close to

    sum over fields of weight ** 2 * (shared features of the field / features of the field) / sum of weight ** 2

See Weinberger et al., Feature Hashing for Large Scale Multitask Learning (ICML 2009), and Achlioptas, Database-friendly
random projections (2003).
"""

import math
import re
import unicodedata
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt
import xxhash

from encoders.artifact.manifest import Encoder
from encoders.building import folder_writer as encoder_folder
from encoders.building.folder_writer import UserSide
from encoders.onnx_builder import FLOAT, INT64, GraphWriter
from schemas.catalog import CatalogItem

BUCKETS = 2**15
FIELD_WEIGHTS = {"title": 1.0, "title_pairs": 0.5, "category": 1.2, "brand": 0.7, "price": 0.3, "attributes": 0.6}

# a run of letters and digits is a word; Chinese and Japanese have no spaces, so there each character is one,
# and the word pairs are the character pairs that carry the meaning
_CJK = "\u3040-\u30ff\u3400-\u9fff"
_WORD = re.compile(rf"[{_CJK}]|[^\W_{_CJK}]+")
_MAX_WORDS = 64  # of a title: longer ones are rare, and would make every item of their batch as wide
_MAX_ATTRIBUTES = 32

_hash = xxhash.xxh3_64_intdigest


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
    """Write a complete encoder folder. The same arguments give the same bytes, on any machine."""
    weights = dict(FIELD_WEIGHTS if field_weights is None else field_weights)
    unknown = {*weights} - {*FIELD_WEIGHTS}
    if unknown:
        raise ValueError(f"unknown text fields {', '.join(sorted(unknown))}: known are {', '.join(FIELD_WEIGHTS)}")
    g = GraphWriter()
    g.constant("directions", _random_directions(BUCKETS, dimension, seed))
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
    return encoder_folder.write(
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


def features(item: CatalogItem, field_weights: Mapping[str, float], buckets: int) -> dict[int, float]:
    """Bucket -> weight of an item's features; empty for an item that says nothing.

    The features of a field share its weight: each gets ``weight / sqrt(count)``, so that a long title counts no more
    than a short one.

    >>> sorted(features(CatalogItem(item_id="1", title="Red Shoes"), {"title": 1.0}, 1 << 30).values())
    [0.7071067811865475, 0.7071067811865475]
    """
    found: dict[int, float] = {}
    for field, texts in _texts(item).items():
        weight = field_weights.get(field, 0.0)
        if weight and texts:
            share = weight / math.sqrt(len(texts))
            for text in texts:
                bucket = _hash(f"{field}\x1f{text}".encode(errors="replace")) % buckets
                found[bucket] = found.get(bucket, 0.0) + share
    return found


def _texts(item: CatalogItem) -> dict[str, list[str]]:
    words = _words(item.title)[:_MAX_WORDS]
    path = [_plain(part) for part in item.category]
    attributes = sorted(item.attributes.items())[:_MAX_ATTRIBUTES]
    return {
        "title": list(dict.fromkeys(words)),
        "title_pairs": list(dict.fromkeys(map(" ".join, pairwise(words)))),
        "category": ["\x1e".join(path[: depth + 1]) for depth in range(len(path))],
        "brand": [_plain(item.brand)] if item.brand.strip() else [],
        "price": [_price_band(item.price, item.currency)] if item.price is not None else [],
        "attributes": [f"{_plain(key)}={_plain(value)}" for key, value in attributes],
    }


def _price_band(price: float, currency: str | None) -> str:
    """Prices within a factor of two share a band: 16 to 32 is one, 32 to 64 the next."""
    band = math.floor(math.log2(price)) if price > 0 else "free"
    return f"{currency or ''} {band}"


def _words(text: str) -> list[str]:
    return _WORD.findall(_plain(text))


def _plain(text: str) -> str:
    if text.isascii():
        return text.lower().strip()
    return unicodedata.normalize("NFKC", text).casefold().strip()


def _random_directions(buckets: int, dimension: int, seed: int) -> npt.NDArray[np.float32]:
    """Unit rows with entries of +-1 / sqrt(d), from PCG64's raw bits, which are the same everywhere and for ever."""
    words = -(-buckets * dimension // 64)
    bits = np.random.PCG64(seed).random_raw(words).astype("<u8").view(np.uint8)
    signs = np.unpackbits(bits, count=buckets * dimension).astype(np.float32) * 2 - 1
    return (signs / math.sqrt(dimension)).reshape(buckets, dimension).astype(np.float32)
