"""Serves /livez, /readyz and /metrics."""

from __future__ import annotations

from collections.abc import Callable

import structlog
from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

from voxfleet_operator.heartbeat import Heartbeat

log = structlog.get_logger(__name__)


class HealthServer:
    """`ready` returns True once the caches are synced, on a standby, too."""

    def __init__(self, heartbeat: Heartbeat, ready: Callable[[], bool], registry: CollectorRegistry) -> None:
        self._heartbeat = heartbeat
        self._ready = ready
        self._registry = registry
        self._runner: web.AppRunner | None = None

    async def start(self, host: str, port: int) -> int:
        """Returns the port; for port 0 the system picks one. Raises OSError if it is taken."""
        app = web.Application()
        app.router.add_get("/livez", self._livez)
        app.router.add_get("/readyz", self._readyz)
        app.router.add_get("/metrics", self._metrics)
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        site = web.TCPSite(self._runner, host, port)
        await site.start()
        bound: int = self._runner.addresses[0][1]
        log.info("health server listens", host=host, port=bound)
        return bound

    async def stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    async def _livez(self, _: web.Request) -> web.Response:
        if self._heartbeat.stalled:
            return web.Response(status=503, text="the event loop stood still\n")
        return web.Response(text="ok\n")

    async def _readyz(self, _: web.Request) -> web.Response:
        if not self._ready():
            return web.Response(status=503, text="caches are not synced yet\n")
        return web.Response(text="ok\n")

    async def _metrics(self, _: web.Request) -> web.Response:
        return web.Response(body=generate_latest(self._registry), headers={"Content-Type": CONTENT_TYPE_LATEST})
