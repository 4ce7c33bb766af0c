"""Ed25519 keys as people keep them: OpenSSH's files, PEM, and 32 bytes in base64. Pure."""

from __future__ import annotations

import base64
import binascii
import hashlib

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
    load_ssh_private_key,
    load_ssh_public_key,
)

HOW_TO_MAKE = "ssh-keygen -t ed25519 -f bill-key"


class BadKey(Exception):
    """A key that is none, or not Ed25519."""


class NeedsPassphrase(BadKey):
    """A private key that is encrypted, and no passphrase was given, or not the right one."""


def private_key(content: bytes, passphrase: bytes | None = None) -> Ed25519PrivateKey:
    """Parses an OpenSSH private key, or PKCS #8 in PEM. Raises BadKey, and NeedsPassphrase."""
    load = load_ssh_private_key if b"OPENSSH PRIVATE KEY" in content else load_pem_private_key
    try:
        key = load(content, passphrase)
    except TypeError as error:  # no passphrase for one that is encrypted, or one too many
        raise NeedsPassphrase("it is encrypted, or it is not and a passphrase was given") from error
    except (ValueError, UnsupportedAlgorithm) as error:
        if passphrase is not None:
            raise NeedsPassphrase("its passphrase is another one") from error
        if b"ENCRYPTED" in content or (b"OPENSSH" in content and "assword" in str(error)):
            raise NeedsPassphrase("it is encrypted") from error
        raise BadKey(f"it is no private key that can be read; make one with {HOW_TO_MAKE}") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise BadKey(f"it is no Ed25519 key; make one with {HOW_TO_MAKE}")
    return key


def public_key(text: str) -> Ed25519PublicKey:
    """Parses `ssh-ed25519 AAAA…`, PEM, or 32 bytes in base64 (as MacAgent.spec.ledgerPublicKey). Raises BadKey."""
    content = text.strip().encode()
    try:
        if content.startswith(b"-----BEGIN"):
            key = load_pem_public_key(content)
        elif content.startswith((b"ssh-", b"ecdsa-", b"sk-")):
            key = load_ssh_public_key(content)
        else:
            key = Ed25519PublicKey.from_public_bytes(base64.b64decode(content, validate=True))
    except (ValueError, binascii.Error, UnsupportedAlgorithm) as error:
        raise BadKey("it is none of: ssh-ed25519 AAAA…, a public key in PEM, 32 bytes in base64") from error
    if not isinstance(key, Ed25519PublicKey):
        raise BadKey("it is no Ed25519 key")
    return key


def raw_text(key: Ed25519PublicKey) -> str:
    """32 bytes in base64."""
    return base64.b64encode(key.public_bytes_raw()).decode()


def fingerprint(key: Ed25519PublicKey) -> str:
    """As `ssh-keygen -l` shows it."""
    blob = base64.b64decode(key.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).split()[1])
    return f"SHA256:{base64.b64encode(hashlib.sha256(blob).digest()).decode().rstrip('=')}"
