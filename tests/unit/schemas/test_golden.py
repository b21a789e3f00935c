"""Every release's recorded messages are still read, and the JSON Schemas agree with the decoder about them."""

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from jsonschema import Draft202012Validator

from schemas import codec
from schemas.channels import HEADER_SETS, MESSAGES
from schemas.dead_letter import DeadLetter
from schemas.documents import schema_documents
from schemas.rerouted import Rerouted

GOLDEN = Path(__file__).parents[2] / "golden"
RELEASES = sorted(path.name for path in GOLDEN.iterdir() if path.is_dir())
SCHEMAS = schema_documents()
HEADER_CLASSES: dict[str, type[DeadLetter] | type[Rerouted]] = {"dead-letter": DeadLetter, "rerouted": Rerouted}


def recorded(name: str) -> list[Any]:
    """(release, line) of every recorded message of this name."""
    lines = []
    for release in RELEASES:
        text = (GOLDEN / release / f"{name}.jsonl").read_text(encoding="utf-8")
        lines += [
            pytest.param(line, id=f"{release}-{name}-{number}") for number, line in enumerate(text.splitlines(), 1)
        ]
    return lines


def messages() -> list[Any]:
    return [pytest.param(name, *line.values, id=line.id) for name in MESSAGES for line in recorded(name)]


def assert_holds(decoded: Any, sent: Any) -> None:
    """Each field that was sent and is known has the value that was sent."""
    if isinstance(decoded, dict) and isinstance(sent, dict):
        for key in decoded.keys() & sent.keys():
            assert_holds(decoded[key], sent[key])
    elif isinstance(decoded, list) and isinstance(sent, list):
        assert len(decoded) == len(sent)
        for one, other in zip(decoded, sent, strict=True):
            assert_holds(one, other)
    else:
        assert decoded == sent


def test_the_first_release_is_recorded() -> None:
    assert "v0.1.0" in RELEASES


@pytest.mark.parametrize(("name", "line"), messages())
def test_a_recorded_message_decodes_to_what_was_sent(name: str, line: str) -> None:
    decoded = codec.decode(MESSAGES[name], line.encode())
    builtins = msgspec.json.decode(msgspec.json.encode(decoded))
    assert_holds(builtins, json.loads(line))
    assert set(builtins) == set(MESSAGES[name].__struct_fields__)


@pytest.mark.parametrize(("name", "line"), messages())
def test_a_recorded_message_satisfies_its_json_schema(name: str, line: str) -> None:
    Draft202012Validator(SCHEMAS[f"{name}.schema.json"]).validate(json.loads(line))


@pytest.mark.parametrize(("name", "line"), messages())
def test_what_this_release_writes_satisfies_the_json_schema(name: str, line: str) -> None:
    written = codec.encode(codec.decode(MESSAGES[name], line.encode()))
    Draft202012Validator(SCHEMAS[f"{name}.schema.json"]).validate(json.loads(written))
    assert codec.decode(MESSAGES[name], written) == codec.decode(MESSAGES[name], line.encode())


@pytest.mark.parametrize("name", HEADER_SETS)
def test_recorded_headers_are_read_and_written_the_same(name: str) -> None:
    schema = SCHEMAS[f"{name}.schema.json"]
    for line in recorded(name):
        headers = [(key, value.encode()) for key, value in json.loads(line.values[0])]
        read = HEADER_CLASSES[name].from_headers(headers)
        written = dict(read.to_headers())
        assert written.items() <= dict(headers).items()
        assert set(written) == {key for key, _ in headers} & set(schema["properties"])
        numbers = {key for key, body in schema["properties"].items() if body["type"] == "integer"}
        Draft202012Validator(schema).validate(
            {key: int(value) if key in numbers else value.decode() for key, value in headers}
        )


@pytest.mark.parametrize("line", recorded("events"))
def test_a_recorded_line_of_an_events_file_decodes_to_its_type(line: str) -> None:
    event = codec.decode_line(line.encode()).message
    assert type(event).__name__.lower() == json.loads(line)["type"]
    assert_holds(msgspec.to_builtins(event), json.loads(line))
