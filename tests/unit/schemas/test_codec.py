"""Reading: a message, or a DecodeError that names the reason and the field."""

import json
from typing import Any

import pytest

from schemas import actions, codec
from schemas.catalog import CatalogItem, ItemVector
from schemas.command import ProfileCommand
from schemas.errors import MAX_DETAIL_CHARS, DecodeError, DecodeReason
from schemas.events import BROWSE, CLICK, PURCHASE, Browse, Click, Purchase
from schemas.fields import MAX_INT64
from schemas.recommendation import Recommendation

EVENT: dict[str, Any] = {"event_id": "e", "user_id": "u", "item_id": "i", "event_time_ms": 1_700_000_000_000}
ITEM: dict[str, Any] = {"item_id": "i", "title": "t"}


def value(**changes: Any) -> bytes:
    return json.dumps({**EVENT, **changes}).encode()


def without(field: str) -> bytes:
    return json.dumps({key: content for key, content in EVENT.items() if key != field}).encode()


def short(parameter: object) -> str | None:
    """The name of a test's parameter, which would else be a megabyte here and there."""
    return parameter.decode("utf-8", "replace")[:100] if isinstance(parameter, bytes) else None


def refusal(struct_type: type, data: bytes | None, content_type: str | None = None) -> DecodeError:
    with pytest.raises(DecodeError) as caught:
        codec.decode(struct_type, data, content_type)
    return caught.value


def test_each_event_type_code_has_its_class() -> None:
    assert codec.decode_event(CLICK, value(list="home", position=0)).message == Click(**EVENT, list="home", position=0)
    assert codec.decode_event(BROWSE, value(dwell_ms=5)).message == Browse(**EVENT, dwell_ms=5)
    bought = Purchase(**EVENT, quantity=2, price=1.5, currency="EUR")
    assert codec.decode_event(PURCHASE, value(quantity=2, price=1.5, currency="EUR")).message == bought


def test_optional_fields_may_be_left_out() -> None:
    assert codec.decode(Purchase, value()) == Purchase(**EVENT, quantity=1, price=None, currency=None)


def test_unknown_fields_are_ignored() -> None:
    assert codec.decode(Click, value(new={"deep": [1, None]})) == Click(**EVENT)


@pytest.mark.parametrize("time", [0, MAX_INT64])
def test_a_number_of_any_unit_is_a_time_until_its_unit_is_looked_at(time: int) -> None:
    assert codec.decode(Click, value(event_time_ms=time)).event_time_ms == time


@pytest.mark.parametrize("field", EVENT)
def test_a_missing_field_is_named(field: str) -> None:
    error = refusal(Browse, without(field))
    assert (error.reason, error.field) == (DecodeReason.MISSING_FIELD, field)
    assert error.detail == f"the Browse has no field `{field}`, which is required"


@pytest.mark.parametrize(
    ("struct_type", "data", "reason", "field"),
    [
        (Click, value(event_id=""), DecodeReason.OUT_OF_RANGE, "event_id"),
        (Click, value(user_id="x" * 10_000), DecodeReason.OUT_OF_RANGE, "user_id"),
        (Click, value(item_id="é" * 257), DecodeReason.OUT_OF_RANGE, "item_id"),
        (Click, value(list="x" * 1_000_000), DecodeReason.OUT_OF_RANGE, "list"),
        (Click, value(session_id=""), DecodeReason.OUT_OF_RANGE, "session_id"),
        (Click, value(recommendation_id="x" * 257), DecodeReason.OUT_OF_RANGE, "recommendation_id"),
        (Click, value(user_id=7), DecodeReason.WRONG_TYPE, "user_id"),
        (Click, value(item_id=None), DecodeReason.WRONG_TYPE, "item_id"),
        (Click, value(event_time_ms="1"), DecodeReason.WRONG_TYPE, "event_time_ms"),
        (Click, value(event_time_ms=1.5), DecodeReason.WRONG_TYPE, "event_time_ms"),
        (Click, value(event_time_ms=True), DecodeReason.WRONG_TYPE, "event_time_ms"),
        (Click, value(event_time_ms=-1), DecodeReason.OUT_OF_RANGE, "event_time_ms"),
        (Click, value(event_time_ms=MAX_INT64 + 1), DecodeReason.OUT_OF_RANGE, "event_time_ms"),
        (Click, value(event_time_ms=10**30), DecodeReason.OUT_OF_RANGE, "event_time_ms"),
        (Click, value(position=-1), DecodeReason.OUT_OF_RANGE, "position"),
        (Click, value(position=2**31), DecodeReason.OUT_OF_RANGE, "position"),
        (Browse, value(dwell_ms=-1), DecodeReason.OUT_OF_RANGE, "dwell_ms"),
        (Purchase, value(quantity=0), DecodeReason.OUT_OF_RANGE, "quantity"),
        (Purchase, value(quantity=None), DecodeReason.WRONG_TYPE, "quantity"),
        (Purchase, value(price=-0.01), DecodeReason.OUT_OF_RANGE, "price"),
        (Purchase, value(price="9"), DecodeReason.WRONG_TYPE, "price"),
        (Purchase, value(price=10**400), DecodeReason.OUT_OF_RANGE, "price"),
        (Purchase, value().replace(b"}", b', "price": 1e999}'), DecodeReason.OUT_OF_RANGE, "price"),
        (Purchase, value(price=float("nan")), DecodeReason.OUT_OF_RANGE, "price"),
        (Purchase, value(price=float("-inf")), DecodeReason.OUT_OF_RANGE, "price"),
        (Purchase, value(currency="eur"), DecodeReason.OUT_OF_RANGE, "currency"),
        (Purchase, value(currency="EURO"), DecodeReason.OUT_OF_RANGE, "currency"),
        (Purchase, value(currency="EUR\n"), DecodeReason.OUT_OF_RANGE, "currency"),
        (CatalogItem, json.dumps({**ITEM, "category": ["a", 2]}).encode(), DecodeReason.WRONG_TYPE, "category[1]"),
        (CatalogItem, json.dumps({**ITEM, "category": "a"}).encode(), DecodeReason.WRONG_TYPE, "category"),
        (CatalogItem, json.dumps({**ITEM, "category": [""] * 33}).encode(), DecodeReason.OUT_OF_RANGE, "category"),
        (CatalogItem, json.dumps({**ITEM, "title": "x" * 1025}).encode(), DecodeReason.OUT_OF_RANGE, "title"),
        (CatalogItem, json.dumps({**ITEM, "image_vector": []}).encode(), DecodeReason.OUT_OF_RANGE, "image_vector"),
        (
            CatalogItem,
            json.dumps({**ITEM, "image_vector": [0.0, float("nan")]}).encode(),
            DecodeReason.OUT_OF_RANGE,
            "image_vector[1]",
        ),
        (
            CatalogItem,
            json.dumps({**ITEM, "attributes": {"a": 1}}).encode(),
            DecodeReason.WRONG_TYPE,
            "attributes[...]",
        ),
        (ItemVector, b'{"item_id": "i", "vector": "!", "encoder_version": "1"}', DecodeReason.WRONG_TYPE, "vector"),
        (ItemVector, b'{"item_id": "i", "vector": "", "encoder_version": "1"}', DecodeReason.OUT_OF_RANGE, "vector"),
        (
            ProfileCommand,
            b'{"command": "erase", "user_id": "u", "requested_ms": 1}',
            DecodeReason.OUT_OF_RANGE,
            "command",
        ),
        (
            Recommendation,
            b'{"recommendation_id": "r", "user_id": "u", "revision": {"term": 1}}',
            DecodeReason.MISSING_FIELD,
            "revision.sequence",
        ),
        (Click, b"null", DecodeReason.WRONG_TYPE, None),
        (Click, b"[]", DecodeReason.WRONG_TYPE, None),
        (Click, b'"text"', DecodeReason.WRONG_TYPE, None),
    ],
    ids=short,
)
def test_a_wrong_field_is_named(struct_type: type, data: bytes, reason: DecodeReason, field: str | None) -> None:
    error = refusal(struct_type, data)
    assert (error.reason, error.field) == (reason, field)
    assert field is None or f"`{field}`" in error.detail


def test_a_record_without_a_value_is_a_null_value() -> None:
    error = refusal(Click, None)
    assert (error.reason, error.field) == (DecodeReason.NULL_VALUE, None)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"\x00\xff\xfe",
        value()[:-1],
        value() + b"x",
        b"\xef\xbb\xbf" + value(),
        value().replace(b'"u"', b'"\xff"'),
        value().replace(b'"u"', b'"\xed\xa0\x80"'),
        value().replace(b'"u"', b'"\\ud800"'),
        value().replace(b'"u"', b'"\\udc00\\ud800"'),
        b'{"new": ' * 50_000 + b"1" + b"}" * 50_000,
        b"[" * 50_000,
        value().replace(b"}", b', "new": ' + b"[" * 50_000 + b"]" * 50_000 + b"}"),
    ],
    ids=range(13),
)
def test_broken_bytes_are_refused(data: bytes) -> None:
    error = refusal(Click, data)
    # an array where an object belongs is seen before its brackets are counted
    assert error.reason == (DecodeReason.WRONG_TYPE if data.startswith(b"[") else DecodeReason.MALFORMED)
    assert error.field is None


def test_a_null_character_is_text_like_any_other() -> None:
    click = codec.decode(Click, value(user_id="a\x00b"))
    assert click.user_id.encode() == b"a\x00b"
    assert codec.decode(Click, codec.encode(click)) == click


def test_an_infinite_number_in_an_ignored_field_costs_nothing() -> None:
    data = value().replace(b"}", b', "new": 1e999}')
    assert codec.decode(Click, data) == Click(**EVENT)
    # nor is it blamed for what another field did
    assert refusal(Click, data.replace(b'"u"', b'"\\ud800"')).field is None


def test_a_sentence_that_quotes_the_input_is_not_mistaken_for_its_place() -> None:
    data = json.dumps({"command": "x - at `$.user_id`", "user_id": "u", "requested_ms": 1}).encode()
    assert refusal(ProfileCommand, data).field == "command"


def test_a_detail_is_short_and_printable_whatever_the_input() -> None:
    command = json.dumps({"command": "x" * 1_000_000, "user_id": "u", "requested_ms": 1}).encode()
    assert len(refusal(ProfileCommand, command).detail) == MAX_DETAIL_CHARS
    key = "\\ud800" * 1000
    error = refusal(Click, f'{{"{key}": NaN}}'.encode())
    assert error.field is not None
    error.field.encode()
    error.detail.encode()


def test_the_error_is_a_sentence() -> None:
    sentence = str(refusal(Purchase, value(price=-1)))
    assert sentence == "out-of-range: `price` of the Purchase: expected a number >= 0.0"


@pytest.mark.parametrize(
    ("struct_type", "data", "said"),
    [
        (Purchase, value(price="9"), "`price` of the Purchase: expected a number, got a text"),
        (Click, value(event_time_ms=1.5), "expected a whole number, got a number with a fraction"),
        (Click, value(user_id=None), "expected a text, got null"),
        (Click, value(item_id=""), "expected a text of length >= 1"),
        (CatalogItem, json.dumps({**ITEM, "category": "a"}).encode(), "expected a list, got a text"),
        (CatalogItem, json.dumps({**ITEM, "available": 1}).encode(), "expected true or false, got a whole number"),
        (Click, b"[]", "the Click: expected an object, got a list"),
    ],
)
def test_types_are_named_in_plain_words(struct_type: type, data: bytes, said: str) -> None:
    assert said in refusal(struct_type, data).detail


@pytest.mark.parametrize(
    "content_type",
    [
        None,
        "application/json",
        "Application/JSON",
        "application/json; charset=utf-8",
        ' application/json ;charset="UTF-8"',
        "application/json; profile=x",
    ],
)
def test_json_goes_by_these_content_types(content_type: str | None) -> None:
    assert codec.decode(Click, value(), content_type) == Click(**EVENT)
    assert codec.decode_event(CLICK, value(), content_type).message == Click(**EVENT)


@pytest.mark.parametrize(
    "content_type", ["", "text/plain", "application/avro", "application/json; charset=latin-1", "�"]
)
def test_another_content_type_is_refused(content_type: str) -> None:
    error = refusal(Click, value(), content_type)
    assert (error.reason, error.field) == (DecodeReason.UNSUPPORTED_CONTENT_TYPE, None)
    assert "application/json" in error.detail


def test_a_record_without_a_value_is_one_whatever_its_content_type() -> None:
    assert refusal(Click, None, "application/avro").reason == DecodeReason.NULL_VALUE


@pytest.mark.parametrize(("name", "struct_type"), [("click", Click), ("browse", Browse), ("purchase", Purchase)])
def test_a_line_is_read_as_its_type(name: str, struct_type: type) -> None:
    event = codec.decode_line(value(type=name) + b"\n").message
    assert type(event) is struct_type
    assert event == struct_type(**EVENT)


@pytest.mark.parametrize(
    ("line", "reason", "field"),
    [
        (value(), DecodeReason.MISSING_FIELD, "type"),
        (value(type="view"), DecodeReason.OUT_OF_RANGE, "type"),
        (value(type=3), DecodeReason.WRONG_TYPE, "type"),
        (value(type="click", user_id=["u"]), DecodeReason.WRONG_TYPE, "user_id"),
        (b'{"type": "click"}', DecodeReason.MISSING_FIELD, "event_id"),
        (b"", DecodeReason.MALFORMED, None),
        (b"event_id,user_id\n", DecodeReason.MALFORMED, None),
    ],
    ids=short,
)
def test_a_broken_line_is_refused(line: bytes, reason: DecodeReason, field: str | None) -> None:
    with pytest.raises(DecodeError) as caught:
        codec.decode_line(line)
    assert (caught.value.reason, caught.value.field) == (reason, field)
    assert caught.value.detail.count("the Line" if field in ("type", None) else "the Click") == 1


def test_a_wrong_word_is_answered_with_the_right_ones() -> None:
    with pytest.raises(DecodeError) as caught:
        codec.decode_line(value(type="view"))
    assert (
        caught.value.detail
        == "`type` of the Line: invalid enum value 'view', expected 'click' or 'browse' or 'purchase'"
    )


REFUND = {"action": "refund", "event_id": "r1", "user_id": "u1", "item_id": "i1", "event_time_ms": 1_760_000_000_000}
HIDE = {"action": "hide", "event_id": "h1", "user_id": "u1", "item_id": "i1", "event_time_ms": 1_760_000_000_000}


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (REFUND, actions.Refund(**REFUND)),
        (REFUND | {"action": " Refund ", "item_id": 7}, actions.Refund(**REFUND | {"item_id": "7"})),
        (REFUND | {"event_time_ms": 1_760_000_000}, actions.Refund(**REFUND)),
        (REFUND | {"event_time_ms": "2025-10-09T08:53:20Z"}, actions.Refund(**REFUND)),
        (HIDE | {"until_ms": 1_770_000_000}, actions.Hide(**HIDE, until_ms=1_770_000_000_000)),
        (HIDE | {"until_ms": 0}, actions.Hide(**HIDE, until_ms=0)),
        (HIDE | {"brand": None, "later": 1}, actions.Hide(**HIDE)),
    ],
)
def test_an_action_is_read_and_mended(value: dict[str, Any], expected: Any) -> None:
    assert codec.decode_action(json.dumps(value).encode()) == (expected, [])


@pytest.mark.parametrize("until", ["tomorrow", 5, [], -1])
def test_a_hide_whose_end_is_no_time_has_no_end(until: Any) -> None:
    action, [fault] = codec.decode_action(json.dumps(HIDE | {"until_ms": until}).encode())
    assert (action.until_ms, fault.field) == (None, "until_ms")


def test_an_entry_of_an_impression_that_is_wrong_costs_only_itself() -> None:
    value = {**REFUND, "action": "impression", "items": ["a", {}, None, 3], "placement": ["x"]}
    action, faults = codec.decode_action(json.dumps(value).encode())
    assert action.items == ["a", "3"]
    assert [fault.field for fault in faults] == ["items[1]", "placement"]
