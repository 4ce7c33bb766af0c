"""The agent's own TLS listener: who gets as far as a request, and that no peer holds another."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from voxfleet_agent.config import ConfigError, Listen, ListenTls
from voxfleet_agent.server import tls_listener
from voxfleet_agent.server.app import AgentServer, build_server, listen_on
from voxfleet_agent.server.tls import TlsFiles, server_context
from voxfleet_dev.certificates import Authority, Issued

PATIENCE_SECONDS = 20.0
REQUEST = b"GET / HTTP/1.1\r\nHost: agent\r\nConnection: close\r\n\r\n"
AUTHORITY = Authority()
SERVER, CLIENT = AUTHORITY.for_server("127.0.0.1"), AUTHORITY.for_client("operator")


def tls_files(folder: Path, *, server: Issued = SERVER, key_pem: str | None = None) -> ListenTls:
    files = folder / "tls.crt", folder / "tls.key", folder / "ca.crt"
    files[1].touch(mode=0o600)
    for file, text in zip(files, (server.pem, key_pem or server.key_pem, AUTHORITY.pem), strict=True):
        file.write_text(text)
    return ListenTls(certificate_file=files[0], key_file=files[1], client_ca_file=files[2])


class Handshake:
    """One that goes no further than its client wants."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname="127.0.0.1")

    def step(self) -> bytes:
        """What the client says next."""
        with contextlib.suppress(ssl.SSLWantReadError):
            self._tls.do_handshake()
        return self._outgoing.read()

    def hear(self, answer: bytes) -> None:
        self._incoming.write(answer)


async def hello(request: Request) -> Response:
    return PlainTextResponse(request.url.scheme)


@asynccontextmanager
async def serving(tls: ListenTls, poll_seconds: float = tls_listener.POLL_SECONDS) -> AsyncIterator[int]:
    listener = listen_on(Listen(port=0))
    app = Starlette(routes=[Route("/", hello)])
    server = AgentServer(build_server(app).config, TlsFiles(tls), poll_seconds)
    task = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        yield listener.getsockname()[1]
    finally:
        server.should_exit = True
        async with asyncio.timeout(PATIENCE_SECONDS):
            await task


def client_context(folder: Path, client: Issued | None = CLIENT) -> ssl.SSLContext:
    context = ssl.create_default_context(cadata=AUTHORITY.pem)
    if client is not None:
        file = folder / "client.pem"
        file.write_text(client.pem + client.key_pem)
        context.load_cert_chain(file)
    return context


async def ask(port: int, context: ssl.SSLContext) -> tuple[bytes, str | None]:
    """The answer, and the version of TLS that carried it."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
        version = writer.get_extra_info("ssl_object").version()
        writer.write(REQUEST)
        try:
            return await reader.read(), version
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()


async def test_a_known_client_is_answered_over_tls_1_3_and_over_1_2_if_it_knows_no_more(tmp_path: Path) -> None:
    async with serving(tls_files(tmp_path)) as port:
        answer, version = await ask(port, client_context(tmp_path))
        assert answer.endswith(b"https") and version == "TLSv1.3"
        older = client_context(tmp_path)
        older.maximum_version = ssl.TLSVersion.TLSv1_2
        answer, version = await ask(port, older)
        assert answer.endswith(b"https") and version == "TLSv1.2"


async def test_tls_1_1_is_too_old(tmp_path: Path) -> None:
    async with serving(tls_files(tmp_path)) as port:
        old = client_context(tmp_path)
        with pytest.warns(DeprecationWarning, match="TLSv1_1"):
            old.minimum_version = old.maximum_version = ssl.TLSVersion.TLSv1_1
        old.set_ciphers("ALL:@SECLEVEL=0")
        with pytest.raises(ssl.SSLError, match="PROTOCOL_VERSION"):
            await ask(port, old)


async def test_a_client_without_a_certificate_gets_no_answer_and_learns_why(tmp_path: Path) -> None:
    async with serving(tls_files(tmp_path)) as port:
        with pytest.raises(ssl.SSLError, match="CERTIFICATE_REQUIRED"):
            await ask(port, client_context(tmp_path, None))


def resumed(port: int, context: ssl.SSLContext) -> bool:
    """Whether a second connection went on with the first one's session, without the certificate."""
    session: ssl.SSLSession | None = None
    again: bool | None = None
    for _ in range(2):
        with (
            socket.create_connection(("127.0.0.1", port), PATIENCE_SECONDS) as plain,
            context.wrap_socket(plain, server_hostname="127.0.0.1", session=session) as secure,
        ):
            secure.sendall(REQUEST)
            while secure.recv(2**16):
                pass
            session, again = secure.session, secure.session_reused
    return bool(again)


async def test_who_comes_again_shows_its_certificate_again_which_may_have_expired_since(tmp_path: Path) -> None:
    async with serving(tls_files(tmp_path)) as port:
        assert not await asyncio.to_thread(resumed, port, client_context(tmp_path))


async def test_peers_that_never_end_their_handshake_hold_nobody_who_comes_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tls_listener, "PENDING_OF_ONE_PEER", 3)
    async with serving(tls_files(tmp_path)) as port:
        with contextlib.ExitStack() as stack:
            for _ in range(2):
                stack.enter_context(socket.create_connection(("127.0.0.1", port)))
            answer, _ = await ask(port, client_context(tmp_path))
            assert answer.endswith(b"https")


async def test_one_address_has_no_more_than_its_share_of_unfinished_handshakes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tls_listener, "PENDING_OF_ONE_PEER", 2)
    monkeypatch.setattr(tls_listener, "HANDSHAKE_SECONDS", 600.0)
    async with serving(tls_files(tmp_path)) as port:
        silent = [await asyncio.open_connection("127.0.0.1", port) for _ in range(3)]
        async with asyncio.timeout(PATIENCE_SECONDS):
            assert await silent[2][0].read() == b""  # hung up on
        for _, writer in silent:
            writer.close()


async def test_strangers_with_many_addresses_take_no_place_that_a_client_needs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tls_listener, "PENDING", 2)
    monkeypatch.setattr(tls_listener, "HANDSHAKE_SECONDS", 600.0)
    async with serving(tls_files(tmp_path)) as port:
        silent = [await asyncio.open_connection("127.0.0.1", port) for _ in range(2)]
        answer, _ = await ask(port, client_context(tmp_path))
        assert answer.endswith(b"https")
        async with asyncio.timeout(PATIENCE_SECONDS):
            assert await silent[0][0].read() == b""  # the oldest was hung up on
        for _, writer in silent:
            writer.close()


async def test_a_handshake_has_its_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tls_listener, "HANDSHAKE_SECONDS", 0.05)
    async with serving(tls_files(tmp_path)) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        async with asyncio.timeout(PATIENCE_SECONDS):
            assert await reader.read() == b""
        writer.close()


async def test_who_began_while_it_was_trusted_does_not_get_in_once_it_is_revoked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tls_listener, "HANDSHAKE_SECONDS", 600.0)
    crl = tmp_path / "ca.crl"
    crl.write_text(AUTHORITY.revocations())
    tls = tls_files(tmp_path).model_copy(update={"client_crl_file": crl})
    handshake = Handshake(client_context(tmp_path))
    async with serving(tls, poll_seconds=0.02) as port, asyncio.timeout(PATIENCE_SECONDS):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(handshake.step())
        handshake.hear(await reader.read(2**16))
        crl.write_text(AUTHORITY.revocations(CLIENT))
        assert await reader.read() == b""  # hung up on, before it has shown its certificate
        writer.close()


@pytest.mark.parametrize("field", ["certificateFile", "keyFile", "clientCaFile", "clientCrlFile"])
def test_a_file_that_is_missing_or_holds_something_else_is_named(tmp_path: Path, field: str) -> None:
    tls = tls_files(tmp_path)
    file = tmp_path / "odd"
    odd = ListenTls.load({**tls.dump(), field: str(file)})
    with pytest.raises(ConfigError, match=rf"listen.tls.\w+: {file}"):
        server_context(odd)
    file.touch(mode=0o600)
    file.write_text("something else")
    with pytest.raises(ConfigError, match=r"listen.tls.\w+: .* PEM form"):
        server_context(odd)


def test_a_key_that_others_may_read_is_refused(tmp_path: Path) -> None:
    tls = tls_files(tmp_path)
    tls.key_file.chmod(0o644)
    with pytest.raises(ConfigError, match="chmod 600"):
        server_context(tls)


def test_a_key_of_another_certificate_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="its own key"):
        server_context(tls_files(tmp_path, key_pem=CLIENT.key_pem))


def test_files_that_cannot_be_used_leave_the_settings_until_they_can(tmp_path: Path) -> None:
    tls = tls_files(tmp_path)
    files = TlsFiles(tls)
    before = files.context
    assert not files.reload() and files.context is before
    tls.client_ca_file.write_text("half a fi")
    assert not files.reload() and files.context is before
    tls.client_ca_file.write_text(Authority().pem)
    assert files.reload() and files.context is not before
    tls.certificate_file.write_text(SERVER.pem + "\n")
    trusting = files.context
    assert not files.reload() and files.context is not trusting  # the same clients are trusted
