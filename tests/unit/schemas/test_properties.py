"""What holds of every message and of any bytes."""

import json
import string
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from schemas import codec
from schemas.catalog import CatalogItem, ItemVector
from schemas.channels import MESSAGES
from schemas.codec import decode, encode
from schemas.documents import schema_documents
from schemas.errors import DecodeError, DecodeReason
from schemas.events import EVENT_CLASSES, EVENT_TYPES, Browse, Click, OrderLine, Purchase
from schemas.fields import MAX_FLOAT32, MAX_INT32, MAX_INT64, MAX_TIME_MS
from schemas.mending import Mended, mend

# a busy machine is no reason to fail
patient = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

SCHEMAS = schema_documents()
CLASSES = list(MESSAGES.values())
VALIDATORS = {message: Draft202012Validator(SCHEMAS[f"{name}.schema.json"]) for name, message in MESSAGES.items()}

text = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
ids = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=256)
times = st.integers(0, MAX_TIME_MS)
counts = st.integers(0, MAX_INT32)
prices = st.floats(0, 1e12)
currencies = st.text(string.ascii_uppercase, min_size=3, max_size=3)
common = {
    "event_id": ids,
    "user_id": ids,
    "item_id": ids,
    "event_time_ms": times,
    "session_id": st.none() | ids,
    "recommendation_id": st.none() | ids,
}
clicks = st.builds(Click, **common, list=st.none() | text, position=st.none() | counts)
browses = st.builds(Browse, **common, dwell_ms=st.none() | times)
bought = {
    "quantity": st.integers(1, MAX_INT32) | st.floats(0, MAX_INT32, exclude_min=True),
    "price": st.none() | prices,
    "currency": st.none() | currencies,
}
orders = st.lists(st.builds(OrderLine, item_id=ids, **bought), min_size=1, max_size=4)
purchases = st.builds(Purchase, **common, items=st.none() | orders, **bought)
items = st.builds(
    CatalogItem,
    item_id=ids,
    title=text,
    description=text,
    category=st.lists(text, max_size=4),
    brand=text,
    price=st.none() | prices,
    currency=st.none() | currencies,
    image_vector=st.none() | st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=4),
    attributes=st.dictionaries(ids, text, max_size=3),
    available=st.booleans(),
)
vectors = st.builds(
    ItemVector,
    item_id=ids,
    vector=st.binary(min_size=4, max_size=64),
    encoder_version=ids,
    available=st.booleans(),
    bias=st.floats(-1e6, 1e6),
    source_topic_id=text,
    source_partition=counts,
    source_offset=st.integers(0, MAX_INT64),
)
messages = st.one_of(clicks, browses, purchases, items, vectors)

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**30), 10**30)
    | st.floats()
    | st.text(max_size=5)
    | st.sampled_from([MAX_FLOAT32, MAX_TIME_MS, 2**63, "EUR", "forget", "click"]),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(st.text(max_size=5), children, max_size=3),
    max_leaves=6,
)


@st.composite
def nearly_messages(draw: st.DrawFn) -> tuple[type, bytes]:
    """A message with one field changed to something else, dropped, or an alien field added."""
    message = draw(messages)
    fields: dict[str, Any] = msgspec.json.decode(encode(message))
    field = draw(st.sampled_from([*fields, "alien"]))
    if draw(st.booleans()):
        fields.pop(field, None)
    else:
        fields[field] = draw(json_values)
    return type(message), json.dumps(fields).encode("utf-8", "surrogatepass")


def message_or_refusal(read: Callable[[], object]) -> object:
    try:
        return read()
    except DecodeError as error:
        return error


def decode_or_refuse(struct_type: type, data: bytes) -> object:
    """The message, or the DecodeError if that is what was raised."""
    result = message_or_refusal(lambda: decode(struct_type, data))
    if isinstance(result, DecodeError):
        assert result.reason in list(DecodeReason)
        assert result.detail
        # what becomes headers of the dead letter
        result.detail.encode()
        (result.field or "").encode()
    else:
        assert isinstance(result, struct_type)
    return result


def parsed(data: bytes) -> Any:
    """The value, as a strict reader of JSON gives it; ValueError if it is none."""

    def refuse(constant: str) -> None:
        raise ValueError(f"{constant} is not JSON")

    return json.loads(data, parse_constant=refuse)


@patient
@given(messages)
def test_what_is_written_is_read_back_the_same(message: msgspec.Struct) -> None:
    assert decode(type(message), encode(message)) == message


@pytest.mark.parametrize("struct_type", CLASSES)
@settings(patient, max_examples=50)
@given(st.binary() | text.map(str.encode) | json_values.map(lambda value: json.dumps(value).encode()))
def test_any_bytes_decode_or_are_refused(struct_type: type, data: bytes) -> None:
    decode_or_refuse(struct_type, data)


@patient
@given(messages, st.data())
def test_a_message_with_broken_bytes_decodes_or_is_refused(message: msgspec.Struct, data: st.DataObject) -> None:
    broken = bytearray(encode(message))
    for _ in range(data.draw(st.integers(1, 3))):
        broken[data.draw(st.integers(0, len(broken) - 1))] = data.draw(st.integers(0, 255))
    decode_or_refuse(type(message), bytes(broken))


@settings(patient, max_examples=300)
@given(nearly_messages())
def test_the_decoder_accepts_what_the_json_schema_accepts(case: tuple[type, bytes]) -> None:
    struct_type, data = case
    result = decode_or_refuse(struct_type, data)
    try:
        sent = parsed(data)
    except ValueError:
        assert isinstance(result, DecodeError)
        return
    if isinstance(result, DecodeError) and result.reason is DecodeReason.MALFORMED:
        assert b"\\ud" in data  # lone surrogates, which only Python's reader lets pass
        return
    valid = VALIDATORS[struct_type].is_valid(sent)
    if valid and isinstance(result, DecodeError):
        # a schema calls 1.0 an integer, and can't look into base64
        field = str(result.field)
        assert field == "vector" or (isinstance(sent[field], float) and sent[field].is_integer())
    else:
        assert valid == (not isinstance(result, DecodeError))


@settings(patient, max_examples=300)
@given(nearly_messages())
def test_a_message_that_is_accepted_has_text_and_numbers_that_are_safe_to_store(case: tuple[type, bytes]) -> None:
    result = decode_or_refuse(*case)
    if not isinstance(result, DecodeError):
        again = encode(result)
        assert decode(case[0], again) == result
        assert msgspec.json.decode(again) == msgspec.to_builtins(result, builtin_types=())


@patient
@given(st.one_of(clicks, browses, purchases))
def test_a_line_of_an_events_file_is_read_as_the_event_it_was(event: Click | Browse | Purchase) -> None:
    event_type = EVENT_TYPES[EVENT_CLASSES.index(type(event))]
    event = msgspec.structs.replace(event, event_time_ms=1_700_000_000_000 + event.event_time_ms % 10**9)
    line = json.dumps({"type": event_type, **msgspec.to_builtins(event)}).encode()
    assert codec.decode_line(line).message == event


@patient
@given(st.one_of(clicks, browses, purchases, items))
def test_a_valid_message_is_mended_to_itself(message: Any) -> None:
    if not isinstance(message, CatalogItem):
        message = msgspec.structs.replace(message, event_time_ms=1_700_000_000_000 + message.event_time_ms % 10**9)
    assert mend(type(message), encode(message), lambda _: {}) == Mended(message, [])


@patient
@given(st.one_of(clicks, browses, purchases, items), st.data())
def test_no_value_of_an_optional_field_refuses_a_message(message: Any, data: st.DataObject) -> None:
    if not isinstance(message, CatalogItem):
        message = msgspec.structs.replace(message, event_time_ms=1_700_000_000_000)
    fields = msgspec.to_builtins(message)
    essential = {"event_id", "user_id", "item_id", "items", "event_time_ms", "title"}
    name = data.draw(st.sampled_from(sorted(fields.keys() - essential)))
    line = json.dumps(fields | {name: data.draw(json_values)}).encode()
    mended = codec.decode_mending(type(message), line)
    # a fault is told, never an error; and the second pass says the same
    assert codec.decode_mending(type(message), line).message == mended.message
    assert all(fault.field is not None and fault.field.startswith(name) for fault in mended.faults)
    assert decode(type(message), encode(mended.message)) == mended.message


@patient
@given(st.binary() | json_values.map(lambda value: json.dumps(value).encode()))
def test_any_line_is_an_event_or_refused(line: bytes) -> None:
    result = message_or_refusal(lambda: codec.decode_line(line))
    assert isinstance(result, (*EVENT_CLASSES, DecodeError))
