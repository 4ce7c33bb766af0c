"""A month's ledger archive of a large fleet, written as the operator writes it: real hash chains, real signatures.

All Macs sign with one key. Every night each Mac works through shards, of which some attempts are without a result.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from voxfleet_api.digest import canonical_json
from voxfleet_api.ledger import GENESIS_HASH, SIGNATURE_CONTEXT, RowOwner
from voxfleet_billing.archive_format import (
    ArchivedHead,
    MacFacts,
    MonthIndex,
    SegmentEntry,
    SettledAttempt,
    SettlementRecord,
    TimeClass,
    index_path,
    segment_name,
)
from voxfleet_billing.instants import DAY_MILLISECONDS, month_bounds, text_of

ROWS_AN_ATTEMPT = 3
NIGHT_STARTS = 20 * 3_600_000
SETUP, WORK, CLEANUP = 4_321, 540_123, 1_234
AUDIO_FACTOR = 40
NAMESPACES = ("speech", "calls", "archive", "research")
KEY = Ed25519PrivateKey.from_private_bytes(hashlib.sha256(b"a fleet of generated Macs").digest())
PUBLIC_KEY = base64.b64encode(KEY.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)).decode()
CONTROL_PLANE = "generated-control-plane"


@dataclass(frozen=True)
class Size:
    macs: int
    nights: int
    attempts_a_night: int
    month: str = "2026-11"

    @property
    def rows(self) -> int:
        return self.macs * self.nights * self.attempts_a_night * ROWS_AN_ATTEMPT


def write_month(folder: Path, size: Size, say: Callable[[str], None] = lambda _: None) -> None:
    """Writes the archive below `folder`. The same size gives the same archive."""
    for number in range(size.macs):
        _Mac(folder, size, number).write()
        if number % 50 == 49:
            say(f"{number + 1} of {size.macs} Macs")


@dataclass(frozen=True)
class JobSums:
    """What the rows of one night's job come to."""

    rows: int
    seconds: dict[str, int]
    """In milliseconds, by the names that its status has for them."""


def job_sums(size: Size, place: int) -> JobSums:
    """By arithmetic, of any night. `place`: of its namespace."""
    attempts = [attempt for attempt in range(size.attempts_a_night) if attempt % len(NAMESPACES) == place]
    work = {"retrySeconds": 0, "productiveSeconds": 0}
    for attempt in attempts:
        work["productiveSeconds" if attempt % 2 else "retrySeconds"] += size.macs * (WORK + attempt)
    seconds = work | {"overheadSeconds": size.macs * len(attempts) * (SETUP + CLEANUP)}
    totals = {"machineSeconds": sum(seconds.values()), "audioSeconds": AUDIO_FACTOR * sum(work.values())}
    return JobSums(size.macs * len(attempts) * ROWS_AN_ATTEMPT, seconds | totals)


def job_uid(night: int, place: int) -> str:
    return f"00000000-0000-4000-8000-{night:04d}{place:08d}"


def mac_name(number: int) -> str:
    return f"mac-{number:04d}"


class _Mac:
    def __init__(self, folder: Path, size: Size, number: int) -> None:
        self._folder, self._size, self._number = folder, size, number
        self._name = mac_name(number)
        self._hardware = hashlib.sha256(self._name.encode()).hexdigest()[:32]
        self._chain = hashlib.sha256(f"{self._name} chain".encode()).hexdigest()[:32]
        self._sequence, self._head = 0, GENESIS_HASH

    def write(self) -> None:
        start, _ = month_bounds(self._size.month)
        segments = [self._night(start + night * DAY_MILLISECONDS, night) for night in range(self._size.nights)]
        index = MonthIndex(
            control_plane=CONTROL_PLANE,
            mac=self._name,
            month=self._size.month,
            revision=1,
            segments=tuple(segments),
            heads=(
                ArchivedHead(
                    chain_id=self._chain,
                    ledger_key=PUBLIC_KEY,
                    first_previous_hash=GENESIS_HASH,
                    sequence=self._sequence - 1,
                    hash=self._head,
                ),
            ),
            facts=(
                MacFacts(
                    since="2026-10-01T00:00:00Z",
                    hardware_id=self._hardware,
                    chip="Apple M4 Pro",
                    memory_bytes=48 * 2**30,
                    lessor="acme" if self._number % 10 else "own",
                    sku="m4pro-48" if self._number % 10 else "mini-m2",
                    billing_key="ACME-4711",
                ),
            ),
            final=True,
        )
        self._put(index_path(self._size.month, self._name, 1), canonical_json(index.dump()))

    def _night(self, day: int, night: int) -> SegmentEntry:
        first, lines = self._sequence, []
        moment = day + NIGHT_STARTS - DAY_MILLISECONDS // 2  # a night within one UTC day
        for attempt in range(self._size.attempts_a_night):
            shard = hashlib.sha256(f"{self._name} {night} {attempt // 2}".encode()).hexdigest()[:36]
            owner = RowOwner(
                kind="AudioBatchJob",
                namespace=NAMESPACES[attempt % len(NAMESPACES)],
                name=f"nightly-{night + 1:02d}",
                uid=job_uid(night, attempt % len(NAMESPACES)),
            )
            for activity, milliseconds in (("Setup", SETUP), ("Work", WORK + attempt), ("Cleanup", CLEANUP)):
                lines.append(self._row(owner, shard, 1 + attempt % 2, activity, moment, milliseconds))
                moment += milliseconds
            if attempt % 2:
                lines.append(_settlement(owner, shard, self._hardware, moment))
        content = b"".join(lines)
        digest = hashlib.sha256(content).hexdigest()
        name = segment_name(text_of(day)[:10], self._chain, first, self._sequence - 1, digest)
        self._put(f"{self._size.month}/{self._name}/{name}", content)
        return SegmentEntry(
            name=name,
            day=text_of(day)[:10],
            chain_id=self._chain,
            first_sequence=first,
            last_sequence=self._sequence - 1,
            rows=self._sequence - first,
            sha256=digest,
            size_bytes=len(content),
        )

    def _row(self, owner: RowOwner, shard: str, attempt: int, activity: str, start: int, milliseconds: int) -> bytes:
        """A LedgerRow's canonical JSON, from a plain dict: there are a million of them."""
        works = activity == "Work"
        row = {
            "activity": activity,
            "attempt": attempt,
            "audioMilliseconds": milliseconds * AUDIO_FACTOR if works else 0,
            "billingKey": "team-speech",
            "bootId": "boot-1",
            "chainId": self._chain,
            "clips": 96 if works else 0,
            "controlPlane": CONTROL_PLANE,
            "hardwareId": self._hardware,
            "lane": "offline/0",
            "monotonicMilliseconds": milliseconds,
            "owner": {"kind": owner.kind, "name": owner.name, "namespace": owner.namespace, "uid": owner.uid},
            "pausedMilliseconds": 0,
            "previousHash": self._head,
            "priceClass": "Offline",
            "sequence": self._sequence,
            "shardUid": shard,
            "wallEnd": text_of(start + milliseconds),
            "wallStart": text_of(start),
        }
        content = json.dumps(row, separators=(",", ":")).encode()  # its keys are sorted
        self._head = hashlib.sha256(content).hexdigest()
        self._sequence += 1
        signature = base64.b64encode(KEY.sign(SIGNATURE_CONTEXT + content)).decode()
        return b'{"hash":"%s","row":%s,"signature":"%s"}\n' % (self._head.encode(), content, signature.encode())

    def _put(self, path: str, content: bytes) -> None:
        file = self._folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)


def _settlement(owner: RowOwner, shard: str, hardware: str, moment: int) -> bytes:
    record = SettlementRecord(
        owner=owner,
        shard_uid=shard,
        billing_key="team-speech",
        settled_at=text_of(moment),
        attempts=(
            SettledAttempt(attempt=1, hardware_id=hardware, work=TimeClass.RETRY),
            SettledAttempt(attempt=2, hardware_id=hardware, work=TimeClass.PRODUCTIVE),
        ),
    )
    return b'{"settlement":%s}\n' % canonical_json(record.dump())
