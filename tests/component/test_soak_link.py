"""The soak's link hurts a real connection on loopback in the way that it says."""

from __future__ import annotations

import socket
import socketserver
import threading
import time
from collections.abc import Iterator
from contextlib import suppress

import pytest
from tests.soak.fleet.link import Link

QUIET_SECONDS = 0.3
"""In which nothing arrives that must not."""
PATIENCE_SECONDS = 10.0


class Echo(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        while data := self.request.recv(100):
            self.request.sendall(data)
        self.request.sendall(b"bye")


class Echoes(socketserver.ThreadingTCPServer):
    daemon_threads = True


@pytest.fixture
def link() -> Iterator[Link]:
    with Echoes(("127.0.0.1", 0), Echo) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        with Link(server.server_address[1]) as link:
            yield link
        server.shutdown()


@pytest.fixture
def client(link: Link) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", link.port), PATIENCE_SECONDS) as client:
        client.sendall(b"one")
        assert client.recv(100) == b"one"
        yield client


def arrives(client: socket.socket, seconds: float = PATIENCE_SECONDS) -> bytes | None:
    client.settimeout(seconds)
    try:
        return client.recv(100)
    except TimeoutError:
        return None


def test_stalled_bytes_and_connections_arrive_late(link: Link, client: socket.socket) -> None:
    link.stall()
    client.sendall(b"two")
    with socket.create_connection(("127.0.0.1", link.port), PATIENCE_SECONDS) as other:
        other.sendall(b"three")
        assert arrives(client, QUIET_SECONDS) is None and arrives(other, QUIET_SECONDS) is None
        link.heal()
        assert arrives(client) == b"two" and arrives(other) == b"three"


def test_dropped_bytes_never_arrive_and_their_connection_ends(link: Link, client: socket.socket) -> None:
    link.drop()
    client.sendall(b"two")
    assert arrives(client, QUIET_SECONDS) is None
    link.heal()
    with suppress(ConnectionResetError):
        assert arrives(client) == b""


def test_delayed_bytes_arrive(link: Link, client: socket.socket) -> None:
    link.delay(QUIET_SECONDS)
    sent = time.monotonic()
    client.sendall(b"two")
    assert arrives(client) == b"two"
    assert time.monotonic() - sent >= QUIET_SECONDS


def test_one_direction_ends(link: Link, client: socket.socket) -> None:
    link.half_close(towards_mac=True)
    assert arrives(client) == b"bye"  # the server saw the end, and could still answer
    assert arrives(client) == b""


def test_the_other_direction_ends(link: Link, client: socket.socket) -> None:
    link.half_close(towards_mac=False)
    assert arrives(client) == b""
    client.sendall(b"two")  # is still taken
