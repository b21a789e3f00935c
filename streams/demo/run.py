"""Runs `prefstream demo`: a worker as in production, a broker and a store without servers, and a shop around them."""

import asyncio
import contextlib
import signal
import tempfile
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from time import perf_counter

from pydantic_settings import BaseSettings, PydanticBaseSettingsSource
from rich.console import Console
from rich.live import Live

from streams.console.run import HOST, PORT, address, show
from streams.console.server import ConsoleServer
from streams.demo.mall import Mall
from streams.demo.quiet import quiet_logs
from streams.demo.score import RANDOM, RECOMMENDED, TRENDING
from streams.demo.screen import render
from streams.demo.shop import make_shop
from streams.demo.storefront import Storefront, StorefrontFailed
from streams.demo.summary import milliseconds, summary, verdict
from streams.errors import PrefstreamError
from streams.kafka.simulator import Simulator
from streams.settings import Encoder, Logging, Server, Settings, Store
from streams.worker.worker import Worker

PRODUCTS = 300
PLAIN_SECONDS = 20.0
"""Seconds that the shop is open when nobody watches who could end it."""
PAUSE_S = 1.0
"""Mean time between two events of a shopper; with very many shoppers it is longer."""
MOST_EVENTS_A_SECOND = 200

_START_S = 60.0
_LAST_ANSWERS_S = 10.0
_TICK_S = 0.02
_REFRESH_S = 0.25
_REPORT_S = 5.0
_INTERRUPTED = 130  # 128 + SIGINT, as in shells


class DemoFailed(PrefstreamError):
    """The demo can't continue; the message says why."""


class DemoSettings(Settings):
    """Settings without a settings file and the environment: invented events must never reach a user's own broker."""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        *_: PydanticBaseSettingsSource,
        **__: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Use only the arguments of the constructor."""
        return (init_settings,)


def demo_settings(folder: Path) -> Settings:
    """Make the default settings; everything that the worker writes goes to ``folder``."""
    return DemoSettings(
        data_dir=folder,
        store=Store(path=folder / "profiles.sqlite"),
        # with so few items a GPU would only make the start slower
        encoder=Encoder(device="cpu", threads=1),
        server=Server(port=0),
        logging=Logging(level="warning"),
    )


def run_demo(seconds: float | None, shoppers: int, seed: int, plain: bool, page: bool | None = None) -> int:
    """Run the demo in this process.

    Parameters
    ----------
    seconds : how long the shop is open; None: until Ctrl-C if there is a terminal or the page, otherwise 20 s
    shoppers : number of simulated shoppers
    seed : seed of the shop, the shoppers and their tastes
    plain : print lines instead of the live table, even on a terminal
    page : whether to serve the live page, where you can shop too; None: only on a terminal

    Returns
    -------
    The exit code: 0 if the recommendations have a higher hit rate than trending and random lists, else 1.
    """
    console = Console(highlight=False)
    # a pipe has no width to wrap at
    console.soft_wrap = not console.is_terminal
    live = console.is_terminal and not plain
    page = console.is_terminal if page is None else page
    if seconds is None and not page:
        seconds = PLAIN_SECONDS
    with tempfile.TemporaryDirectory(prefix="prefstream-demo-") as folder, quiet_logs(live):
        try:
            return asyncio.run(_Demo(console, live, page, seconds, shoppers, seed).run(demo_settings(Path(folder))))
        except (DemoFailed, StorefrontFailed) as error:
            console.print(str(error), style="red")
            return 1
        except KeyboardInterrupt:
            return _INTERRUPTED


def _unencoded(known: int) -> str | None:
    return None if known >= PRODUCTS else f"{known} of {PRODUCTS} products encoded"


class _Demo:
    """One run of the demo."""

    def __init__(
        self, console: Console, live: bool, page: bool, seconds: float | None, shoppers: int, seed: int
    ) -> None:
        self._console, self._live, self._page, self._seconds = console, live, page, seconds
        seed %= 1 << 63  # numpy accepts no negative seeds
        self._shop = make_shop(PRODUCTS, seed)
        self._mall = Mall(self._shop, shoppers, seed, max(PAUSE_S, shoppers / MOST_EVENTS_A_SECOND))
        self._began_s = perf_counter()
        self._opened_s = self._closed_s = self._began_s
        self._closing = asyncio.Event()
        self._recent: deque[tuple[float, int]] = deque(
            maxlen=int(_REPORT_S / _REFRESH_S)
        )  # times and numbers of events, for the rate

    async def run(self, settings: Settings) -> int:
        say = self._console.print
        shoppers = len(self._mall.visitors)
        say(f"prefstream demo: {PRODUCTS} products, {shoppers} shoppers and a worker, all in this process")
        simulator = await asyncio.to_thread(Simulator)
        worker = Worker(settings, simulator)
        say(f"{self._facts(worker)}\nstarting the worker ...", style="dim")
        storefront = Storefront(worker.settings.kafka)
        working = asyncio.create_task(worker.run())
        try:
            await asyncio.sleep(
                0
            )  # the worker sets its signal handlers now; ours replace them, so that a signal closes the shop first
            for number in (signal.SIGINT, signal.SIGTERM):
                asyncio.get_running_loop().add_signal_handler(number, self._closing.set)
            await asyncio.to_thread(storefront.publish, self._shop.items)
            storefront.start()
            await self._until_open(worker, working)
            if self._closing.is_set():
                return _INTERRUPTED
            say(f"open after {perf_counter() - self._began_s:.1f} s", style="dim")
            async with self._served(worker.settings) as url:
                facts = self._facts(worker)
                await self._trade(storefront, working, facts if url is None else f"page: {url} · {facts}")
        finally:
            await asyncio.to_thread(storefront.stop)
            working.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await working
        say()
        say(summary(self._mall, self._closed_s - self._opened_s))
        return 0 if verdict(self._mall)[0] else 1

    @contextlib.asynccontextmanager
    async def _served(self, settings: Settings) -> AsyncIterator[str | None]:
        """Serve the live page if it is wanted, and open it if there is a display; gives its address."""
        if not self._page:
            yield None
            return
        server = ConsoleServer(settings, simulated=True)
        try:
            port = await server.start(HOST, PORT)
        except OSError:  # the port is in use
            port = await server.start(HOST, 0)
        try:
            url = address(HOST, port)
            self._console.print(f"join the shoppers: {url} (Ctrl-C ends it)", style="bold")
            if self._console.is_terminal:
                await asyncio.to_thread(show, url)
            yield url
        finally:
            await server.stop()

    def _facts(self, worker: Worker) -> str:
        manifest = worker.encoder.manifest
        return f"broker: librdkafka's simulator · store: SQLite · encoder: {manifest.version}"

    async def _until_open(self, worker: Worker, working: "asyncio.Task[None]") -> None:
        """Wait until the worker has its partitions and has encoded the whole catalog."""
        while not self._closing.is_set():
            if working.done():
                await working
            problem = worker.problem() or _unencoded(len(worker.wiring.index))
            if problem is None:
                return
            if perf_counter() - self._began_s > _START_S:
                raise DemoFailed(
                    f"The worker was not ready after {_START_S:.0f} s ({problem}): the machine may be too busy. "
                    "Run `prefstream demo` again when it is less busy."
                )
            await asyncio.sleep(_TICK_S)

    async def _trade(self, storefront: Storefront, working: "asyncio.Task[None]", facts: str) -> None:
        """Let the shoppers act until the time is over; then wait for the last lists."""
        self._opened_s = perf_counter()
        self._mall.open(self._opened_s)
        until = self._opened_s + (float("inf") if self._seconds is None else self._seconds)
        with self._screen(facts) as show:
            shown = self._opened_s
            while (now := perf_counter()) < until and not self._closing.is_set() and not working.done():
                self._receive(storefront)
                for step in self._mall.act(perf_counter(), time.time_ns() // 1_000_000):
                    storefront.send(step)
                if now - shown >= (_REFRESH_S if self._live else _REPORT_S):
                    shown = now
                    show()
                await asyncio.sleep(max(0.0, min(_TICK_S, self._mall.next_due_s() - perf_counter())))
        self._closed_s = perf_counter()
        if working.done():
            await working
        while self._mall.answered < self._mall.events and perf_counter() - self._closed_s < _LAST_ANSWERS_S:
            await asyncio.sleep(_TICK_S)
            self._receive(storefront)

    def _receive(self, storefront: Storefront) -> None:
        for recommendation, arrived_s in storefront.take():
            self._mall.receive(recommendation, arrived_s)

    @contextlib.contextmanager
    def _screen(self, facts: str) -> Iterator[Callable[[], None]]:
        """Give a function that shows the present state: in the live table, or as a line."""
        if not self._live:
            yield self._report
            return
        with Live(console=self._console, screen=True, auto_refresh=False) as live:

            def show() -> None:
                now = perf_counter()
                self._recent.append((now, self._mall.events))
                (since, events), width, height = self._recent[0], self._console.width, self._console.height
                rate = (self._mall.events - events) / (now - since) if now > since else 0.0
                table = render(self._mall, facts, now - self._opened_s, rate, width, height)
                live.update(table, refresh=True)

            show()
            yield show

    def _report(self) -> None:
        mall = self._mall
        self._console.print(
            f"{perf_counter() - self._opened_s:3.0f} s: {mall.events:,} events, lists after "
            f"{milliseconds(mall.latencies.quantile(0.5))}, hit rate {mall.hits.rate(RECOMMENDED):.0%} "
            f"(trending {mall.hits.rate(TRENDING):.0%}, random {mall.hits.rate(RANDOM):.0%})",
            style="dim",
        )
