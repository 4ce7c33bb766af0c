"""Sessions through the operator's own dialers: over a real sshd, and to a TLS listener, each after its proof."""

from __future__ import annotations

import asyncio
import ssl
import tempfile
import threading
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from pathlib import Path

import paramiko
import pytest
from tests.rig.session_agent import TOKEN, SessionAgent

from voxfleet_api.endpoint_lanes import LaneKey
from voxfleet_api.kinds import MacAgent
from voxfleet_api.session_protocol import OpenUpload, TurnDone
from voxfleet_dev.certificates import Authority, Issued
from voxfleet_dev.sshd import Sshd
from voxfleet_gateway.mac_links.lane_socket import LaneSocket
from voxfleet_gateway.mac_links.links import MacLinks
from voxfleet_gateway.mac_links.refused_openings import OpeningRefused, Refusal
from voxfleet_operator.fleet.ssh import tunnel
from voxfleet_operator.fleet.ssh.transport import SshTimeouts, open_loopback
from voxfleet_operator.fleet.transports import Transports

KEY = LaneKey("endpoint-uid", 1)
UPLOAD = OpenUpload(max_bytes=100_000)


class Way:
    """Transports that find what a test stores as Secrets, and the links over them."""

    def __init__(self, stack: AsyncExitStack) -> None:
        self.secrets: dict[tuple[str, str], bytes] = {("sessions", "token"): TOKEN.encode()}
        transports = Transports(self._secret, max_connections=8)
        stack.callback(transports.close)
        self.links = MacLinks(transports, self._secret, control_plane="cluster", max_connections=8)
        stack.push_async_callback(self.links.close)

    async def heard(self, mac: MacAgent) -> str:
        """What a lane there tells of 1,000 bytes."""
        async with asyncio.timeout(20), self._session(mac) as session:
            await session.send_audio(bytes(1_000))
            await session.end_audio()
            return " ".join([event.text async for event in session.events() if isinstance(event, TurnDone)])

    def _session(self, mac: MacAgent) -> AbstractAsyncContextManager[LaneSocket]:
        return self.links.link(mac).session(KEY, UPLOAD, lambda: None, wait_seconds=10.0, answer_seconds=10.0)

    async def _secret(self, name: str, key: str) -> bytes:
        return self.secrets[name, key]


@pytest.fixture
async def stack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as stack:
        # Short, as a socket's path has to be.
        monkeypatch.setattr(tempfile, "tempdir", stack.enter_context(tempfile.TemporaryDirectory(prefix="vf-")))
        yield stack


def mac(agent: SessionAgent, transport: dict[str, object]) -> MacAgent:
    return MacAgent.load(
        {
            "metadata": {"name": "mac-a", "uid": "uid-mac-a"},
            "spec": {
                **transport,
                "tokenSecretRef": {"name": "the-operators", "key": "token"},
                "sessionTokenSecretRef": {"name": "sessions", "key": "token"},
                "ledgerPublicKey": agent.public_key,
            },
        }
    )


async def ssh_access(stack: AsyncExitStack, folder: Path, agent: SessionAgent, way: Way) -> dict[str, object]:
    """To the agent through a real sshd, which lives as long as `stack`."""
    port = await stack.enter_async_context(agent.on_port())
    sshd = stack.enter_context(Sshd(folder / "sshd", forward_port=port))
    way.secrets["ssh", "id"] = sshd.identity_pem.encode()
    return {
        "host": "127.0.0.1",
        "port": sshd.port,
        "user": sshd.user,
        "hostKeys": [sshd.host_key_line],
        "identitySecretRef": {"name": "ssh", "key": "id"},
        "agentPort": port,
    }


async def test_openings_that_take_long_hold_up_no_session(
    stack: AsyncExitStack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    agent, way = SessionAgent(lanes={KEY}, room=8), Way(stack)
    there = mac(agent, {"ssh": await ssh_access(stack, tmp_path, agent, way)})
    may_open, opens = threading.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()

    def slowly(transport: paramiko.Transport, port: int, timeouts: SshTimeouts) -> paramiko.Channel:
        loop.call_soon_threadsafe(opens.set)
        may_open.wait()
        return open_loopback(transport, port, timeouts)

    async with asyncio.timeout(20), way._session(there) as session:
        monkeypatch.setattr(tunnel, "open_loopback", slowly)
        others = [asyncio.create_task(way.heard(there)) for _ in range(2 * tunnel.OPENING_THREADS_PER_MAC)]
        try:
            await opens.wait()
            await session.send_audio(bytes(1_000))
            await session.end_audio()
            assert [event.text async for event in session.events() if isinstance(event, TurnDone)] == ["1000 bytes"]
        finally:
            may_open.set()
            await asyncio.gather(*others, return_exceptions=True)


async def test_through_a_tunnel_and_not_to_another_machine(stack: AsyncExitStack, tmp_path: Path) -> None:
    agent, way = SessionAgent(lanes={KEY}), Way(stack)
    ssh = await ssh_access(stack, tmp_path, agent, way)
    assert await way.heard(mac(agent, {"ssh": ssh})) == "1000 bytes"
    with pytest.raises(OpeningRefused) as refused:
        await way.heard(mac(SessionAgent(), {"ssh": ssh}))  # the MacAgent pins another machine's key
    assert refused.value.refusal is Refusal.UNREACHABLE and agent.upgrades == 1, "no token went to it"


async def test_to_a_tls_listener_and_not_to_one_with_another_s_certificate(
    stack: AsyncExitStack, tmp_path: Path
) -> None:
    authority, agent, way = Authority(), SessionAgent(lanes={KEY}), Way(stack)
    client = authority.for_client("gateway")
    way.secrets |= {
        ("ca", "ca.crt"): authority.pem.encode(),
        ("client", "tls.crt"): client.pem.encode(),
        ("client", "tls.key"): client.key_pem.encode(),
    }
    port = await stack.enter_async_context(
        agent.on_port(listener_context(tmp_path, authority.for_server("localhost"), authority))
    )
    https = {
        "caBundleRef": {"name": "ca", "key": "ca.crt"},
        "clientCertificateSecretRef": {"name": "client"},
    }
    assert await way.heard(mac(agent, {"https": {**https, "url": f"https://localhost:{port}"}})) == "1000 bytes"
    with pytest.raises(OpeningRefused) as refused:
        await way.heard(mac(agent, {"https": {**https, "url": f"https://127.0.0.1:{port}"}}))
    assert refused.value.refusal is Refusal.UNREACHABLE and agent.upgrades == 1, "no token went to it"


def listener_context(folder: Path, server: Issued, authority: Authority) -> ssl.SSLContext:
    """Asks for a certificate, as agents do."""
    certificate, key = folder / "server.pem", folder / "server.key"
    certificate.write_text(server.pem)
    key.write_text(server.key_pem)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    context.load_verify_locations(cadata=authority.pem)
    context.verify_mode = ssl.CERT_REQUIRED
    return context
