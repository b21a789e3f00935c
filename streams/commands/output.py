"""Where commands write: answers to stdout, remarks to stderr."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from streams.commands.errors import CommandError

if TYPE_CHECKING:
    from rich.console import Console


def say(text: str) -> None:
    """A line of the answer."""
    typer.echo(text)


def note(text: str) -> None:
    """A remark beside the answer."""
    typer.echo(text, err=True)


def say_json(answer: Any) -> None:
    """The answer for a script: JSON, indented."""
    import msgspec

    typer.echo(msgspec.json.format(msgspec.json.encode(answer), indent=2).decode())


def check_writable(path: Path) -> None:
    """`CommandError` where no file can be written at a path, before the work for it is done."""
    folder = path.parent
    if path.is_dir():
        raise CommandError(f"'{path}' is a folder: give the file to write.")
    if not folder.is_dir():
        raise CommandError(f"There is no folder '{folder}' to write '{path.name}' in: make it, or give another path.")
    if not os.access(path if path.exists() else folder, os.W_OK):
        raise CommandError(f"'{path}' can't be written: give another path.")


def console(*, err: bool = False) -> "Console":
    """A console of rich's on today's stdout or stderr; ids that look like markup or emoji codes stay as they are."""
    from rich.console import Console

    return Console(stderr=err, highlight=False, markup=False, emoji=False)


def say_table(columns: Sequence[str], rows: Sequence[Sequence[str]], title: str | None = None) -> None:
    """A table of plain texts: as wide as the terminal on one, else never cut."""
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, title=title, title_justify="left", pad_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*row)
    out = console()
    if not out.is_terminal:
        out.width = 1_000  # a pipe has no width to fold at
    out.print(table)
