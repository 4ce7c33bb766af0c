"""The table of lanes in use, with the time up to the last tick."""

from __future__ import annotations

import json
import sqlite3
from dataclasses import asdict, dataclass
from typing import Protocol

from voxfleet_api.attempt_spec import AttemptKey
from voxfleet_api.kinds import VoiceEndpoint
from voxfleet_api.ledger import RowOwner


class LaneHolder(Protocol):
    """For whom a lane is held, and who pays."""

    @property
    def control_plane(self) -> str: ...

    @property
    def owner(self) -> RowOwner: ...

    @property
    def billing_key(self) -> str | None: ...


@dataclass(frozen=True, slots=True)
class EndpointHolder:
    """A VoiceEndpoint. The journal has nothing else of it, so it is kept with the hold."""

    control_plane: str
    namespace: str
    name: str
    uid: str
    billing_key: str | None

    @property
    def owner(self) -> RowOwner:
        return RowOwner(kind=VoiceEndpoint.crd.kind, namespace=self.namespace, name=self.name, uid=self.uid)


@dataclass(frozen=True, slots=True)
class LaneHold:
    """One activity of one attempt, or one endpoint's lane, within one month, so far; or what an attempt's lane stood
    still for an endpoint meanwhile. After a crash, this is what is billed.
    """

    key: AttemptKey
    lane: str
    activity: str
    boot_id: str
    wall_start: str
    wall_end: str
    milliseconds: int
    audio_milliseconds: int = 0
    clips: int = 0
    price_class: str | None = None
    holder: EndpointHolder | None = None
    """None: the attempt of the key."""


def save(db: sqlite3.Connection, hold: LaneHold) -> None:
    db.execute(
        "INSERT OR REPLACE INTO lane_holds VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            *hold.key,
            hold.lane,
            hold.activity,
            hold.boot_id,
            hold.wall_start,
            hold.wall_end,
            hold.milliseconds,
            hold.audio_milliseconds,
            hold.clips,
            hold.price_class,
            None if hold.holder is None else json.dumps(asdict(hold.holder)),
        ),
    )


def tick(db: sqlite3.Connection, hold: LaneHold) -> bool:
    """Updates a hold; one that was sealed meanwhile stays sealed, and the answer is False."""
    updated = db.execute(
        "UPDATE lane_holds SET wall_end = ?, milliseconds = ?, audio_milliseconds = ?, clips = ?"
        " WHERE shard_uid = ? AND attempt = ? AND lane = ? AND activity = ?",
        (
            hold.wall_end,
            hold.milliseconds,
            hold.audio_milliseconds,
            hold.clips,
            *hold.key,
            hold.lane,
            hold.activity,
        ),
    )
    return updated.rowcount == 1


def remove(db: sqlite3.Connection, hold: LaneHold) -> bool:
    """Returns True if a hold of this activity existed, so that it is sealed only once."""
    return (
        db.execute(
            "DELETE FROM lane_holds WHERE shard_uid = ? AND attempt = ? AND lane = ? AND activity = ?",
            (*hold.key, hold.lane, hold.activity),
        ).rowcount
        == 1
    )


def load_all(db: sqlite3.Connection) -> list[LaneHold]:
    stored = db.execute("SELECT * FROM lane_holds ORDER BY lane, wall_start, wall_end, shard_uid, attempt, activity")
    return [
        LaneHold(
            AttemptKey(uid, attempt),
            lane,
            activity,
            boot_id,
            start,
            end,
            spent,
            audio,
            clips,
            price_class,
            None if holder is None else EndpointHolder(**json.loads(holder)),
        )
        for uid, attempt, lane, activity, boot_id, start, end, spent, audio, clips, price_class, holder in stored
    ]
