"""The journal's tables."""

from __future__ import annotations

VERSION = 4

UPGRADES = {
    1: """
ALTER TABLE lane_holds ADD COLUMN clips INTEGER NOT NULL DEFAULT 0;
ALTER TABLE lane_holds ADD COLUMN price_class TEXT;
CREATE TABLE chains (
    number INTEGER PRIMARY KEY,
    chain_id TEXT NOT NULL UNIQUE,
    public_key TEXT
) STRICT;
INSERT INTO chains (chain_id)
    SELECT DISTINCT chain_id FROM ledger_rows
    WHERE chain_id NOT IN (SELECT value FROM meta WHERE name = 'chain_id');
INSERT INTO chains (chain_id, public_key)
    SELECT id.value, key.value FROM meta id, meta key WHERE id.name = 'chain_id' AND key.name = 'chain_public_key';
""",
    2: """
CREATE TABLE lane_tombstones (
    endpoint_uid TEXT PRIMARY KEY,
    generation INTEGER NOT NULL,
    created_at_seconds INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
""",
    3: "ALTER TABLE lane_holds ADD COLUMN holder TEXT;",
}
"""By the version that a journal has: what makes the next one of it."""

TABLES = """
CREATE TABLE meta (
    name TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT;

CREATE TABLE attempts (
    shard_uid TEXT NOT NULL,
    attempt INTEGER NOT NULL,
    spec_digest TEXT NOT NULL,
    control_plane TEXT NOT NULL,
    spec TEXT NOT NULL,
    state TEXT NOT NULL,
    lane TEXT,
    failure TEXT,
    result TEXT,
    progress_done INTEGER NOT NULL DEFAULT 0,
    progress_total INTEGER NOT NULL DEFAULT 0,
    scratch_high_water_bytes INTEGER NOT NULL DEFAULT 0,
    scratch_residue_bytes INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (shard_uid, attempt)
) STRICT, WITHOUT ROWID;

CREATE TABLE tombstones (
    shard_uid TEXT PRIMARY KEY,
    attempt INTEGER NOT NULL,
    created_at_seconds INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE lane_tombstones (
    endpoint_uid TEXT PRIMARY KEY,
    generation INTEGER NOT NULL,
    created_at_seconds INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE bases (
    shard_uid TEXT NOT NULL,
    attempt INTEGER NOT NULL,
    content BLOB NOT NULL,
    PRIMARY KEY (shard_uid, attempt)
) STRICT;

CREATE TABLE clip_rows (
    shard_uid TEXT NOT NULL,
    attempt INTEGER NOT NULL,
    clip INTEGER NOT NULL,
    line BLOB NOT NULL,
    part INTEGER,
    PRIMARY KEY (shard_uid, attempt, clip)
) STRICT, WITHOUT ROWID;
CREATE INDEX unfrozen_clip_rows ON clip_rows (shard_uid, attempt, clip) WHERE part IS NULL;

CREATE TABLE parts (
    shard_uid TEXT NOT NULL,
    attempt INTEGER NOT NULL,
    number INTEGER NOT NULL,
    ref TEXT NOT NULL,
    content BLOB NOT NULL,
    uploaded INTEGER NOT NULL,
    PRIMARY KEY (shard_uid, attempt, number)
) STRICT;

CREATE TABLE lane_holds (
    shard_uid TEXT NOT NULL,
    attempt INTEGER NOT NULL,
    lane TEXT NOT NULL,
    activity TEXT NOT NULL,
    boot_id TEXT NOT NULL,
    wall_start TEXT NOT NULL,
    wall_end TEXT NOT NULL,
    milliseconds INTEGER NOT NULL,
    audio_milliseconds INTEGER NOT NULL,
    clips INTEGER NOT NULL DEFAULT 0,
    price_class TEXT,
    holder TEXT,
    PRIMARY KEY (shard_uid, attempt, lane, activity)
) STRICT, WITHOUT ROWID;

CREATE TABLE chains (
    number INTEGER PRIMARY KEY,
    chain_id TEXT NOT NULL UNIQUE,
    public_key TEXT
) STRICT;

CREATE TABLE ledger_rows (
    chain_id TEXT NOT NULL,
    sequence INTEGER NOT NULL,
    shard_uid TEXT NOT NULL,
    attempt INTEGER NOT NULL,
    content TEXT NOT NULL,
    PRIMARY KEY (chain_id, sequence)
) STRICT, WITHOUT ROWID;
CREATE INDEX ledger_rows_of_attempt ON ledger_rows (shard_uid, attempt);

CREATE TABLE events (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    type TEXT NOT NULL,
    content TEXT NOT NULL
) STRICT;
"""
