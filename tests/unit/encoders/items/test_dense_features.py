"""Prices and image vectors of items: how they are read, and what a graph makes of them."""

from pathlib import Path

import msgspec
import numpy as np
import pytest

from encoders.artifact import manifest
from encoders.artifact.manifest import Encoder
from encoders.artifact.signature import KNOTS
from encoders.building import blend
from encoders.errors import EncoderError
from encoders.items import prices
from encoders.items.dense_features import DenseInputs
from encoders.items.item_encoder import ItemEncoder
from encoders.runtime import Runtime
from schemas.catalog import CatalogItem
from tests.unit.encoders import reference


def priced(price: float | None, currency: str | None = None) -> CatalogItem:
    return CatalogItem(item_id="x", title="", price=price, currency=currency)


def pictured(*vector: float) -> CatalogItem:
    return CatalogItem(item_id="x", title="", image_vector=list(vector))


def test_weights_of_knots_move_evenly_with_the_logarithm_of_the_price() -> None:
    scales = {"": [np.log(100.0), np.log(4.0)]}
    asked = [priced(price) for price in (100.0, 200.0, 100.0 * 4**0.25, 1e9, 1e-9, 0.0)]
    weights = prices.knot_weights(asked, scales)
    np.testing.assert_allclose(weights.sum(axis=1), 1.0, atol=1e-6)
    places = weights @ np.arange(KNOTS)
    np.testing.assert_allclose(places, [4.0, 5.0, 4.5, 8.0, 0.0, 0.0], atol=1e-5)


def test_a_price_without_a_scale_says_nothing() -> None:
    scales = prices.scales([priced(10.0, "EUR"), priced(20.0, "EUR"), priced(0.0, "USD"), priced(None)])
    assert {*scales} == {"EUR"}
    assert not prices.knot_weights([priced(10.0, "USD"), priced(10.0), priced(None, "EUR"), None], scales).any()
    assert prices.scales([priced(5.0), priced(5.0)])[""] == [pytest.approx(np.log(5.0)), 1.0]


def test_an_image_vector_of_another_length_is_as_good_as_none() -> None:
    items = [pictured(3.0, 4.0), pictured(1.0), pictured(0.0, 0.0), None, pictured(0.0, -2.0)]
    dense = DenseInputs.of_catalog(items)
    assert dense.image_dimension == 2
    np.testing.assert_allclose(dense.read(items)["images"], [[0.6, 0.8], [0, 0], [0, 0], [0, 0], [0, -1]], atol=1e-6)


def test_a_catalog_without_prices_and_images_gives_no_inputs() -> None:
    assert DenseInputs.of_catalog([priced(None), None]).read([priced(3.0)]) == {}


@pytest.fixture
def projections(rng: np.random.Generator) -> dict[str, np.ndarray]:
    return {"images": rng.standard_normal((2, 4)), "prices": rng.standard_normal((KNOTS, 4))}


@pytest.fixture
def encoder(tmp_path: Path, projections: dict[str, np.ndarray]) -> Encoder:
    """Knows no item by its own vector but "known"; images have two components."""
    return blend.build(
        tmp_path / "encoder",
        ["known"],
        np.ones((1, 4)),
        [0.0],
        np.empty(0, np.int64),
        np.empty((0, 4)),
        "v1",
        field_weights={},
        buckets=16,
        projections=projections,
        dense=DenseInputs(image_dimension=2, price_scales={"EUR": [2.0, 0.5]}),
    )


def test_a_new_item_has_the_projections_of_its_picture_and_price(
    runtime: Runtime, encoder: Encoder, projections: dict[str, np.ndarray]
) -> None:
    images, knots = projections["images"], projections["prices"]
    both = CatalogItem(item_id="new", title="", image_vector=[0.0, 5.0], price=float(np.exp(2.0)), currency="EUR")
    known = CatalogItem(item_id="known", title="", image_vector=[1.0, 0.0])
    asked = [both, known, CatalogItem(item_id="nothing", title="", price=3.0, currency="USD")]
    found, is_known = ItemEncoder(runtime, manifest.load(encoder.folder)).encode(asked)
    expected = reference.unit(np.stack([images[1] + knots[KNOTS // 2], 1.0 + images[0]]))
    np.testing.assert_allclose(found[:2], expected, atol=1e-5)
    assert is_known.tolist() == [True, True, False]


@pytest.mark.parametrize(
    ("field", "wrong"), [("image_dimension", 0), ("price_scales", {}), ("price_scales", {"EUR": [2.0, 0.0]})]
)
def test_a_manifest_that_disagrees_with_its_inputs_is_refused(encoder: Encoder, field: str, wrong: object) -> None:
    path = encoder.folder / manifest.MANIFEST_FILE
    stated = msgspec.json.decode(path.read_bytes())
    path.write_bytes(msgspec.json.encode(stated | {field: wrong}))
    with pytest.raises(EncoderError, match=f"{field} should hold"):
        manifest.load(encoder.folder)
