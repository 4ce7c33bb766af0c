"""Pinned keys, algorithms and private keys: what is accepted, and what the messages say."""

from __future__ import annotations

import base64

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from voxfleet_api.conditions import Reason
from voxfleet_operator.fleet.dialer import DialError
from voxfleet_operator.fleet.ssh.transport import PinnedKey, host_key_algorithms, pinned_keys, private_key

KEY = Ed25519PrivateKey.generate()
LINE = KEY.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH).decode()


def pem(passphrase: bytes | None = None) -> bytes:
    encryption = (
        serialization.NoEncryption() if passphrase is None else serialization.BestAvailableEncryption(passphrase)
    )
    return KEY.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, encryption)


def test_a_line_is_parsed_into_type_and_blob() -> None:
    [pin] = pinned_keys([LINE])
    assert pin == PinnedKey("ssh-ed25519", base64.b64decode(LINE.split()[1]))


@pytest.mark.parametrize(
    ("line", "words"),
    [
        pytest.param(LINE[:-2], r"hostKeys\[1\] is not valid base64", id="cut short"),
        pytest.param(
            LINE.replace("ssh-ed25519", "ssh-rsa"), r"hostKeys\[1\] says ssh-rsa but holds another key", id="other type"
        ),
    ],
)
def test_a_wrong_line_is_named(line: str, words: str) -> None:
    with pytest.raises(DialError, match=words) as refusal:
        pinned_keys([LINE, line])
    assert refusal.value.reason is Reason.INVALID_SPEC


@pytest.mark.parametrize(
    ("types", "expected"),
    [
        (["ssh-rsa"], ("rsa-sha2-512", "rsa-sha2-256", "ssh-ed25519", "ecdsa-sha2-nistp256")),
        (
            ["ecdsa-sha2-nistp256", "ssh-ed25519"],
            ("ecdsa-sha2-nistp256", "ssh-ed25519", "rsa-sha2-512", "rsa-sha2-256"),
        ),
    ],
)
def test_pinned_types_are_asked_for_first(types: list[str], expected: tuple[str, ...]) -> None:
    known = ("ssh-ed25519", "ecdsa-sha2-nistp256", "rsa-sha2-512", "rsa-sha2-256")
    assert host_key_algorithms([PinnedKey(name, b"") for name in types], known) == expected


def test_a_private_key_is_read() -> None:
    assert private_key(pem(), "Secret a, key b,").get_name() == "ssh-ed25519"


@pytest.mark.parametrize(
    ("content", "words"),
    [(b"nonsense", "is no private key"), (b"\xff", "is no private key"), (b"", "is no private key")],
)
def test_what_is_no_private_key_names_the_secret(content: bytes, words: str) -> None:
    with pytest.raises(DialError, match=f"^Secret a, key b, {words}") as refusal:
        private_key(content, "Secret a, key b,")
    assert refusal.value.reason is Reason.SSH_AUTHENTICATION_FAILED


def test_an_encrypted_key_is_told_apart() -> None:
    with pytest.raises(DialError, match="without a passphrase"):
        private_key(pem(b"hush"), "Secret a, key b,")
