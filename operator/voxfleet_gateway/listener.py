"""The gateway's port. Nobody holds a connection on which no request comes."""

from __future__ import annotations

import structlog
from aiohttp import web

from voxfleet_gateway.fault_log import quoteless_logger

HEADER_SECONDS = 5.0
"""For the head of a request, from the connection on or from the last answer on."""
LINGER_SECONDS = 2.0
"""A caller that was refused may send so long before the connection is cut, so that it can read why."""
BACKLOG = 128
MAX_HEADER_BYTES = 16_384

log = structlog.get_logger(__name__)


class Listener:
    def __init__(self, app: web.Application) -> None:
        self._runner = web.AppRunner(
            app,
            access_log=None,
            logger=quoteless_logger(),
            auto_decompress=False,
            handle_signals=False,
            keepalive_timeout=HEADER_SECONDS,
            lingering_time=LINGER_SECONDS,
            max_field_size=MAX_HEADER_BYTES,
            handler_cancellation=True,
            shutdown_timeout=1.0,
        )

    async def start(self, host: str, port: int) -> int:
        """Returns the port. Raises OSError if it is taken."""
        await self._runner.setup()
        site = web.TCPSite(self._runner, host, port, backlog=BACKLOG)
        await site.start()
        bound: int = self._runner.addresses[0][1]
        log.info("gateway listens", host=host, port=bound)
        return bound

    async def stop(self) -> None:
        await self._runner.cleanup()
