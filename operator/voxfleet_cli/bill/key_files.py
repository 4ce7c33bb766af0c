"""Keys out of files and options."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from voxfleet_billing.signing_keys import BadKey, NeedsPassphrase, private_key, public_key
from voxfleet_cli.bill.inputs import UsageError

PublicKeys = Annotated[
    list[str] | None,
    typer.Option(help="A ledger key to trust, in place of those in the cluster: its text or a file. Repeatable."),
]


def read_private_key(path: Path) -> Ed25519PrivateKey:
    """Asks for the passphrase of one that is encrypted. Raises UsageError, and OSError."""
    content = path.read_bytes()
    try:
        try:
            return private_key(content)
        except NeedsPassphrase:
            typed = typer.prompt(f"Passphrase of {path}", hide_input=True, err=True)
            return private_key(content, str(typed).encode())
    except BadKey as error:
        raise UsageError(f"--key {path}: {error}") from error


def read_public_keys(text: str) -> list[Ed25519PublicKey]:
    """Of a file with a key a line, or of a key's own text. Raises UsageError, and OSError."""
    is_file = not text.startswith("ssh-") and Path(text).is_file()
    content = Path(text).read_text(encoding="utf-8", errors="replace") if is_file else text
    parts = [content] if content.lstrip().startswith("-----BEGIN") else [line for line in content.splitlines() if line]
    try:
        found = [public_key(part) for part in parts]
    except BadKey as error:
        raise UsageError(f"--public-key {text}: {error}, and no file of that name with such keys") from error
    if not found:
        raise UsageError(f"--public-key {text}: the file holds no key")
    return found
