"""What to do about a shard's newest attempt: an explicit table. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from voxfleet_api.failures import RULES, FailureClass, Remedy
from voxfleet_api.kinds import AudioShard
from voxfleet_api.kinds.audio_shard import AttemptOutcome, AttemptRecord, AttemptUsage, Stage
from voxfleet_api.protocol import AttemptKey, AttemptState, AttemptStatus, Problem
from voxfleet_operator.fleet.view import MacView
from voxfleet_operator.metering.usage import attempt_usage, newer


class Contact(StrEnum):
    CONNECTED = "Connected"
    SILENT = "Silent"
    LOST = "Lost"  # silent for longer than lease and margin


class Seen(StrEnum):
    """An attempt as its Mac last reported it."""

    ABSENT = "Absent"
    ACCEPTED = "Accepted"
    RUNNING = "Running"
    PARKED = "Parked"
    FINISHING = "Finishing"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"
    DELETING = "Deleting"
    FOREIGN = "Foreign"  # of another spec than the one that was assigned


class Step(StrEnum):
    WAIT = "Wait"
    PUT = "Put"  # start or resume
    COMMIT = "Commit"  # record the result
    FAIL = "Fail"  # record the failure
    BURN = "Burn"  # delete it on its Mac, then record that it was refused
    REPLACE = "Replace"  # placement may assign the next attempt


TABLE: Mapping[tuple[Contact, Seen], Step] = {
    (Contact.CONNECTED, Seen.ABSENT): Step.PUT,
    (Contact.CONNECTED, Seen.ACCEPTED): Step.WAIT,
    (Contact.CONNECTED, Seen.RUNNING): Step.WAIT,
    (Contact.CONNECTED, Seen.PARKED): Step.PUT,
    (Contact.CONNECTED, Seen.FINISHING): Step.WAIT,
    (Contact.CONNECTED, Seen.SUCCEEDED): Step.COMMIT,
    (Contact.CONNECTED, Seen.FAILED): Step.FAIL,
    (Contact.CONNECTED, Seen.DELETING): Step.BURN,
    (Contact.CONNECTED, Seen.FOREIGN): Step.BURN,
    # A Mac in silence may still be at work, but what it reported as ended has ended.
    (Contact.SILENT, Seen.ABSENT): Step.WAIT,
    (Contact.SILENT, Seen.ACCEPTED): Step.WAIT,
    (Contact.SILENT, Seen.RUNNING): Step.WAIT,
    (Contact.SILENT, Seen.PARKED): Step.WAIT,
    (Contact.SILENT, Seen.FINISHING): Step.WAIT,
    (Contact.SILENT, Seen.SUCCEEDED): Step.COMMIT,
    (Contact.SILENT, Seen.FAILED): Step.FAIL,
    (Contact.SILENT, Seen.DELETING): Step.WAIT,
    (Contact.SILENT, Seen.FOREIGN): Step.WAIT,
    (Contact.LOST, Seen.ABSENT): Step.REPLACE,
    (Contact.LOST, Seen.ACCEPTED): Step.REPLACE,
    (Contact.LOST, Seen.RUNNING): Step.REPLACE,
    (Contact.LOST, Seen.PARKED): Step.REPLACE,
    (Contact.LOST, Seen.FINISHING): Step.REPLACE,
    (Contact.LOST, Seen.SUCCEEDED): Step.COMMIT,
    (Contact.LOST, Seen.FAILED): Step.FAIL,
    (Contact.LOST, Seen.DELETING): Step.REPLACE,
    (Contact.LOST, Seen.FOREIGN): Step.REPLACE,
}


def seen(report: AttemptStatus | None, spec_digest: str | None) -> Seen:
    if report is None:
        return Seen.ABSENT
    if report.spec_digest != spec_digest:
        return Seen.FOREIGN
    if report.state is AttemptState.SUCCEEDED and report.result is None:
        return Seen.FOREIGN  # nothing to commit: not a result of this protocol
    return Seen(report.state.value)


def contact(view: MacView | None, *, silent_seconds: float, lease_seconds: float, margin_seconds: float) -> Contact:
    """`silent_seconds`: since the last renewal that was sent, or since silence may be counted at all."""
    if view is not None and view.connected:
        return Contact.CONNECTED
    return Contact.LOST if silent_seconds >= lease_seconds + margin_seconds else Contact.SILENT


def decide(shard: AudioShard, view: MacView | None, reached: Contact) -> Step:
    """For a shard whose newest attempt is assigned; `view` is of that attempt's Mac."""
    key = AttemptKey(shard.metadata.uid, shard.status.attempt or 0)
    report = None if view is None else view.attempts.get(key)
    return TABLE[reached, seen(report, shard.status.spec_digest)]


@dataclass(frozen=True, slots=True)
class Superseded:
    """What is left to do about attempts that ended: their usage to record, and the ones their Macs still hold."""

    usages: tuple[tuple[int, AttemptUsage], ...]
    deletes: tuple[tuple[str, AttemptKey], ...]


def superseded(shard: AudioShard, views: Mapping[str, MacView]) -> Superseded:
    """A late result is ignored, but its machine time is recorded, and the attempt is deleted on its Mac."""
    usages: list[tuple[int, AttemptUsage]] = []
    deletes: list[tuple[str, AttemptKey]] = []
    for record in shard.status.attempts:
        if record.outcome is AttemptOutcome.ASSIGNED:
            continue
        view = views.get(record.mac)
        if view is None:
            continue
        key = AttemptKey(shard.metadata.uid, record.attempt)
        usage = usage_of(shard, record, view)
        if usage is not None and newer(record.usage, usage):
            usages.append((record.attempt, usage))
        if record.outcome is not AttemptOutcome.SUCCEEDED and view.connected and key in view.attempts:
            deletes.append((record.mac, key))
    return Superseded(tuple(usages), tuple(deletes))


def usage_of(shard: AudioShard, record: AttemptRecord, view: MacView | None) -> AttemptUsage | None:
    """The usage to record for an attempt that ended; Plan and Finalize hold no lane and have none."""
    if shard.spec.stage is not Stage.PROCESS or view is None:
        return None
    key = AttemptKey(shard.metadata.uid, record.attempt)
    expecting = view.connected and view.ledger_error is None
    return attempt_usage(record, view.attempts.get(key), view.usage.get(key), expecting=expecting)


@dataclass(frozen=True, slots=True)
class Refusal:
    """What an agent's no to a PUT means."""

    burnt: bool
    """The attempt never runs: it is deleted there, and the next one goes elsewhere. False: the same PUT later."""
    failure_class: FailureClass | None
    message: str
    mac_pauses: bool = False
    """The Mac has no room: other shards wait for it too."""


def judge(status: int, problem: Problem) -> Refusal:
    """`status`: the HTTP status of an answer that is not 2xx."""
    text = f"the agent refused with HTTP {status}: {problem.message}"
    if status in (401, 403, 412):
        return Refusal(False, problem.failure_class, text)
    if status == 422:
        return Refusal(True, problem.failure_class or FailureClass.RUNTIME_MISMATCH, problem.message)
    if status == 507:
        failure_class = _retryable(problem.failure_class) or FailureClass.SCRATCH_EXHAUSTED
        return Refusal(True, failure_class, problem.message, mac_pauses=True)
    return Refusal(True, _retryable(problem.failure_class), text, mac_pauses=status in (429, 503))


def mac_to_avoid(records: Iterable[AttemptRecord]) -> str | None:
    """The Mac that ended the newest attempt badly."""
    newest = max(records, key=lambda record: record.attempt, default=None)
    if newest is None or newest.outcome is AttemptOutcome.SUCCEEDED:
        return None
    return newest.mac


def _retryable(failure_class: FailureClass | None) -> FailureClass | None:
    """Only a 422 may fail a shard for good: the other refusals speak of the Mac, not of the job."""
    if failure_class is None or RULES[failure_class].remedy is Remedy.NOTHING:
        return None
    return failure_class
