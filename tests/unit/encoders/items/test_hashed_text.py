from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from encoders.artifact.manifest import Encoder
from encoders.building.hashed_text import build, random_directions
from encoders.items import hashed_text
from encoders.items.item_encoder import BATCH, ItemEncoder
from encoders.runtime import Runtime
from schemas.catalog import CatalogItem

SHOE = CatalogItem(
    item_id="1",
    title="Red Running Shoe",
    category=["Shoes", "Sport"],
    brand="Acme",
    price=40.0,
    currency="EUR",
    attributes={"size": "42"},
)


@pytest.fixture(scope="module")
def items(runtime: Runtime, tmp_path_factory: pytest.TempPathFactory) -> ItemEncoder:
    return ItemEncoder(runtime, build(tmp_path_factory.mktemp("text") / "wide", dimension=256, seed=3))


def item(**fields: object) -> CatalogItem:
    return CatalogItem(**{"item_id": "x", "title": ""} | fields)  # type: ignore[arg-type]


def test_two_builds_have_the_same_checksums_and_another_seed_has_others(encoder: Encoder, tmp_path: Path) -> None:
    one, two = build(tmp_path / "one", 16), build(tmp_path / "two", 16)
    other = build(tmp_path / "other", 16, seed=1)
    assert one.manifest == two.manifest
    assert one.manifest.files["items.onnx"] == encoder.manifest.files["items.onnx"]
    assert one.manifest.files["items.onnx"] != other.manifest.files["items.onnx"]


def test_the_random_directions_never_change() -> None:
    # the vectors of items in running indexes come from these
    rows = random_directions(3, 5, seed=0) * np.sqrt(5)
    np.testing.assert_allclose(
        rows.round(),
        [[-1, 1, -1, 1, 1], [1, 1, 1, 1, -1], [-1, -1, -1, -1, 1]],
    )
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), np.sqrt(5), rtol=1e-6)


def test_cosines_follow_the_share_of_features_in_common(items: ItemEncoder) -> None:
    likes = [
        SHOE,
        item(title="red RUNNING shoe", category=["shoes", "sport"], brand="ACME", price=41.0, currency="EUR",
             attributes={"Size": "42"}),
        item(title="Red Running Sandal", category=["Shoes", "Sport"], brand="Acme", price=45.0, currency="EUR"),
        item(title="Blue Shoe", category=["Shoes", "Home"], brand="Other", price=300.0, currency="EUR"),
        item(title="Garden hose", category=["Garden"], brand="Greenly", price=40.0, currency="USD"),
    ]  # fmt: skip
    vectors, known = items.encode(likes)
    assert known.all()
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1.0, rtol=1e-5)
    to_shoe = vectors @ vectors[0]
    np.testing.assert_allclose(to_shoe[1], 1.0, rtol=1e-5)  # case and a price of the same band change nothing
    assert to_shoe[1] > to_shoe[2] > to_shoe[3] > to_shoe[4] + 0.1
    assert abs(to_shoe[4]) < 0.25
    w = {field: weight**2 for field, weight in hashed_text.FIELD_WEIGHTS.items()}
    full, without = sum(w.values()), sum(w.values()) - w["attributes"]
    shared = w["title"] * 2 / 3 + w["title_pairs"] / 2 + w["category"] + w["brand"] + w["price"]
    assert to_shoe[2] == pytest.approx(shared / np.sqrt(full * without), abs=0.15)


@pytest.mark.parametrize(
    "fields",
    [
        {"title": "word"},
        {"category": ["Home"]},
        {"brand": "Acme"},
        {"price": 0.0},
        {"price": 5.0, "currency": "EUR"},
        {"attributes": {"size": "42"}},
    ],
)
def test_every_field_is_heard_and_moves_the_vector(items: ItemEncoder, fields: dict[str, object]) -> None:
    vectors, known = items.encode([item(**fields), SHOE, item(**{"brand": "Other"} | fields)])
    assert known.all()
    assert abs(vectors[0] @ vectors[1]) < 0.99
    assert ("brand" in fields) == bool(vectors[0] @ vectors[2] > 0.99)


def test_an_item_that_says_nothing_is_unknown_and_costs_its_batch_nothing(items: ItemEncoder) -> None:
    vectors, known = items.encode([item(), SHOE, item(title=" -!? ", brand=" ", description="not read")])
    assert known.tolist() == [False, True, False]
    assert not vectors[[0, 2]].any()
    np.testing.assert_array_equal(vectors[1], items.encode([SHOE])[0][0])
    nothing, none = items.encode([item()])
    assert nothing.shape == (1, 256)
    assert not none.any()


def test_no_items_give_no_rows(items: ItemEncoder) -> None:
    vectors, known = items.encode([])
    assert vectors.shape == (0, 256)
    assert known.shape == (0,)
    assert items.encode_with_bias([SHOE])[2].tolist() == [0.0]


def test_many_items_are_encoded_as_each_alone(items: ItemEncoder) -> None:
    many = [
        item(item_id=str(i), title=" ".join(f"w{j}" for j in range(i % 9)), price=float(i)) for i in range(BATCH + 9)
    ]
    together, _ = items.encode(many)
    for i in (0, 8, BATCH - 1, BATCH, BATCH + 8):
        np.testing.assert_allclose(items.encode([many[i]])[0][0], together[i], atol=1e-6)


def test_a_field_weighs_the_same_however_much_it_says() -> None:
    for words in (2, 7, 30):
        found = hashed_text.features(
            item(title=" ".join(f"w{i}" for i in range(words)), brand="b"), {"title": 1.5, "brand": 2.0}, 2**40
        )
        squares = sorted(weight**2 for weight in found.values())
        assert squares == pytest.approx([1.5**2 / words] * words + [4.0])


def test_words_of_scripts_without_spaces_are_found() -> None:
    texts = hashed_text.field_texts(item(title="红色跑步鞋 Nike2"))
    assert texts["title"] == ["红", "色", "跑", "步", "鞋", "nike2"]
    assert "跑 步" in texts["title_pairs"]
    assert hashed_text.field_texts(item(title="Ｆｕｌｌ Straße"))["title"] == ["full", "strasse"]


def test_a_title_of_a_thousand_words_does_not_widen_its_batch() -> None:
    long = item(title=" ".join(f"w{i}" for i in range(1000)))
    assert len(hashed_text.features(long, hashed_text.FIELD_WEIGHTS, hashed_text.BUCKETS)) < 130


def test_an_unknown_field_weight_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="unknown text fields colour: known are title"):
        build(tmp_path / "e", field_weights={"colour": 1.0})


@settings(max_examples=60, deadline=None)
@given(title=st.text(max_size=80), brand=st.text(max_size=9), price=st.none() | st.floats(0, 1e12))
def test_any_text_becomes_a_unit_vector_or_none(
    items: ItemEncoder, title: str, brand: str, price: float | None
) -> None:
    vectors, known = items.encode([item(title=title, brand=brand, price=price)])
    assert np.linalg.norm(vectors[0]) == pytest.approx(1.0 if known[0] else 0.0, abs=1e-5)
    assert known[0] or (price is None and not brand.strip())
