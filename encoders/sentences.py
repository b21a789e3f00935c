"""Sentence vectors from a Hugging Face folder: ``tokenizer.json`` and an ONNX transformer, mean pooling.

What sentence-transformers or optimum export. ``tokenizers`` (the extra ``text``) is needed only where such a folder is.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from encoders.errors import EncoderError
from encoders.runtime import Array, Runtime
from schemas.catalog import CatalogItem

FloatArray = npt.NDArray[np.float32]

TOKENIZER_FILE = "tokenizer.json"
MODEL_FILE = "sentences.onnx"  # in an encoder folder
_MODEL_PLACES = ("model.onnx", "onnx/model.onnx", MODEL_FILE)  # in a folder as it is exported
_MOST_TOKENS = 128  # what MiniLM was trained on; a longer text is cut
_BATCH = 64


def model_path(folder: Path) -> Path:
    """The transformer of a Hugging Face folder; `EncoderError` if there is none."""
    for name in _MODEL_PLACES:
        if (folder / name).is_file() and (folder / TOKENIZER_FILE).is_file():
            return folder / name
    raise EncoderError(
        f"'{folder}' should hold {TOKENIZER_FILE} and model.onnx (or onnx/model.onnx), as sentence-transformers and "
        "optimum export them."
    )


def text_of(item: CatalogItem) -> str:
    """What the transformer reads of an item.

    >>> text_of(CatalogItem(item_id="1", title="Blue boots", category=["Shoes", "Boots"], brand="Acme"))
    'Blue boots. Shoes, Boots. Acme'
    """
    parts = [item.title.strip(), ", ".join(item.category), item.brand.strip(), item.description.strip()]
    return ". ".join(part for part in parts if part)


class SentenceModel:
    """A transformer with its tokenizer.

    Parameters
    ----------
    folder : of a Hugging Face model, or an encoder folder that holds one
    """

    def __init__(self, runtime: Runtime, folder: Path) -> None:
        try:
            from tokenizers import Tokenizer
        except ImportError as error:
            raise EncoderError(
                f"'{folder}' reads texts with a transformer, which needs tokenizers: install it with "
                "`pip install 'prefstream[text]'`."
            ) from error
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

    def encode(self, texts: Sequence[str]) -> FloatArray:
        """Unit vectors of texts, the mean over their tokens: float32 (N, D); zero for an empty text."""
        order = sorted(range(len(texts)), key=lambda i: len(texts[i]))  # texts of one length have little padding
        parts = [
            self._pooled([texts[i] for i in order[start : start + _BATCH]]) for start in range(0, len(order), _BATCH)
        ]
        if not parts:
            return np.zeros((0, 0), np.float32)
        vectors = np.empty((len(texts), parts[0].shape[1]), np.float32)
        vectors[order] = np.concatenate(parts)
        vectors[[i for i, text in enumerate(texts) if not text.strip()]] = 0.0
        return vectors

    def _pooled(self, texts: Sequence[str]) -> FloatArray:
        found: list[Any] = self._tokenizer.encode_batch(list(texts))
        mask = np.array([each.attention_mask for each in found], np.int64)
        feeds: dict[str, Array] = {
            "input_ids": np.array([each.ids for each in found], np.int64),
            "attention_mask": mask,
            "token_type_ids": np.array([each.type_ids for each in found], np.int64),
        }
        taken = {name: feeds[name] for name in self._session.inputs}
        (tokens,) = self._session.run(self._session.outputs[:1], taken)  # (B, M, D)
        summed = np.einsum("bm,bmd->bd", mask.astype(np.float32), tokens)
        lengths = np.linalg.norm(summed, axis=1, keepdims=True)
        return np.asarray(np.divide(summed, lengths, out=np.zeros_like(summed), where=lengths > 0), np.float32)
