"""The JSON Schema files and asyncapi.yaml say what the message classes say."""

import importlib
import json
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from schemas import generate
from schemas.channels import CHANNELS, HEADER_SETS, MESSAGES
from schemas.documents import DIALECT, asyncapi_document, schema_documents

SCHEMAS = schema_documents()
REPOSITORY = Path(__file__).parents[3]


def references(node: Any) -> set[str]:
    if isinstance(node, dict):
        own = {node["$ref"]} if isinstance(node.get("$ref"), str) else set()
        return own.union(*(references(child) for child in node.values()))
    if isinstance(node, list):
        return set().union(*(references(child) for child in node))
    return set()


def test_the_files_are_those_that_the_message_classes_give() -> None:
    assert generate.differences(generate.FOLDER, generate.generated_files()) == []


@pytest.mark.parametrize("name", SCHEMAS)
def test_a_schema_is_valid_and_every_field_is_described(name: str) -> None:
    schema = SCHEMAS[name]
    assert schema["$schema"] == DIALECT
    Draft202012Validator.check_schema(schema)
    for definition in [schema, *schema.get("$defs", {}).values()]:
        assert definition["title"]
        assert definition["description"]
        for field, body in definition["properties"].items():
            options = body.get("anyOf", [body])
            assert any("description" in option or "$ref" in option for option in options), field


@pytest.mark.parametrize("name", SCHEMAS)
def test_a_schema_refers_to_its_own_definitions_only(name: str) -> None:
    definitions = {f"#/$defs/{key}" for key in SCHEMAS[name].get("$defs", {})}
    assert references(SCHEMAS[name]) == definitions


@pytest.mark.parametrize("name", SCHEMAS)
def test_times_name_their_unit(name: str) -> None:
    for definition in [SCHEMAS[name], *SCHEMAS[name].get("$defs", {}).values()]:
        for field, body in definition["properties"].items():
            if field.endswith(("_ms", "-timestamp")):
                text = json.dumps(body)
                assert "milliseconds" in text


def test_an_object_with_an_unknown_field_satisfies_the_schema() -> None:
    event = {"event_id": "e", "user_id": "u", "item_id": "i", "event_time_ms": 0}
    validator = Draft202012Validator(SCHEMAS["click.schema.json"])
    assert validator.is_valid({**event, "new": [1]})
    assert not validator.is_valid({**event, "item_id": ""})
    assert not validator.is_valid({**event, "position": -1})
    assert not validator.is_valid({"event_id": "e"})


def test_the_yaml_file_holds_the_document() -> None:
    text = (generate.FOLDER / "asyncapi.yaml").read_text(encoding="utf-8")
    assert yaml.safe_load(text) == asyncapi_document()


def test_every_reference_of_the_asyncapi_document_leads_somewhere() -> None:
    document = asyncapi_document()
    found = references(document)
    assert {f"./{name}" for name in SCHEMAS} == {reference for reference in found if reference.startswith("./")}
    for reference in found - {f"./{name}" for name in SCHEMAS}:
        node = document
        for step in reference.removeprefix("#/").split("/"):
            node = node[step]


def test_every_topic_is_a_channel_with_its_cleanup_and_an_operation() -> None:
    document = asyncapi_document()
    addresses = {channel["address"] for channel in document["channels"].values()}
    assert addresses == {
        "clicks",
        "browses",
        "purchases",
        "rerouted",
        "actions",
        "profile-commands",
        "catalog",
        "offers",
        "recommendations",
        "dead-letters",
        "trending",
        "encoders",
        "item-vectors-{encoder_version}",
    }
    used = {operation["channel"]["$ref"] for operation in document["operations"].values()}
    assert used == {f"#/channels/{name}" for name in document["channels"]}
    compacted = {
        name
        for name, channel in document["channels"].items()
        if channel["bindings"]["kafka"]["topicConfiguration"]["cleanup.policy"] == ["compact"]
    }
    assert compacted == {"catalog", "offers", "recommendations", "trending", "encoders", "item-vectors"}


def test_five_topics_are_inputs() -> None:
    inputs = {channel.topic for channel in CHANNELS if channel.is_input}
    assert inputs == {"clicks", "browses", "purchases", "rerouted", "actions", "profile-commands"}


def test_every_message_and_header_set_is_on_a_topic() -> None:
    assert {name for channel in CHANNELS for name in channel.messages} == set(MESSAGES)
    assert {channel.headers for channel in CHANNELS if channel.headers} == set(HEADER_SETS)


def test_the_document_has_the_version_of_the_project() -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert asyncapi_document()["info"]["version"] == project["version"]


def test_check_names_what_is_out_of_date_and_a_run_repairs_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert generate.main([], tmp_path) == 0
    assert generate.main(["--check"], tmp_path) == 0
    (tmp_path / "click.schema.json").write_text("{}")
    (tmp_path / "browse.schema.json").unlink()
    (tmp_path / "gone.schema.json").write_text("{}")
    capsys.readouterr()
    assert generate.main(["--check"], tmp_path) == 1
    sentence = capsys.readouterr().err
    assert "browse.schema.json, click.schema.json, gone.schema.json" in sentence
    assert "Run `python -m schemas.generate`" in sentence
    assert (tmp_path / "click.schema.json").read_text() == "{}"
    assert generate.main([], tmp_path) == 0
    assert generate.main(["--check"], tmp_path) == 0
    assert not (tmp_path / "gone.schema.json").exists()


def test_without_pyyaml_a_sentence_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def missing(name: str) -> Any:
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)

    monkeypatch.setattr(importlib, "import_module", missing)
    assert generate.main(["--check"]) == 1
    assert capsys.readouterr().err == "yaml is not installed: install the development dependencies (group dev).\n"
