"""The page of commands, from the command line's own help."""

import inspect
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

import typer

from deploy.docs import markdown, settings
from deploy.docs.markdown import anchor, code, prose, table
from streams.cli import app
from streams.commands.errors import EXIT_FAILED, EXIT_INTERRUPTED

PROGRAM = "prefstream"

INTRO = f"""\
All commands are parts of one program, `{PROGRAM}`. Each shows its help with `--help`.

In a usage line, `{{name}}` must be given, `[name]` may be left out, and `[OPTIONS]` stands for the options of the
table. The options of the program itself stand before the command: `{PROGRAM} --config FILE worker`. The commands take
everything else from the [settings](settings.md).

A command that has the option `--json` prints its answer as JSON on stdout; hints and errors go to stderr.

{
    table(
        ("exit code", "meaning"),
        [
            ("0", "The command has done what it was asked to do."),
            (str(EXIT_FAILED), "It could not; one sentence on stderr says why, and what to do."),
            ("2", "An argument or an option is wrong or missing; stderr says which."),
            (str(EXIT_INTERRUPTED), "Ctrl-C ended a command that does not end by Ctrl-C itself."),
        ],
    )
}"""

NOT_RUN = "<!-- not run: examples with names of files, users and servers of your own -->"

_VALUES = {
    "int": "integer",
    "int range": "integer",
    "float": "number",
    "float range": "number",
    "str": "text",
    "list[str]": "text, several",
}
"""Names of the types of values, where those of the help are Python's."""

_EXTRAS = re.compile(r"^(.*?)(?:  \[([^\]]*)\])?$", re.DOTALL)


class Command(NamedTuple):
    """A command or a group of commands."""

    path: str
    depth: int
    click: Any
    is_group: bool


def commands() -> list[Command]:
    """Return all commands and groups, each group before its commands; the program itself comes first."""
    return list(_walk(typer.main.get_command(app), PROGRAM, 0))


def _walk(command: Any, path: str, depth: int) -> Iterator[Command]:
    below = {name: sub for name, sub in getattr(command, "commands", {}).items() if not sub.hidden}
    yield Command(path, depth, command, bool(below))
    for name, sub in below.items():
        yield from _walk(sub, f"{path} {name}", depth + 1)


def page() -> str:
    """Return the text of the page."""
    program, *others = commands()
    overview = [
        (f"[`{command.path}`](#{anchor(command.path)})", prose(_paragraphs(command)[0], settings.link))
        for command in others
        if not command.is_group
    ]
    parts = [
        INTRO,
        "## All commands\n\n" + table(("command", "what it does"), overview),
        "## Options of the program\n\n" + _body(program),
    ]
    parts += [f"{'#' * (command.depth + 1)} {command.path}\n\n{_body(command)}" for command in others]
    return markdown.page("Commands", *parts)


def _paragraphs(command: Command) -> list[str]:
    return inspect.cleandoc(command.click.help or "").split("\n\n")


def _body(command: Command) -> str:
    first, *more = _paragraphs(command)
    examples = [text for text in more if text.startswith("\b")]
    parts = [prose(first, settings.link), f"```text\n{_usage(command)}\n```"]
    parts += [prose(text, settings.link) for text in more if text not in examples]
    for kind in ("argument", "option"):
        rows = [_row(*record) for record in _parameters(command, kind)]
        if rows:
            parts.append(table((kind, "value", "default", "meaning"), rows))
    for text in examples:
        lines = [line.strip() for line in text.splitlines() if line.startswith(" ")]
        parts.append("Examples:\n\n" + "\n".join((NOT_RUN, "```sh", *lines, "```")))
    return "\n\n".join(parts)


def _context(command: Command) -> Any:
    return command.click.context_class(command.click, info_name=command.path)


def _usage(command: Command) -> str:
    return " ".join((command.path, *command.click.collect_usage_pieces(_context(command))))


def _parameters(command: Command, kind: str) -> list[tuple[str, str]]:
    """Return the name and the help text of the arguments or options, as ``--help`` shows them."""
    context = _context(command)
    parameters = [
        parameter
        for parameter in command.click.get_params(context)
        if parameter.param_type_name == kind and parameter.opts != ["--help"]
    ]
    return [record for parameter in parameters if (record := parameter.get_help_record(context)) is not None]


def _row(name: str, text: str) -> tuple[str, str, str, str]:
    """Return the cells of a parameter, from its name and text in the help.

    >>> _row("--seed <int range>", "The seed.  [default: 1; x>=0]")
    ('`--seed`', 'integer, `x>=0`', '`1`', 'The seed.')
    """
    match = _EXTRAS.match(text)
    assert match is not None
    meaning, extras = match[1], (match[2] or "").split("; ")
    default, allowed = "", []
    for extra in filter(None, extras):
        if extra.startswith("default: "):
            default = code(extra.removeprefix("default: "))
        elif extra == "required":
            default = "(needed)"
        else:
            allowed.append(code(extra))
    options, value = _split(name)
    return options, ", ".join(filter(None, (value, *allowed))), default, prose(meaning, settings.link)


def _split(name: str) -> tuple[str, str]:
    """Split what the help calls a parameter into its names and its kind of value."""
    names, _, kind = name.partition(" <")
    kind = kind.removesuffix(">")
    if "|" in kind:
        kind = "one of " + ", ".join(code(choice) for choice in kind.split("|"))
    if not kind and names.startswith("-") and names.split()[-1].isupper():
        names, _, metavar = names.rpartition(" ")
        kind = code(metavar)
    parts = re.split(r", | / ", names)
    return ", ".join(code(part) for part in parts), _VALUES.get(kind, kind)
