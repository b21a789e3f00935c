"""Mends messages: an optional field that is wrong costs only itself, and a value without doubt is converted.

Null is an absent field, numbers as text and whole floats are numbers, and a number where a text belongs is its digits.
The message's own fields say what is expected, so the module knows no message by name.
"""

import functools
import json
import math
import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeVar

import msgspec
from msgspec import inspect

from schemas.errors import DecodeError, DecodeReason
from schemas.explain import explain, explain_field
from schemas.fields import IS_TIME
from schemas.times import event_time_ms

T = TypeVar("T")
Defaults = Callable[[Mapping[str, Any]], Mapping[str, Any]]

_LONG_TEXT_CHARS = 1_024
"""A text that may be this long is read by people: it is cut, and the lines of a list are joined."""
_WORDS = {"true": True, "false": False, "1": True, "0": False}


class Mended(NamedTuple):
    """A message, and an error for each optional field that was left out, or cut, because it is wrong."""

    message: Any
    faults: list[DecodeError]


class _Field(NamedTuple):
    name: str
    annotation: Any
    kind: inspect.Type
    essential: bool
    """Whether the message can't be used without it: a required field, or the lines of an order."""


def mend(struct_type: type, value: bytes, defaults: Defaults) -> Mended:
    """Read a message from JSON that can't be read as it is.

    Parameters
    ----------
    struct_type : the message class
    value : JSON in UTF-8
    defaults : returns values for required fields that are absent or null, given the fields of the JSON

    Raises
    ------
    DecodeError
        The JSON is broken, or a field without a default is missing or wrong.
    """
    data = _parsed(struct_type, value)
    if not isinstance(data, dict):
        raise explain(struct_type, value, _validation_error(data, struct_type))
    faults: list[DecodeError] = []
    absent = {name: default for name, default in defaults(data).items() if data.get(name) is None}
    return Mended(_struct(struct_type, data | absent, faults), faults)


def _parsed(struct_type: type, value: bytes) -> Any:
    try:
        return msgspec.json.decode(value)
    except (ValueError, RecursionError) as error:
        try:
            # NaN and Infinity, which Python's json.dumps and some other writers write, cost their own field
            data = json.loads(value.decode())
            msgspec.json.encode(data)  # refuses lone surrogates, which json.loads lets pass
        except (ValueError, RecursionError):
            raise explain(struct_type, value, error) from error
        return data


def _struct(struct_type: type[T], data: dict[str, Any], faults: list[DecodeError], path: str = "") -> T:
    fields = _fields(struct_type)  # type: ignore[arg-type]  # mypy: a generic type is not Hashable
    values = {name: value for name in fields if (value := data.get(name)) is not None}
    wrong: set[str] = set()
    while True:
        try:
            return msgspec.convert(values, struct_type)
        except msgspec.ValidationError as error:
            found = _FIRST_FIELD.search(str(error))
            if found is None or found[1] not in values or found[1] in wrong:
                missing = explain(struct_type, b"", error)
                missing = DecodeError(missing.reason, f"{path}{missing.field or ''}" or None, missing.detail)
                # a purchase may lack `item_id` if it has `items`: without both, the error of the one says more than
                # its absence
                raise next((fault for fault in faults if fault.field == missing.field), missing) from None
        field = fields[found[1]]
        wrong.add(field.name)
        name = f"{path}{field.name}"
        try:
            mended = _value(field.kind, values[field.name], name, faults)
            if not isinstance(mended, msgspec.Struct):
                _check(struct_type, field, mended, name)
        except DecodeError as error:
            if field.essential:
                raise
            faults.append(error)
            del values[field.name]
        else:
            values[field.name] = mended


_FIRST_FIELD = re.compile(r"`\$\.([^.`\[]+)[^`]*`$")
"""The message's own field in the path that ends an error of msgspec."""


@functools.cache
def _fields(struct_type: type) -> dict[str, _Field]:
    (info,) = inspect.multi_type_info([struct_type])
    assert isinstance(info, inspect.StructType)
    annotations = {field.name: field.type for field in msgspec.structs.fields(struct_type)}
    found = (
        _Field(field.encode_name, annotations[field.name], field.type, field.required or _is_lines(field.type))
        for field in info.fields
    )
    return {field.name: field for field in found}


def _is_lines(kind: inspect.Type) -> bool:
    if isinstance(kind, inspect.Metadata):
        return _is_lines(kind.type)
    if isinstance(kind, inspect.UnionType):
        return any(map(_is_lines, kind.types))
    return isinstance(kind, inspect.ListType) and isinstance(kind.item_type, inspect.StructType)


def _check(struct_type: type, field: _Field, value: Any, name: str) -> None:
    try:
        msgspec.convert(value, field.annotation)
    except msgspec.ValidationError as error:
        raise explain_field(struct_type, name, error) from None


def _validation_error(value: Any, annotation: Any) -> Exception:
    try:
        msgspec.convert(value, annotation)
    except msgspec.ValidationError as error:
        return error
    raise AssertionError("the value is valid")


def _value(kind: inspect.Type, value: Any, name: str, faults: list[DecodeError]) -> Any:
    """Return the value as the kind wants it, or as it is if that is not known; the caller checks the result."""
    if isinstance(kind, inspect.Metadata):
        return event_time_ms(value, name) if (kind.extra or {}).get(IS_TIME) else _value(kind.type, value, name, faults)
    if isinstance(kind, inspect.UnionType):
        (kind,) = (option for option in kind.types if not isinstance(option, inspect.NoneType))
        return _value(kind, value, name, faults)
    if isinstance(kind, inspect.StrType):
        return _text(kind, value, name, faults)
    if isinstance(kind, inspect.IntType | inspect.FloatType):
        return _number(kind, value, name)
    if isinstance(kind, inspect.BoolType):
        return as_bool(value)
    if isinstance(kind, inspect.LiteralType):
        return value.strip().lower() if isinstance(value, str) else value
    if isinstance(kind, inspect.ListType):
        return _list(kind, value, name, faults)
    if isinstance(kind, inspect.DictType):
        return _dict(kind, value, name, faults)
    if isinstance(kind, inspect.StructType) and isinstance(value, dict):
        return _struct(kind.cls, value, faults, f"{name}.")
    return value


def as_bool(value: Any) -> Any:
    """Return the truth value that 1, 0 or a text stands for; any other value as it is."""
    return _WORDS.get(str(value).strip().lower(), value)


def _text(kind: inspect.StrType, value: Any, name: str, faults: list[DecodeError]) -> Any:
    is_long = (kind.max_length or _LONG_TEXT_CHARS) >= _LONG_TEXT_CHARS
    if isinstance(value, bool):
        return ("true" if value else "false") if is_long else value
    if isinstance(value, int | float) and math.isfinite(value):
        return str(int(value) if value == int(value) else value)
    if is_long and isinstance(value, list) and all(isinstance(line, str) for line in value):
        value = "\n".join(value)
    if not isinstance(value, str):
        return value
    if kind.pattern is not None:
        value = value.strip().upper()
    if is_long and kind.max_length is not None and len(value) > kind.max_length:
        detail = f"`{name}` has {len(value)} characters; the first {kind.max_length} are read"
        faults.append(DecodeError(DecodeReason.OUT_OF_RANGE, name, detail))
        return value[: kind.max_length]
    return value


def _number(kind: inspect.IntType | inspect.FloatType, value: Any, name: str) -> Any:
    if isinstance(value, str):
        value = _number_of_text(value.strip())
    if isinstance(value, float):
        if not math.isfinite(value):
            raise DecodeError(DecodeReason.OUT_OF_RANGE, name, f"`{name}` is no finite number")
        if isinstance(kind, inspect.IntType) and value.is_integer():
            return int(value)
    return value


def _number_of_text(text: str) -> Any:
    try:
        # float() alone would take "1_0" and Arabic digits
        return (int(text) if text.isdecimal() else float(text)) if text.isascii() and "_" not in text else text
    except ValueError:
        return text


def _list(kind: inspect.ListType, value: Any, name: str, faults: list[DecodeError]) -> Any:
    if isinstance(value, str | int | float) and not isinstance(value, bool):
        value = [value]
    if not isinstance(value, list):
        return value
    item = kind.item_type
    if isinstance(item, inspect.FloatType):  # a vector: without one of its numbers it is another vector
        return [_value(item, entry, name, faults) for entry in value]
    entries = []
    for index, entry in enumerate(value):
        if entry is None:
            continue
        try:
            entries.append(_entry(item, entry, f"{name}[{index}]", faults))
        except DecodeError as error:
            faults.append(error)
    if isinstance(item, inspect.StructType):
        return entries  # a part of an order is another order: too many lines refuse it
    return _cut(entries, kind.max_length, name, faults)


def _dict(kind: inspect.DictType, value: Any, name: str, faults: list[DecodeError]) -> Any:
    if not isinstance(value, dict):
        return value
    entries = {}
    for key, entry in value.items():
        if entry is None:
            continue
        try:
            at = f"{name}.{key}"
            entries[_entry(kind.key_type, key, at, faults)] = _entry(kind.value_type, entry, at, faults)
        except DecodeError as error:
            faults.append(error)
    return dict(_cut(list(entries.items()), kind.max_length, name, faults))


def _entry(kind: inspect.Type, value: Any, name: str, faults: list[DecodeError]) -> Any:
    """Mend an entry of a list or an object; `DecodeError` if it can't be used."""
    mended = _value(kind, value, name, faults)
    if isinstance(kind, inspect.Metadata):
        kind = kind.type
    if isinstance(kind, inspect.StructType):
        if isinstance(mended, kind.cls):
            return mended
        raise DecodeError(DecodeReason.WRONG_TYPE, name, f"`{name}`: expected an object")
    if not isinstance(kind, inspect.StrType):
        return mended
    if not isinstance(mended, str):
        raise DecodeError(DecodeReason.WRONG_TYPE, name, f"`{name}`: expected a text")
    shortest, longest = kind.min_length or 0, kind.max_length or len(mended)
    if not shortest <= len(mended) <= longest:
        detail = f"`{name}` has {len(mended)} characters, expected {shortest} to {longest}"
        raise DecodeError(DecodeReason.OUT_OF_RANGE, name, detail)
    return mended


def _cut(entries: list[T], longest: int | None, name: str, faults: list[DecodeError]) -> list[T]:
    if longest is None or len(entries) <= longest:
        return entries
    detail = f"`{name}` has {len(entries)} entries; the first {longest} are read"
    faults.append(DecodeError(DecodeReason.OUT_OF_RANGE, name, detail))
    return entries[:longest]
