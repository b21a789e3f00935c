"""An encoder folder that is wrong says what is wrong and what to do."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from encoders.artifact import manifest
from encoders.artifact.manifest import Encoder
from encoders.errors import EncoderError
from tests.unit.encoders import reference


@pytest.fixture
def folder(encoder: Encoder, tmp_path: Path) -> Path:
    return Path(shutil.copytree(encoder.folder, tmp_path / "encoder"))


def rewrite(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change ``encoder.json``; what it says of the files stays true."""
    path = folder / manifest.MANIFEST_FILE
    stated = msgspec.json.decode(path.read_bytes())
    change(stated)
    path.write_bytes(msgspec.json.encode(stated))


def test_what_was_saved_is_loaded(encoder: Encoder, folder: Path) -> None:
    loaded = manifest.load(str(folder))
    assert loaded.manifest == encoder.manifest
    assert loaded.path("items.onnx").read_bytes() == encoder.path("items.onnx").read_bytes()
    assert manifest.save(folder, loaded.manifest).manifest == encoder.manifest


def test_fields_of_a_later_release_are_ignored(folder: Path) -> None:
    rewrite(folder, lambda m: m.update(precision="int8"))
    assert manifest.load(folder).manifest.dimension == 16


def test_a_missing_folder_and_a_missing_manifest_are_told_apart(folder: Path) -> None:
    with pytest.raises(EncoderError, match=r"There is no encoder folder at .*nowhere"):
        manifest.load(folder / "nowhere")
    (folder / manifest.MANIFEST_FILE).unlink()
    with pytest.raises(EncoderError, match=r"has no encoder\.json"):
        manifest.load(folder)


@pytest.mark.parametrize("text", [b"{", b"\xff\xfe", b""])
def test_a_manifest_that_is_not_json_says_so(folder: Path, text: bytes) -> None:
    (folder / manifest.MANIFEST_FILE).write_bytes(text)
    with pytest.raises(EncoderError, match=r"encoder\.json' is not JSON"):
        manifest.load(folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m: m.pop("dimension"), "dimension"),
        (lambda m: m.update(dimension="64"), r"dimension"),
        (lambda m: m.update(dimension=0), r"dimension"),
        (lambda m: m.update(kind="image"), r"kind"),
        (lambda m: m.update(version="a/b"), r"version"),
        (lambda m: m.update(version="a\n"), r"version"),
        (lambda m: m.update(history=0), r"history"),
        (lambda m: m.update(half_lives_s=[]), r"half_lives_s"),
        (lambda m: m.update(half_lives_s=[1.0, -1.0]), r"half_lives_s should hold seconds above 0"),
        (lambda m: m["type_weights"].pop("browse"), r"type_weights should hold an entry for each of click, browse"),
        (lambda m: m["type_weights"].update(cart=[1.0, 1.0]), r"type_weights should hold an entry for each"),
        (lambda m: m["type_weights"].update(click=[1.0]), r"type_weights should hold 2 numbers"),
        (lambda m: m["type_weights"].update(click=[1.0, -1.0]), r"type_weights should hold 2 numbers of 0 or more"),
        (lambda m: m.update(score_scale=0), r"score_scale should hold a number above 0, found 0"),
        (lambda m: m["files"].pop("head.onnx"), r"files should hold items\.onnx and head\.onnx"),
        (lambda m: m["files"].update({"../secret": "0"}), r"files should hold plain file names"),
        (lambda m: m.update(kind="lookup"), r"files should hold items\.txt"),
        (lambda m: m.update(text_buckets=0), r"text_buckets should hold 1 or more"),
    ],
)
def test_a_wrong_field_is_named(folder: Path, change: Callable[[dict[str, Any]], object], message: str) -> None:
    rewrite(folder, change)
    with pytest.raises(EncoderError, match=r"encoder\.json' has a wrong field: .*" + message):
        manifest.load(folder)


def test_another_format_is_refused_before_its_fields_are_read(folder: Path) -> None:
    (folder / manifest.MANIFEST_FILE).write_bytes(b'{"format": 2}')
    with pytest.raises(EncoderError, match="has format 2, this release of prefstream reads format 1"):
        manifest.load(folder)


def test_a_missing_file_and_a_changed_file_are_told_apart(folder: Path) -> None:
    path = folder / "items.onnx"
    expected = manifest.sha256(path)
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    with pytest.raises(EncoderError) as changed:
        manifest.load(folder)
    assert "items.onnx" in str(changed.value)
    assert f"sha256 {manifest.sha256(path)}" in str(changed.value)
    assert f"expects {expected}" in str(changed.value)
    assert "Copy the encoder again" in str(changed.value)
    path.unlink()
    with pytest.raises(EncoderError, match=r"lacks its file 'items\.onnx'"):
        manifest.load(folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda m: m.update(dimension=32),
            r"items\.onnx' has 'vectors' as float \(any, 16\), expected float \(any, 32\)",
        ),
        (
            lambda m: m.update(history=7),
            r"head\.onnx' has 'recent_vectors' as float \(any, 6, 16\), expected float \(any, 7",
        ),
        (
            lambda m: m.update(half_lives_s=[60.0], type_weights={t: [1.0] for t in ("click", "browse", "purchase")}),
            r"head\.onnx' has '(sums|mass)' as .*, expected float \(any, 1",
        ),
        (lambda m: m.update(head_inputs=["sums"]), r"head\.onnx' takes sums, mass, .* its manifest says sums"),
        (
            lambda m: m.update(item_inputs=["item_row"]),
            r"items\.onnx' takes feature_ids, .* its manifest says item_row",
        ),
    ],
)
def test_a_graph_that_disagrees_with_the_manifest_is_named(
    folder: Path, change: Callable[[dict[str, Any]], object], message: str
) -> None:
    rewrite(folder, change)
    with pytest.raises(EncoderError, match=message):
        manifest.load(folder)


def test_a_file_that_is_no_onnx_model_is_named(folder: Path) -> None:
    stated = manifest.load(folder).manifest
    (folder / "head.onnx").write_bytes(b"<html>not found</html>")
    with pytest.raises(EncoderError, match=r"head\.onnx' is no ONNX model"):
        manifest.save(folder, stated)


def test_a_head_with_inputs_or_weights_it_may_not_have_is_refused(encoder: Encoder, tmp_path: Path) -> None:
    strange = reference.newest_head(16, 6)
    strange.graph.input[0].name = "clicks"
    with pytest.raises(EncoderError, match="takes clicks, but may take sums, mass, recent_vectors"):
        reference.replace_head(encoder, tmp_path / "a", strange, ["clicks"])
    half = reference.newest_head(16, 6)
    half.graph.input.append(reference.newest_head(16, 6).graph.input[0])
    half.graph.input[1].name = "sums"
    half.graph.input[1].type.tensor_type.shape.dim[1].dim_value = 2
    with pytest.raises(EncoderError, match="a linear head gives recent_weights, sum_weights for these"):
        reference.replace_head(encoder, tmp_path / "b", half, ["recent_vectors", "sums"])
    unnamed = reference.newest_head(16, 6)
    unnamed.graph.output.pop(0)
    with pytest.raises(EncoderError, match="must give user"):
        reference.replace_head(encoder, tmp_path / "c", unnamed, ["recent_vectors"])
