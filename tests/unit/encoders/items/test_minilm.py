"""A real transformer, all-MiniLM-L6-v2 with int8 weights, from the dependency group `evaluation`."""

from pathlib import Path

import numpy as np
import pytest

from encoders.artifact import manifest
from encoders.building import blend
from encoders.items.dense_features import DenseInputs
from encoders.items.item_encoder import ItemEncoder
from encoders.items.sentences import SentenceModel
from encoders.runtime import Runtime
from schemas.catalog import CatalogItem
from tests.bench import minilm

pytest.importorskip("tokenizers", reason="transformers need the extra `text`")
pytestmark = pytest.mark.skipif(bool(minilm.missing()), reason=f"{minilm.missing()} are in the group `evaluation`")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return minilm.write(tmp_path_factory.mktemp("minilm"))


def test_texts_that_mean_the_same_are_near(runtime: Runtime, folder: Path) -> None:
    asked = ["red boots", "crimson shoes", "a cup of tea", "an earthenware mug for a hot drink", ""]
    vectors = SentenceModel(runtime, folder).encode(asked)
    assert vectors.shape == (5, 384)
    cosines = vectors @ vectors.T
    assert cosines[0, 1] > 0.5 > cosines[0, 2:].max()
    assert cosines[2, 3] > 0.4
    # whoever stands beside it in a batch, padding must not count
    np.testing.assert_allclose(SentenceModel(runtime, folder).encode(asked[:1])[0], vectors[0], atol=0.05)


def test_an_encoder_folder_carries_it_to_the_worker(tmp_path: Path, runtime: Runtime, folder: Path) -> None:
    empty = np.empty((0, 384))
    blend.build(
        tmp_path / "encoder", [], empty, [], np.empty(0, np.int64), empty, "v1", field_weights={}, buckets=1,
        projections={"sentences": np.eye(384)}, dense=DenseInputs(sentence_folder=folder),
    )  # fmt: skip
    items = [CatalogItem(item_id=t, title=t) for t in ("red boots", "crimson shoes", "a cup of tea")]
    vectors, known = ItemEncoder(runtime, manifest.load(tmp_path / "encoder")).encode(items)
    assert known.all()
    cosines = vectors @ vectors[0]
    assert cosines[1] > 0.5 > cosines[2]
