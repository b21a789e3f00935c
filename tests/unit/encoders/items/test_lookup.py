from pathlib import Path

import msgspec
import numpy as np
import pytest

from encoders.artifact import manifest
from encoders.building import lookup
from encoders.errors import EncoderError
from encoders.items.item_encoder import ItemEncoder
from encoders.runtime import Runtime
from schemas.catalog import CatalogItem
from tests.unit.encoders import reference

IDS = ["plain", "with\nbreak", "with \u2028 and \x00", 'quo"te\\', "Zoë 东京", " ", "x" * 256]


def items_of(*ids: str) -> list[CatalogItem]:
    return [CatalogItem(item_id=item_id, title="") for item_id in ids]


def test_vectors_and_biases_come_back_by_any_id(runtime: Runtime, tmp_path: Path, rng: np.random.Generator) -> None:
    trained = rng.standard_normal((len(IDS), 8)) * 3
    bias = rng.standard_normal(len(IDS))
    encoder = lookup.build(tmp_path / "e", IDS, trained, "v1", bias)
    items = ItemEncoder(runtime, manifest.load(encoder.folder))
    order = [4, 0, 6, 1, 1, 3, 2, 5]
    vectors, known = items.encode(items_of(*(IDS[i] for i in order)))
    assert known.all()
    np.testing.assert_allclose(vectors, reference.unit(trained)[order], rtol=1e-6)
    np.testing.assert_allclose(items.encode_with_bias(items_of(*(IDS[i] for i in order)))[2], bias[order], rtol=1e-6)


def test_an_id_that_was_not_trained_is_unknown(runtime: Runtime, tmp_path: Path) -> None:
    items = ItemEncoder(runtime, lookup.build(tmp_path / "e", ["a", "b"], np.eye(2), "v1", [0.5, 0.25]))
    vectors, known = items.encode(items_of("b", "new", "a"))
    assert known.tolist() == [True, False, True]
    np.testing.assert_array_equal(vectors, [[0, 1], [0, 0], [1, 0]])
    assert items.encode_with_bias(items_of("b", "new", "a"))[2].tolist() == [0.25, 0.0, 0.5]
    assert items.encode(items_of("new"))[1].tolist() == [False]


def test_two_builds_have_the_same_checksums(tmp_path: Path) -> None:
    one = lookup.build(tmp_path / "one", ["a", "b"], np.eye(2), "v1")
    two = lookup.build(tmp_path / "two", ["a", "b"], np.eye(2), "v1")
    assert one.manifest == two.manifest


@pytest.mark.parametrize(
    ("ids", "vectors", "bias", "message"),
    [
        (["a", "a"], np.eye(2), None, "twice"),
        (["a"], np.eye(2), None, "1 item ids, vectors of shape"),
        ([], np.zeros((0, 2)), None, "0 item ids"),
        (["a", "b"], np.array([[1, 0], [0, 0]]), None, "1 items have a zero or non-finite .* 'b'"),
        (["a", "b"], np.array([[np.nan, 0], [0, 1]]), None, "non-finite .* 'a'"),
        (["a", "b"], np.eye(2), [0.0, np.inf], "non-finite .* 'b'"),
        (["a", "b"], np.eye(2), [0.0], "bias of shape"),
    ],
)
def test_what_would_give_wrong_vectors_is_refused(
    tmp_path: Path, ids: list[str], vectors: np.ndarray, bias: list[float] | None, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        lookup.build(tmp_path / "e", ids, vectors, "v1", bias)


def test_a_broken_list_of_ids_is_named(runtime: Runtime, tmp_path: Path) -> None:
    encoder = lookup.build(tmp_path / "e", ["a", "b"], np.eye(2), "v1")
    (encoder.folder / "items.txt").write_text('"a"\nb\n')
    encoder = manifest.save(encoder.folder, msgspec.structs.replace(encoder.manifest))
    with pytest.raises(EncoderError, match=r"items\.txt' should hold one JSON string a line"):
        ItemEncoder(runtime, encoder)
