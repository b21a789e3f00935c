"""The worker's HTTP port: /healthz (is it alive?), /readyz (does it serve?), /metrics (for Prometheus)."""

from collections.abc import Callable

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST

from streams.monitoring.metrics import Metrics


class HealthServer:
    """Answers the health checks and the scrapes of metrics on one port."""

    def __init__(self, host: str, port: int, metrics: Metrics, problem: Callable[[], str | None]) -> None:
        """``problem`` returns the reason why the worker is not ready, or None if it is ready."""
        self._host, self._port = host, port
        self._metrics, self._problem = metrics, problem
        self._runner: web.AppRunner | None = None

    async def start(self) -> int:
        """Start to listen and return the port; for port 0 the system chooses a free port."""
        app = web.Application()
        app.router.add_get("/healthz", self._healthz)
        app.router.add_get("/readyz", self._readyz)
        app.router.add_get("/metrics", self._render)
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        site = web.TCPSite(self._runner, self._host, self._port)
        await site.start()
        return int(self._runner.addresses[0][1])

    async def stop(self) -> None:
        """Stop listening."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def _healthz(self, _: web.Request) -> web.Response:
        return web.Response(text="alive\n")

    async def _readyz(self, _: web.Request) -> web.Response:
        problem = self._problem()
        if problem is None:
            return web.Response(text="ready\n")
        return web.Response(text=f"not ready: {problem}\n", status=503)

    async def _render(self, _: web.Request) -> web.Response:
        return web.Response(body=self._metrics.render(), headers={"Content-Type": CONTENT_TYPE_LATEST})
