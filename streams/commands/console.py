"""``prefstream console``: serves the live page."""

import errno
import socket
from typing import Annotated

import typer

from streams.commands.context import broker_settings
from streams.commands.errors import CommandError
from streams.commands.output import note, say


def console(
    ctx: typer.Context,
    host: Annotated[
        str,
        typer.Option(
            help="Address to listen on. There is no log-in: everybody who reaches the page can shop as any user."
        ),
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port of the page; 0 takes a free one.")] = 8090,
    name: Annotated[
        list[str] | None,
        typer.Option(help="A host name under which browsers may open the page; may be repeated.", show_default=False),
    ] = None,
    open_browser: Annotated[bool, typer.Option("--open", help="Open the page in a browser.")] = False,
) -> None:
    """Serve a page on which you shop and see the recommendations follow your clicks, browses and purchases.

    The page writes to the event topics and reads `catalog` and `recommendations`. A worker has to run. Ctrl-C ends it.

    \b
    Examples:
      prefstream --broker 127.0.0.1:9092 console --open
      prefstream console --port 8091
    """
    import asyncio

    from streams.commands.broker import connect
    from streams.console.run import serve, show
    from streams.kafka.topics import CATALOG, EVENT_TOPICS, RECOMMENDATIONS, TopicNames

    settings = broker_settings(ctx)
    broker = connect(settings.kafka)
    for topic in (CATALOG, RECOMMENDATIONS, *EVENT_TOPICS):
        broker.need(TopicNames(settings.namespace).full(topic))

    def ready(url: str) -> None:
        say(f"prefstream console: {url} (Ctrl-C ends it)")
        if open_browser and not show(url):
            note("This machine has no display to open a browser on: open the address yourself.")

    names = frozenset(host_name.lower() for host_name in name or ())
    try:
        asyncio.run(serve(settings, host, port, names, simulated=broker.is_simulator, ready=ready))
    except OSError as error:
        expected = (errno.EADDRINUSE, errno.EADDRNOTAVAIL, errno.EACCES)
        if error.errno not in expected and not isinstance(error, socket.gaierror):
            raise
        raise CommandError(
            f"The page can't be served on {host}:{port} ({error.strerror}): choose another port with --port (0 takes a "
            "free one) or another address with --host."
        ) from error
