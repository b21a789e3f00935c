"""A text model for tests, in the layout of a Hugging Face folder: a transformer of no layers."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import tokenizers

from encoders import onnx_builder
from encoders.onnx_builder import FLOAT, INT64, GraphWriter


def build(folder: Path, words: Sequence[str], embedding: np.ndarray) -> Path:
    """Write one that gives each word its row of ``embedding`` (W, D), as ``last_hidden_state``; the first two words
    are the padding and the unknown one. Behind it stands an output of one vector a text, as some exports have."""
    folder.mkdir()
    vocabulary = tokenizers.models.WordLevel({word: i for i, word in enumerate(words)}, unk_token=words[1])
    tokenizer = tokenizers.Tokenizer(vocabulary)
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    tokenizer.normalizer = tokenizers.normalizers.Lowercase()
    tokenizer.save(str(folder / "tokenizer.json"))
    g = GraphWriter()
    g.constant("embedding", embedding)
    g.constant("axis_1", [1], np.int64)
    g.node("Gather", ["embedding", "input_ids"], "last_hidden_state")
    g.node("ReduceMax", ["last_hidden_state", "axis_1"], "sentence_embedding", keepdims=0)
    ports = {"input_ids": (INT64, ("B", "M")), "attention_mask": (INT64, ("B", "M"))}
    size = embedding.shape[1]
    gives = {"sentence_embedding": (FLOAT, ("B", size)), "last_hidden_state": (FLOAT, ("B", "M", size))}
    onnx_builder.write(folder / "model.onnx", g.model("tiny", ports, gives))
    return folder
