"""What is believed of whoever answers on a new connection: nothing but the Mac's key, asked anew each time."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Callable
from urllib.parse import parse_qs, urlsplit

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from voxfleet_api.conditions import Reason
from voxfleet_api.digest import canonical_json
from voxfleet_api.ledger import IDENTITY_CONTEXT
from voxfleet_api.machine_messages import Identity, identity_claim
from voxfleet_operator.fleet.dialer import DialError
from voxfleet_operator.fleet.ssh.connection_proof import MAX_ANSWER_BYTES, ConnectionProof

KEY, OTHER_KEY = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
PINNED = base64.b64encode(KEY.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)).decode()
PORT = 7443
HTTP = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b"


class Peer:
    """The far end of a stream: answers a question, piece by piece, and then ends or says no more."""

    def __init__(self, answer: Callable[[str], bytes], *, piece_bytes: int = 65_536, ends: bool = True) -> None:
        self._answer = answer
        self._piece_bytes = piece_bytes
        self._ends = ends
        self._left = b""
        self.heard = b""

    async def send(self, content: bytes) -> None:
        self.heard += content
        target = content.split()[1].decode()
        self._left += self._answer(parse_qs(urlsplit(target).query)["nonce"][0])

    async def receive(self) -> bytes:
        piece, self._left = self._left[: self._piece_bytes], self._left[self._piece_bytes :]
        if not piece and not self._ends:
            await asyncio.Event().wait()
        return piece


def signed(nonce: str, key: Ed25519PrivateKey = KEY) -> bytes:
    identity = Identity(hardware_id="h", control_plane=None, public_key=PINNED, nonce=nonce, signature="")
    signature = key.sign(IDENTITY_CONTEXT + canonical_json(identity_claim(identity)))
    return canonical_json(identity.model_copy(update={"signature": base64.b64encode(signature).decode()}).dump())


def answered(body: bytes) -> bytes:
    return HTTP % (len(body), body)


async def demand(peer: Peer, timeout_seconds: float = 30.0) -> None:
    await ConnectionProof("mac-01", PINNED, PORT, timeout_seconds).demand(peer)


@pytest.mark.parametrize("piece_bytes", [1, 65_536])
async def test_the_key_is_proven_for_this_port_by_one_question_without_secrets(piece_bytes: int) -> None:
    peer = Peer(lambda nonce: answered(signed(nonce)), piece_bytes=piece_bytes, ends=False)
    await demand(peer)
    lines = peer.heard.decode().split("\r\n")
    assert lines[0].startswith("GET /v1/identity?nonce=") and lines[0].endswith(f"%40{PORT} HTTP/1.1")
    assert lines[1:] == ["Host: agent", "Accept-Encoding: identity", "", ""]


async def test_each_question_is_another_one() -> None:
    peers = [Peer(lambda nonce: answered(signed(nonce))) for _ in range(2)]
    for peer in peers:
        await demand(peer)
    assert peers[0].heard != peers[1].heard


@pytest.mark.parametrize(
    ("answer", "reason", "words"),
    [
        (lambda nonce: answered(signed(nonce, OTHER_KEY)), Reason.IDENTITY_MISMATCH, "did not prove"),
        (lambda nonce: answered(signed("an older nonce")), Reason.IDENTITY_MISMATCH, "old proof"),
        (lambda nonce: answered(b"{}"), Reason.AGENT_UNREACHABLE, "cannot be read"),
        (lambda nonce: answered(b"\xff"), Reason.AGENT_UNREACHABLE, "cannot be read"),
        (lambda nonce: b"SSH-2.0-OpenSSH\r\n\r\n", Reason.AGENT_UNREACHABLE, "new connection"),
        (lambda nonce: b"HTTP/1.1 101 On\r\nUpgrade: x\r\n\r\n", Reason.AGENT_UNREACHABLE, "new connection"),
        (lambda nonce: b"", Reason.AGENT_UNREACHABLE, "connection was closed"),
        (lambda nonce: answered(signed(nonce))[:-1], Reason.AGENT_UNREACHABLE, "connection was closed"),
        (lambda nonce: b"HTTP/1.1 200 OK\r\n\r\n" + signed(nonce), Reason.AGENT_UNREACHABLE, "connection was closed"),
        (lambda nonce: b"x" * (MAX_ANSWER_BYTES + 1), Reason.AGENT_UNREACHABLE, "larger than"),
        (lambda nonce: answered(b" " * MAX_ANSWER_BYTES), Reason.AGENT_UNREACHABLE, "larger than"),
        (lambda nonce: b"HTTP/1.1 100 Continue\r\n\r\n" * 1_000, Reason.AGENT_UNREACHABLE, "larger than"),
        (lambda nonce: answered(signed(nonce)) + b"HTTP/1.1 200 OK\r\n", Reason.AGENT_UNREACHABLE, "not the end"),
        (
            lambda nonce: answered(signed(nonce)).replace(b"OK\r\n", b"OK\r\nConnection: close\r\n"),
            Reason.AGENT_UNREACHABLE,
            "ends the connection",
        ),
        (
            lambda nonce: answered(b'{"message": "this agent listens on port 1"}').replace(b"200 OK", b"400 No"),
            Reason.AGENT_UNREACHABLE,
            "HTTP 400: this agent listens on port 1",
        ),
        (lambda nonce: answered(signed(nonce)).replace(b"200 OK", b"503 No"), Reason.AGENT_UNREACHABLE, "HTTP 503"),
    ],
)
async def test_any_other_answer_is_refused(answer: Callable[[str], bytes], reason: Reason, words: str) -> None:
    with pytest.raises(DialError, match=words) as refusal:
        await demand(Peer(answer))
    assert refusal.value.reason is reason


@pytest.mark.parametrize("answer", [b"", HTTP[:20], answered(b"{}")[:-1]])
async def test_an_answer_that_does_not_end_is_waited_for_so_long(answer: bytes) -> None:
    with pytest.raises(DialError, match="no answer in"):
        await demand(Peer(lambda _: answer, ends=False), timeout_seconds=0.01)
