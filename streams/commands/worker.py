"""``prefstream worker``: reads events and writes recommendations."""

import errno
from typing import TYPE_CHECKING, Annotated

import typer

from streams.commands.context import options, settings_of
from streams.commands.errors import CommandError
from streams.commands.output import say

if TYPE_CHECKING:
    from streams.kafka.simulator import Simulator


def worker(
    ctx: typer.Context,
    port: Annotated[
        int | None,
        typer.Option(
            min=0, max=65535, help="Port of /healthz, /readyz and /metrics; 0 takes a free one.", show_default=False
        ),
    ] = None,
    drained: Annotated[
        list[int] | None,
        typer.Option(
            min=1,
            metavar="CONTRACT",
            help="After going back to an older release: what newer workers had begun under this contract is drained. "
            "A worker that needs the option says so.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Run a worker until Ctrl-C or SIGTERM; it then saves its users and hands them over.

    Without a settings file the worker starts its own broker (a simulator in its process, whose address it prints) and
    keeps the profiles in SQLite. For more load start more workers on the same Kafka and Cassandra: they share the
    partitions.

    \b
    Examples:
      prefstream worker
      prefstream --config prefstream.toml worker --port 0
    """
    import asyncio

    from streams.kafka.simulator import uses_simulator
    from streams.monitoring.logs import set_up_logging

    settings = settings_of(ctx, logs=False)
    if port is not None:
        settings = settings.model_copy(update={"server": settings.server.model_copy(update={"port": port})})
    set_up_logging(settings.logging)
    from streams.kafka.simulator import Simulator
    from streams.worker.worker import Worker

    simulator = Simulator() if uses_simulator(settings) else None
    work = Worker(settings, simulator, drained or ())
    if simulator is not None:
        _tell(simulator, options(ctx).words)
    try:
        asyncio.run(work.run())
    except OSError as error:
        if error.errno not in (errno.EADDRINUSE, errno.EADDRNOTAVAIL, errno.EACCES):
            raise
        raise CommandError(
            f"The worker can't listen on {settings.server.host}:{settings.server.port} ({error.strerror}): choose "
            "another port with --port (0 takes a free one) or another address with server.host."
        ) from error


def _tell(simulator: "Simulator", words: str) -> None:
    words = f"{words} --broker {simulator.address}"
    say(
        f"The broker is librdkafka's protocol simulator in this process, at {simulator.address}; it stops with "
        "the worker.\nIn another terminal:\n"
        f"  {words} replay events.jsonl --catalog items.jsonl\n"
        f"  {words} watch\n"
        f"  {words} console --open"
    )
