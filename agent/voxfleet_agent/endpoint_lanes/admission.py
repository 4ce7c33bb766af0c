"""Decides how a PUT of an endpoint's lane is answered, in the order of the protocol. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from voxfleet_agent.attempts.admission import OUTDATED, RETRY_AFTER_SECONDS, TAKES_NOTHING, Refusal, decide_new
from voxfleet_api.endpoint_lanes import LaneState
from voxfleet_api.protocol import Problem


@dataclass(frozen=True, slots=True)
class KnownLane:
    """A lane of the same endpoint that this agent has."""

    generation: int
    spec_digest: str
    state: LaneState
    may_retry: bool = False
    """Whether a lane that failed has waited for long enough."""


@dataclass(frozen=True, slots=True)
class LanePutFacts:
    """Everything that the answer to a PUT depends on."""

    generation: int
    spec_digest: str
    outdated: bool
    """Whether it holds no more: it waited for longer than its caller meant it to."""
    tombstone: int | None
    """The highest generation of this endpoint that was deleted here."""
    known_lanes: Sequence[KnownLane]
    spec_problem: Problem | None
    """Why this agent cannot keep the lane warm at all."""
    draining: bool
    scratch_shortage: str | None
    lane_free: bool
    """Whether a lane with enough memory is free, or held by an older generation of the endpoint."""


@dataclass(frozen=True, slots=True)
class RepeatedLanePut:
    """The agent already has this lane. `retry`: whether it failed and is to try again."""

    retry: bool


@dataclass(frozen=True, slots=True)
class StartLane:
    """A new lane. `supersedes`: older generations, whose lanes end."""

    supersedes: tuple[int, ...] = ()


def decide_lane_put(facts: LanePutFacts) -> Refusal | RepeatedLanePut | StartLane:
    """Decides the answer to a PUT whose caller may act."""
    if facts.outdated:
        return OUTDATED
    if facts.tombstone is not None and facts.generation <= facts.tombstone:
        message = f"lanes of this endpoint up to generation {facts.tombstone} were deleted here"
        return Refusal(410, Problem(message=message, held_generation=facts.tombstone))
    newest = max((known.generation for known in facts.known_lanes), default=0)
    if facts.generation < newest:
        message = f"generation {newest} of this endpoint is newer"
        return Refusal(409, Problem(message=message, held_generation=newest))
    for known in facts.known_lanes:
        if known.generation == facts.generation:
            return _again(known, facts)
    refusal = decide_new(facts.spec_problem, draining=facts.draining, scratch_shortage=facts.scratch_shortage)
    if refusal is not None:
        return refusal
    if not facts.lane_free:
        return _NO_LANE
    ending = LaneState.DELETING
    return StartLane(tuple(known.generation for known in facts.known_lanes if known.state is not ending))


def _again(known: KnownLane, facts: LanePutFacts) -> Refusal | RepeatedLanePut:
    if known.spec_digest != facts.spec_digest:
        message = f"generation {known.generation} has the spec {known.spec_digest}, not {facts.spec_digest}"
        return Refusal(409, Problem(message=message, held_generation=known.generation))
    if known.state is LaneState.DELETING:
        return Refusal(503, Problem(message="this lane was not renewed and is being unloaded"), RETRY_AFTER_SECONDS)
    if known.state is not LaneState.FAILED or not known.may_retry:
        return RepeatedLanePut(retry=False)
    if facts.draining:
        return Refusal(503, Problem(message=TAKES_NOTHING), RETRY_AFTER_SECONDS)
    return RepeatedLanePut(retry=True) if facts.lane_free else _NO_LANE


_NO_LANE = Refusal(429, Problem(message="every lane with enough memory is taken"), RETRY_AFTER_SECONDS)
