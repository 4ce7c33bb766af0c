"""Single values: the control plane that this agent serves, its epoch and its ledger chain."""

from __future__ import annotations

import sqlite3
from typing import Literal

Name = Literal["control_plane", "epoch", "chain_id", "chain_public_key", "event_floor"]


def get(db: sqlite3.Connection, name: Name) -> str | None:
    row = db.execute("SELECT value FROM meta WHERE name = ?", (name,)).fetchone()
    return None if row is None else str(row[0])


def put(db: sqlite3.Connection, name: Name, value: str) -> None:
    db.execute("INSERT INTO meta VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value", (name, value))
