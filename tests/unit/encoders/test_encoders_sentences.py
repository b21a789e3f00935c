"""Texts read by a transformer: a tiny one, made here, in the layout of a Hugging Face folder."""

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("tokenizers", reason="transformers need the extra `text`")

import tokenizers

from encoders import blend, manifest, onnxfile
from encoders.errors import EncoderError
from encoders.items import ItemEncoder
from encoders.onnxfile import FLOAT, INT64, GraphWriter
from encoders.runtime import Runtime
from encoders.sentences import SentenceModel
from schemas.catalog import CatalogItem
from tests.unit.encoders import reference

WORDS = ["[PAD]", "[UNK]", "red", "blue", "boots", "tea"]


@pytest.fixture
def embedding(rng: np.random.Generator) -> np.ndarray:
    return rng.standard_normal((len(WORDS), 5)).astype(np.float32)


@pytest.fixture
def folder(tmp_path: Path, embedding: np.ndarray) -> Path:
    """A transformer of no layers: the vector of each token, as ``last_hidden_state``."""
    folder = tmp_path / "model"
    folder.mkdir()
    vocabulary = tokenizers.models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="[UNK]")
    tokenizer = tokenizers.Tokenizer(vocabulary)
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    tokenizer.normalizer = tokenizers.normalizers.Lowercase()
    tokenizer.save(str(folder / "tokenizer.json"))
    g = GraphWriter()
    g.constant("embedding", embedding)
    g.node("Gather", ["embedding", "input_ids"], "last_hidden_state")
    ports = {"input_ids": (INT64, ("B", "M")), "attention_mask": (INT64, ("B", "M"))}
    model = g.model("tiny", ports, {"last_hidden_state": (FLOAT, ("B", "M", 5))})
    onnxfile.write(folder / "model.onnx", model)
    return folder


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
        projection=projection,
        sentence_folder=folder,
    )
    encoder = manifest.load(tmp_path / "encoder")  # with the transformer in it: the folder can be moved as one thing
    asked = [
        CatalogItem(item_id=item, title=title) for item, title in (("new", "Red boots"), ("known", "tea"), ("x", ""))
    ]
    found, known = ItemEncoder(runtime, encoder).encode(asked)
    sentences = SentenceModel(runtime, folder).encode(["red boots", "tea"]).astype(np.float64)
    expected = reference.unit(sentences @ projection + np.concatenate([np.zeros((1, 3)), own]))
    np.testing.assert_allclose(found[:2], expected, atol=1e-5)
    assert known.tolist() == [True, True, False]


def test_a_folder_without_a_model_says_what_it_lacks(tmp_path: Path, runtime: Runtime) -> None:
    with pytest.raises(EncoderError, match=r"should hold tokenizer\.json and model\.onnx"):
        SentenceModel(runtime, tmp_path)
