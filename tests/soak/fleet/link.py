"""The way from the operator to one Mac's sshd: a TCP proxy on loopback that stalls, drops, delays and half-closes."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Self

from voxfleet_dev.processes import free_port

CHUNK_BYTES = 65_536


class Link:
    """Runs on a thread of its own. What it is told holds for new and for existing connections."""

    def __init__(self, target_port: int) -> None:
        self.port = free_port()
        self._target_port = target_port
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name=f"link-{self.port}", daemon=True)
        self._flowing = asyncio.Event()
        self._swallows = False
        self._delay_seconds = 0.0
        self._server: asyncio.Server | None = None
        self._outward: set[asyncio.StreamWriter] = set()
        """Writers towards the Mac."""
        self._inward: set[asyncio.StreamWriter] = set()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        self._thread.start()
        self._run(self._listen())

    def stop(self) -> None:
        """Ends every connection. Safe to repeat."""
        if self._thread.is_alive():
            self._run(self._close())
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.close()

    def stall(self) -> None:
        """Bytes and new connections wait until `heal`."""
        self._call(self._flowing.clear)

    def drop(self) -> None:
        """Bytes are swallowed until `heal`, which ends the connections that lost some."""

        def swallow() -> None:
            self._swallows = True

        self._call(swallow)

    def delay(self, seconds: float) -> None:
        """Each chunk arrives so much later."""

        def slow_down() -> None:
            self._delay_seconds = seconds

        self._call(slow_down)

    def half_close(self, *, towards_mac: bool) -> None:
        """Ends one direction of every connection; the other goes on."""

        def end() -> None:
            for writer in self._outward if towards_mac else self._inward:
                with suppress(OSError, RuntimeError):
                    writer.write_eof()

        self._call(end)

    def heal(self) -> None:
        def recover() -> None:
            if self._swallows:
                for writer in (*self._outward, *self._inward):
                    writer.transport.abort()
            self._swallows, self._delay_seconds = False, 0.0
            self._flowing.set()

        self._call(recover)

    def _call(self, change: Callable[[], object]) -> None:
        async def run() -> None:
            change()

        self._run(run())

    def _run(self, work: Coroutine[object, object, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(10)

    async def _listen(self) -> None:
        self._flowing.set()
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", self.port)

    async def _close(self) -> None:
        if self._server is not None:
            self._server.close()
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await self._flowing.wait()
            with suppress(OSError):
                mac_reader, mac_writer = await asyncio.open_connection("127.0.0.1", self._target_port)
                self._inward.add(writer)
                self._outward.add(mac_writer)
                try:
                    await asyncio.gather(self._pump(reader, mac_writer), self._pump(mac_reader, writer))
                finally:
                    self._inward.discard(writer)
                    self._outward.discard(mac_writer)
                    mac_writer.transport.abort()
        except asyncio.CancelledError:
            pass  # asyncio's server would report it as an error
        finally:
            writer.transport.abort()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Returns at the end of one direction."""
        with suppress(OSError, RuntimeError):
            while data := await reader.read(CHUNK_BYTES):
                await self._flowing.wait()
                if self._swallows:
                    continue
                if self._delay_seconds:
                    await asyncio.sleep(self._delay_seconds)
                writer.write(data)
                await writer.drain()
            await self._flowing.wait()
            if not self._swallows:
                writer.write_eof()
