"""What a person reads when the API server gives no answer."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from kubernetes.aio import config as kube_config
from kubernetes.aio.client import Configuration

from voxfleet_operator import first_calls
from voxfleet_operator.first_calls import patiently
from voxfleet_operator.kube import Kube
from voxfleet_operator.kube_errors import ApiUnavailable, Forbidden, NoCluster


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


async def test_a_credential_plugin_that_gives_no_token_is_waited_for_no_longer_than_the_server(
    silent_port: int,
) -> None:
    async def plugin(_: Configuration) -> None:
        await asyncio.Event().wait()

    configuration = Configuration(host=f"http://127.0.0.1:{silent_port}")
    configuration.api_key["BearerToken"] = "a token that has expired"  # no secret
    vars(configuration)["refresh_api_key_hook"] = plugin
    async with Kube(configuration) as kube:
        with pytest.raises(ApiUnavailable) as raised:
            await kube.request("GET", "/version", timeout_seconds=0.1)
    assert str(raised.value) == (
        "GET /version: the API server asks for a token first, and the credential plugin that the kubeconfig names gave"
        " no answer within 0.1 s"
    )


async def test_a_credential_plugin_that_hangs_at_the_start_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    async def hang(**_: object) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(kube_config, "load_kube_config", hang)
    with pytest.raises(
        NoCluster, match=r"plugin that /etc/kubeconfig names gave no token within 0.1 s; run it by hand"
    ):
        await Kube.connect(Path("/etc/kubeconfig"), timeout_seconds=0.1)


STARTING = (503, b'{"message": "not all paths are installed"}')
NO_ROLES_YET = (403, b'{"message": "cannot get resource namespaces: RBAC: "}')
UID = (200, b'{"metadata": {"uid": "a-uid"}}')


async def serve(answers: list[tuple[int, bytes]]) -> tuple[asyncio.Server, int]:
    """A server that gives one answer after the other."""
    left = iter(answers)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        status, body = next(left)
        writer.write(b"HTTP/1.1 %d OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % (status, len(body)) + body)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    return server, server.sockets[0].getsockname()[1]


async def test_a_start_waits_for_an_api_server_that_starts_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(first_calls, "START_PAUSE_SECONDS", 0.01)
    server, port = await serve([STARTING, NO_ROLES_YET, STARTING, NO_ROLES_YET, UID])
    async with server, kube_at(port) as kube:
        assert await patiently(kube.kube_system_uid, asyncio.Event()) == "a-uid"


async def test_a_start_ends_when_it_is_told_to_or_has_waited_long_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    server, port = await serve([STARTING, NO_ROLES_YET, STARTING, NO_ROLES_YET])
    async with server, kube_at(port) as kube:
        stop = asyncio.Event()
        stop.set()
        with pytest.raises(ApiUnavailable, match="503"):
            await patiently(kube.kube_system_uid, stop)
        with pytest.raises(Forbidden, match="RBAC"):
            await patiently(kube.kube_system_uid, stop)
        monkeypatch.setattr(first_calls, "START_SECONDS", -1.0)
        monkeypatch.setattr(first_calls, "START_FORBIDDEN_SECONDS", -1.0)
        with pytest.raises(ApiUnavailable, match="503"):
            await patiently(kube.kube_system_uid, asyncio.Event())
        with pytest.raises(Forbidden, match="RBAC"):
            await patiently(kube.kube_system_uid, asyncio.Event())
