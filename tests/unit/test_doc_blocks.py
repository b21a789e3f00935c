"""The examples of README and docs are well formed: settings are settings, messages are JSON, Python compiles."""

import json
import tomllib
from pathlib import Path

import pytest

from streams.settings import load_settings
from tests.doc_blocks import ROOT, Block, blocks, pages

LANGUAGES = {"sh", "python", "toml", "json", "text", "sql", "cql", "yaml"}
LONGEST_README = 160

BLOCKS = [block for page in [*pages(), ROOT / "CONTRIBUTING.md"] for block in blocks(page)]


def of(language: str) -> list[Block]:
    found = [block for block in BLOCKS if block.language == language]
    assert found
    return found


@pytest.mark.parametrize("block", of("toml"), ids=lambda block: block.name)
def test_settings_are_settings(block: Block, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PREFSTREAM_CONFIG", raising=False)
    file = tmp_path / "prefstream.toml"
    file.write_text(block.text, "utf-8")
    if block.is_run:
        load_settings(file)
    else:
        tomllib.loads(block.text)


@pytest.mark.parametrize("block", of("json"), ids=lambda block: block.name)
def test_messages_are_json(block: Block) -> None:
    json.loads(block.text)


@pytest.mark.parametrize("block", of("python"), ids=lambda block: block.name)
def test_python_compiles(block: Block) -> None:
    compile(block.text, block.name, "exec")


def test_every_block_names_a_language_that_is_checked_or_is_output() -> None:
    assert {block.language for block in BLOCKS} <= LANGUAGES
    for page in pages():
        assert page.read_text("utf-8").count("\n```") % 2 == 0, page


def test_the_readme_is_one_page() -> None:
    assert len((ROOT / "README.md").read_text("utf-8").splitlines()) <= LONGEST_README
