"""The private sshd lets its key reach one port, runs nothing, and leaves no process behind."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator

import paramiko
import psutil
import pytest

from voxfleet_dev.processes import wait_ended
from voxfleet_dev.sshd import Sshd

SOURCE = ("127.0.0.1", 0)


@pytest.fixture
def transport(sshd: Sshd) -> Iterator[paramiko.Transport]:
    client = paramiko.SSHClient()
    client.set_missing_host_key_policy(paramiko.RejectPolicy())
    key_type, blob = sshd.host_key_line.split()
    pinned = paramiko.PKey.from_type_string(key_type, base64.b64decode(blob))
    client.get_host_keys().add(f"[127.0.0.1]:{sshd.port}", key_type, pinned)
    identity = paramiko.Ed25519Key.from_private_key(io.StringIO(sshd.identity_pem))
    client.connect("127.0.0.1", sshd.port, sshd.user, pkey=identity, look_for_keys=False, allow_agent=False, timeout=10)
    opened = client.get_transport()
    assert opened is not None
    yield opened
    client.close()


def test_forwards_to_the_permitted_port(transport: paramiko.Transport, echo_port: int) -> None:
    channel = transport.open_channel("direct-tcpip", ("127.0.0.1", echo_port), SOURCE, timeout=10)
    channel.settimeout(10)
    channel.sendall(b"hello over ssh")
    received = b""
    while len(received) < len(b"hello over ssh"):
        received += channel.recv(100)
    channel.close()
    assert received == b"hello over ssh"


def test_refuses_another_port(transport: paramiko.Transport, sshd: Sshd) -> None:
    with pytest.raises(paramiko.ChannelException, match="Administratively prohibited"):
        transport.open_channel("direct-tcpip", ("127.0.0.1", sshd.port), SOURCE, timeout=10)


def test_runs_no_command_but_false(transport: paramiko.Transport) -> None:
    channel = transport.open_session(timeout=10)
    channel.exec_command("echo reached a shell")
    assert channel.recv_exit_status() == 1
    assert channel.recv(100) == b""
    channel.close()


def test_stop_ends_sessions_that_left_the_process_group(transport: paramiko.Transport, sshd: Sshd) -> None:
    assert transport.is_active()
    sessions = psutil.Process(sshd.pid).children(recursive=True)
    assert sessions, "an open connection has a process of its own"
    sshd.stop()
    assert not wait_ended(sessions, 0)
