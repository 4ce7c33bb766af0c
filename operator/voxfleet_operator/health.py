"""Serves /livez, /readyz and /metrics."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

import structlog
from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from voxfleet_operator.heartbeat import Heartbeat

log = structlog.get_logger(__name__)


class HealthServer:
    """`not_ready` says what a standby lacks, too; None once the caches are synced, and as long as they are kept up."""

    def __init__(self, heartbeat: Heartbeat, not_ready: Callable[[], str | None], registry: CollectorRegistry) -> None:
        self._heartbeat = heartbeat
        self._not_ready = not_ready
        self._registry = registry
        self._runner: web.AppRunner | None = None
        self._scrapes = asyncio.Semaphore(1)

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
        lacking = self._not_ready()
        if lacking is not None:
            return web.Response(status=503, text=f"{lacking}\n")
        return web.Response(text="ok\n")

    async def _metrics(self, _: web.Request) -> web.Response:
        async with self._scrapes:
            text = await render(self._registry)
        return web.Response(body=text, headers={"Content-Type": CONTENT_TYPE_LATEST})


async def render(registry: CollectorRegistry) -> bytes:
    """Reads in the event loop, to which what is read belongs, and leaves it alone between two families; writes the
    text in a thread, which takes most of the time.
    """
    found: list[Metric] = []
    for family in registry.collect():
        found.append(family)
        await asyncio.sleep(0)
    return await asyncio.to_thread(generate_latest, _Collected(found))


class _Collected(CollectorRegistry):
    """A registry of families that were collected already."""

    def __init__(self, families: Iterable[Metric]) -> None:
        super().__init__()
        self._families = families

    def collect(self) -> Iterable[Metric]:
        return self._families

    def register(self, collector: Collector) -> None:
        raise TypeError("what was collected takes no collector")
