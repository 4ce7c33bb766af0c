"""The table of events, which are kept until the operator acknowledges them."""

from __future__ import annotations

import json
import sqlite3
from dataclasses import dataclass

from voxfleet_agent.journal import settings_table
from voxfleet_api.base import ApiModel
from voxfleet_api.protocol import EventType

MAX_EVENTS = 50_000
"""An operator that falls this far behind has to list everything again."""


@dataclass(frozen=True, slots=True)
class StoredEvent:
    number: int
    type: EventType
    content: dict[str, object]


def append(db: sqlite3.Connection, event_type: EventType, content: ApiModel) -> None:
    number = db.execute(
        "INSERT INTO events (type, content) VALUES (?, ?)", (event_type.value, json.dumps(content.dump()))
    ).lastrowid
    if number is not None and number - MAX_EVENTS > floor(db):
        trim(db, number - MAX_EVENTS + MAX_EVENTS // 10)


def after(db: sqlite3.Connection, number: int, limit: int) -> list[StoredEvent]:
    rows = db.execute(
        "SELECT number, type, content FROM events WHERE number > ? ORDER BY number LIMIT ?", (number, limit)
    )
    return [StoredEvent(number, EventType(kind), json.loads(content)) for number, kind, content in rows]


def trim(db: sqlite3.Connection, up_to: int) -> None:
    """Deletes events up to this number; from then on a cursor below it is unknown."""
    if up_to > floor(db):
        db.execute("DELETE FROM events WHERE number <= ?", (up_to,))
        settings_table.put(db, "event_floor", str(up_to))


def floor(db: sqlite3.Connection) -> int:
    return int(settings_table.get(db, "event_floor") or 0)


def last(db: sqlite3.Connection) -> int:
    """The number of the newest event ever; 0 before the first."""
    newest = db.execute("SELECT seq FROM sqlite_sequence WHERE name = 'events'").fetchone()
    return 0 if newest is None else int(newest[0])
