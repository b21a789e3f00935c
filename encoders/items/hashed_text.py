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

import xxhash

from schemas.catalog import CatalogItem

BUCKETS = 2**15
FIELD_WEIGHTS = {"title": 1.0, "title_pairs": 0.5, "category": 1.2, "brand": 0.7, "price": 0.3, "attributes": 0.6}

# a run of letters and digits is a word; Chinese and Japanese have no spaces, so each of their characters is a word, and
# pairs of words are pairs of characters, which carry the meaning
_CJK = "\u3040-\u30ff\u3400-\u9fff"
_WORD = re.compile(rf"[{_CJK}]|[^\W_{_CJK}]+")
_MAX_WORDS = 64  # of a title: longer titles are rare, and would widen the arrays of their whole batch
_MAX_ATTRIBUTES = 32

_hash = xxhash.xxh3_64_intdigest


def features(item: CatalogItem, field_weights: Mapping[str, float], buckets: int) -> dict[int, float]:
    """Weights of an item's features, by bucket; empty for an item without texts.

    The features of a field divide its weight: each gets ``weight / sqrt(count)``, so that a long title counts no more
    than a short one.

    >>> sorted(features(CatalogItem(item_id="1", title="Red Shoes"), {"title": 1.0}, 1 << 30).values())
    [0.7071067811865475, 0.7071067811865475]
    """
    weights: dict[int, float] = {}
    for field, texts in field_texts(item).items():
        weight = field_weights.get(field, 0.0)
        if weight and texts:
            part = weight / math.sqrt(len(texts))
            for text in texts:
                bucket = _hash(f"{field}\x1f{text}".encode(errors="replace")) % buckets
                weights[bucket] = weights.get(bucket, 0.0) + part
    return weights


def field_texts(item: CatalogItem) -> dict[str, list[str]]:
    """Features of an item as texts, by field."""
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
    """Name of a price's band. Bands span a factor of two: 16 to 32 is a band, 32 to 64 the next."""
    band = math.floor(math.log2(price)) if price > 0 else "free"
    return f"{currency or ''} {band}"


def _words(text: str) -> list[str]:
    return _WORD.findall(_plain(text))


def _plain(text: str) -> str:
    if text.isascii():
        return text.lower().strip()
    return unicodedata.normalize("NFKC", text).casefold().strip()
