"""What an AudioShard's status says, and the edits that the operator makes to it. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable
from datetime import datetime

from voxfleet_api.conditions import Condition, ConditionType, Reason, condition, find, is_true, truncate
from voxfleet_api.failures import RULES, FailureClass, Remedy, rule_of
from voxfleet_api.kinds import AudioShard
from voxfleet_api.kinds.audio_shard import (
    MAX_ATTEMPTS,
    AttemptOutcome,
    AttemptRecord,
    AttemptUsage,
    AudioShardStatus,
    FoldedAttempts,
    MachineIdentity,
    ShardClipCounts,
    ShardCommit,
    Stage,
)
from voxfleet_api.protocol import AttemptStatus, ShardResult
from voxfleet_operator.reconcile.status_size import first_clips, fitted_shard

KEPT_ATTEMPTS = MAX_ATTEMPTS // 2
"""How many attempts a status lists before the oldest are summed up; one whose rows are not verified stays longer."""

RECORD_MESSAGE_BYTES = 512
"""Of each attempt. The shard's conditions have more of the newest one's."""


def current(status: AudioShardStatus) -> AttemptRecord | None:
    """The newest attempt's record."""
    for record in status.attempts:
        if record.attempt == status.attempt:
            return record
    return None


def is_live(shard: AudioShard) -> bool:
    """Whether the shard's newest attempt is assigned and its end is not recorded yet."""
    record = current(shard.status)
    return record is not None and record.outcome is AttemptOutcome.ASSIGNED


def is_settled(shard: AudioShard, record: AttemptRecord) -> bool:
    """Whether status holds all that will ever be known of an attempt: its outcome, and its machine time if it has any.

    Its Mac may then forget it.
    """
    if record.outcome is AttemptOutcome.ASSIGNED:
        return False
    return shard.spec.stage is not Stage.PROCESS or (record.usage is not None and record.usage.complete)


def may_have_worked(record: AttemptRecord) -> bool:
    """Whether the attempt may have left rows of clips: only verified machine time of 0 says that it has not."""
    return record.usage is None or not record.usage.complete or record.usage.rows > 0


def chip_of_work(shard: AudioShard) -> str | None:
    """The chip of the oldest attempt that may have worked on the shard's clips; None if none has."""
    folded = shard.status.folded
    if folded is not None and folded.chip is not None:
        return folded.chip
    return next((record.chip for record in shard.status.attempts if record.chip and may_have_worked(record)), None)


def is_committed(shard: AudioShard) -> bool:
    return shard.status.commit is not None


def is_superseded(shard: AudioShard) -> bool:
    """Whether it was split: its halves take over, and it gets no further attempt."""
    return bool(shard.status.superseded_by)


def is_failed(shard: AudioShard) -> bool:
    """Whether the shard has no result and gets no further attempt."""
    return is_true(shard.status.conditions, ConditionType.FAILED)


def failed_condition(shard: AudioShard) -> Condition | None:
    found = find(shard.status.conditions, ConditionType.FAILED)
    return found if found is not None and found.status == "True" else None


def retries_used(status: AudioShardStatus) -> int:
    """How many retries the attempts so far have cost. The attempt's number does not tell: it only fences."""
    folded = 0 if status.folded is None else status.folded.retries
    return folded + sum(record.costs_retry for record in status.attempts)


def free_ends(status: AudioShardStatus) -> int:
    """How many attempts so far have ended without costing a retry."""
    folded = 0 if status.folded is None else status.folded.attempts - status.folded.retries
    return folded + sum(record.outcome is AttemptOutcome.RETURNED for record in status.attempts)


def concerns_job(shard: AudioShard) -> bool:
    """Whether the shard failed because of the job as written, so that the job's other shards would fail, too."""
    failed = failed_condition(shard)
    return failed is not None and failed.reason in _JOB_REASONS


_JOB_REASONS = frozenset(str(name) for name, rule in RULES.items() if rule.remedy is Remedy.NOTHING)


# Edits.


def assigned(
    shard: AudioShard,
    *,
    attempt: int,
    mac: str,
    machine: MachineIdentity | None,
    chip: str | None = None,
    spec_digest: str,
    lease_seconds: int,
    usage_of_lost: AttemptUsage | None,
    lost_for_seconds: float = 0.0,
    now: str,
) -> AudioShardStatus:
    """Assigns an attempt to a Mac, for ever to the machine that it is now. An attempt still assigned is lost, since
    `lost_for_seconds`.
    """
    records = tuple(
        record.model_copy(
            update={
                "outcome": AttemptOutcome.LOST,
                "failure_class": FailureClass.MACHINE_LOST,
                "message": f"no contact with {record.mac} for longer than its lease; attempt {attempt} took over",
                **_used(shard.status, usage_of_lost or record.usage, now, lost_for_seconds),
            }
        )
        if record.outcome is AttemptOutcome.ASSIGNED
        else record
        for record in shard.status.attempts
    )
    record = AttemptRecord(attempt=attempt, mac=mac, machine=machine, chip=chip, outcome=AttemptOutcome.ASSIGNED)
    listed, folded = fold(shard, (*records, record))
    return with_state(
        shard,
        shard.status.model_copy(
            update={
                "attempt": attempt,
                "mac": mac,
                "spec_digest": spec_digest,
                "lease_seconds": lease_seconds,
                "assigned_at": now,
                "attempts": listed,
                "folded": folded,
            }
        ),
        Reason.ASSIGNED,
        f"attempt {attempt} is on {mac}",
        now,
    )


def committed(
    shard: AudioShard, report: AttemptStatus, result: ShardResult, usage: AttemptUsage | None, now: str
) -> AudioShardStatus:
    """Recording the digest is the commit."""
    status = _end_current(shard.status, AttemptOutcome.SUCCEEDED, None, None, usage, now)
    counts = result.counts
    status = with_state(
        shard,
        status.model_copy(
            update={
                "commit": ShardCommit(attempt=report.attempt, sha256=result.commit_sha256),
                "plan": result.plan,
                "clips": None if counts is None else ShardClipCounts(**counts.model_dump()),
                "quarantine": first_clips(result.quarantine),
                "failures": first_clips(result.failures),
                "warnings": result.warnings,
                "spent_budget": result.spent_budget,
                "measured": result.measured,
                **_scratch(status, report),
            }
        ),
        Reason.COMMITTED,
        f"attempt {report.attempt} delivered the result",
        now,
        done=True,
    )
    return fitted_shard(status)


def attempt_ended(
    shard: AudioShard,
    outcome: AttemptOutcome,
    failure_class: str | None,
    message: str,
    usage: AttemptUsage | None,
    now: str,
    report: AttemptStatus | None = None,
    *,
    retry_limit: int,
    lost_for_seconds: float = 0.0,
    used_attempt: int | None = None,
) -> AudioShardStatus:
    """Ends the newest attempt without a result. Either another one may follow, or the shard has failed for good.

    `used_attempt`: a Mac has had attempts up to this one, so that the next one has a higher number.
    """
    status = _end_current(shard.status, outcome, failure_class, message, usage, now, lost_for_seconds)
    if used_attempt is not None:
        status = status.model_copy(update={"attempt": max(status.attempt or 0, used_attempt)})
    if report is not None:
        status = status.model_copy(update=_scratch(status, report))
    used = retries_used(status)
    reason = failed_for_good(failure_class, used, retry_limit)
    status = with_state(shard, status, reason or failure_class or Reason.PENDING, message, now)
    if reason is None:
        return status
    exhausted = f"{used} attempts failed, and a shard is retried {retry_limit} times; the last: {message}"
    text = exhausted if reason == Reason.ATTEMPTS_EXHAUSTED else message
    failed = condition(
        shard.status.conditions,
        ConditionType.FAILED,
        True,
        reason,
        text,
        generation=shard.metadata.generation,
        now=now,
    )
    others = tuple(item for item in status.conditions if item.type != ConditionType.FAILED)
    return status.model_copy(update={"conditions": (*others, failed)})


def failed_for_good(failure_class: str | None, retries: int, retry_limit: int) -> str | None:
    """The reason, if no further attempt would help or is allowed; otherwise None.

    `retries`: what the attempts have cost so far, the one that just ended included.
    """
    if failure_class is not None and rule_of(failure_class).remedy is Remedy.NOTHING:
        return failure_class
    return Reason.ATTEMPTS_EXHAUSTED if retries > retry_limit else None


def fold(
    shard: AudioShard, records: Iterable[AttemptRecord]
) -> tuple[tuple[AttemptRecord, ...], FoldedAttempts | None]:
    """Sums up the oldest ended attempts beyond KEPT_ATTEMPTS. Those whose rows are still expected stay until the list
    is full.

    What cost no retry goes first: how attempts failed tells the next one what to do differently.
    """
    folded = shard.status.folded
    listed = sorted(records, key=lambda record: record.attempt)
    while len(listed) > KEPT_ATTEMPTS:
        settled = [record for record in listed if is_settled(shard, record)]
        if not settled and len(listed) <= MAX_ATTEMPTS:
            break
        ended = [record for record in listed if record.outcome is not AttemptOutcome.ASSIGNED]
        oldest = min(settled or ended, key=lambda record: record.costs_retry)
        listed.remove(oldest)
        folded = _with_folded(folded or FoldedAttempts(), oldest, settled=bool(settled))
    return tuple(listed), folded


def _with_folded(folded: FoldedAttempts, record: AttemptRecord, *, settled: bool) -> FoldedAttempts:
    usage = record.usage
    sums = ("rows", "setup_milliseconds", "work_milliseconds", "cleanup_milliseconds", "audio_milliseconds")
    return folded.model_copy(
        update={
            "attempts": folded.attempts + 1,
            "retries": folded.retries + record.costs_retry,
            "chip": record.chip if record.chip and may_have_worked(record) else folded.chip,
            "unsettled": folded.unsettled + (not settled),
            **({} if usage is None else {name: getattr(folded, name) + getattr(usage, name) for name in sums}),
        }
    )


def with_usages(status: AudioShardStatus, usages: Iterable[tuple[int, AttemptUsage]]) -> AudioShardStatus:
    """Records the usage of some attempts, by their numbers."""
    found = dict(usages)
    if not found:
        return status
    records = tuple(
        _with_usage(record, found[record.attempt]) if record.attempt in found else record for record in status.attempts
    )
    return status.model_copy(update={"attempts": records})


def _with_usage(record: AttemptRecord, usage: AttemptUsage) -> AttemptRecord:
    return record.model_copy(update={"usage": usage, "held_seconds": None if usage.complete else record.held_seconds})


def _used(
    status: AudioShardStatus, usage: AttemptUsage | None, now: str, lost_for_seconds: float = 0.0
) -> dict[str, object]:
    """What an attempt that ends now has used: its verified rows, and until all are there, the time that it had before
    its Mac was lost.
    """
    if status.assigned_at is None or (usage is not None and usage.complete):
        return {"usage": usage}
    held = datetime.fromisoformat(now) - datetime.fromisoformat(status.assigned_at)
    return {"usage": usage, "held_seconds": max(0, math.ceil(held.total_seconds() - lost_for_seconds))}


def _end_current(
    status: AudioShardStatus,
    outcome: AttemptOutcome,
    failure_class: str | None,
    message: str | None,
    usage: AttemptUsage | None,
    now: str,
    lost_for_seconds: float = 0.0,
) -> AudioShardStatus:
    records = tuple(
        record.model_copy(
            update={
                "outcome": outcome,
                "failure_class": failure_class,
                "message": None if message is None else truncate(message, RECORD_MESSAGE_BYTES),
                **_used(status, usage or record.usage, now, lost_for_seconds),
            }
        )
        if record.attempt == status.attempt
        else record
        for record in status.attempts
    )
    return status.model_copy(update={"attempts": records})


def _scratch(status: AudioShardStatus, report: AttemptStatus) -> dict[str, int]:
    return {
        "scratch_high_water_bytes": max(status.scratch_high_water_bytes, report.scratch_high_water_bytes),
        "scratch_residue_bytes": status.scratch_residue_bytes + report.scratch_residue_bytes,
    }


def with_state(
    shard: AudioShard, status: AudioShardStatus, reason: str, message: str, now: str, *, done: bool = False
) -> AudioShardStatus:
    """`status` with a Committed condition that says where the shard stands."""
    generation = shard.metadata.generation
    item = condition(
        shard.status.conditions, ConditionType.COMMITTED, done, reason, message, generation=generation, now=now
    )
    others = tuple(other for other in status.conditions if other.type != ConditionType.COMMITTED)
    return status.model_copy(update={"conditions": (item, *others), "observed_generation": generation})
