"""Writes smaller variants of an encoder folder by ONNX Runtime's tools: item graphs with float16 or int8 weights.

The user head stays as it is: it is small, and its float32 arithmetic keeps attributions exact. Besides ``runtime.py``
only this module imports onnxruntime, for its tools.
"""

import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

import msgspec
import numpy as np
import onnx

from encoders.artifact import manifest
from encoders.artifact.manifest import ITEMS_MODEL, Encoder
from encoders.items.item_encoder import ItemEncoder
from encoders.items.sentences import MODEL_FILE
from encoders.runtime import Runtime
from schemas.catalog import CatalogItem

Precision = Literal["fp16", "int8"]


@dataclass(frozen=True, slots=True)
class Lost:
    """What a variant saves and loses, measured on some items."""

    size_before: int  # bytes of the item graphs
    size_after: int
    us_before: float  # microseconds for each item, on the given runtime
    us_after: float
    least_cosine: float  # between an item's vectors before and after; 1 is no loss
    mean_cosine: float


def quantise(encoder: Encoder, folder: Path, precision: Precision) -> Encoder:
    """Write a variant of an encoder. Its version gets the precision as a suffix, because its vectors differ.

    Raises
    ------
    FileExistsError
        The folder exists.
    """
    folder.mkdir(parents=True)
    for name in encoder.manifest.files:
        if name in (ITEMS_MODEL, MODEL_FILE):
            _convert(encoder.path(name), folder / name, precision)
        else:
            shutil.copyfile(encoder.path(name), folder / name)
    version = f"{encoder.manifest.version}-{precision}"
    return manifest.save(folder, msgspec.structs.replace(encoder.manifest, version=version))


def _convert(source: Path, target: Path, precision: Precision) -> None:
    if precision == "fp16":
        from onnxruntime.transformers.float16 import convert_float_to_float16

        model = convert_float_to_float16(onnx.load(source), keep_io_types=True)
        target.write_bytes(model.SerializeToString(deterministic=True))
        return
    from onnxruntime.quantization import QuantType, quantize_dynamic

    with TemporaryDirectory() as aside:  # the tool may leave files in the folder of its input
        copy = Path(aside) / source.name
        shutil.copyfile(source, copy)
        quantize_dynamic(copy, target, weight_type=QuantType.QInt8, per_channel=False)


def compare(runtime: Runtime, before: Encoder, after: Encoder, items: Sequence[CatalogItem]) -> Lost:
    """Compare a variant with the encoder that it was made from: size, speed and vectors."""
    vectors, seconds = zip(*(_timed(runtime, encoder, items) for encoder in (before, after)), strict=True)
    known = vectors[0].any(axis=1)
    cosines = np.einsum("nd,nd->n", vectors[0][known], vectors[1][known])
    return Lost(
        _size(before),
        _size(after),
        1e6 * seconds[0] / max(len(items), 1),
        1e6 * seconds[1] / max(len(items), 1),
        float(cosines.min(initial=1.0)),
        float(cosines.mean()) if len(cosines) else 1.0,
    )


def _timed(runtime: Runtime, encoder: Encoder, items: Sequence[CatalogItem]) -> tuple[np.ndarray, float]:
    model = ItemEncoder(runtime, encoder)
    model.encode(items[:8])  # the first run allocates memory, so it is not timed
    began = time.perf_counter()
    vectors, _ = model.encode(items)
    return vectors, time.perf_counter() - began


def _size(encoder: Encoder) -> int:
    return sum(
        encoder.path(name).stat().st_size for name in encoder.manifest.files if name in (ITEMS_MODEL, MODEL_FILE)
    )
