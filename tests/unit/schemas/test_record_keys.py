"""The id that a key names, in the forms that producers write."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.errors import DecodeError, DecodeReason
from schemas.record_keys import id_of_key

SCHEMA_ID = b"\x00\x00\x00\x01\x2c"
texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=60)


@pytest.mark.parametrize(
    "key",
    [
        b"i10",
        b'"i10"',
        b'{"item_id":"i10"}',
        b'{"schema": {"type": "string"}, "payload": "i10"}',
        b'{"schema": {"type": "struct"}, "payload": {"item_id": "i10"}}',
        SCHEMA_ID + b"\x06i10",
        SCHEMA_ID + b'"i10"',
        SCHEMA_ID + b'{"item_id": "i10"}',
    ],
)
def test_forms_of_one_key_name_one_item(key: bytes) -> None:
    assert id_of_key(key, "item_id") == "i10"


@pytest.mark.parametrize("key", [b'{"sku": "i10"}', b'""', b'{"item_id": null}', b"\xff\xfe", SCHEMA_ID + b"\x08i10"])
def test_a_key_of_another_form_is_refused_with_the_key(key: bytes) -> None:
    with pytest.raises(DecodeError) as caught:
        id_of_key(key, "item_id")
    assert caught.value.reason == DecodeReason.MALFORMED
    assert repr(key[:80]) in caught.value.detail


def test_the_wire_format_of_a_schema_registry_is_named() -> None:
    with pytest.raises(DecodeError, match=r"Confluent's wire format \(schema id 300"):
        id_of_key(SCHEMA_ID + b"\x01\x02\x03", "item_id")


@pytest.mark.parametrize("key", [b'"half', b"{half"])
def test_an_id_that_only_begins_like_json_is_plain_text(key: bytes) -> None:
    assert id_of_key(key, "item_id") == key.decode()


@given(texts)
def test_any_id_is_read_from_each_form(name: str) -> None:
    assert id_of_key(json.dumps(name).encode(), "item_id") == name
    assert id_of_key(json.dumps({"item_id": name}).encode(), "item_id") == name
    if len(name.encode()) < 64 and not name.endswith('"'):  # an Avro text of 17 bytes may look like a text of JSON
        assert id_of_key(SCHEMA_ID + bytes([2 * len(name.encode())]) + name.encode(), "item_id") == name
