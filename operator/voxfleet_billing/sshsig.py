"""Detached signatures in the format of OpenSSH (PROTOCOL.sshsig), Ed25519 alone. Pure.

`ssh-keygen -Y check-novalidate -n bill@voxfleet.dev -s FILE.sig < FILE` checks one without this program, and
`ssh-keygen -Y sign -n bill@voxfleet.dev -f KEY FILE` makes one.
"""

from __future__ import annotations

import base64
import struct
import textwrap
from dataclasses import dataclass

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

NAMESPACE = "bill@voxfleet.dev"
"""What the signature is for: one over other things, made with the same key, is refused."""

_MAGIC = b"SSHSIG"
_VERSION = 1
_KEY_TYPE = b"ssh-ed25519"
_HASH = b"sha512"
_BEGIN, _END = "-----BEGIN SSH SIGNATURE-----", "-----END SSH SIGNATURE-----"
_MAX_BYTES = 4096


class BadSignature(Exception):
    """The text is no signature that this reads, or not one over the content."""


@dataclass(frozen=True, slots=True)
class ParsedSignature:
    public_key: Ed25519PublicKey
    namespace: str
    signature: bytes


def sign_digest(sha512: bytes, key: Ed25519PrivateKey, purpose: str = NAMESPACE) -> str:
    """The signature file over content of which this is the SHA-512. `purpose`: its namespace."""
    signature = _string(_KEY_TYPE) + _string(key.sign(_signed_bytes(sha512, purpose)))
    public_key = _string(_KEY_TYPE) + _string(key.public_key().public_bytes_raw())
    blob = _MAGIC + struct.pack(">I", _VERSION)
    blob += b"".join(_string(part) for part in (public_key, purpose.encode(), b"", _HASH, signature))
    body = "\n".join(textwrap.wrap(base64.b64encode(blob).decode(), 70))
    return f"{_BEGIN}\n{body}\n{_END}\n"


def verify_digest(text: str, sha512: bytes, purpose: str = NAMESPACE) -> Ed25519PublicKey:
    """The key that signed content of which this is the SHA-512. Whether to trust the key is the caller's matter.

    Raises BadSignature.
    """
    parsed = parse_signature(text)
    if parsed.namespace != purpose:
        raise BadSignature(f"it was made for {parsed.namespace!r}, not for {purpose!r}")
    try:
        parsed.public_key.verify(parsed.signature, _signed_bytes(sha512, purpose))
    except InvalidSignature as error:
        raise BadSignature("the file is not the one that was signed") from error
    return parsed.public_key


def parse_signature(text: str) -> ParsedSignature:
    """Raises BadSignature saying what is wrong with the text."""
    lines = [line.strip() for line in text.strip().splitlines()]
    if len(lines) < 3 or lines[0] != _BEGIN or lines[-1] != _END or len(text) > _MAX_BYTES:
        raise BadSignature(f"it does not consist of {_BEGIN}, base64 and {_END}")
    try:
        blob = base64.b64decode("".join(lines[1:-1]), validate=True)
    except ValueError as error:
        raise BadSignature("its base64 is broken") from error
    if not blob.startswith(_MAGIC) or blob[6:10] != struct.pack(">I", _VERSION):
        raise BadSignature("it is no version 1 of an SSH signature")
    public_key, namespace, _, hash_name, signature = _strings(blob[10:], 5)
    if hash_name != _HASH:
        raise BadSignature(f"it is over {hash_name.decode(errors='replace')!r}; {_HASH.decode()} is needed")
    key_type, key_bytes = _strings(public_key, 2)
    signature_type, signature_bytes = _strings(signature, 2)
    if (key_type, signature_type) != (_KEY_TYPE, _KEY_TYPE) or len(key_bytes) != 32:
        raise BadSignature(f"its key is {key_type.decode(errors='replace')!r}; {_KEY_TYPE.decode()} is needed")
    return ParsedSignature(
        Ed25519PublicKey.from_public_bytes(key_bytes), namespace.decode(errors="replace"), signature_bytes
    )


def _signed_bytes(sha512: bytes, purpose: str) -> bytes:
    return _MAGIC + b"".join(_string(part) for part in (purpose.encode(), b"", _HASH, sha512))


def _string(content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + content


def _strings(blob: bytes, count: int) -> list[bytes]:
    """As many length-prefixed strings, which have to be all that is there."""
    found = []
    for _ in range(count):
        length = int.from_bytes(blob[:4], "big")
        if len(blob) < 4 + length:
            raise BadSignature("it is cut off")
        found.append(blob[4 : 4 + length])
        blob = blob[4 + length :]
    if blob:
        raise BadSignature("something follows its end")
    return found
