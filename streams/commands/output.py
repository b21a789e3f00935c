"""Writes the output of commands: answers to stdout, remarks to stderr."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from streams.commands.errors import CommandError

if TYPE_CHECKING:
    from rich.console import Console


def say(text: str) -> None:
    """Print a line of the answer to stdout."""
    typer.echo(text)


def note(text: str) -> None:
    """Print a remark to stderr."""
    typer.echo(text, err=True)


def say_json(answer: Any) -> None:
    """Print the answer for a script: indented JSON."""
    import msgspec

    typer.echo(msgspec.json.format(msgspec.json.encode(answer), indent=2).decode())


def check_writable(path: Path) -> None:
    """Check that a file can be written, before work is done for it; raises `CommandError` if not."""
    folder = path.parent
    if path.is_dir():
        raise CommandError(f"'{path}' is a folder: give the file to write.")
    if not folder.is_dir():
        raise CommandError(f"There is no folder '{folder}' for '{path.name}': create the folder, or give another path.")
    if not os.access(path if path.exists() else folder, os.W_OK):
        raise CommandError(f"'{path}' can't be written: give another path.")


def console(*, err: bool = False) -> "Console":
    """Make a console of rich on the present stdout or stderr; markup and emoji codes in ids are printed unchanged."""
    from rich.console import Console

    return Console(stderr=err, highlight=False, markup=False, emoji=False)


def say_table(columns: Sequence[str], rows: Sequence[Sequence[str]], title: str | None = None) -> None:
    """Print a table of plain texts: as wide as the terminal, or never cut where there is no terminal."""
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
