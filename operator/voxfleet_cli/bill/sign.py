"""`voxfleet bill sign` and `bill verify-signature`: detached signatures over an export and its manifest."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Annotated

import typer
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from voxfleet_billing.signing_keys import fingerprint, raw_text
from voxfleet_billing.sshsig import NAMESPACE, BadSignature, sign_digest, verify_digest
from voxfleet_cli.bill.inputs import exit_codes
from voxfleet_cli.bill.key_files import read_private_key, read_public_keys
from voxfleet_cli.command_line import Exit, fail

SIGNATURE_SUFFIX = ".sig"
MANIFEST_SUFFIX = ".manifest.json"
_BLOCK_BYTES = 1 << 20

EPILOG = (
    "Exit codes: 0 fine, 1 a signature is missing, is over another file or by another key, 2 wrong usage, or a file or"
    " key that cannot be read."
)

File = Annotated[Path, typer.Argument(help="The export, such as bill-2026-11.csv.")]


def sign(
    file: File,
    key: Annotated[
        Path, typer.Option(help="Ed25519 private key, of OpenSSH or in PEM. To make one: ssh-keygen -t ed25519.")
    ],
) -> None:
    """Sign an export, and its manifest where there is one: FILE.sig, FILE.manifest.json.sig.

    The format is OpenSSH's, so that finance can check it without this program; the output says with what line.
    """
    with exit_codes():
        signer = read_private_key(key)
        signed = [_signed(path, signer) for path in _with_manifest(file)]
    for path in signed:
        print(f"{path}: signed by {fingerprint(signer.public_key())}")
    print(f"To check it without voxfleet: ssh-keygen -Y check-novalidate -n {NAMESPACE} -s {signed[0]} < {file}")


def verify_signature(
    file: File,
    public_keys: Annotated[
        list[str],
        typer.Option(
            "--public-key",
            help="Whom to trust: a file, or the text of a key (ssh-ed25519 AAAA…, or 32 bytes in base64). Repeatable.",
        ),
    ],
) -> None:
    """Check the signatures of an export and of its manifest, and that the manifest speaks of this export."""
    with exit_codes():
        trusted = {raw_text(found) for text in public_keys for found in read_public_keys(text)}
        faults = [fault for path in _with_manifest(file) if (fault := _fault(path, trusted)) is not None]
        faults += _manifest_faults(file)
    for fault in faults:
        fail(BadSignature(fault), Exit.REFUSED)
    raise typer.Exit(Exit.REFUSED if faults else Exit.OK)


def _with_manifest(file: Path) -> list[Path]:
    manifest = _beside(file, MANIFEST_SUFFIX)
    return [file, manifest] if manifest.exists() else [file]


def _beside(file: Path, suffix: str) -> Path:
    return file.with_name(file.name + suffix)


def _signed(path: Path, key: Ed25519PrivateKey) -> Path:
    written = _beside(path, SIGNATURE_SUFFIX)
    written.write_text(sign_digest(_sha512(path), key))
    return written


def _fault(path: Path, trusted: set[str]) -> str | None:
    """Prints who signed the file, or returns what is wrong."""
    signature = _beside(path, SIGNATURE_SUFFIX)
    if not signature.exists():
        return f"{path} is not signed: there is no {signature}"
    try:
        key = verify_digest(signature.read_text(errors="replace"), _sha512(path))
    except BadSignature as error:
        return f"{signature}: {error}"
    if raw_text(key) not in trusted:
        return f"{signature}: it is by {fingerprint(key)}, which no --public-key names"
    print(f"{path}: good signature by {fingerprint(key)}")
    return None


def _manifest_faults(file: Path) -> list[str]:
    """What the manifest says of another file than this one."""
    manifest = _beside(file, MANIFEST_SUFFIX)
    if not manifest.exists():
        return []
    try:
        told = json.loads(manifest.read_bytes())["file"]["sha256"]
    except (ValueError, KeyError, TypeError):
        return [f"{manifest} names no sha256; export the bill again"]
    with file.open("rb") as opened:
        digest = hashlib.file_digest(opened, "sha256").hexdigest()
    same = told == digest
    return [] if same else [f"{manifest} speaks of another file than {file}: its sha256 is {told}, not {digest}"]


def _sha512(path: Path) -> bytes:
    digest = hashlib.sha512()
    with path.open("rb") as file:
        while block := file.read(_BLOCK_BYTES):
            digest.update(block)
    return digest.digest()
