"""Decides whether a caller may act, and how a PUT is answered. Checks run in the protocol's order. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from voxfleet_api.failures import FailureClass
from voxfleet_api.protocol import CONTROL_PLANE_HEADER, EPOCH_HEADER, AttemptState, Problem

RETRY_AFTER_SECONDS = 5
NO_OFFLINE_LANE = "this agent has no lane for batches: all of its pools are Interactive"
TAKES_NOTHING = "this Mac takes nothing: it drains or is closed, its agent stops, or it serves people first"


@dataclass(frozen=True, slots=True)
class Caller:
    """The caller of a request, as its headers identify it."""

    authenticated: bool
    control_plane: str | None
    epoch: int | None


@dataclass(frozen=True, slots=True)
class Binding:
    """The control plane that this agent serves, and its epoch; None before the first call."""

    control_plane: str | None
    epoch: int | None


@dataclass(frozen=True, slots=True)
class Refusal:
    status: int
    problem: Problem
    retry_after_seconds: int | None = None


OUTDATED = Refusal(408, Problem(message="this order came too late to hold; another Mac may have what it was about"))


@dataclass(frozen=True, slots=True)
class KnownAttempt:
    """An attempt of the same shard that this agent knows."""

    attempt: int
    spec_digest: str
    state: AttemptState


@dataclass(frozen=True, slots=True)
class PutFacts:
    """Everything that the answer to a PUT depends on."""

    attempt: int
    spec_digest: str
    outdated: bool
    """Whether it holds no more: it waited for longer than its caller meant it to."""
    tombstone: int | None
    """The highest attempt of this shard that was deleted here."""
    known_attempts: Sequence[KnownAttempt]
    spec_problem: Problem | None
    """Why this agent cannot run the spec at all."""
    draining: bool
    scratch_shortage: str | None
    slot_free: bool
    lacks_lanes: bool = False
    """Whether it needs a lane and this agent has none for batches, free or not."""


@dataclass(frozen=True, slots=True)
class RepeatedPut:
    """The agent already has this attempt. `resume`: whether it is parked and must be resumed."""

    resume: bool


@dataclass(frozen=True, slots=True)
class Start:
    """A new attempt. `supersedes`: older attempts of its shard that wait or run, and must be parked."""

    supersedes: tuple[int, ...]


def decide_read(caller: Caller, bound: Binding) -> Refusal | None:
    """Decides whether the caller may read. Checks the caller's control plane only when it names one."""
    if not caller.authenticated:
        return Refusal(401, Problem(message="the bearer token is missing or wrong; see the agent's tokenFile"))
    if bound.control_plane is not None and caller.control_plane not in (None, bound.control_plane):
        return _other_control_plane(bound.control_plane)
    return None


def decide_mutation(caller: Caller, bound: Binding) -> Refusal | None:
    """Decides whether the caller may change anything. A caller must name its control plane and a current epoch."""
    refusal = decide_read(caller, bound)
    if refusal is not None:
        return refusal
    if not caller.control_plane or len(caller.control_plane) > 64:
        return Refusal(400, Problem(message=f"header {CONTROL_PLANE_HEADER} names no control plane"))
    if caller.epoch is None:
        return Refusal(400, Problem(message=f"header {EPOCH_HEADER} is not a whole number"))
    if bound.epoch is not None and caller.epoch < bound.epoch:
        message = f"epoch {caller.epoch} is over; another operator acts under epoch {bound.epoch}"
        return Refusal(412, Problem(message=message, held_epoch=bound.epoch))
    return None


def decide_put(facts: PutFacts) -> Refusal | RepeatedPut | Start:
    """Decides the answer to a PUT whose caller may act."""
    if facts.outdated:
        return OUTDATED
    if facts.tombstone is not None and facts.attempt <= facts.tombstone:
        message = f"attempts of this shard up to {facts.tombstone} were deleted here"
        return Refusal(410, Problem(message=message, held_attempt=facts.tombstone))
    newest = max((known.attempt for known in facts.known_attempts), default=0)
    if facts.attempt < newest:
        return Refusal(409, Problem(message=f"attempt {newest} of this shard is newer", held_attempt=newest))
    for known in facts.known_attempts:
        if known.attempt == facts.attempt:
            if known.spec_digest != facts.spec_digest:
                message = f"attempt {known.attempt} has the spec {known.spec_digest}, not {facts.spec_digest}"
                return Refusal(409, Problem(message=message, held_attempt=known.attempt))
            return RepeatedPut(resume=known.state is AttemptState.PARKED)
    refusal = decide_new(facts.spec_problem, draining=facts.draining, scratch_shortage=facts.scratch_shortage)
    if refusal is not None:
        return refusal
    if facts.lacks_lanes:
        return Refusal(429, Problem(message=NO_OFFLINE_LANE), RETRY_AFTER_SECONDS)
    if not facts.slot_free:
        return Refusal(429, Problem(message="every lane is taken"), RETRY_AFTER_SECONDS)
    running = {AttemptState.ACCEPTED, AttemptState.RUNNING}
    return Start(supersedes=tuple(known.attempt for known in facts.known_attempts if known.state in running))


def decide_new(spec_problem: Problem | None, *, draining: bool, scratch_shortage: str | None) -> Refusal | None:
    """Whether this Mac takes something that it does not have yet, an attempt or an endpoint's lane: 422 503 507."""
    if spec_problem is not None:
        return Refusal(422, spec_problem)
    if draining:
        return Refusal(503, Problem(message=TAKES_NOTHING), RETRY_AFTER_SECONDS)
    if scratch_shortage is not None:
        return Refusal(507, Problem(failure_class=FailureClass.SCRATCH_EXHAUSTED, message=scratch_shortage))
    return None


def _other_control_plane(owner: str) -> Refusal:
    return Refusal(403, Problem(message=f"this agent serves the control plane {owner}", owner=owner))
