import shutil
from pathlib import Path

import pytest

from encoders.artifact import manifest
from encoders.artifact.registry import EncoderRegistry
from encoders.building import lookup
from encoders.errors import EncoderError


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("registry")
    for version in ("v1", "v2"):
        lookup.build(folder / f"folder-of-{version}", ["a"], [[1.0, 0.0]], version)
    return folder


@pytest.fixture
def registry(built: Path, tmp_path: Path) -> EncoderRegistry:
    shutil.copytree(built / "folder-of-v2", tmp_path / "any-name")
    return EncoderRegistry(manifest.load(built / "folder-of-v1"), tmp_path)


def test_versions_are_known_by_their_manifests_not_by_their_folders_names(
    registry: EncoderRegistry, tmp_path: Path
) -> None:
    assert registry.take("v2").folder == tmp_path / "any-name"
    assert set(registry.paths()) == {"v1", "v2"}


def test_the_first_is_there_without_a_folder_of_folders(registry: EncoderRegistry, tmp_path: Path) -> None:
    alone = EncoderRegistry(registry.first, tmp_path / "not-there")
    assert alone.take("v1") is registry.first
    with pytest.raises(EncoderError, match=r"no folder of encoder version 'v2' in '.*not-there'"):
        alone.take("v2")


def test_a_version_is_found_by_the_name_of_its_folder_too(registry: EncoderRegistry) -> None:
    assert [registry.version_of(name) for name in ("any-name", "folder-of-v1", "v2", "v9")] == ["v2", "v1", "v2", "v9"]


def test_a_folder_that_comes_later_is_found(registry: EncoderRegistry, built: Path, tmp_path: Path) -> None:
    known = r"\(known: v1 \(folder folder-of-v1\), v2 \(folder any-name\)\)"
    with pytest.raises(EncoderError, match=rf"'v3' in '.*' {known}"):
        registry.take("v3")
    lookup.build(tmp_path / "new", ["a"], [[1.0, 0.0]], "v3")
    assert registry.take("v3").manifest.version == "v3"


def test_a_folder_that_is_half_copied_is_refused_until_it_is_whole(registry: EncoderRegistry, tmp_path: Path) -> None:
    model = tmp_path / "any-name" / "items.onnx"
    whole = model.read_bytes()
    model.write_bytes(whole[:50])
    with pytest.raises(EncoderError, match="checksum"):
        registry.take("v2")
    (tmp_path / "any-name" / "encoder.json").rename(tmp_path / "aside")
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "encoder.json").write_text('{"version": ')
    with pytest.raises(EncoderError, match="no folder of encoder version 'v2'"):
        registry.take("v2")
    (tmp_path / "aside").rename(tmp_path / "any-name" / "encoder.json")
    model.write_bytes(whole)
    assert registry.take("v2").manifest.version == "v2"
