"""The command line, ``prefstream``: its global options, its commands, and how errors are shown.

This file imports no heavy module, and the files of commands import them only inside functions: so help comes at once.
"""

from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from streams.commands import dlq, encoders, profile, stack, topics
from streams.commands.console import console
from streams.commands.context import Options
from streams.commands.demo import demo
from streams.commands.errors import EXIT_FAILED, EXIT_INTERRUPTED
from streams.commands.evaluate import evaluate
from streams.commands.output import note
from streams.commands.quantise import quantise
from streams.commands.replay import replay
from streams.commands.train import train
from streams.commands.watch import watch
from streams.commands.worker import worker
from streams.errors import PrefstreamError


class Commands(TyperGroup):
    """The group of all commands.

    A `PrefstreamError` is shown as one sentence on stderr and ends with exit code 1. Ctrl-C ends without a message and
    with exit code 130.
    """

    def invoke(self, ctx: Any) -> Any:
        """Run the command."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            raise typer.Exit(EXIT_INTERRUPTED) from None
        except Exception as error:
            misplaced = getattr(
                error, "option_name", None
            )  # set by the error for an option that the command does not know
            if misplaced in ("--broker", "--config"):
                error.message = f"{misplaced} stands before the command: prefstream {misplaced} ..."  # type: ignore[attr-defined]
            if not isinstance(error, PrefstreamError):
                raise
            note(f"prefstream: {error}")
            raise typer.Exit(EXIT_FAILED) from None


app = typer.Typer(
    name="prefstream",
    cls=Commands,
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,  # plain help appears in half the time and is readable in a pipe
    pretty_exceptions_enable=False,
)
app.command()(demo)
app.command()(worker)
app.command()(replay)
app.command()(watch)
app.command()(train)
app.command()(evaluate)
app.command()(quantise)
app.command()(console)
app.add_typer(topics.app, name="topics")
app.add_typer(dlq.app, name="dlq")
app.add_typer(profile.app, name="profile")
app.add_typer(encoders.app, name="encoders")
app.add_typer(stack.app, name="stack")


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(version("prefstream"))
        raise typer.Exit


@app.callback()
def prefstream(
    ctx: typer.Context,
    config: Annotated[
        Path | None,
        typer.Option(
            help="Settings file (TOML). Without it: the file that PREFSTREAM_CONFIG names, else ./prefstream.toml.",
            show_default=False,
        ),
    ] = None,
    broker: Annotated[
        str | None,
        typer.Option(
            metavar="HOST:PORT", help="Kafka broker to use instead of kafka.bootstrap_servers.", show_default=False
        ),
    ] = None,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Turn every click, browse and purchase on Kafka into a fresh list of recommendations.

    \b
    Examples:
      prefstream demo
      prefstream --config prefstream.toml worker
      prefstream --broker 127.0.0.1:9092 watch --user u1
    """
    ctx.obj = Options(config, broker)


def main() -> None:
    """Run the command line; the entry point of the script ``prefstream``."""
    app(prog_name="prefstream")


if __name__ == "__main__":
    main()
