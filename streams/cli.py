"""The command line, ``prefstream``: global options, the commands, and what becomes of an error.

Nothing heavy is imported here or in ``streams.commands`` outside of the commands themselves, so help comes at once.
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
    """The commands. A known error is one sentence on stderr and exit code 1; Ctrl-C is quiet and exit code 130."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            raise typer.Exit(EXIT_INTERRUPTED) from None
        except Exception as error:
            misplaced = getattr(error, "option_name", None)  # of the usage error for an option that a command has not
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
    rich_markup_mode=None,  # plain help is there in half the time and reads well in a pipe
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
        typer.Option(help="Settings file (TOML); else PREFSTREAM_CONFIG, else ./prefstream.toml.", show_default=False),
    ] = None,
    broker: Annotated[
        str | None,
        typer.Option(metavar="HOST:PORT", help="Kafka broker, instead of kafka.bootstrap_servers.", show_default=False),
    ] = None,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Every click, browse and purchase on Kafka becomes a fresh top-k of recommendations.

    \b
    Examples:
      prefstream demo
      prefstream --config prefstream.toml worker
      prefstream --broker 127.0.0.1:9092 watch --user u1
    """
    ctx.obj = Options(config, broker)


def main() -> None:
    """The entry point of the ``prefstream`` script."""
    app(prog_name="prefstream")


if __name__ == "__main__":
    main()
