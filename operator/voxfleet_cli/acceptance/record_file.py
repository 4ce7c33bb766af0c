"""Writes a record and its detached signature, and checks them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from voxfleet_api.acceptance import SIGNATURE_PURPOSE, AcceptanceRecord, parse_record
from voxfleet_billing.signing_keys import BadKey, NeedsPassphrase, fingerprint, private_key, public_key, raw_text
from voxfleet_billing.sshsig import BadSignature, sign_digest, verify_digest

_SIGNATURE_LIMIT_BYTES = 4096


class UnusableFile(Exception):
    """A file that cannot be read or is not what it should be; the message names it."""


class NotProven(Exception):
    """A record that is not signed, or not by one of the keys; the message names its file."""


def read_key(path: Path) -> Ed25519PrivateKey:
    """Raises UnusableFile."""
    try:
        return private_key(_read(path))
    except NeedsPassphrase as error:
        raise UnusableFile(f"{path}: it is encrypted; sign with a key without a passphrase, of 0600") from error
    except BadKey as error:
        raise UnusableFile(f"{path}: {error}") from error


def write_record(path: Path, record: AcceptanceRecord, key: Ed25519PrivateKey) -> str:
    """Writes the record and its signature beside it; returns the fingerprint of the key. Raises UnusableFile."""
    content = record.content()
    signature = sign_digest(hashlib.sha512(content).digest(), key, SIGNATURE_PURPOSE)
    try:
        path.write_bytes(content)
        signature_of(path).write_text(signature)
    except OSError as error:
        raise UnusableFile(f"{path}: {error.strerror}; name another file with --out") from error
    return fingerprint(key.public_key())


def signature_of(path: Path) -> Path:
    return path.with_name(f"{path.name}.sig")


def verified_record(path: Path, keys: Sequence[str]) -> tuple[AcceptanceRecord, str]:
    """The record, and the fingerprint of the key that signed it. `keys`: files, or texts of public keys.

    Raises UnusableFile, and NotProven.
    """
    trusted = {raw_text(public_key_of(text)) for text in keys}
    content, beside = _read(path), signature_of(path)
    if not beside.exists():
        raise NotProven(f"{path} is not signed: there is no {beside}")
    try:
        key = verify_digest(
            _read(beside)[:_SIGNATURE_LIMIT_BYTES].decode(errors="replace"),
            hashlib.sha512(content).digest(),
            SIGNATURE_PURPOSE,
        )
    except BadSignature as error:
        raise NotProven(f"{beside}: {error}") from error
    if raw_text(key) not in trusted:
        raise NotProven(f"{beside}: it is by {fingerprint(key)}, which no --public-key names")
    try:
        return parse_record(content), fingerprint(key)
    except ValueError as error:
        raise UnusableFile(f"{path} is no acceptance record: {error}") from error


def public_key_of(text: str) -> Ed25519PublicKey:
    """`text`: a file with a public key, or the key itself. Raises UnusableFile."""
    path = Path(text)
    try:
        return public_key(_read(path).decode(errors="replace") if path.is_file() else text)
    except BadKey as error:
        raise UnusableFile(f"--public-key {text}: {error}") from error


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UnusableFile(f"{path}: {error.strerror}") from error
