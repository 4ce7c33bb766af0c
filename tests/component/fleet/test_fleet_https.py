"""Whom operator and agent trust over HTTPS: the operator's fleet against the real agent's own TLS listener."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import struct
import threading
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from tests.component.fleet.rig import Rig
from tests.component.fleet.stand_in_agent import PATIENCE_SECONDS, StandInAgent

from voxfleet_agent.config import ListenTls
from voxfleet_agent.server.tls import TlsFiles
from voxfleet_api.conditions import Reason
from voxfleet_api.kinds import MacAgent
from voxfleet_dev.certificates import Authority, Issued
from voxfleet_operator.fleet.https import dialer

MAC = "mac-01"
HOUR = timedelta(hours=1)


@dataclass
class HttpsMac:
    """An agent's listener and the Secrets of its MacAgent, of which a test replaces some."""

    rig: Rig
    folder: Path
    authority: Authority = field(default_factory=Authority)
    agent: StandInAgent = field(default_factory=StandInAgent)

    @property
    def tls(self) -> ListenTls:
        certificate, key, ca, crl = (self.folder / name for name in ("tls.crt", "tls.key", "ca.crt", "ca.crl"))
        return ListenTls(certificate_file=certificate, key_file=key, client_ca_file=ca, client_crl_file=crl)

    def show(self, issued: Issued) -> None:
        """What the agent shows from now on."""
        self.folder.mkdir(exist_ok=True)
        self.tls.key_file.touch(mode=0o600)
        self.tls.key_file.write_text(issued.key_pem)
        self.tls.certificate_file.write_text(issued.pem)

    def trust(self, authority: Authority, *revoked: Issued) -> None:
        """Which clients the agent trusts from now on."""
        self.tls.client_ca_file.write_text(authority.pem)
        (self.folder / "ca.crl").write_text(authority.revocations(*revoked))

    def store(self, *, ca: Authority | None = None, client: Issued | None = None) -> Issued:
        """What the operator's Secrets hold from now on."""
        own = client or self.authority.for_client("operator")
        self.rig.secrets["ca", "ca.crt"] = (ca or self.authority).pem.encode()
        self.rig.secrets["client", "tls.crt"] = own.pem.encode()
        self.rig.secrets["client", "tls.key"] = own.key_pem.encode()
        self.rig.secrets["token", "token"] = self.agent.token.encode()
        return own

    def resource(
        self, port: int | None = None, *, host: str = "127.0.0.1", name: str = MAC, key: str | None = None
    ) -> MacAgent:
        return MacAgent.load(
            {
                "metadata": {"name": name, "uid": "uid", "creationTimestamp": "2026-11-20T10:00:00Z"},
                "spec": {
                    "https": {
                        "url": f"https://{host}:{port or self.agent.port}",
                        "caBundleRef": {"name": "ca", "key": "ca.crt"},
                        "clientCertificateSecretRef": {"name": "client"},
                    },
                    "tokenSecretRef": {"name": "token", "key": "token"},
                    "ledgerPublicKey": key or self.agent.public_key,
                },
            }
        )

    async def serve(self) -> None:
        await self.rig.stack.enter_async_context(self.agent.serving(TlsFiles(self.tls)))

    async def shows_what_it_holds(self) -> None:
        """Until the listener shows the certificate of its file."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            while await self._shown() != self.tls.certificate_file.read_text():  # noqa: ASYNC110 # it gives no event
                await asyncio.sleep(0.02)

    async def _shown(self) -> str:
        return await asyncio.to_thread(ssl.get_server_certificate, ("127.0.0.1", self.agent.port))

    async def refused(self, reason: Reason, port: int | None = None) -> str:
        """The message with which the operator does not reach the Mac; nothing secret was sent."""
        self.rig.fleet.ensure(self.resource(port))
        message = await self.rig.refused(MAC, reason)
        assert self.agent.seen == []
        return message


@pytest.fixture
async def mac(rig: Rig, tmp_path: Path) -> HttpsMac:
    mac = HttpsMac(rig, tmp_path / "agent")
    mac.show(mac.authority.for_server("127.0.0.1"))
    mac.trust(mac.authority)
    mac.store()
    await mac.serve()
    return mac


async def test_it_connects_and_survives_new_certificates_on_both_sides(mac: HttpsMac) -> None:
    rig = mac.rig
    rig.fleet.ensure(mac.resource())
    view = await rig.connected(MAC)
    assert view.message == f"connected to https://127.0.0.1:{mac.agent.port}"

    seen = len(mac.agent.calls("/v1/identity"))
    mac.store()  # another client certificate of the same authority
    await mac.agent.heard("/v1/identity", seen)
    await rig.connected(MAC)

    other, seen = Authority(), len(mac.agent.calls("/v1/identity"))
    mac.show(other.for_server("127.0.0.1"))
    mac.trust(other)
    await rig.refused(MAC, Reason.SERVER_CERTIFICATE_UNTRUSTED)
    mac.store(ca=other, client=other.for_client("operator"))
    await mac.agent.heard("/v1/identity", seen)
    await rig.connected(MAC)


@pytest.mark.parametrize(
    ("shown", "reason", "advice"),
    [
        (lambda _: Authority().for_server("127.0.0.1"), Reason.SERVER_CERTIFICATE_UNTRUSTED, "Secret ca, key ca.crt"),
        (lambda own: own.for_server("mac-02"), Reason.SERVER_NAME_MISMATCH, "spec.https.url"),
        (
            lambda own: own.for_server("127.0.0.1", ends=-HOUR),
            Reason.SERVER_CERTIFICATE_EXPIRED,
            "listen.tls.certificateFile",
        ),
        (lambda own: own.for_server("127.0.0.1", begins=HOUR), Reason.SERVER_CERTIFICATE_NOT_YET_VALID, "clocks"),
    ],
    ids=["of another authority", "for another name", "expired", "not yet valid"],
)
async def test_an_agent_with_a_wrong_certificate_gets_nothing_and_is_found_again_once_it_has_a_right_one(
    mac: HttpsMac, shown: Callable[[Authority], Issued], reason: Reason, advice: str
) -> None:
    mac.show(shown(mac.authority))
    await mac.shows_what_it_holds()

    assert advice in await mac.refused(reason)

    mac.show(mac.authority.for_server("127.0.0.1"))
    await mac.rig.connected(MAC)


@pytest.mark.parametrize(
    ("client", "reason", "advice"),
    [
        (lambda _: Authority().for_client("operator"), Reason.CLIENT_CERTIFICATE_REFUSED, "clientCaFile"),
        (lambda own: own.for_client("operator", ends=-HOUR), Reason.CLIENT_CERTIFICATE_EXPIRED, "renew it"),
        (lambda own: own.for_client("operator", begins=HOUR), Reason.CLIENT_CERTIFICATE_REFUSED, "Secret client"),
        (lambda own: own.for_server("127.0.0.1"), Reason.CLIENT_CERTIFICATE_REFUSED, "certificate for clients"),
    ],
    ids=["of another authority", "expired", "not yet valid", "for a server"],
)
async def test_an_operator_with_a_wrong_certificate_is_told_so_and_gets_in_once_its_secret_has_a_right_one(
    mac: HttpsMac, client: Callable[[Authority], Issued], reason: Reason, advice: str
) -> None:
    mac.store(client=client(mac.authority))

    message = await mac.refused(reason)

    assert advice in message and "Secret client" in message
    mac.store()
    await mac.rig.connected(MAC)


async def test_a_revoked_operator_is_cut_off_while_it_is_connected(mac: HttpsMac) -> None:
    own = mac.store()
    mac.rig.fleet.ensure(mac.resource())
    await mac.rig.connected(MAC)

    mac.trust(mac.authority, own)

    assert "Secret client is revoked" in await mac.rig.refused(MAC, Reason.CLIENT_CERTIFICATE_REVOKED)
    mac.store()
    await mac.rig.connected(MAC)


async def test_an_expired_list_of_revocations_lets_nobody_in_and_is_named(mac: HttpsMac) -> None:
    (mac.folder / "ca.crl").write_text(mac.authority.revocations(ends=-HOUR))
    mac.show(mac.authority.for_server("127.0.0.1"))  # which is read with the list
    await mac.shows_what_it_holds()
    assert "renew the agent's listen.tls.clientCrlFile" in await mac.refused(Reason.CLIENT_CERTIFICATE_EXPIRED)


@pytest.mark.parametrize("lacks", ["ca", "certificate", "key"])
async def test_a_secret_that_holds_something_else_is_named(mac: HttpsMac, lacks: str) -> None:
    name = {"ca": ("ca", "ca.crt"), "certificate": ("client", "tls.crt"), "key": ("client", "tls.key")}[lacks]
    mac.rig.secrets[name] = b"something else"
    assert f"Secret {name[0]}" in await mac.refused(Reason.CERTIFICATE_UNREADABLE)


async def test_a_key_of_another_certificate_is_named(mac: HttpsMac) -> None:
    mac.rig.secrets["client", "tls.key"] = mac.authority.for_client("operator").key_pem.encode()
    assert "Secret client" in await mac.refused(Reason.CERTIFICATE_UNREADABLE)


async def test_plain_http_is_told_from_tls(mac: HttpsMac) -> None:
    async with StandInAgent().serving() as plain:
        assert "does not speak TLS" in await mac.refused(Reason.TLS_NOT_SPOKEN, plain.port)
        assert plain.seen == []


async def test_nothing_listening_names_the_address(mac: HttpsMac) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        assert f"https://127.0.0.1:{port}: Connection refused" in await mac.refused(Reason.HTTPS_UNREACHABLE, port)


async def test_a_proxy_that_resets_is_told_from_an_agent_that_does_not_run(mac: HttpsMac) -> None:
    async with resetting() as port:
        assert "proxy or firewall" in await mac.refused(Reason.CONNECTION_RESET, port)


async def test_a_port_that_says_nothing_is_given_up(mac: HttpsMac, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dialer, "CONNECT_SECONDS", 0.05)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        assert "no answer in time" in await mac.refused(Reason.HTTPS_UNREACHABLE, silent.getsockname()[1])


async def test_a_proxy_that_ends_what_was_begun_is_no_other(mac: HttpsMac) -> None:
    async with resetting(after_hello=True) as port:
        assert "proxy or firewall" in await mac.refused(Reason.CONNECTION_RESET, port)


async def test_a_name_is_called_at_the_address_that_answers_and_the_certificate_must_be_for_the_name(
    mac: HttpsMac, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing listens on the first address, as where a network carries one family alone."""
    found = [(family, 0, 0, "", (address, 0)) for family, address in ((10, "127.0.0.9"), (2, "127.0.0.1"))]
    monkeypatch.setattr(socket, "getaddrinfo", lambda host, *_, **__: found if host == "mac-a.example" else [])
    mac.rig.fleet.ensure(mac.resource(host="mac-a.example"))
    await mac.rig.refused(MAC, Reason.SERVER_NAME_MISMATCH)
    mac.show(mac.authority.for_server("mac-a.example"))
    await mac.rig.connected(MAC)
    assert mac.agent.calls("/v1/machine")[-1].headers["host"] == f"mac-a.example:{mac.agent.port}"


async def test_a_name_that_is_not_known_is_no_address(mac: HttpsMac, monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: object, **__: object) -> object:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    mac.rig.fleet.ensure(mac.resource(host="mac-a.example"))
    assert "Name or service not known" in await mac.rig.refused(MAC, Reason.HTTPS_UNREACHABLE)


async def test_a_name_server_that_is_silent_holds_no_other_mac(mac: HttpsMac, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor the few threads that the event loop has for all of them."""
    threads, answer, asked = 2, threading.Event(), asyncio.Semaphore(0)
    loop = asyncio.get_running_loop()
    loop.set_default_executor(ThreadPoolExecutor(threads))

    def never(*_: object, **__: object) -> object:
        loop.call_soon_threadsafe(asked.release)
        answer.wait()
        raise socket.gaierror(socket.EAI_AGAIN, "no answer")

    monkeypatch.setattr(socket, "getaddrinfo", never)
    monkeypatch.setattr(dialer, "CONNECT_SECONDS", 600.0)
    try:
        for number in range(threads):
            key = StandInAgent().public_key
            mac.rig.fleet.ensure(mac.resource(host=f"mac-{number}.example", name=f"named-{number}", key=key))
            async with asyncio.timeout(PATIENCE_SECONDS):
                await asked.acquire()
        mac.rig.fleet.ensure(mac.resource())
        await mac.rig.connected(MAC)
    finally:
        answer.set()


async def test_an_impostor_with_the_agents_certificate_gets_no_token(mac: HttpsMac) -> None:
    """A local user who stole certificate and key, and not the ledger key."""
    mac.agent.signing_key = Ed25519PrivateKey.generate()

    mac.rig.fleet.ensure(mac.resource())

    assert "did not prove ledger key" in await mac.rig.refused(MAC, Reason.IDENTITY_MISMATCH)
    assert {call.path for call in mac.agent.seen} == {"/v1/identity"}
    assert all(mac.agent.token not in str(call) for call in mac.agent.seen)


@asynccontextmanager
async def resetting(*, after_hello: bool = False) -> AsyncIterator[int]:
    """A port on which every connection is reset: at once, or once the client has begun the handshake."""

    async def reset(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if after_hello:
            await reader.read(1)
        with contextlib.suppress(OSError):
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.close()

    server = await asyncio.start_server(reset, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]
