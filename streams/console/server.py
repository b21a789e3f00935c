"""Serves `prefstream console`: the page, its requests, and the streams that tell it of new lists."""

import asyncio
import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aiohttp import web

from schemas.codec import encode
from streams.console.feed import CatalogChange, Feed, ListChange, NotConfirmed
from streams.console.guard import Refusal, add_headers, guard
from streams.console.requests import MOST_PRODUCTS, number_of, read_action, user_of, words_of
from streams.console.shelves import Shelves
from streams.console.shoppers import Known, Shoppers
from streams.console.views import Views
from streams.kafka.topics import TopicNames
from streams.settings import Settings

_STATIC = Path(__file__).parent / "static"
_TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}

_MOST_BODY_BYTES = 16 << 10
_PRODUCTS = 24


@dataclass(frozen=True, kw_only=True)
class ConsoleLimits:
    """How much the console remembers and serves, and how often its streams send."""

    streams: int = 100
    """Most streams that are open at a time; each open page has one."""
    shoppers: int = 1_000
    """Most shoppers without an open page that are remembered."""
    tick_s: float = 1.5
    """Seconds between two updates of other shoppers' lists: to see every list of a busy shop would be too much."""
    alive_s: float = 15.0
    """Seconds of silence after which a stream sends a sign of life."""


class ConsoleServer:
    """Serves the page on one port, in the running event loop."""

    def __init__(
        self,
        settings: Settings,
        *,
        simulated: bool,
        names: frozenset[str] = frozenset(),
        limits: ConsoleLimits = ConsoleLimits(),
    ) -> None:
        """``simulated``: whether the broker is the simulator; ``names``: host names accepted beside localhost."""
        self._limits = limits
        self._feed = Feed(
            settings.kafka, TopicNames(settings.namespace), simulated=simulated, compression=settings.output.compression
        )
        self._shelves, self._shoppers = Shelves(), Shoppers(limits.shoppers)
        self._views = Views(settings.namespace, self._shelves, self._shoppers, settings.ranking.trending_weights)
        self._watchers: dict[str, set[asyncio.Event]] = defaultdict(set)
        self._streams = 0
        self._closing = False
        self._runner: web.AppRunner | None = None
        self._names = names

    async def start(self, host: str, port: int) -> int:
        """Read the topics and listen; returns the port, which the system chose if it was 0.

        Raises `OSError` if it can't listen there.
        """
        self._closing = False
        app = web.Application(middlewares=[guard(self._names)], client_max_size=_MOST_BODY_BYTES)
        app.on_response_prepare.append(add_headers)
        app.on_shutdown.append(self._end_streams)
        for path in sorted(_STATIC.iterdir()):
            app.router.add_get("/" if path.name == "index.html" else f"/static/{path.name}", _page(path))
        app.router.add_get("/api/shop", self._shop)
        app.router.add_get("/api/products", self._products)
        app.router.add_get("/api/stream", self._stream)
        app.router.add_post("/api/events", self._act)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=2.0)
        await self._runner.setup()
        try:
            await web.TCPSite(self._runner, host, port).start()
        except OSError:
            await self._runner.cleanup()
            raise
        self._feed.start(self._take_catalog, self._take_lists)
        return int(self._runner.addresses[0][1])

    async def stop(self) -> None:
        """End the streams, stop listening, and close the clients."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None
        await self._feed.stop()

    def _take_catalog(self, changes: list[CatalogChange]) -> None:
        for item_id, item in changes:
            if item is None:
                self._shelves.remove(item_id)
            else:
                self._shelves.put(item)

    def _take_lists(self, changes: list[ListChange]) -> None:
        for user_id, recommendation in changes:
            if recommendation is None:
                self._shoppers.forget(user_id)
            elif not self._shoppers.receive(recommendation):
                continue
            self._wake(user_id)

    def _wake(self, user_id: str) -> None:
        for watcher in self._watchers.get(user_id, ()):
            watcher.set()

    async def _end_streams(self, _: web.Application) -> None:
        self._closing = True
        for user_id in list(self._watchers):
            self._wake(user_id)

    async def _shop(self, _: web.Request) -> web.Response:
        return _json(self._views.shop())

    async def _products(self, request: web.Request) -> web.Response:
        return _json(
            self._shelves.page(
                number_of(request, "offset", 0, 10**8),
                number_of(request, "limit", _PRODUCTS, MOST_PRODUCTS),
                request.query.get("department", ""),
                request.query.get("category", ""),
                words_of(request),
            )
        )

    async def _act(self, request: web.Request) -> web.Response:
        action = read_action(await request.read())
        product = self._shelves.get(action.item_id)
        if product is None or not self._shelves.sells(action.item_id):
            raise Refusal(404, "The shop does not have this item (any more).")
        event = action.event(product, time.time_ns() // 1_000_000)
        try:
            await self._feed.send(event)
        except NotConfirmed as error:
            raise Refusal(503, str(error)) from None
        self._shoppers.acted(
            action.user_id, Known(event_id=action.event_id, event_type=action.type, item_id=action.item_id)
        )
        self._wake(action.user_id)
        return web.Response(status=204)

    async def _stream(self, request: web.Request) -> web.StreamResponse:
        """Send server-sent events: ``list`` when the list or taste changes, ``others`` and ``shop`` now and then."""
        user_id = user_of(request)
        if self._streams >= self._limits.streams:
            raise Refusal(503, f"{self._limits.streams} pages are open already: close a page.")
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream", "X-Accel-Buffering": "no"})
        await response.prepare(request)
        changed = asyncio.Event()
        self._streams += 1
        self._watchers[user_id].add(changed)
        try:
            with self._shoppers.held(user_id):
                await self._follow(response, user_id, changed)
        except ConnectionResetError:
            pass  # the page was closed
        finally:
            self._streams -= 1
            self._watchers[user_id].discard(changed)
            if not self._watchers[user_id]:
                del self._watchers[user_id]
        return response

    async def _follow(self, response: web.StreamResponse, user_id: str, changed: asyncio.Event) -> None:
        """Send changes until the page or the server stops. A slow page may miss some states, but never the latest."""
        seen: dict[str, bytes] = {}

        async def send(name: str, view: Any) -> None:
            data = encode(view)
            if seen.get(name) != data:
                seen[name] = data
                await response.write(b"event: %b\ndata: %b\n\n" % (name.encode(), data))

        others: list[str] = []
        versions = (-1, -1)
        heard_s = next_look_s = time.monotonic()
        while not self._closing:
            changed.clear()
            await send("list", self._views.list_of(user_id))
            now = time.monotonic()
            if now >= next_look_s:
                next_look_s = now + self._limits.tick_s
                if versions != (versions := (self._shelves.version, self._shoppers.version)):
                    beside = self._views.others(user_id, others)
                    others = [other.user_id for other in beside]
                    await send("others", beside)
                    await send("shop", self._views.shop())
                    heard_s = now
                elif now - heard_s > self._limits.alive_s:
                    heard_s = now
                    await response.write(b": alive\n\n")
            try:
                await asyncio.wait_for(changed.wait(), next_look_s - time.monotonic())
            except TimeoutError:
                continue


def _page(path: Path) -> Any:
    """Make a handler that serves a file of the page."""
    body = path.read_bytes()
    content_type = _TYPES[path.suffix]

    async def serve(_: web.Request) -> web.Response:
        return web.Response(
            body=body, content_type=content_type, charset="utf-8", headers={"Cache-Control": "no-cache"}
        )

    return serve


def _json(view: Any) -> web.Response:
    return web.Response(body=encode(view), content_type="application/json")
