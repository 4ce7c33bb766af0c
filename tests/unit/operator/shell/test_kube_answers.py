"""What a person reads when the API server gives no answer."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest
from kubernetes.aio.client import Configuration

from voxfleet_operator.kube import ApiUnavailable, Kube


@pytest.fixture
def silent_port() -> Iterator[int]:
    """A port of this machine that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def kube_at(port: int) -> Kube:
    return Kube(Configuration(host=f"http://127.0.0.1:{port}"))


async def test_a_server_that_is_not_there_is_named_with_what_to_look_at() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    async with kube_at(port) as kube:
        with pytest.raises(ApiUnavailable) as raised:
            await kube.request("GET", "/version")
    assert str(raised.value) == (
        f"the API server http://127.0.0.1:{port} does not answer (Connection refused); is it running, and is it the one"
        " that KUBECONFIG should name?"
    )


async def test_a_server_that_is_silent_is_named_with_how_long(silent_port: int) -> None:
    async with kube_at(silent_port) as kube:
        with pytest.raises(ApiUnavailable) as raised:
            await kube.request("GET", "/version", timeout_seconds=0.1)
    assert (
        str(raised.value) == f"GET /version: the API server http://127.0.0.1:{silent_port} gave no answer within 0.1 s"
    )
