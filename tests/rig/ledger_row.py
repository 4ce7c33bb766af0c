"""A ledger row, of which a test gives only the fields that it is about."""

from __future__ import annotations

from voxfleet_api.ledger import Activity, LedgerRow, RowOwner

ATTEMPT_ACTIVITIES = (Activity.SETUP, Activity.WORK, Activity.CLEANUP)
"""In the order in which an attempt has them."""


def ledger_row(sequence: int = 0, previous_hash: str = "0" * 64, **fields: object) -> LedgerRow:
    """`fields`: replace the fields that are set here."""
    content: dict[str, object] = {
        "chain_id": "chain-1",
        "sequence": sequence,
        "previous_hash": previous_hash,
        "control_plane": "cluster-1",
        "hardware_id": "hardware-1",
        "boot_id": "boot-1",
        "owner": RowOwner(kind="AudioBatchJob", namespace="speech", name="nightly", uid="job-uid"),
        "shard_uid": "shard-uid",
        "attempt": 1,
        "lane": "offline/0",
        "activity": Activity.WORK,
        "wall_start": "2026-11-20T22:00:00.000Z",
        "wall_end": "2026-11-20T22:00:01.000Z",
        "monotonic_milliseconds": 1000,
    }
    return LedgerRow.model_validate(content | fields)
