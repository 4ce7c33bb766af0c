"""Fixtures for tests against a real sshd and a real agent."""

from __future__ import annotations

import contextlib
import socket
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.rig.lane_account import ACCOUNT, make_python

from voxfleet_dev.s3 import S3Server
from voxfleet_dev.sshd import Sshd


@pytest.fixture
def echo_port() -> Iterator[int]:
    """Port of a loopback TCP server that sends back what it gets."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            with contextlib.suppress(OSError):  # the fixture closed the listener
                while True:
                    connection, _ = listener.accept()
                    with connection:
                        while data := connection.recv(65536):
                            connection.sendall(data)

        thread = threading.Thread(target=serve)
        thread.start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)
    thread.join()


@pytest.fixture
def sshd(tmp_path: Path, echo_port: int) -> Iterator[Sshd]:
    """A private sshd whose client key may reach the echo server's port and nothing else."""
    with Sshd(tmp_path / "sshd", forward_port=echo_port) as server:
        yield server


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """A real S3 server, shared by every test of the run: each takes a bucket of its own."""
    with S3Server(tmp_path_factory.mktemp("s3")) as server:
        yield server


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that every account can reach; those of `tmp_path` are the tests' own."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o711)
        yield Path(folder)


@pytest.fixture
def account_python(open_folder: Path) -> Path:
    """A Python with this project's packages that the lanes' account may run."""
    python = make_python(open_folder / "python")
    if python is None:
        pytest.skip(f"no Python with this project's packages can be run by {ACCOUNT}")
    return python
