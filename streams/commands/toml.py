"""Writes settings as TOML; Python's own library only reads it."""

import json
from collections.abc import Mapping
from typing import Any


def to_toml(tables: Mapping[str, Any], path: str = "") -> str:
    """Write nested tables of strings, numbers, booleans and lists of them; None and empty tables are omitted.

    >>> print(to_toml({"namespace": "shop1", "kafka": {"partitions": 8}}), end="")
    namespace = "shop1"
    <BLANKLINE>
    [kafka]
    partitions = 8
    """
    plain = {name: value for name, value in tables.items() if not isinstance(value, Mapping) and value is not None}
    text = f"\n[{path}]\n" if path and plain else ""
    # for these values JSON is valid TOML, if characters beyond ASCII are not escaped
    text += "".join(f"{name} = {json.dumps(value, ensure_ascii=False)}\n" for name, value in plain.items())
    for name, value in tables.items():
        if isinstance(value, Mapping):
            text += to_toml(value, f"{path}.{name}" if path else name)
    return text
