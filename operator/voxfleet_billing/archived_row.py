"""A signed row as the archive has it: plain values, because a month has a million of them. Pure."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class ArchivedRow:
    signed_json: bytes
    chain_id: str
    sequence: int
    hash: str
    signature: str
    owner_kind: str
    owner_namespace: str
    owner_name: str
    owner_uid: str
    shard_uid: str
    attempt: int
    lane: str
    activity: str
    price_class: str | None
    billing_key: str | None
    wall_start: str
    wall_end: str
    milliseconds: int
    audio_milliseconds: int
    clips: int
    paused_milliseconds: int
    hardware_id: str
    boot_id: str
    control_plane: str
    time_class: str
