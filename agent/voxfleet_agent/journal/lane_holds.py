"""The table of lanes in use, with the time up to the last tick."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass

from voxfleet_api.ledger import Activity
from voxfleet_api.protocol import AttemptKey


@dataclass(frozen=True, slots=True)
class LaneHold:
    """One activity of one attempt on one lane, so far. After a crash, this is what is billed."""

    key: AttemptKey
    lane: str
    activity: Activity
    boot_id: str
    wall_start: str
    wall_end: str
    milliseconds: int
    audio_milliseconds: int


def save(db: sqlite3.Connection, hold: LaneHold) -> None:
    db.execute(
        "INSERT OR REPLACE INTO lane_holds VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            *hold.key,
            hold.lane,
            hold.activity.value,
            hold.boot_id,
            hold.wall_start,
            hold.wall_end,
            hold.milliseconds,
            hold.audio_milliseconds,
        ),
    )


def tick(db: sqlite3.Connection, hold: LaneHold) -> None:
    """Updates a hold; one that was sealed meanwhile stays sealed."""
    db.execute(
        "UPDATE lane_holds SET wall_end = ?, milliseconds = ?, audio_milliseconds = ?"
        " WHERE shard_uid = ? AND attempt = ? AND lane = ? AND activity = ?",
        (hold.wall_end, hold.milliseconds, hold.audio_milliseconds, *hold.key, hold.lane, hold.activity.value),
    )


def remove(db: sqlite3.Connection, hold: LaneHold) -> bool:
    """Returns True if the hold existed, so that it is sealed only once."""
    return (
        db.execute(
            "DELETE FROM lane_holds WHERE shard_uid = ? AND attempt = ? AND lane = ? AND activity = ?",
            (*hold.key, hold.lane, hold.activity.value),
        ).rowcount
        == 1
    )


def load_all(db: sqlite3.Connection) -> list[LaneHold]:
    stored = db.execute("SELECT * FROM lane_holds ORDER BY shard_uid, attempt, lane, activity")
    return [
        LaneHold(AttemptKey(uid, attempt), lane, Activity(activity), boot_id, start, end, spent, audio)
        for uid, attempt, lane, activity, boot_id, start, end, spent, audio in stored
    ]
