"""Machine-hour rows: their format, their hash chain, signing input and verification.

A row states only facts. The rows of a chain are numbered from 0 without gaps, and each names the hash of the previous
one. A signature is Ed25519 (RFC 8032) over `SIGNATURE_CONTEXT` and the row's canonical JSON.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Self

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from pydantic import Field, model_validator

from voxfleet_api.base import OPEN_VALUE, Sha256Hex, SpecModel, StatusModel, Timestamp, Uid, open_enum
from voxfleet_api.digest import canonical_json, sha256_hex
from voxfleet_api.stored_form import StoredForm

SIGNATURE_CONTEXT = b"voxfleet-ledger-v1\n"
IDENTITY_CONTEXT = b"voxfleet-identity-v1\n"
GENESIS_HASH = "0" * 64


class Activity(StrEnum):
    SETUP = "Setup"
    WORK = "Work"
    CLEANUP = "Cleanup"
    IDLE = "Idle"  # an endpoint's lane is warm, and nobody uses it
    PAUSED = "Paused"  # a batch's lane stood still for an endpoint, which is the owner


class RowOwner(SpecModel):
    """The object for which a lane was held."""

    kind: Annotated[str, OPEN_VALUE]
    namespace: Annotated[str, Field(max_length=253)]
    name: Annotated[str, Field(max_length=253)]
    uid: Uid


class LedgerRow(StoredForm):
    """One activity of one attempt, or of a VoiceEndpoint's warm lane, on one lane of a pool, within one month (UTC).

    An attempt holds its lane from its start until its cleanup ends. What its lane stood still for an endpoint meanwhile
    is in a row of that endpoint, Paused, which stands on the wall behind the attempt's own. Rows that older agents
    signed name a job in `namespace`, `job_name` and `job_uid` instead of an owner. A row of an endpoint has its UID as
    `shard_uid` and its lane's number as `attempt`, so that older readers take it.
    """

    chain_id: Annotated[str, Field(max_length=64)]
    sequence: Annotated[int, Field(ge=0)]
    previous_hash: Sha256Hex
    control_plane: Annotated[str, Field(max_length=64)]
    hardware_id: Annotated[str, Field(max_length=128)]
    boot_id: Annotated[str, Field(max_length=64)]
    owner: RowOwner | None = None
    namespace: str | None = None
    job_name: str | None = None
    job_uid: Uid | None = None
    shard_uid: Uid
    attempt: Annotated[int, Field(ge=1)]
    lane: Annotated[str, Field(max_length=64, description="Pool and slot, such as offline/0.")]
    activity: Annotated[str, OPEN_VALUE, open_enum(Activity)]
    price_class: Annotated[
        str | None, Field(max_length=64, description="Kind of the lane's pool, such as Offline.")
    ] = None
    billing_key: str | None = None
    wall_start: Timestamp
    wall_end: Timestamp
    monotonic_milliseconds: Annotated[int, Field(ge=0)]
    """The billed time, on a clock that stops while the Mac sleeps."""
    audio_milliseconds: Annotated[int, Field(ge=0)] = 0
    clips: Annotated[int, Field(ge=0)] = 0
    """Clips that got their row meanwhile."""
    paused_milliseconds: Annotated[int, Field(ge=0)] = 0
    """Of the billed time, what the lane stood still for another: all of a row that is Paused, else nothing."""

    @model_validator(mode="after")
    def _has_one_owner(self) -> Self:
        missing = [name is None for name in (self.namespace, self.job_name, self.job_uid)]
        if any(missing) if self.owner is None else not all(missing):
            raise ValueError("write owner, or namespace, jobName and jobUid of an older agent")
        return self

    @property
    def held_for(self) -> RowOwner:
        """The owner, also of an older agent's row."""
        if self.owner is not None:
            return self.owner
        return RowOwner(
            kind="AudioBatchJob", namespace=self.namespace or "", name=self.job_name or "", uid=self.job_uid or ""
        )


class SignedRow(StatusModel):
    row: LedgerRow
    hash: Sha256Hex
    signature: Annotated[str, Field(max_length=128, description="Base64.")]

    @property
    def name(self) -> str:
        return f"{self.row.chain_id}#{self.row.sequence}"


@dataclass(frozen=True, slots=True)
class ChainHead:
    """The newest verified row of a chain; sequence -1 before the first."""

    chain_id: str
    sequence: int = -1
    hash: str = GENESIS_HASH


class LedgerError(Exception):
    """A row that does not verify. `row_name` is `<chain>#<sequence>`."""

    def __init__(self, row_name: str, message: str) -> None:
        super().__init__(f"ledger row {row_name}: {message}")
        self.row_name = row_name


def row_hash(row: LedgerRow) -> str:
    return sha256_hex(canonical_json(row.dump()))


def sign(row: LedgerRow, key: Ed25519PrivateKey) -> SignedRow:
    signature = key.sign(SIGNATURE_CONTEXT + canonical_json(row.dump()))
    return SignedRow(row=row, hash=row_hash(row), signature=base64.b64encode(signature).decode())


def verify(rows: Iterable[SignedRow], key: Ed25519PublicKey, head: ChainHead | None = None) -> ChainHead | None:
    """Verifies the rows that follow `head` (None: the rows start a chain); returns the new head.

    Raises LedgerError naming the first row whose number, chain, hash or signature is wrong.
    """
    for signed in rows:
        row = signed.row
        if head is None:
            head = ChainHead(row.chain_id)
        if row.chain_id != head.chain_id:
            raise LedgerError(signed.name, f"belongs to another chain than {head.chain_id}")
        if row.sequence != head.sequence + 1:
            raise LedgerError(signed.name, f"expected number {head.sequence + 1}; a row is missing or repeated")
        if row.previous_hash != head.hash:
            raise LedgerError(signed.name, "does not name the hash of the row before it")
        content = canonical_json(row.dump())
        if sha256_hex(content) != signed.hash:
            raise LedgerError(signed.name, "was changed: its hash does not match its content")
        if not is_signed_by(signed.signature, content, key):
            raise LedgerError(signed.name, "its signature is not by this Mac's ledger key")
        head = ChainHead(row.chain_id, row.sequence, signed.hash)
    return head


def is_signed_by(signature: str, content: bytes, key: Ed25519PublicKey) -> bool:
    """Whether a row's signature, as base64, is by the key. `content`: the row's canonical JSON."""
    try:
        decoded = base64.b64decode(signature, validate=True)
        if base64.b64encode(decoded).decode() != signature:  # bits beyond the last byte
            return False
        key.verify(decoded, SIGNATURE_CONTEXT + content)
    except (InvalidSignature, ValueError):  # ValueError: no base64
        return False
    return True


def public_key(text: str) -> Ed25519PublicKey:
    """Parses MacAgent.spec.ledgerPublicKey. Raises ValueError when it is not 32 bytes in base64."""
    return Ed25519PublicKey.from_public_bytes(base64.b64decode(text, validate=True))
