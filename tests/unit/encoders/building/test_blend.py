"""Items that are known by their own vector, by their text, or by both."""

from pathlib import Path

import numpy as np
import pytest

from encoders.building import blend
from encoders.items import hashed_text
from encoders.items.item_encoder import ItemEncoder
from encoders.runtime import Runtime
from schemas.catalog import CatalogItem
from tests.unit.encoders import reference

FIELDS = {"title": 1.0}
BUCKETS = 1 << 20


def bucket(word: str) -> int:
    return next(iter(hashed_text.features(CatalogItem(item_id="x", title=word), FIELDS, BUCKETS)))


@pytest.fixture
def vectors(rng: np.random.Generator) -> np.ndarray:
    return rng.standard_normal((4, 8)).astype(np.float32)


@pytest.fixture
def items(tmp_path: Path, runtime: Runtime, vectors: np.ndarray) -> ItemEncoder:
    encoder = blend.build(
        tmp_path / "encoder",
        ["a", "b"],
        vectors[:2],
        [0.5, 0.1],
        np.array([bucket("red"), bucket("boots")]),
        vectors[2:],
        "v1",
        field_weights=FIELDS,
        buckets=BUCKETS,
    )
    return ItemEncoder(runtime, encoder)


def test_a_known_item_blends_its_vector_with_its_text(items: ItemEncoder, vectors: np.ndarray) -> None:
    found, known = items.encode([CatalogItem(item_id="a", title="Red boots"), CatalogItem(item_id="b", title="")])
    both = vectors[0] + (vectors[2] + vectors[3]) / np.sqrt(2)
    np.testing.assert_allclose(found, reference.unit(np.stack([both, vectors[1]])), atol=1e-6)
    assert known.all()


def test_a_new_item_has_its_text(items: ItemEncoder, vectors: np.ndarray) -> None:
    found, known = items.encode([CatalogItem(item_id="new", title="Boots"), CatalogItem(item_id="x", title="unheard")])
    np.testing.assert_allclose(found[0], reference.unit(vectors[3]), atol=1e-6)
    assert known.tolist() == [True, False]  # a text of words that were never seen says nothing


def test_a_new_item_has_the_median_bias(items: ItemEncoder) -> None:
    asked = [CatalogItem(item_id=item, title="boots") for item in ("b", "new", "a")]
    np.testing.assert_allclose(items.encode_with_bias(asked)[2], [0.1, 0.3, 0.5], atol=1e-6)


def test_shapes_that_disagree_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="feature_vectors"):
        blend.build(
            tmp_path, ["a"], np.ones((1, 4)), [0.0], np.array([1]), np.ones((2, 4)), "v", field_weights={}, buckets=9
        )
