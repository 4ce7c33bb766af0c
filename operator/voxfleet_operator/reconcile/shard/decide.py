"""What to do about a shard's attempts: an explicit table for the newest one, and rules for those before it. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise

from voxfleet_api.attempt_spec import AttemptKey
from voxfleet_api.failures import FailureClass, Remedy, rule_of
from voxfleet_api.kinds import AudioShard
from voxfleet_api.kinds.audio_shard import AttemptOutcome, AttemptRecord, AttemptUsage, AudioShardStatus, Stage
from voxfleet_api.protocol import AttemptState, AttemptStatus, ShardResult
from voxfleet_operator.fleet.mac_view import AgentAnswer, AgentRefused, MacView, Outcome, attempt_view
from voxfleet_operator.metering.usage import attempt_usage, newer
from voxfleet_operator.reconcile.job_life import JobWish
from voxfleet_operator.reconcile.lost_mac import ContactState
from voxfleet_operator.reconcile.mac_closing import Recall
from voxfleet_operator.reconcile.shard.status import free_ends, is_settled

REPEATED_PUT_SECONDS = 2.0
REFUSED_PUT_SECONDS = 10.0
MOST_FORGOTTEN_ATTEMPTS = 1000
"""What is believed of an agent that names a newer attempt of a shard than the API server knows."""
MOST_FREE_ENDS = 8
"""So many attempts of a shard may have ended without costing a retry before an agent that names a used one costs some.
An honest agent does so once after a restore; one that always does so would keep the shard for ever."""


class ReportedState(StrEnum):
    """An attempt as its Mac last reported it."""

    ABSENT = "Absent"
    ACCEPTED = "Accepted"
    RUNNING = "Running"
    PARKED = "Parked"
    FINISHING = "Finishing"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"
    DELETING = "Deleting"
    FOREIGN = "Foreign"  # its spec is not the one that was assigned


class ShardAction(StrEnum):
    WAIT = "Wait"
    PUT = "Put"  # start or resume
    COMMIT = "Commit"  # record the result
    FAIL = "Fail"  # record the failure
    REVOKE = "Revoke"  # delete it on its Mac, then record its end
    REPLACE = "Replace"  # placement may assign the next attempt
    LOSE = "Lose"  # record that it is lost; no other attempt takes over
    RECALL = "Recall"  # delete it on its Mac, which drains or closes, then record that it was given back


TABLE: Mapping[tuple[ContactState, ReportedState], ShardAction] = {
    (ContactState.CONNECTED, ReportedState.ABSENT): ShardAction.PUT,
    (ContactState.CONNECTED, ReportedState.ACCEPTED): ShardAction.WAIT,
    (ContactState.CONNECTED, ReportedState.RUNNING): ShardAction.WAIT,
    (ContactState.CONNECTED, ReportedState.PARKED): ShardAction.PUT,
    (ContactState.CONNECTED, ReportedState.FINISHING): ShardAction.WAIT,
    (ContactState.CONNECTED, ReportedState.SUCCEEDED): ShardAction.COMMIT,
    (ContactState.CONNECTED, ReportedState.FAILED): ShardAction.FAIL,
    (ContactState.CONNECTED, ReportedState.DELETING): ShardAction.REVOKE,
    (ContactState.CONNECTED, ReportedState.FOREIGN): ShardAction.REVOKE,
    # A silent Mac may still be working, but an attempt that it reported as ended has ended.
    (ContactState.SILENT, ReportedState.ABSENT): ShardAction.WAIT,
    (ContactState.SILENT, ReportedState.ACCEPTED): ShardAction.WAIT,
    (ContactState.SILENT, ReportedState.RUNNING): ShardAction.WAIT,
    (ContactState.SILENT, ReportedState.PARKED): ShardAction.WAIT,
    (ContactState.SILENT, ReportedState.FINISHING): ShardAction.WAIT,
    (ContactState.SILENT, ReportedState.SUCCEEDED): ShardAction.COMMIT,
    (ContactState.SILENT, ReportedState.FAILED): ShardAction.FAIL,
    (ContactState.SILENT, ReportedState.DELETING): ShardAction.WAIT,
    (ContactState.SILENT, ReportedState.FOREIGN): ShardAction.WAIT,
    (ContactState.LOST, ReportedState.ABSENT): ShardAction.REPLACE,
    (ContactState.LOST, ReportedState.ACCEPTED): ShardAction.REPLACE,
    (ContactState.LOST, ReportedState.RUNNING): ShardAction.REPLACE,
    (ContactState.LOST, ReportedState.PARKED): ShardAction.REPLACE,
    (ContactState.LOST, ReportedState.FINISHING): ShardAction.REPLACE,
    (ContactState.LOST, ReportedState.SUCCEEDED): ShardAction.COMMIT,
    (ContactState.LOST, ReportedState.FAILED): ShardAction.FAIL,
    (ContactState.LOST, ReportedState.DELETING): ShardAction.REPLACE,
    (ContactState.LOST, ReportedState.FOREIGN): ShardAction.REPLACE,
}


def reported_state(report: AttemptStatus | None, stage: Stage, spec_digest: str | None) -> ReportedState:
    if report is None:
        return ReportedState.ABSENT
    if report.spec_digest != spec_digest:
        return ReportedState.FOREIGN
    if report.state is AttemptState.SUCCEEDED and not _delivers(report.result, stage):
        return ReportedState.FOREIGN  # success with nothing to commit, which this protocol does not allow
    if not isinstance(report.state, AttemptState):
        # A newer agent's state. What it means is unknown, but not whether the agent still works on the attempt: a Mac
        # in contact renews its leases, so only `ended` bounds the wait.
        return ReportedState.FAILED if report.has_ended else ReportedState.RUNNING
    return ReportedState(report.state.value)


def _delivers(result: ShardResult | None, stage: Stage) -> bool:
    """Whether a result has what its stage is for: without it the job would wait for ever."""
    if result is None:
        return False
    if stage is not Stage.PLAN:
        return result.counts is not None
    return result.plan is not None and _divides(result.plan.boundaries)


def _divides(boundaries: tuple[int, ...]) -> bool:
    """Whether the boundaries of shards begin at the first clip and never go back."""
    return boundaries[:1] == (0,) and all(first <= end for first, end in pairwise(boundaries))


DISCARDED: Mapping[ContactState, ShardAction] = {
    ContactState.CONNECTED: ShardAction.REVOKE,
    ContactState.SILENT: ShardAction.WAIT,
    ContactState.LOST: ShardAction.LOSE,
}
"""An attempt of a job that has ended, whatever its Mac reports."""


RECALLED: Mapping[Recall, frozenset[ReportedState]] = {
    Recall.NONE: frozenset(),
    # One that has begun ends by itself; parked, it resumes to deliver what it has.
    Recall.AT_NEXT_CLIP: frozenset({ReportedState.ABSENT}),
    Recall.NOW: frozenset(
        {
            ReportedState.ABSENT,
            ReportedState.ACCEPTED,
            ReportedState.RUNNING,
            ReportedState.PARKED,
            ReportedState.DELETING,
        }
    ),
}
"""What is taken back from a Mac in contact. One that it reports as finishing ends by itself, and holds no lane."""


def decide(
    shard: AudioShard, view: MacView | None, contact: ContactState, wish: JobWish, recall: Recall = Recall.NONE
) -> ShardAction:
    """For a shard whose newest attempt is assigned; `view`, `contact` and `recall` are of that attempt's Mac."""
    if wish is JobWish.DISCARD:
        return DISCARDED[contact]
    key = AttemptKey(shard.metadata.uid, shard.status.attempt or 0)
    report = None if view is None else view.attempts.get(key)
    state = reported_state(report, shard.spec.stage, shard.status.spec_digest)
    if contact is ContactState.CONNECTED and state in RECALLED[recall]:
        return ShardAction.RECALL
    action = TABLE[contact, state]
    if wish is JobWish.STOP and action is ShardAction.WAIT and contact is ContactState.CONNECTED:
        return ShardAction.REVOKE
    if wish is JobWish.WORK:
        return action
    return _NOTHING_STARTS.get(action, action)


_NOTHING_STARTS: Mapping[ShardAction, ShardAction] = {
    ShardAction.PUT: ShardAction.REVOKE,
    ShardAction.REPLACE: ShardAction.LOSE,
}


IsBeingDeleted = Callable[[MacView, AttemptKey], bool]
"""Whether a Mac's agent has said that it is about deleting an attempt."""


@dataclass(frozen=True, slots=True)
class Superseded:
    """What is left to do about attempts that ended: usage to record, and copies that their Macs still hold."""

    usages: tuple[tuple[int, AttemptUsage], ...]
    deletes: tuple[tuple[MacView, AttemptKey], ...]


def superseded(
    shard: AudioShard, views: Mapping[str, MacView], is_being_deleted: IsBeingDeleted = lambda mac, key: False
) -> Superseded:
    """Finds what is left to do: late results are ignored, machine time is recorded, copies are deleted.

    The Mac of a result keeps its attempt until the machine time is recorded, too. So no Mac holds more than what is
    not settled, however long it has worked.
    """
    usages: list[tuple[int, AttemptUsage]] = []
    deletes: list[tuple[MacView, AttemptKey]] = []
    for record in shard.status.attempts:
        if record.outcome is AttemptOutcome.ASSIGNED:
            continue
        view = attempt_view(record, views)
        if view is None:
            continue
        key = AttemptKey(shard.metadata.uid, record.attempt)
        usage = usage_of(shard, record, view, is_being_deleted=is_being_deleted(view, key))
        if usage is not None and newer(record.usage, usage):
            usages.append((record.attempt, usage))
        unneeded = record.outcome is not AttemptOutcome.SUCCEEDED or is_settled(shard, record)
        if unneeded and view.connected and key in view.attempts:
            deletes.append((view, key))
    return Superseded(tuple(usages), tuple(deletes))


def usage_of(
    shard: AudioShard, record: AttemptRecord, view: MacView | None, *, is_being_deleted: bool = False
) -> AttemptUsage | None:
    """The usage to record for an attempt that ended. Plan and Finalize hold no lane, so they have none.

    `is_being_deleted`: its agent says so, and may seal rows of it although it has not reported it yet. The same if rows
    of its Mac are left to read.
    """
    if shard.spec.stage is not Stage.PROCESS or view is None:
        return None
    key = AttemptKey(shard.metadata.uid, record.attempt)
    expecting = view.connected and view.ledger_error is None
    if expecting and (is_being_deleted or view.rows_left) and key not in view.attempts:
        return None
    return attempt_usage(view.attempts.get(key), view.usage.get(key), expecting=expecting)


@dataclass(frozen=True, slots=True)
class PutRefusal:
    """What follows from the HTTP answer by which an agent refused a PUT."""

    final: bool
    """True: the attempt is deleted on that Mac and the next one goes elsewhere. False: the same PUT is sent later."""
    failure_class: str | None
    message: str
    no_room: bool = False
    """Whether the Mac only has no room now: this costs no retry, and other shards avoid the Mac for a while, too."""
    used_attempt: int | None = None
    """The Mac has had attempts of this shard up to this one, which is not older than ours, and deleted or keeps them.
    That is nothing that ours did, so at first it costs no retry. If it is newer, an API server that was restored from a
    backup has forgotten it."""


def put_refusal(refusal: AgentRefused, attempt: int) -> PutRefusal:
    """Decides what follows from a refusal of this attempt's PUT."""
    status, problem = refusal.status, refusal.problem
    text = f"the agent refused with HTTP {status}: {problem.message}"
    if status in (401, 403, 408, 412):
        return PutRefusal(False, problem.failure_class, text)
    if status == 422:
        return PutRefusal(True, problem.failure_class or FailureClass.RUNTIME_MISMATCH, problem.message)
    if status == 507:
        failure_class = _retryable(problem.failure_class) or FailureClass.SCRATCH_EXHAUSTED
        return PutRefusal(True, failure_class, problem.message, no_room=True)
    used = problem.held_attempt if status in (409, 410) else None
    if used is not None and attempt <= used <= attempt + MOST_FORGOTTEN_ATTEMPTS:
        return PutRefusal(True, None, text, used_attempt=used)
    return PutRefusal(True, _retryable(problem.failure_class), text, no_room=status in (429, 503))


def refused_as(meaning: PutRefusal, status: AudioShardStatus) -> AttemptOutcome:
    """How an attempt ends whose PUT was refused for good. `status`: its shard's, before that."""
    if meaning.used_attempt is not None:
        return AttemptOutcome.RETURNED if free_ends(status) < MOST_FREE_ENDS else AttemptOutcome.REFUSED
    return AttemptOutcome.RETURNED if meaning.no_room else AttemptOutcome.REFUSED


def put_wait_seconds(answer: AgentAnswer, now: float) -> float:
    """How long after an answer that settled nothing the same PUT waits until it is sent again.

    An attempt that was accepted shows in the Mac's view soon; if it does not, the agent has lost it again.
    """
    pause_seconds = REPEATED_PUT_SECONDS
    if answer.outcome is Outcome.REFUSED:
        pause_seconds = REFUSED_PUT_SECONDS
        if answer.refusal is not None and answer.refusal.retry_after_seconds is not None:
            pause_seconds = answer.refusal.retry_after_seconds
    return answer.at_seconds + pause_seconds - now


def _retryable(failure_class: str | None) -> str | None:
    """Only a 422 may fail a shard for good: all other refusals are about the Mac and not about the job."""
    if failure_class is None or rule_of(failure_class).remedy is Remedy.NOTHING:
        return None
    return failure_class
