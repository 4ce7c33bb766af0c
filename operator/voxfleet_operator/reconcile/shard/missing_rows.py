"""When the signed rows of an attempt are given up, so that the bill of its job does not stay open for ever. Pure."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

from voxfleet_api.kinds import AudioBatchJob, AudioShard, MacAgent
from voxfleet_api.kinds.audio_shard import AttemptEstimate, AttemptOutcome, AttemptRecord, AttemptUsage, Stage
from voxfleet_operator.metering.usage import NO_ROWS
from voxfleet_operator.reconcile.job_life import has_ended
from voxfleet_operator.reconcile.shard.status import is_settled

WAITED = timedelta(days=7)
"""How long after its end a job waits for a Mac that stays away, whose rows do not verify, or that ends no attempt."""
LOOK_SECONDS = 1800.0


def awaits_rows(job: AudioBatchJob, shard: AudioShard) -> bool:
    """Whether the bill of an ended job is open because of this shard."""
    return (
        has_ended(job)
        and shard.spec.stage is Stage.PROCESS
        and any(not is_settled(shard, record) for record in shard.status.attempts)
    )


def may_stand_for(mac: MacAgent, record: AttemptRecord) -> bool:
    """Whether the MacAgent is, or may turn out to be, the machine that had the attempt."""
    if record.machine is None:
        return mac.metadata.name == record.mac
    known = mac.status.machine
    return mac.spec.ledger_public_key == record.machine.ledger_key and (
        known is None or known.hardware_id == record.machine.hardware_id
    )


def given_up(
    job: AudioBatchJob,
    shard: AudioShard,
    is_removed: Callable[[AttemptRecord], bool],
    is_silent: Callable[[AttemptRecord], bool],
    now: datetime,
) -> tuple[tuple[int, AttemptUsage], ...]:
    """Usages, by attempt, of what was verified so far. `is_removed`: whether no MacAgent stands for its machine;
    `is_silent`: whether the machine is out of contact.

    What the attempt may have used beside is estimated if its Mac is gone: removed, or silent when the wait is over. A
    Mac in contact whose rows do not verify, or that ends no attempt, is not paid by estimate either.

    Should the Mac return, its rows still count in its statement, and in the job's usage unless that is settled.
    """
    if not awaits_rows(job, shard) or job.status.completion_time is None:
        return ()
    overdue = now - datetime.fromisoformat(job.status.completion_time) >= WAITED
    found = []
    for record in shard.status.attempts:
        if record.outcome is AttemptOutcome.ASSIGNED or is_settled(shard, record):
            continue
        removed = is_removed(record)
        if overdue or removed:
            estimate = estimated(record, now) if removed or is_silent(record) else None
            usage = (record.usage or NO_ROWS).model_copy(
                update={"complete": True, "given_up": True, "estimate": estimate}
            )
            found.append((record.attempt, usage))
    return tuple(found)


def estimated(record: AttemptRecord, now: datetime) -> AttemptEstimate | None:
    """For how long it was assigned until contact was lost, less what its verified rows prove."""
    proven = 0 if record.usage is None else record.usage.machine_milliseconds
    milliseconds = 1000 * (record.held_seconds or 0) - proven
    return AttemptEstimate(milliseconds=milliseconds, month=now.strftime("%Y-%m")) if milliseconds > 0 else None
