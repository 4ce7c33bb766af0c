"""Offers the agent's loopback port on a Mac as a local unix socket that only this user may open.

What a client writes there leaves this machine only after the agent has proven itself on the channel that carries it.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import threading
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import paramiko

from voxfleet_api.conditions import Reason
from voxfleet_api.kinds.mac_agent import SshAccess
from voxfleet_operator.fleet.dialer import DialError
from voxfleet_operator.fleet.ssh.connection_proof import ConnectionProof
from voxfleet_operator.fleet.ssh.transport import SshTimeouts, connect, open_loopback

CHUNK_BYTES = 65_536
WINDOW_POLL_SECONDS = 0.02
THREADS_PER_MAC = 2
OPENING_THREADS_PER_MAC = 2
"""An opening takes a round trip, and must not hold up what others send meanwhile."""
DIAL_THREADS = 32
"""A handshake computes: more of them at once would starve the event loop."""
TRANSFER_THREADS = (THREADS_PER_MAC + OPENING_THREADS_PER_MAC) * 1024
"""So many that stuck Macs never hold them all. A thread starts only when no other is free, so most never exist."""

T = TypeVar("T")


class SshThreads:
    """Bounded pools that wait for paramiko, which blocks, on behalf of all Macs. Dials have their own timeouts."""

    def __init__(self) -> None:
        self.dial = ThreadPoolExecutor(DIAL_THREADS, thread_name_prefix="ssh-dial")
        self.transfer = ThreadPoolExecutor(TRANSFER_THREADS, thread_name_prefix="ssh-transfer")

    def shutdown(self) -> None:
        self.dial.shutdown()
        self.transfer.shutdown()


@dataclass(slots=True)
class Tunnel:
    socket_path: Path
    is_alive: Callable[[], bool]
    """False once the SSH connection is gone, and with it all that went through it."""
    refusal: DialError | None = None
    """Why the newest connection to the socket could not be forwarded to the agent, or was not; None once one was."""


@asynccontextmanager
async def open_tunnel(
    access: SshAccess,
    identity_pem: bytes,
    proof: ConnectionProof,
    directory: Path,
    threads: SshThreads,
    timeouts: SshTimeouts,
) -> AsyncIterator[Tunnel]:
    """Keeps a tunnel open as long as the context. `directory` has mode 0700. Raises DialError."""
    async with connect(access, identity_pem, threads.dial, timeouts) as transport:
        # The name is short because a unix socket's path holds 104 bytes on macOS.
        tunnel = Tunnel(directory / f"{secrets.token_hex(6)}.sock", transport.is_active)
        bridges: set[asyncio.Task[None]] = set()
        slots, openings = asyncio.Semaphore(THREADS_PER_MAC), asyncio.Semaphore(OPENING_THREADS_PER_MAC)
        closing = asyncio.Event()

        def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            if closing.is_set():  # it arrived while the tunnel was closing
                writer.close()
                return
            bridge = asyncio.create_task(carry(reader, writer))
            bridges.add(bridge)
            bridge.add_done_callback(bridges.discard)
            # A task that is cancelled before its first step never reaches its own `finally`.
            bridge.add_done_callback(lambda _: writer.close())

        async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                channel = await _in_thread(
                    openings, threads, lambda: open_loopback(transport, access.agent_port, timeouts)
                )
                stream = _ChannelStream(channel, slots, threads)
                try:
                    await proof.demand(stream)
                    tunnel.refusal = None
                    await _splice(stream, reader, writer)
                finally:
                    await asyncio.shield(stream.close())
            except DialError as error:
                tunnel.refusal = error
                if error.reason is Reason.IDENTITY_MISMATCH:
                    for bridge in bridges - {asyncio.current_task()}:  # somebody else has the port: contact is over
                        bridge.cancel()
            finally:
                writer.close()
                with contextlib.suppress(OSError):  # the client has hung up already
                    await writer.wait_closed()

        server = await asyncio.start_unix_server(accept, tunnel.socket_path)
        try:
            tunnel.socket_path.chmod(0o600)
            yield tunnel
        finally:
            closing.set()
            server.close()
            for bridge in list(bridges):
                bridge.cancel()
            await asyncio.gather(*bridges, return_exceptions=True)
            tunnel.socket_path.unlink(missing_ok=True)


async def _in_thread(slots: asyncio.Semaphore, threads: SshThreads, call: Callable[[], T]) -> T:
    """Runs a call in a thread. A Mac that is stuck holds as many of them as it has slots."""
    async with slots:
        return await asyncio.get_running_loop().run_in_executor(threads.transfer, call)


class _Readable(threading.Event):
    """Wakes the event loop when paramiko's thread says that the channel has data or has ended. Needs no descriptors."""

    def __init__(self) -> None:
        super().__init__()
        self._loop = asyncio.get_running_loop()
        self.wake = asyncio.Event()

    def set(self) -> None:
        super().set()
        with contextlib.suppress(RuntimeError):  # the loop is closed, so there is nobody to wake
            self._loop.call_soon_threadsafe(self.wake.set)


class _ChannelStream:
    """One SSH channel, without blocking the event loop."""

    def __init__(self, channel: paramiko.Channel, slots: asyncio.Semaphore, threads: SshThreads) -> None:
        self._channel = channel
        self._slots = slots
        self._threads = threads
        self._readable = _Readable()
        channel.setblocking(False)
        channel.in_buffer.set_event(self._readable)

    async def receive(self) -> bytes:
        """The next bytes; none once the channel has ended, however it did."""
        while True:
            self._readable.wake.clear()
            ended = self._channel.closed or self._channel.eof_received
            if self._channel.recv_ready():
                try:
                    # Reading may send a window update, which blocks during a key exchange: never do that in the loop.
                    return await _in_thread(self._slots, self._threads, lambda: self._channel.recv(CHUNK_BYTES))
                except (OSError, EOFError, paramiko.SSHException):  # the transport is gone
                    return b""
            if ended:
                return b""
            await self._readable.wake.wait()

    async def send(self, content: bytes) -> None:
        """Sends all of it. Raises OSError once the channel has ended."""
        while content:
            content = content[await self._send(content) :]

    async def _send(self, chunk: bytes) -> int:
        while True:
            try:
                sent = await _in_thread(self._slots, self._threads, lambda: self._channel.send(chunk))
            except TimeoutError:  # the window is closed; waiting here keeps the thread free
                await asyncio.sleep(WINDOW_POLL_SECONDS)
                continue
            except (EOFError, paramiko.SSHException) as error:
                raise BrokenPipeError("the SSH channel has ended") from error
            if sent == 0:
                raise BrokenPipeError("the SSH channel has ended")
            return sent

    async def close(self) -> None:
        await _in_thread(self._slots, self._threads, self._close)

    def _close(self) -> None:
        with contextlib.suppress(
            OSError, EOFError, paramiko.SSHException
        ):  # the transport is gone, and the channel with it
            self._channel.close()


async def _splice(stream: _ChannelStream, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Carries bytes between a connection to the unix socket and a channel until either side ends."""
    ways = [asyncio.create_task(_to_mac(stream, reader)), asyncio.create_task(_from_mac(stream, writer))]
    try:
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for way in ways:
            way.cancel()
        await asyncio.gather(*ways, return_exceptions=True)


async def _to_mac(stream: _ChannelStream, reader: asyncio.StreamReader) -> None:
    with contextlib.suppress(OSError):  # one side hung up, so the bridge ends
        while chunk := await reader.read(CHUNK_BYTES):
            await stream.send(chunk)


async def _from_mac(stream: _ChannelStream, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):  # as above
        while chunk := await stream.receive():
            writer.write(chunk)
            await writer.drain()
