"""AudioBatchSchedule, for the registry."""

from __future__ import annotations

from voxfleet_api.kinds import AudioBatchJob, AudioBatchSchedule, Resource
from voxfleet_operator.cache import Cache
from voxfleet_operator.queue import Key
from voxfleet_operator.reconcile.job_life import has_ended
from voxfleet_operator.reconcile.registration import Registration
from voxfleet_operator.reconcile.schedule.reconcile import ScheduleReconciler
from voxfleet_operator.reconcile.schedule.slot_job import SCHEDULE_LABEL


def woken_by(changed: Resource, cache: Cache) -> set[Key]:
    """A job wakes its schedule when it comes, ends or goes; its progress is nothing to it."""
    if not isinstance(changed, AudioBatchJob):
        return set()
    metadata, kind = changed.metadata, AudioBatchSchedule.crd.kind
    if not _is_new(changed) and not has_ended(changed) and cache.by_uid(AudioBatchJob, metadata.uid) is not None:
        return set()
    owners = {owner.name for owner in metadata.owner_references if owner.controller and owner.kind == kind}
    marked = {name for name in (metadata.labels.get(SCHEDULE_LABEL),) if name is not None}
    return {Key(kind, metadata.namespace, name) for name in owners | marked}


def _is_new(job: AudioBatchJob) -> bool:
    return job.status.observed_generation < 0


REGISTRATION = Registration(
    AudioBatchSchedule, lambda context, findings: ScheduleReconciler(context, findings.statements), woken_by
)
