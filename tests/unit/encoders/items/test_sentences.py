"""Texts read by a transformer: a tiny one, made here, in the layout of a Hugging Face folder."""

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("tokenizers", reason="transformers need the extra `text`")

import onnx

from encoders.artifact import manifest
from encoders.building import blend
from encoders.errors import EncoderError
from encoders.items import sentences
from encoders.items.dense_features import DenseInputs
from encoders.items.item_encoder import ItemEncoder
from encoders.items.sentences import SentenceModel
from encoders.runtime import Runtime
from schemas.catalog import CatalogItem
from tests.unit.encoders import reference, tiny_transformer

WORDS = ["[PAD]", "[UNK]", "red", "blue", "boots", "tea"]


@pytest.fixture
def embedding(rng: np.random.Generator) -> np.ndarray:
    return rng.standard_normal((len(WORDS), 5)).astype(np.float32)


@pytest.fixture
def folder(tmp_path: Path, embedding: np.ndarray) -> Path:
    return tiny_transformer.build(tmp_path / "model", WORDS, embedding)


def test_a_sentence_is_the_mean_of_its_tokens(runtime: Runtime, folder: Path, embedding: np.ndarray) -> None:
    found = SentenceModel(runtime, folder).encode(["Red boots", "tea", "", "blue tea boots"])
    means = [embedding[[2, 4]].sum(0), embedding[5], np.zeros(5), embedding[[3, 5, 4]].sum(0)]
    np.testing.assert_allclose(found, reference.unit(np.stack(means)), atol=1e-6)  # padding counts for nothing


def test_a_new_item_has_the_projection_of_its_text(
    tmp_path: Path, runtime: Runtime, folder: Path, rng: np.random.Generator
) -> None:
    own, projection = rng.standard_normal((1, 3)), rng.standard_normal((5, 3))
    blend.build(
        tmp_path / "encoder",
        ["known"],
        own,
        [0.0],
        np.empty(0, np.int64),
        np.empty((0, 3)),
        "v1",
        field_weights={},
        buckets=16,
        projections={"sentences": projection},
        dense=DenseInputs(sentence_folder=folder),
    )
    encoder = manifest.load(tmp_path / "encoder")  # with the transformer in it: the folder can be moved as one thing
    asked = [
        CatalogItem(item_id=item, title=title) for item, title in (("new", "Red boots"), ("known", "tea"), ("x", ""))
    ]
    found, known = ItemEncoder(runtime, encoder).encode(asked)
    texts = SentenceModel(runtime, folder).encode(["red boots", "tea"]).astype(np.float64)
    expected = reference.unit(texts @ projection + np.concatenate([np.zeros((1, 3)), own]))
    np.testing.assert_allclose(found[:2], expected, atol=1e-5)
    assert known.tolist() == [True, True, False]


def test_weights_beside_the_graph_come_along(
    tmp_path: Path, runtime: Runtime, folder: Path, embedding: np.ndarray
) -> None:
    """Larger models are exported so; a copy of the graph alone can't be loaded."""
    model = onnx.load(folder / "model.onnx")
    (folder / "model.onnx").unlink()
    onnx.save(model, folder / "model.onnx", save_as_external_data=True, location="model.onnx_data", size_threshold=0)
    (tmp_path / "copy").mkdir()
    sentences.copy(folder, tmp_path / "copy")
    found = SentenceModel(runtime, tmp_path / "copy").encode(["tea"])
    np.testing.assert_allclose(found, reference.unit(embedding[[5]]), atol=1e-6)


def test_a_model_that_pools_otherwise_is_refused(runtime: Runtime, folder: Path) -> None:
    (folder / "1_Pooling").mkdir()
    pooling = folder / "1_Pooling" / "config.json"
    pooling.write_text('{"pooling_mode_cls_token": false, "pooling_mode_mean_tokens": true}')
    SentenceModel(runtime, folder)
    pooling.write_text('{"pooling_mode_cls_token": true, "pooling_mode_mean_tokens": false}')
    with pytest.raises(EncoderError, match="does not take the mean of its tokens"):
        SentenceModel(runtime, folder)


def test_a_folder_without_a_model_says_what_it_lacks(tmp_path: Path, runtime: Runtime) -> None:
    with pytest.raises(EncoderError, match=r"should hold tokenizer\.json and model\.onnx"):
        SentenceModel(runtime, tmp_path)
