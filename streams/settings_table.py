"""Writes the README's table of settings: ``python -m streams.settings_table README.md [--check]``."""

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from streams.settings import Settings

START, END = "<!-- settings: start -->", "<!-- settings: end -->"


def rows(model: type[BaseModel] = Settings, prefix: str = "") -> Iterator[tuple[str, str, str]]:
    """Yield the name, the default and the meaning of every setting."""
    for name, info in model.model_fields.items():
        section = _section(info.annotation)
        if section is not None:
            yield from rows(section, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", _default(info), _meaning(info)


def _section(annotation: Any) -> type[BaseModel] | None:
    for option in (annotation, *get_args(annotation)):
        if isinstance(option, type) and issubclass(option, BaseModel):
            return option
    return None


def _default(info: FieldInfo) -> str:
    value = info.default
    if value is PydanticUndefined:
        return "(needed)"
    if value is None:
        return "(none)"
    return f"`{json.dumps(value, default=str)}`"


def _meaning(info: FieldInfo) -> str:
    meaning = " ".join((info.description or "").split())
    options = [str(option) for option in get_args(info.annotation)] if get_origin(info.annotation) is Literal else []
    return f"{meaning} One of {', '.join(f'`{option}`' for option in options)}." if options else meaning


def table() -> str:
    """Return the table in Markdown."""
    lines = ["| setting | default | meaning |", "|---|---|---|"]
    return "\n".join(lines + [f"| `{name}` | {default} | {meaning} |" for name, default, meaning in rows()])


def main(arguments: list[str] | None = None) -> int:
    """Write the table between its marks in a file; with ``--check`` only check that the file has it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", type=Path)
    parser.add_argument(
        "--check", action="store_true", help="write nothing; exit with 1 if the table in the file is out of date"
    )
    given = parser.parse_args(arguments)
    text = given.file.read_text("utf-8")
    before, mark, rest = text.partition(START)
    _, end, after = rest.partition(END)
    if not mark or not end:
        print(f"{given.file} has no lines {START} and {END}: the table goes between them.", file=sys.stderr)
        return 1
    fresh = f"{before}{START}\n{table()}\n{END}{after}"
    if given.check and fresh != text:
        print(
            f"The table in {given.file} is out of date: run `python -m streams.settings_table {given.file}`.",
            file=sys.stderr,
        )
        return 1
    given.file.write_text(fresh, "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
