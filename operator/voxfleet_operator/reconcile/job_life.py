"""Where a job stands in its life, as its conditions say. Pure."""

from __future__ import annotations

from voxfleet_api.conditions import ConditionType, is_true
from voxfleet_api.kinds import AudioBatchJob
from voxfleet_api.kinds.audio_batch_job import CLEANUP_FINALIZER


def is_accepted(job: AudioBatchJob) -> bool:
    return job.status.contract is not None and is_true(job.status.conditions, ConditionType.ACCEPTED)


def has_ended(job: AudioBatchJob) -> bool:
    conditions = job.status.conditions
    return is_true(conditions, ConditionType.COMPLETE) or is_true(conditions, ConditionType.FAILED)


def takes_attempts(job: AudioBatchJob) -> bool:
    """Whether its shards may be assigned to Macs."""
    return (
        job.metadata.deletion_timestamp is None
        and CLEANUP_FINALIZER in job.metadata.finalizers
        and is_accepted(job)
        and not has_ended(job)
    )
