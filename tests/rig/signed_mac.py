"""A Mac that signs rows, and the archive of them as the format says, in memory or below a folder."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import groupby
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from tests.rig.ledger_row import ATTEMPT_ACTIVITIES

from voxfleet_api.ledger import GENESIS_HASH, Activity, LedgerRow, RowOwner, SignedRow, sign
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

CONTROL_PLANE = "cluster-1"


@dataclass(slots=True)
class SignedMac:
    """Rows follow each other on one lane, from `clock` on."""

    name: str = "mac-01"
    key: Ed25519PrivateKey = field(default_factory=Ed25519PrivateKey.generate)
    chain_id: str = "chain-1"
    clock: datetime = datetime(2026, 11, 20, 22, tzinfo=UTC)
    facts: tuple[MacFacts, ...] = ()
    rows: list[SignedRow] = field(default_factory=list)
    settlements: list[SettlementRecord] = field(default_factory=list)

    @property
    def ledger_key(self) -> str:
        return base64.b64encode(self.key.public_key().public_bytes_raw()).decode()

    def attempt(
        self,
        shard_uid: str = "shard-1",
        attempt: int = 1,
        *,
        work: TimeClass = TimeClass.PRODUCTIVE,
        namespace: str = "speech",
        job: str = "nightly",
        seconds: tuple[int, int, int] = (2, 60, 1),
        **fields: object,
    ) -> None:
        """Adds setup, work and cleanup of an attempt, of so many seconds, and how it was settled."""
        owner = RowOwner(kind="AudioBatchJob", namespace=namespace, name=job, uid=f"{job}-uid")
        for activity, length in zip(ATTEMPT_ACTIVITIES, seconds, strict=True):
            audio = {"audio_milliseconds": 20_000 * length, "clips": length} if activity is Activity.WORK else {}
            told = {"shard_uid": shard_uid, "attempt": attempt, "activity": activity, "owner": owner, **audio}
            self.row(timedelta(seconds=length), **{**told, **fields})
        key = fields.get("billing_key", "team-speech")
        self.settlements.append(
            SettlementRecord(
                owner=owner,
                shard_uid=shard_uid,
                billing_key=None if key is None else str(key),
                settled_at=timestamp(self.clock),
                attempts=(SettledAttempt(attempt=attempt, hardware_id=f"hardware-{self.name}", work=work),),
            )
        )

    def warm_lane(self, *activities: tuple[Activity, timedelta], generation: int = 1, **fields: object) -> None:
        """Adds rows of an endpoint's lane, and how they were settled."""
        owner = RowOwner(kind="VoiceEndpoint", namespace="speech", name="captions", uid="captions-uid")
        told = {"shard_uid": owner.uid, "attempt": generation, "owner": owner, "price_class": "Interactive"}
        for activity, length in activities:
            self.row(length, **{**told, "lane": "interactive-0", "activity": activity, **fields})
        work = SettledAttempt(attempt=generation, hardware_id=f"hardware-{self.name}", work=TimeClass.PRODUCTIVE)
        self.settlements.append(
            SettlementRecord(
                owner=owner,
                shard_uid=owner.uid,
                billing_key="team-speech",
                settled_at=timestamp(self.clock),
                attempts=(work,),
            )
        )

    def row(self, length: timedelta, **fields: object) -> SignedRow:
        start, self.clock = self.clock, self.clock + length
        content: dict[str, object] = {
            "chain_id": self.chain_id,
            "sequence": len(self.rows),
            "previous_hash": self.rows[-1].hash if self.rows else GENESIS_HASH,
            "control_plane": CONTROL_PLANE,
            "hardware_id": f"hardware-{self.name}",
            "boot_id": "boot-1",
            "lane": "offline/0",
            "price_class": "Offline",
            "billing_key": "team-speech",
            "wall_start": timestamp(start),
            "wall_end": timestamp(self.clock),
            "monotonic_milliseconds": length // timedelta(milliseconds=1),
        }
        signed = sign(LedgerRow.model_validate(content | fields), self.key)
        self.rows.append(signed)
        return signed

    def months(self) -> list[ArchivedMonth]:
        """What the archive has of the Mac, a segment a day."""
        found = []
        for month, of_month in groupby(self.rows, key=lambda signed: signed.row.wall_start[:7]):
            rows = list(of_month)
            archived = ArchivedMonth.of(self, month, rows)
            found.append(archived)
        return found


@dataclass(slots=True)
class ArchivedMonth:
    """One Mac's month: its index, and its segments by name."""

    index: MonthIndex
    segments: dict[str, bytes]

    @classmethod
    def of(cls, mac: SignedMac, month: str, rows: list[SignedRow]) -> ArchivedMonth:
        entries, segments = [], {}
        for day, of_day in groupby(rows, key=lambda signed: signed.row.wall_start[:10]):
            signed = list(of_day)
            shards = {item.row.shard_uid for item in signed}
            settled = [record for record in mac.settlements if record.shard_uid in shards]
            content = lines(signed, settled)
            first, last = signed[0].row.sequence, signed[-1].row.sequence
            digest = hashlib.sha256(content).hexdigest()
            name = segment_name(day, mac.chain_id, first, last, digest)
            segments[name] = content
            entries.append(
                SegmentEntry(
                    name=name,
                    day=day,
                    chain_id=mac.chain_id,
                    first_sequence=first,
                    last_sequence=last,
                    rows=len(signed),
                    sha256=digest,
                    size_bytes=len(content),
                )
            )
        head = ArchivedHead(
            chain_id=mac.chain_id,
            ledger_key=mac.ledger_key,
            first_previous_hash=rows[0].row.previous_hash,
            sequence=rows[-1].row.sequence,
            hash=rows[-1].hash,
        )
        index = MonthIndex(
            control_plane=CONTROL_PLANE,
            mac=mac.name,
            month=month,
            revision=1,
            segments=tuple(entries),
            heads=(head,),
            facts=mac.facts,
        )
        return cls(index, segments)

    def read(self, _: MonthIndex, entry: SegmentEntry) -> bytes | None:
        return self.segments.get(entry.name)

    def edited(self, name: str, content: bytes, **entry: object) -> ArchivedMonth:
        """With another segment of this name, which the index knows only as far as `entry` says."""
        changed = [item.model_copy(update=entry) if item.name == name else item for item in self.index.segments]
        index = self.index.model_copy(update={"segments": tuple(changed)})
        return ArchivedMonth(index, {**self.segments, name: content})

    def write(self, archive: Path) -> None:
        """Below a folder that `file://` names."""
        folder = archive / self.index.month / self.index.mac
        for name, content in self.segments.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        path = archive / index_path(self.index.month, self.index.mac, self.index.revision)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(self.index.dump()))


def lines(rows: Iterable[SignedRow], settlements: Iterable[SettlementRecord] = ()) -> bytes:
    documents: list[dict[str, Any]] = [signed.dump() for signed in rows]
    documents += [{"settlement": record.dump()} for record in settlements]
    return b"".join(json.dumps(document, separators=(",", ":")).encode() + b"\n" for document in documents)


def timestamp(time: datetime) -> str:
    return time.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
