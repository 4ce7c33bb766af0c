"""Accepts TLS connections: each peer has its own time for the handshake, and none holds another."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections import Counter
from collections.abc import Callable

from voxfleet_agent.logs import logger
from voxfleet_agent.server.tls import TlsFiles

HANDSHAKE_SECONDS = 10.0
CLOSE_SECONDS = 5.0
PENDING = 64
PENDING_OF_ONE_PEER = 16
"""An address begins no more handshakes than its share, and of all too many the oldest goes, which strangers leave open:
they must take neither all descriptors nor all places, however many addresses they have."""
POLL_SECONDS = 5.0
"""How often the files of the settings are looked at."""
OUT_OF_DESCRIPTORS_SECONDS = 1.0

_log = logger("voxfleet.agent")


class TlsListener:
    def __init__(
        self,
        listener: socket.socket,
        files: TlsFiles,
        make_protocol: Callable[[], asyncio.Protocol],
        cut: Callable[[], None],
        poll_seconds: float = POLL_SECONDS,
    ) -> None:
        """`cut` ends every open connection; it is called once the settings have changed."""
        self._listener = listener
        self._files = files
        self._make_protocol = make_protocol
        self._cut = cut
        self._poll_seconds = poll_seconds
        self._pending: dict[asyncio.Task[None], str] = {}

    async def run(self) -> None:
        """Runs until it is cancelled, and then begins no connection and ends those that have no TLS yet."""
        self._listener.setblocking(False)
        reloading = asyncio.create_task(self._reload())
        try:
            while True:
                await self._accept()
        finally:
            reloading.cancel()
            self._hang_up()
            await asyncio.gather(reloading, *self._pending, return_exceptions=True)

    async def _accept(self) -> None:
        try:
            connection, address = await asyncio.get_running_loop().sock_accept(self._listener)
        except OSError as error:  # of one connection; or no descriptor is free, and then waiting is all that helps
            _log.warning("not_accepted", error=error.strerror)
            await asyncio.sleep(OUT_OF_DESCRIPTORS_SECONDS)
            return
        peer = str(address[0])
        if Counter(self._pending.values())[peer] >= PENDING_OF_ONE_PEER:
            connection.close()
            return
        if len(self._pending) >= PENDING:
            oldest = next(iter(self._pending))
            self._pending.pop(oldest)
            oldest.cancel()
        task = asyncio.create_task(self._begin(connection))
        self._pending[task] = peer
        task.add_done_callback(lambda ended: self._pending.pop(ended, None))

    async def _begin(self, connection: socket.socket) -> None:
        # What fails was logged with its reason, or the peer just went.
        with contextlib.suppress(OSError):
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            await asyncio.get_running_loop().connect_accepted_socket(
                self._make_protocol,
                connection,
                ssl=self._files.context,
                ssl_handshake_timeout=HANDSHAKE_SECONDS,
                ssl_shutdown_timeout=CLOSE_SECONDS,
            )

    async def _reload(self) -> None:
        """A certificate that was replaced counts for new connections; whom the agent no longer trusts has to go."""
        while True:
            await asyncio.sleep(self._poll_seconds)
            if await asyncio.to_thread(self._files.reload):
                self._hang_up()  # who began before would be judged by what was trusted then
                self._cut()

    def _hang_up(self) -> None:
        for task in self._pending:
            task.cancel()
