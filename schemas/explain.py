"""Explains what is wrong with a message: turns msgspec's errors into ``DecodeError``."""

import functools
import json
import math
import re
import typing
from typing import Any

import msgspec

from schemas.errors import DecodeError, DecodeReason
from schemas.wire_formats import format_name

# msgspec's sentences end with the path of the field; anchored, because a sentence may quote the input
_PATH = re.compile(r" - at `\$([^`]*)`$")
_MISSING = re.compile(r"^Object missing required field `([^`]*)`")
_WRONG_TYPE = re.compile(r"^(Expected `[^`]*`, got `|Invalid base64)")
_TYPE_NAMES = re.compile(r"(?P<before>^expected |, got )`(?P<names>[^`]*)`")

# msgspec names types as Python does; senders may write in any language
_PLAIN_NAMES = {
    "str": "a text",
    "bytes": "a text in base64",
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "array": "a list",
    "object": "an object",
    "null": "null",
}


def explain(struct_type: type, value: bytes, error: Exception) -> DecodeError:
    """Turn ``error``, raised while ``value`` was read as a ``struct_type``, into a ``DecodeError``."""
    message = struct_type.__name__
    if isinstance(error, msgspec.ValidationError):
        return _of_validation(struct_type, str(error))
    if isinstance(error, RecursionError):
        detail = f"the {message} is nested too deeply to be read"
        return DecodeError(DecodeReason.MALFORMED, None, detail)
    path = _not_finite(value)
    if path is not None:
        detail = (
            f"`{path}` of the {message} is NaN or Infinity, which JSON does not have; send a number or leave it out"
        )
        return DecodeError(DecodeReason.OUT_OF_RANGE, path, detail)
    format_ = format_name(value)
    found = f"it looks like {format_}; send JSON in UTF-8" if format_ else str(error)
    return DecodeError(DecodeReason.MALFORMED, None, f"the {message} is not valid JSON in UTF-8: {found}")


def explain_field(struct_type: type, field: str, error: msgspec.ValidationError) -> DecodeError:
    """Turn ``error``, raised while a field was converted, into a ``DecodeError`` about the field of the message."""
    sentence = str(error)
    if _PATH.search(sentence):
        sentence = sentence.replace(" - at `$", f" - at `$.{field}")
    else:
        sentence = f"{sentence} - at `$.{field}`"
    return _of_validation(struct_type, sentence)


def _of_validation(struct_type: type, sentence: str) -> DecodeError:
    message = struct_type.__name__
    match = _PATH.search(sentence)
    path = match[1].removeprefix(".") if match else ""
    problem = sentence[: match.start()] if match else sentence
    missing = _MISSING.match(problem)
    if missing:
        field = f"{path}.{missing[1]}" if path else missing[1]
        return DecodeError(
            DecodeReason.MISSING_FIELD, field, f"the {message} has no field `{field}`, which is required"
        )
    reason = DecodeReason.WRONG_TYPE if _WRONG_TYPE.match(problem) else DecodeReason.OUT_OF_RANGE
    subject = f"`{path}` of the {message}" if path else f"the {message}"
    choices = _choices(struct_type, path)
    expected = f", expected {' or '.join(choices)}" if choices else ""
    return DecodeError(reason, path or None, f"{subject}: {_in_plain_words(problem)}{expected}")


def _in_plain_words(problem: str) -> str:
    """A sentence of msgspec with the types named as in JSON.

    >>> _in_plain_words("Expected `float | null`, got `str`")
    'expected a number, got a text'
    """
    return _TYPE_NAMES.sub(_plain_name, problem[:1].lower() + problem[1:])


def _plain_name(found: re.Match[str]) -> str:
    names, got = found["names"].split(" | "), found["before"] == ", got "
    if got and names == ["float"]:
        return f"{found['before']}a number with a fraction"  # else it reads: expected a whole number, got a number
    named = [name for name in names if name != "null"] or names  # null stands for a field that is left out
    return found["before"] + " or ".join(_PLAIN_NAMES.get(name, f"`{name}`") for name in named)


def _choices(struct_type: type, field: str) -> list[str]:
    """Allowed values of a field with a few allowed words; msgspec's sentence does not name them."""
    hint = _type_hints(struct_type).get(field)
    return [repr(choice) for choice in typing.get_args(hint)] if typing.get_origin(hint) is typing.Literal else []


@functools.cache
def _type_hints(struct_type: type) -> dict[str, Any]:
    return typing.get_type_hints(struct_type)


def _not_finite(value: bytes) -> str | None:
    """Path of the first ``NaN`` or ``Infinity``, which Python's ``json.dumps`` and some other writers write."""
    try:
        # parse_float: a number too large for a float, in a field that nobody reads, must not count as Infinity
        return _path_of_not_finite(json.loads(value, parse_float=lambda _: 0.0))
    except (ValueError, RecursionError):
        return None


def _path_of_not_finite(node: Any) -> str | None:
    if isinstance(node, float):
        return None if math.isfinite(node) else ""
    children = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, child in children:
        below = _path_of_not_finite(child)
        if below is not None:
            step = f"[{key}]" if isinstance(key, int) else str(key)
            return f"{step}.{below}" if below and not below.startswith("[") else step + below
    return None
