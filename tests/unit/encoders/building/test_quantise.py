"""Smaller variants of encoders point where the encoders did."""

from pathlib import Path
from typing import Literal

import numpy as np
import pytest

from encoders.artifact.manifest import load
from encoders.building import hashed_text, lookup
from encoders.building.folder_writer import UserSide
from encoders.building.quantise import compare, quantise
from encoders.runtime import Runtime
from schemas.catalog import CatalogItem
from tests.unit.encoders import reference


@pytest.mark.parametrize(("precision", "share", "least"), [("fp16", 0.6, 0.999), ("int8", 0.4, 0.99)])
def test_a_variant_is_smaller_and_points_the_same_way(
    tmp_path: Path,
    runtime: Runtime,
    rng: np.random.Generator,
    precision: Literal["fp16", "int8"],
    share: float,
    least: float,
) -> None:
    ids = [f"item-{i}" for i in range(500)]
    encoder = lookup.build(tmp_path / "e", ids, reference.random_unit(rng, 500, 32), "v1", user=UserSide(history=3))
    variant = quantise(encoder, tmp_path / "variant", precision)
    assert load(tmp_path / "variant").manifest.version == f"v1-{precision}"
    lost = compare(runtime, encoder, variant, [CatalogItem(item_id=item, title="") for item in ids])
    assert lost.size_after < share * lost.size_before
    assert lost.least_cosine > least
    assert variant.manifest.files["head.onnx"] == encoder.manifest.files["head.onnx"]


@pytest.mark.parametrize("precision", ["fp16", "int8"])
def test_a_text_encoder_has_variants_too(tmp_path: Path, runtime: Runtime, precision: Literal["fp16", "int8"]) -> None:
    encoder = hashed_text.build(tmp_path / "e", 16)
    variant = quantise(encoder, tmp_path / "variant", precision)
    items = [CatalogItem(item_id=str(i), title=f"thing {i} of {i % 3}") for i in range(20)]
    assert compare(runtime, encoder, variant, items).least_cosine > 0.99
