"""The global options of a command, and the settings that follow from them."""

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from streams.commands.errors import CommandError

if TYPE_CHECKING:
    from streams.settings import Settings


@dataclass(frozen=True)
class Options:
    """The options that stand before the command's name."""

    config: Path | None = None
    broker: str | None = None

    @property
    def words(self) -> str:
        """The start of a command line, with the settings file if there is one, for hints that can be pasted."""
        return "prefstream" if self.config is None else f"prefstream --config {self.config}"


def options(ctx: typer.Context) -> Options:
    """Return the global options of this call."""
    return ctx.ensure_object(Options)


def settings_of(ctx: typer.Context, *, logs: bool = True) -> "Settings":
    """Load the settings of this call; ``logs`` sends warnings to stderr, so that stdout holds only the answer."""
    from streams.monitoring.logs import set_up_logging
    from streams.settings import load_settings

    given = options(ctx)
    settings = load_settings(given.config)
    if given.broker is not None:
        kafka = settings.kafka.model_copy(update={"bootstrap_servers": given.broker})
        settings = settings.model_copy(update={"kafka": kafka})
    if logs:
        level = "debug" if settings.logging.level == "debug" else "warning"
        set_up_logging(settings.logging.model_copy(update={"level": level}))
        if level != "debug":
            # our error message already says which servers are away
            logging.getLogger("cassandra").setLevel(logging.CRITICAL)
    return settings


def broker_settings(ctx: typer.Context) -> "Settings":
    """Load the settings of a command that needs a running broker; raises `CommandError` if they name none."""
    from streams.settings import SIMULATOR

    settings = settings_of(ctx)
    if settings.kafka.bootstrap_servers == SIMULATOR:
        raise CommandError(
            "The settings name no Kafka broker (kafka.bootstrap_servers is 'simulator'), and the simulator lives "
            "inside the worker: give the address that `prefstream worker` printed, as `prefstream --broker HOST:PORT "
            "...`, or a settings file with --config."
        )
    return settings
