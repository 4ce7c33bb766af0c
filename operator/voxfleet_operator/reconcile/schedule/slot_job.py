"""The job that a schedule makes for a slot: its name, its marks, its body, and whose a job of that name is. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from voxfleet_api import API_VERSION
from voxfleet_api.kinds import AudioBatchJob, AudioBatchSchedule
from voxfleet_api.kinds.audio_batch_schedule import StartedBy
from voxfleet_operator.reconcile.schedule.addresses import filled_in, placeholders
from voxfleet_operator.reconcile.schedule.slots import SlotRule

SCHEDULE_LABEL = "voxfleet.dev/schedule"
STARTED_BY_LABEL = "voxfleet.dev/started-by"
SLOT_ANNOTATION = "voxfleet.dev/slot"
"""RFC 3339, with the offset that the zone has then."""
ZONE_ANNOTATION = "voxfleet.dev/time-zone"


class Kinship(StrEnum):
    """What a job that has the name of a slot's job is to the schedule."""

    OWN = "Own"
    ORPHAN = "Orphan"  # the schedule's by all marks, without an owner: somebody orphaned or restored it
    BACKFILL = "Backfill"  # the slot's, made by a person; it stays that person's
    FOREIGN = "Foreign"


@dataclass(frozen=True, slots=True)
class Run:
    """A job to be made."""

    slot: datetime
    started_by: StartedBy


def job_name(schedule: str, slot: datetime) -> str:
    """Deterministic, and another one for each schedule and slot: digits have no hyphen, so the last one divides it."""
    moment = slot.astimezone(UTC)
    seconds = f"{moment:%S}" if moment.second else ""
    return f"{schedule}-{moment:%Y%m%d%H%M}{seconds}"


def rule_of(schedule: AudioBatchSchedule) -> SlotRule:
    return SlotRule(schedule.spec.schedule, schedule.spec.time_zone)


def job_body(schedule: AudioBatchSchedule, run: Run) -> dict[str, Any]:
    """Raises UnusableSchedule, UnknownPlaceholder."""
    template, zone = schedule.spec.job_template, rule_of(schedule).zone
    metadata: dict[str, Any] = {
        "name": job_name(schedule.metadata.name, run.slot),
        "namespace": schedule.metadata.namespace,
        "labels": {
            **template.metadata.labels,
            SCHEDULE_LABEL: schedule.metadata.name,
            STARTED_BY_LABEL: run.started_by.value,
        },
        "annotations": {
            **template.metadata.annotations,
            SLOT_ANNOTATION: run.slot.astimezone(zone).isoformat(timespec="seconds"),
            ZONE_ANNOTATION: schedule.spec.time_zone,
        },
    }
    if run.started_by is not StartedBy.BACKFILL:
        metadata["ownerReferences"] = [owner_reference(schedule)]
    spec = template.spec.model_dump(mode="json", by_alias=True, exclude_none=True, exclude_unset=True)
    values = placeholders(run.slot, zone)
    for holder in _address_holders(spec):
        holder["uri"] = filled_in(holder["uri"], values)
    return {"apiVersion": API_VERSION, "kind": AudioBatchJob.crd.kind, "metadata": metadata, "spec": spec}


def owner_reference(schedule: AudioBatchSchedule) -> dict[str, Any]:
    return {
        "apiVersion": API_VERSION,
        "kind": schedule.crd.kind,
        "name": schedule.metadata.name,
        "uid": schedule.metadata.uid,
        "controller": True,
    }


def slot_of(job: AudioBatchJob) -> datetime | None:
    """The slot that the job says it was made for; None if it says none."""
    try:
        slot = datetime.fromisoformat(job.metadata.annotations.get(SLOT_ANNOTATION, ""))
    except ValueError:
        return None
    return None if slot.tzinfo is None else slot.astimezone(UTC)


def kinship(job: AudioBatchJob, schedule: AudioBatchSchedule) -> Kinship:
    metadata = job.metadata
    controller = next((owner for owner in metadata.owner_references if owner.controller), None)
    if controller is not None:
        return Kinship.OWN if controller.uid == schedule.metadata.uid else Kinship.FOREIGN
    slot = slot_of(job)
    marked = (
        metadata.namespace == schedule.metadata.namespace
        and metadata.labels.get(SCHEDULE_LABEL) == schedule.metadata.name
        and slot is not None
        and metadata.name == job_name(schedule.metadata.name, slot)
    )
    if not marked:
        return Kinship.FOREIGN
    return Kinship.BACKFILL if metadata.labels.get(STARTED_BY_LABEL) == StartedBy.BACKFILL else Kinship.ORPHAN


def _address_holders(spec: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield spec["output"]
    given = spec.get("input", {})
    yield from (given[name] for name in ("prefix", "manifest") if name in given)
    yield from (clip for clip in given.get("clips", ()) if "uri" in clip)
