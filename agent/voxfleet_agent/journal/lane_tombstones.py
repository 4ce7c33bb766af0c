"""Which lanes of endpoints were deleted here: a late PUT must not bring one back."""

from __future__ import annotations

import sqlite3

from voxfleet_api.endpoint_lanes import LaneKey


def add(db: sqlite3.Connection, key: LaneKey, now_seconds: int) -> None:
    """Records that no lane of this endpoint up to this generation may start again."""
    db.execute(
        "INSERT INTO lane_tombstones VALUES (?, ?, ?) ON CONFLICT (endpoint_uid) DO UPDATE SET"
        " generation = max(generation, excluded.generation), created_at_seconds = excluded.created_at_seconds",
        (*key, now_seconds),
    )


def load_all(db: sqlite3.Connection) -> dict[str, int]:
    """The highest deleted generation by endpoint UID."""
    return dict(db.execute("SELECT endpoint_uid, generation FROM lane_tombstones"))


def drop(db: sqlite3.Connection, before_seconds: int) -> None:
    db.execute("DELETE FROM lane_tombstones WHERE created_at_seconds < ?", (before_seconds,))
