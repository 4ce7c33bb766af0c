"""Where a job stands in its life, as its conditions say, and what it therefore wants of its attempts. Pure."""

from __future__ import annotations

from enum import StrEnum

from voxfleet_api.conditions import Condition, ConditionType, Reason, find, is_true
from voxfleet_api.kinds import AudioBatchJob
from voxfleet_api.kinds.audio_batch_job import CLEANUP_FINALIZER
from voxfleet_api.kinds.audio_shard import Stage

STOPPING_REASONS = frozenset({Reason.DEADLINE_EXCEEDED, Reason.MAX_MACHINE_SECONDS_EXCEEDED, Reason.CANCELLED})
"""Why a job is halted so that what runs does not run to its end, either."""


class JobWish(StrEnum):
    """What a job wants of the attempts of one stage."""

    WORK = "Work"  # they start, resume, and are taken over from lost Macs
    FINISH = "Finish"  # what runs may end; nothing starts, resumes or is taken over
    STOP = "Stop"  # what runs is taken back; a result that is there counts
    DISCARD = "Discard"  # the job has ended: nothing that they deliver counts any more


def is_accepted(job: AudioBatchJob) -> bool:
    return job.status.contract is not None and is_true(job.status.conditions, ConditionType.ACCEPTED)


def has_ended(job: AudioBatchJob) -> bool:
    conditions = job.status.conditions
    return is_true(conditions, ConditionType.COMPLETE) or is_true(conditions, ConditionType.FAILED)


def halted_condition(job: AudioBatchJob) -> Condition | None:
    """The condition that says why no Plan or Process attempt starts any more, if so. It is never withdrawn."""
    found = find(job.status.conditions, ConditionType.HALTED)
    return found if found is not None and found.status == "True" else None


def is_suspended(job: AudioBatchJob) -> bool:
    """Whether its user has suspended it. A job that is halted, or whose results are being merged, only ends."""
    return job.spec.suspend and job.status.finalize_time is None and halted_condition(job) is None


def wish_of(job: AudioBatchJob, stage: Stage) -> JobWish:
    """Finalize is never halted or suspended: what a job did is merged, however it ends."""
    if has_ended(job):
        return JobWish.DISCARD
    if stage is Stage.FINALIZE:
        return JobWish.WORK
    halted = halted_condition(job)
    if is_suspended(job) or (halted is not None and halted.reason in STOPPING_REASONS):
        return JobWish.STOP
    return JobWish.FINISH if halted is not None or job.status.finalize_time is not None else JobWish.WORK


def stages_at_work(job: AudioBatchJob) -> frozenset[Stage]:
    """The stages of which it wants attempts to start: those for which `wish_of` says WORK."""
    if has_ended(job):
        return _NO_STAGE
    stopped = halted_condition(job) is not None or job.status.finalize_time is not None or job.spec.suspend
    return _FINALIZE if stopped else _ALL_STAGES


_NO_STAGE, _FINALIZE, _ALL_STAGES = frozenset[Stage](), frozenset({Stage.FINALIZE}), frozenset(Stage)


def why_stopped(job: AudioBatchJob) -> str:
    """Why it wants less of its attempts than work."""
    if is_suspended(job):
        return "the job is suspended"
    halted = halted_condition(job)
    return "the job has ended" if halted is None else f"the job is halted: {halted.message}"


def standing(job: AudioBatchJob) -> tuple[bool, str | None, bool]:
    """What its status says that changes what it wants of its attempts."""
    halted, suspended = halted_condition(job), is_true(job.status.conditions, ConditionType.SUSPENDED)
    return has_ended(job), None if halted is None else halted.reason, suspended


def takes_attempts(job: AudioBatchJob) -> bool:
    """Whether shards of some stage may be assigned to Macs."""
    return (
        job.metadata.deletion_timestamp is None
        and CLEANUP_FINALIZER in job.metadata.finalizers
        and is_accepted(job)
        and not has_ended(job)
    )
