"""How long a deletion waits for Macs, and how a person ends that wait. Pure."""

from __future__ import annotations

from datetime import datetime, timedelta

from voxfleet_api.kinds import Resource

FORCE_ANNOTATION = "voxfleet.dev/force-delete"
DEADLINE = timedelta(minutes=15)


def deadline(resource: Resource) -> datetime:
    """Raises ValueError for one that is not being deleted."""
    metadata = resource.metadata
    if metadata.deletion_timestamp is None:
        raise ValueError(f"{resource.crd.kind} {metadata.name} is not being deleted")
    return datetime.fromisoformat(metadata.deletion_timestamp) + DEADLINE


def no_answer_from(macs: str) -> str:
    """Why a deletion gives up once the deadline is over."""
    return f"no answer for {DEADLINE.seconds // 60} minutes from {macs}"
