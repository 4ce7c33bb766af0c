"""The record of a Mac's acceptance: what was tried, on which machine, and what came of it.

The file holds the record's canonical JSON and a line feed. Its signature stands beside it, in a file of its own.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from voxfleet_api.base import Digest, Ranges, Sha256Hex, SpecModel, Timestamp, Uid
from voxfleet_api.digest import canonical_json, sha256_hex
from voxfleet_api.kinds.mac_acceptance import AcceptanceLines, AcceptanceTime, MacAcceptance

SIGNATURE_PURPOSE = "acceptance@voxfleet.dev"
"""The namespace of the SSH signature, so that none over a bill or a commit is taken for one."""


class TriedMachine(SpecModel):
    """The machine, as its agent said once it had proven its key."""

    mac: Annotated[str, Field(max_length=253)]
    hardware_id: Annotated[str, Field(max_length=128)]
    boot_id: Annotated[str, Field(max_length=128)]
    ledger_public_key: Annotated[str, Field(max_length=64)]
    chip: Annotated[str, Field(max_length=128)]
    memory_bytes: int
    os: Annotated[str, Field(max_length=128)]
    versions: dict[str, str]


class Rental(SpecModel):
    """Whose Mac it is, and for how long, as its MacAgent says."""

    lessor: str | None = None
    sku: str | None = None
    billing_key: str | None = None
    rental_start: str | None = None
    rental_end: str | None = None


class Baseline(SpecModel):
    """The finished run that the Mac is compared with."""

    index_sha256: Sha256Hex
    manifest_sha256: Sha256Hex
    contract_digest: Digest
    model_digest: Digest
    chips: tuple[str, ...]
    """On which its clips ran."""


class PeakSlice(SpecModel):
    """The clips that were run again."""

    rule: str
    indexes: Ranges
    """In the whole input."""
    clips: int
    audio_milliseconds: int
    clips_sha256: Sha256Hex
    """Of one line a clip, by index: its index, a space, the sha256 of its bytes, a line feed."""


class TriedJob(SpecModel):
    """The job that ran them."""

    namespace: str
    name: str
    uid: Uid
    spec_digest: Digest
    contract_digest: Digest
    model_digest: Digest | None = None
    index_sha256: Sha256Hex | None = None
    bundle_sha256: Sha256Hex | None = None


class CitedRows(SpecModel):
    """The signed rows of one attempt, which the operator has verified."""

    shard_uid: Uid
    attempt: int
    hardware_id: str
    ledger_key: str
    chain_id: str
    first_sequence: int
    last_sequence: int
    rows: int
    machine_milliseconds: int
    last_hash: Sha256Hex | None = None
    """Of the last row: with it, all rows of the chain before it are fixed, too."""


class AcceptanceRecord(SpecModel):
    format: Literal["voxfleet.dev/acceptance/v1"] = "voxfleet.dev/acceptance/v1"
    control_plane: str
    """UID of its kube-system namespace."""
    machine: TriedMachine
    rental: Rental
    baseline: Baseline
    slice: PeakSlice
    job: TriedJob
    rows: tuple[CitedRows, ...]
    started_at: Timestamp
    accepted_at: AcceptanceTime
    passed: bool
    lines: AcceptanceLines

    def content(self) -> bytes:
        """The bytes of its file, over which it is signed."""
        return canonical_json(self.dump()) + b"\n"

    def acceptance(self) -> MacAcceptance:
        """What the MacAgent says of it."""
        return MacAcceptance(
            record_sha256=sha256_hex(self.content()),
            hardware_id=self.machine.hardware_id,
            ledger_public_key=self.machine.ledger_public_key,
            accepted_at=self.accepted_at,
            passed=self.passed,
            lines=self.lines,
        )


def parse_record(content: bytes) -> AcceptanceRecord:
    """Parses a record's file. Raises ValueError for one that is none, or not in canonical form."""
    record = AcceptanceRecord.load_json(content)
    if record.content() != content:
        raise ValueError("it was written anew since: it is not in the form in which it was signed")
    if record.passed != all(line.passed for line in record.lines):
        raise ValueError("its verdict is not that of its lines")
    return record
