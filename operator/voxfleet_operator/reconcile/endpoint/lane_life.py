"""What becomes of one lane on one Mac, by what its agent says. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, timedelta

from voxfleet_api.conditions import truncate
from voxfleet_api.endpoint_lanes import LaneState, LaneStatus
from voxfleet_api.failures import FailureClass, Remedy, rule_of
from voxfleet_api.kinds.endpoint_status import EndpointLane, EndpointLaneState
from voxfleet_api.moments import timestamp
from voxfleet_api.protocol import AttemptFailure
from voxfleet_operator.fleet.mac_view import AgentRefused, LaneAnswer, Outcome

HELD = frozenset({EndpointLaneState.LOADING, EndpointLaneState.WARM, EndpointLaneState.UNREACHABLE})
"""A lane that is to be on its Mac."""
FIRST_PAUSE, LONGEST_PAUSE = timedelta(seconds=15), timedelta(minutes=10)
"""From a failed lane until its Mac is tried again; it doubles with each failure in a row."""
SOUND_AFTER = timedelta(minutes=5)
"""Once a lane was warm for so long, what failed before is forgotten."""
REVIVAL_TIME = timedelta(minutes=5)
"""For so long an agent may replace a lane's child that ended, until another Mac gets the lane."""
MOST_FAILURES = 3
"""With so many in a row, deaths of children too, another Mac gets it at once."""
LEASE_MARGIN = timedelta(seconds=60)
"""Longer than an agent takes to unload a lane whose lease is over."""
ANSWERED_LATER = frozenset({401, 403, 408, 412})
"""Refusals that are about the caller and the moment, and not about the lane."""
LONGEST_MESSAGE_BYTES = 512
MOST_FORGOTTEN = 1_000_000
"""So much newer a lane may be that an agent remembers and a restored API server does not. It is one no more than that:
a number from another program must not drive ours."""

_SOUND: dict[str, object] = {"failures": 0, "failure_class": None, "message": ""}
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class LaneSight:
    """What is known now of a lane's Mac, and of the lane there."""

    exists: bool
    """Whether a MacAgent stands for the machine that got the lane."""
    connected: bool = False
    heard: bool = True
    """False: this process has had no time to dial it yet."""
    answer: LaneAnswer | None = None
    """The newest to the order that holds for the lane; None: nobody answered this process yet."""
    lease_seconds: int = 0
    """How long its agent keeps a lane that nobody renews."""

    @property
    def is_gone(self) -> bool:
        return self.answer is not None and self.answer.outcome is Outcome.GONE

    @property
    def sessions(self) -> int:
        status = None if self.answer is None else self.answer.status
        return 0 if status is None else status.sessions


def lane_after(lane: EndpointLane, sight: LaneSight, model_digest: str | None, now: datetime) -> EndpointLane | None:
    """The lane as it is now; None: nothing of it is left, or can be reached any more.

    `model_digest`: that of the endpoint's warm lanes; None: none was warm yet.
    """
    if not sight.exists:
        return None
    if lane.state in HELD:
        return _held(lane, sight, model_digest, now)
    unloaded = not sight.connected and now >= _time(lane.since) + timedelta(seconds=sight.lease_seconds) + LEASE_MARGIN
    if lane.state == EndpointLaneState.FAILED:
        forgotten = lane.retry_time is None or now >= _time(lane.retry_time) + LONGEST_PAUSE
        return None if forgotten and (sight.is_gone or unloaded) else lane
    return None if sight.is_gone or unloaded else lane


def _held(lane: EndpointLane, sight: LaneSight, model_digest: str | None, now: datetime) -> EndpointLane | None:
    if not sight.connected:
        return changed(lane, EndpointLaneState.UNREACHABLE, now) if sight.heard else lane
    answer = sight.answer
    if answer is None or answer.outcome in (Outcome.PENDING, Outcome.UNKNOWN):
        return lane
    if answer.outcome is Outcome.GONE and answer.drops:
        return None  # it was deleted although it is wanted, and an agent takes no such number again
    if answer.outcome is Outcome.GONE:  # nobody could tell the agent to load it
        return changed(lane, EndpointLaneState.LOADING, now)
    if answer.refusal is not None:
        return _refused(lane, answer.refusal, now)
    if answer.status is None:
        return lane
    return _reported(lane, answer.status, model_digest, now)


def _reported(lane: EndpointLane, status: LaneStatus, model_digest: str | None, now: datetime) -> EndpointLane:
    match status.state:
        case LaneState.READY if status.model_digest is not None and not _DIGEST.fullmatch(status.model_digest):
            return failed(
                lane, FailureClass.RUNTIME_MISMATCH, "the agent names a model by something else than a digest", now
            )
        case LaneState.READY if model_digest is not None and status.model_digest not in (None, model_digest):
            message = f"the model on this Mac has the digest {status.model_digest}, other lanes have {model_digest}"
            return failed(lane, FailureClass.MODEL_MISMATCH, message, now)
        case LaneState.READY:
            return _warm(lane, now)
        case LaneState.FAILED:
            failure = status.failure
            if failure is None:
                return failed(lane, FailureClass.RUNTIME_MISMATCH, "the lane failed and its agent did not say why", now)
            return failed(lane, failure.failure_class, failure.message, now)
        case _ if status.failure is not None:
            return _reviving(lane, status.failure, now)
        case _:
            return changed(lane, EndpointLaneState.LOADING, now)


def _warm(lane: EndpointLane, now: datetime) -> EndpointLane:
    """A child that dies again and again is warm in between."""
    if lane.state == EndpointLaneState.WARM and lane.failures and now >= _time(lane.since) + SOUND_AFTER:
        return lane.model_copy(update=_SOUND)
    return changed(lane, EndpointLaneState.WARM, now)


def _reviving(lane: EndpointLane, failure: AttemptFailure, now: datetime) -> EndpointLane:
    """Its child ended, and its agent loads another one. The same end is told until that one is warm."""
    is_news = lane.state == EndpointLaneState.WARM or lane.failures == 0
    failures = lane.failures + 1 if is_news else lane.failures
    overdue = lane.state == EndpointLaneState.LOADING and now >= _time(lane.since) + REVIVAL_TIME
    if overdue or (is_news and failures >= MOST_FAILURES):
        return failed(lane, failure.failure_class, failure.message, now)
    told = {
        "failure_class": failure.failure_class,
        "message": truncate(failure.message, LONGEST_MESSAGE_BYTES),
        "failures": failures,
    }
    return changed(lane, EndpointLaneState.LOADING, now).model_copy(update=told)


def _refused(lane: EndpointLane, refusal: AgentRefused, now: datetime) -> EndpointLane:
    if refusal.status in ANSWERED_LATER:
        return lane
    text = f"the agent refused with HTTP {refusal.status}: {refusal.problem.message}"
    failure_class = refusal.problem.failure_class
    match refusal.status:
        case 404:
            text = "the agent is too old to hold lanes; upgrade it"
            failure_class = FailureClass.RUNTIME_MISMATCH
        case 422:
            failure_class = failure_class or FailureClass.RUNTIME_MISMATCH
        case 507:
            failure_class = failure_class or FailureClass.SCRATCH_EXHAUSTED
        case 409 | 410:
            failure_class = None  # it knows a newer lane; the next one is newer still
        case _ if failure_class is not None and rule_of(failure_class).remedy is Remedy.NOTHING:
            failure_class = None  # only a 422 is about the lane
    return failed(lane, failure_class, text, now, at_least_seconds=refusal.retry_after_seconds or 0.0)


def used_generation(lane: EndpointLane, sight: LaneSight) -> int:
    """The highest number that a lane of the endpoint is known to have had on this Mac.

    An API server that was restored from a backup has forgotten some.
    """
    refusal = None if sight.answer is None else sight.answer.refusal
    held = None if refusal is None or refusal.status not in (409, 410) else refusal.problem.held_generation
    if held is None or not lane.generation <= held <= lane.generation + MOST_FORGOTTEN:
        return lane.generation
    return held


def failed(
    lane: EndpointLane, failure_class: str | None, message: str, now: datetime, at_least_seconds: float = 0.0
) -> EndpointLane:
    failures = lane.failures + 1
    pause = min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** min(failures - 1, 16))
    pause = min(LONGEST_PAUSE, max(pause, timedelta(seconds=at_least_seconds)))
    return lane.model_copy(
        update={
            "state": EndpointLaneState.FAILED,
            "since": timestamp(now),
            "failure_class": failure_class,
            "message": truncate(message, LONGEST_MESSAGE_BYTES),
            "failures": failures,
            "retry_time": timestamp(now + pause),
        }
    )


def changed(lane: EndpointLane, state: EndpointLaneState, now: datetime) -> EndpointLane:
    """What failed before is forgotten when a lane is warm, unless it was its own failure: then once it stays warm."""
    if lane.state == state:
        return lane
    update: dict[str, object] = {"state": state, "since": timestamp(now)}
    if state is EndpointLaneState.WARM and not lane.failures:
        update |= _SOUND
    return lane.model_copy(update=update)


def is_due(lane: EndpointLane, now: datetime) -> bool:
    """Whether a failed lane's Mac may be tried again."""
    return lane.state == EndpointLaneState.FAILED and (lane.retry_time is None or now >= _time(lane.retry_time))


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text)
