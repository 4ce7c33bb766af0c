"""One line of a segment: is it a row as a Mac signed it, or a settlement record? Pure."""

from __future__ import annotations

import json

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from pydantic import ValidationError

from voxfleet_api.digest import canonical_json, sha256_hex
from voxfleet_api.ledger import SignedRow, is_signed_by
from voxfleet_billing.archive_format import SettlementRecord


class NotALine(Exception):
    """A line that is neither a row nor a settlement record; the message says why."""


def parse_line(line: bytes) -> SignedRow | SettlementRecord:
    """Raises NotALine."""
    try:
        content = json.loads(line)
        if not isinstance(content, dict):
            raise NotALine("it is no JSON object")
        if "settlement" in content:
            return SettlementRecord.load(content["settlement"])
        return SignedRow.load(content)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"]))
        raise NotALine(f"{field}: {first['msg']}") from error
    except ValueError as error:
        raise NotALine("it is no JSON") from error


def faults_of(signed: SignedRow, key: Ed25519PublicKey | None) -> tuple[str, ...]:
    """What does not fit of a row's content, hash and signature. None: its key is not known."""
    try:
        content = canonical_json(signed.row.dump())
    except TypeError:
        return ("holds a number with a fraction, which no row has",)
    faults = []
    if sha256_hex(content) != signed.hash:
        faults.append("was changed: its hash does not match its content")
    if key is not None and not is_signed_by(signed.signature, content, key):
        faults.append("its signature is not by the key of its chain")
    return tuple(faults)
