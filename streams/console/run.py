"""Runs the page until a signal stops it, and opens it in a browser."""

import asyncio
import os
import signal
import sys
import webbrowser
from collections.abc import Callable

from streams.console.server import ConsoleServer
from streams.settings import Settings

HOST = "127.0.0.1"
PORT = 8090


def has_display() -> bool:
    """Tell whether the user would see a browser that is opened on this machine."""
    if sys.platform in ("darwin", "win32"):
        return True
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


def address(host: str, port: int) -> str:
    """Make the page's address for a browser on this machine.

    >>> address("0.0.0.0", 8090), address("::1", 8090)
    ('http://127.0.0.1:8090/', 'http://[::1]:8090/')
    """
    host = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}.get(host, host)
    return f"http://[{host}]:{port}/" if ":" in host else f"http://{host}:{port}/"


def show(url: str) -> bool:
    """Open the page in a browser if there is a display; False if there is none."""
    return has_display() and webbrowser.open(url)


async def serve(
    settings: Settings, host: str, port: int, names: frozenset[str], *, simulated: bool, ready: Callable[[str], None]
) -> None:
    """Serve until SIGINT or SIGTERM; calls ``ready`` with the page's address once the page can be opened."""
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    server = ConsoleServer(settings, simulated=simulated, names=names | {host.lower()})
    bound_port = await server.start(host, port)
    try:
        ready(address(host, bound_port))
        await stop.wait()
    finally:
        await server.stop()
