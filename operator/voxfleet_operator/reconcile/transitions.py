"""What people are told as an object's status changes: one event for each new reason. Pure.

The status before is the stored one. So a new leader tells nothing twice, and what happened while none led is told, too.
What becomes of a shard is told of its job, and only what went wrong: a large job has thousands of shards.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from voxfleet_api.conditions import Condition, ConditionType, Reason, find
from voxfleet_api.kinds import AudioShard, Resource
from voxfleet_api.kinds.audio_shard import AttemptOutcome, AttemptRecord, AudioShardStatus
from voxfleet_operator.event_reasons import Announced, EventReason, announced

TOLD_OTHERWISE = frozenset({Reason.FAILS_TOO_OFTEN})
"""An exclusion has events of its own, which say until when."""

NO_NEWS = frozenset({Reason.TAIL_WITHIN_SLO, Reason.TURNS_WITHIN_SLO, Reason.WITHIN_BUDGET})
"""Of a job that ends as it should: Finished says so. An endpoint's turns are in time again and again."""


@dataclass(frozen=True, slots=True)
class Announcement:
    reason: Announced
    note: str


def conditions_of(resource: Resource) -> tuple[Condition, ...]:
    return tuple(getattr(resource.status, "conditions", ()))  # a statement has none


def transitions(before: Sequence[Condition], after: Sequence[Condition]) -> tuple[Announcement, ...]:
    """Conditions that share a reason are told once; what is not known (Unknown) is no news."""
    told: dict[Announced, Announcement] = {}
    known = {item.type: item for item in before}
    for new in after:
        old = known.get(new.type)
        if new.status == "Unknown" or (old is not None and (old.status, old.reason) == (new.status, new.reason)):
            continue
        reason = announced(new.reason)
        if reason not in TOLD_OTHERWISE | NO_NEWS:
            told.setdefault(reason, Announcement(reason, new.message))
    gone = known.get(ConditionType.STALLED)
    if gone is not None and find(after, ConditionType.STALLED) is None:
        note = f"no longer {gone.reason}: {gone.message}"
        told.setdefault(EventReason.UNBLOCKED, Announcement(EventReason.UNBLOCKED, note))
    return tuple(told.values())


def shard_transitions(before: AudioShard, after: AudioShard) -> tuple[Announcement, ...]:
    """What the shard's job is told."""
    name = after.metadata.name
    found = [
        Announcement(
            announced(record.failure_class or Reason.PENDING),
            f"shard {name}, attempt {record.attempt} on {record.mac}: {record.message or record.outcome}",
        )
        for record in ended_attempts(before.status, after.status)
        if record.outcome in (AttemptOutcome.FAILED, AttemptOutcome.REFUSED, AttemptOutcome.LOST)
    ]
    told = {item.reason for item in found}
    for item in transitions(before.status.conditions, after.status.conditions):
        if item.reason in (Reason.ATTEMPTS_EXHAUSTED, Reason.SPLIT) and item.reason not in told:
            found.append(Announcement(item.reason, f"shard {name} was {item.note}"))
    return tuple(found)


def ended_attempts(before: AudioShardStatus, after: AudioShardStatus) -> Iterator[AttemptRecord]:
    """The attempts that were at work before and have an outcome now."""
    live = {record.attempt for record in before.attempts if record.outcome is AttemptOutcome.ASSIGNED}
    for record in after.attempts:
        if record.attempt in live and record.outcome is not AttemptOutcome.ASSIGNED:
            yield record
