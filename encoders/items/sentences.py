"""Sentence vectors by the transformer of a Hugging Face folder: ``tokenizer.json`` and an ONNX file, mean pooling.

sentence-transformers and optimum export such folders. Only an encoder with a transformer needs ``tokenizers`` (the
extra ``text``).
"""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from encoders.arrays import Float32Array
from encoders.errors import EncoderError
from encoders.runtime import Array, Runtime
from schemas.catalog import CatalogItem

TOKENIZER_FILE = "tokenizer.json"
MODEL_FILE = "sentences.onnx"  # in an encoder folder
_MODEL_PLACES = ("model.onnx", "onnx/model.onnx", MODEL_FILE)  # in an exported folder
_POOLING_FILE = "1_Pooling/config.json"  # of sentence-transformers
_TOKEN_OUTPUTS = ("last_hidden_state", "token_embeddings")  # by transformers, by sentence-transformers
_MOST_TOKENS = 128  # as MiniLM was trained; a longer text is cut
_BATCH = 64


def model_path(folder: Path) -> Path:
    """Path of the transformer in a Hugging Face folder; `EncoderError` if there is none."""
    for name in _MODEL_PLACES:
        if (folder / name).is_file() and (folder / TOKENIZER_FILE).is_file():
            return folder / name
    raise EncoderError(
        f"'{folder}' should hold {TOKENIZER_FILE} and model.onnx (or onnx/model.onnx), as sentence-transformers and "
        "optimum export them (`optimum-cli export onnx --task feature-extraction --model NAME FOLDER`)."
    )


def copy(folder: Path, target: Path) -> None:
    """Copy a transformer and its tokenizer into an encoder folder, each as a single file."""
    source = model_path(folder)
    model = onnx.load(source, load_external_data=False)
    if any(tensor.data_location == onnx.TensorProto.EXTERNAL for tensor in model.graph.initializer):
        onnx.save(onnx.load(source), target / MODEL_FILE)  # takes weights in other files along
    else:
        shutil.copyfile(source, target / MODEL_FILE)
    shutil.copyfile(folder / TOKENIZER_FILE, target / TOKENIZER_FILE)


def text_of(item: CatalogItem) -> str:
    """Text of an item for the transformer.

    >>> text_of(CatalogItem(item_id="1", title="Blue boots", category=["Shoes", "Boots"], brand="Acme"))
    'Blue boots. Shoes, Boots. Acme'
    """
    parts = [item.title.strip(), ", ".join(item.category), item.brand.strip(), item.description.strip()]
    return ". ".join(part for part in parts if part)


class SentenceModel:
    """A transformer with its tokenizer.

    Parameters
    ----------
    folder : a Hugging Face folder, or an encoder folder with a transformer

    Raises
    ------
    EncoderError
        tokenizers is not installed, or the model does not take tokens or does not pool by the mean.
    """

    def __init__(self, runtime: Runtime, folder: Path) -> None:
        try:
            from tokenizers import Tokenizer
        except ImportError as error:
            raise EncoderError(
                f"'{folder}' reads texts with a transformer, which needs tokenizers: install it with "
                "`pip install 'prefstream[text]'`."
            ) from error
        _check_pooling(folder / _POOLING_FILE)
        self._session = runtime.session(model_path(folder))
        self._tokenizer = Tokenizer.from_file(str(folder / TOKENIZER_FILE))
        self._tokenizer.enable_truncation(_MOST_TOKENS)
        self._tokenizer.enable_padding()
        known = {"input_ids", "attention_mask", "token_type_ids"}
        if not {*self._session.inputs} <= known or "input_ids" not in self._session.inputs:
            raise EncoderError(
                f"'{model_path(folder)}' takes {', '.join(self._session.inputs)}; a text encoder takes input_ids, and "
                "may take attention_mask and token_type_ids."
            )
        self._output = next(
            (name for name in _TOKEN_OUTPUTS if name in self._session.outputs), self._session.outputs[0]
        )

    def encode(self, texts: Sequence[str]) -> Float32Array:
        """Unit vectors of texts, by the mean over their tokens: float32 of shape (N, D); zero for an empty text.

        No texts give shape (0, 0).
        """
        order = sorted(range(len(texts)), key=lambda i: len(texts[i]))  # texts of similar length need little padding
        parts = [
            self._pooled([texts[i] for i in order[start : start + _BATCH]]) for start in range(0, len(order), _BATCH)
        ]
        if not parts:
            return np.zeros((0, 0), np.float32)
        vectors = np.empty((len(texts), parts[0].shape[1]), np.float32)
        vectors[order] = np.concatenate(parts)
        vectors[[i for i, text in enumerate(texts) if not text.strip()]] = 0.0
        return vectors

    def _pooled(self, texts: Sequence[str]) -> Float32Array:
        encodings: list[Any] = self._tokenizer.encode_batch(list(texts))
        mask = np.array([encoding.attention_mask for encoding in encodings], np.int64)
        feeds: dict[str, Array] = {
            "input_ids": np.array([encoding.ids for encoding in encodings], np.int64),
            "attention_mask": mask,
            "token_type_ids": np.array([encoding.type_ids for encoding in encodings], np.int64),
        }
        taken = {name: feeds[name] for name in self._session.inputs}
        (tokens,) = self._session.run([self._output], taken)  # (B, M, D)
        if tokens.shape[:2] != mask.shape:
            raise EncoderError(
                f"The text model's output {self._output} has the shape {tokens.shape} for {mask.shape} tokens: export "
                "it with a vector for each token (last_hidden_state); prefstream takes their mean."
            )
        summed = np.einsum("bm,bmd->bd", mask.astype(np.float32), tokens)
        lengths = np.linalg.norm(summed, axis=1, keepdims=True)
        return np.asarray(np.divide(summed, lengths, out=np.zeros_like(summed), where=lengths > 0), np.float32)


def _check_pooling(path: Path) -> None:
    """Raise ``EncoderError`` if a model pools its tokens in another way than by their mean."""
    # a model gives poor vectors if its tokens are pooled in another way than in its training
    if path.is_file() and not json.loads(path.read_bytes()).get("pooling_mode_mean_tokens", True):
        raise EncoderError(
            f"'{path}' says that this model does not take the mean of its tokens, the only "
            "pooling that prefstream has: choose a model that does, such as all-MiniLM-L6-v2."
        )
