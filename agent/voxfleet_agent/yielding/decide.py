"""What the batches of a Mac do while its sessions need it. Pure: of what is seen, what was decided before, and now.

While a session is open, batches work in quanta; from the onset of speech to the end of the turn they stand still. So
that people who speak all night leave the night's batch something, pauses owe it work: a twentieth of their time, in
turns of LONGEST_PAUSE_SECONDS and BREATH_SECONDS. Turns that are late all the same, and memory that runs short, send
shards back.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum

from voxfleet_api.kinds.endpoint_yield import YieldMode

LINGER_SECONDS = 0.25
"""How long a pause outlasts the turn, so that an answer that follows at once finds it."""
LONGEST_PAUSE_SECONDS = 120.0
PAUSE_SHARE = 20
"""Batches get one part in so many of what they stood still for."""
BREATH_SECONDS = LONGEST_PAUSE_SECONDS / PAUSE_SHARE
"""How long they work, clip by clip, although somebody speaks."""
BURN_SECONDS = 60.0
"""How long turns are late until shards go back."""
NEXT_EVICTION_SECONDS = 15.0
"""What a shard that went back takes until memory shows it."""
HOLD_OFF_SECONDS = 300.0
"""How long a Mac takes no batches after it gave some back."""


class Pace(StrEnum):
    """How batches work, the fastest first."""

    RUN = "Run"
    QUANTA = "Quanta"  # batches of a size whose steps are no longer than the quantum
    CLIP_BY_CLIP = "ClipByClip"
    PAUSE = "Pause"


class EvictionCause(StrEnum):
    BURN = "Burn"  # turns were later than the contract's target
    MEMORY = "Memory"  # the Mac's memory ran short


@dataclass(frozen=True, slots=True)
class ServingLane:
    """A warm lane of an endpoint."""

    name: str
    mode: YieldMode = YieldMode.PAUSE
    quantum_milliseconds: int = 250
    open_sessions: int = 0
    speaking: bool = False
    """Whether somebody waits for its model, or is about to."""
    burning_seconds: float = 0.0
    """For how long its turns have been later than the target."""


@dataclass(frozen=True, slots=True)
class BatchLane:
    """A lane for batches."""

    name: str
    held: bool = True
    """Whether an attempt holds it. One that comes later finds the lane paused."""
    returning: bool = False
    """Whether its attempt was called back, and still finishes the clips in flight."""
    leaves: bool = False
    """The same, because the Mac drains or its time is over: people need not be served first for that."""


@dataclass(frozen=True, slots=True)
class MacSnapshot:
    serving: tuple[ServingLane, ...] = ()
    batches: tuple[BatchLane, ...] = ()
    memory_short: bool = False


@dataclass(frozen=True, slots=True)
class Standing:
    """What was decided before, as far as the next decision depends on it."""

    at_seconds: float = 0.0
    pace: Pace = Pace.RUN
    payer: str | None = None
    """The lane that batches stand still for."""
    quiet_since_seconds: float | None = None
    """Since when nobody speaks for whom they would stand still; None: somebody does, or nobody ever did."""
    owed_seconds: float = 0.0
    """The work that pauses owe to batches."""
    breathes: bool = False
    """Whether batches get that work now."""
    evicted_at_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Decision:
    standing: Standing
    paces: Mapping[str, Pace] = field(default_factory=dict)
    """Of the lanes for batches, by name."""
    quantum_milliseconds: int | None = None
    """None: no session is open."""
    evicted: Mapping[str, EvictionCause] = field(default_factory=dict)
    """Lanes whose shards go back now."""
    takes_batches: bool = True
    """Whether the Mac takes further attempts."""
    look_again_seconds: float | None = None
    """After how long to decide anew though nothing happens."""


def decide(snapshot: MacSnapshot, before: Standing, now_seconds: float) -> Decision:
    standing = _standing(snapshot, before, now_seconds)
    evicted = _evicted(snapshot, before, now_seconds)
    if evicted:
        standing = replace(standing, evicted_at_seconds=now_seconds)
    opened = [lane for lane in snapshot.serving if lane.open_sessions > 0]
    return Decision(
        standing,
        paces={lane.name: _pace_of(lane, standing.pace, evicted) for lane in snapshot.batches},
        quantum_milliseconds=min((lane.quantum_milliseconds for lane in opened), default=None),
        evicted=evicted,
        takes_batches=_takes_batches(snapshot, standing, now_seconds),
        look_again_seconds=_look_again_seconds(standing, now_seconds),
    )


def _standing(snapshot: MacSnapshot, before: Standing, now_seconds: float) -> Standing:
    speaking = [lane for lane in snapshot.serving if lane.open_sessions > 0 and lane.speaking]
    pausing = sorted(lane.name for lane in speaking if lane.mode is not YieldMode.SHRINK)
    quiet_since = before.quiet_since_seconds
    if pausing:
        quiet_since = None
    elif before.payer is not None and quiet_since is None:
        quiet_since = now_seconds
    lingers = before.payer is not None and quiet_since is not None and now_seconds - quiet_since < LINGER_SECONDS
    owed_seconds = _owed_seconds(before, now_seconds)
    breathes = owed_seconds >= BREATH_SECONDS or (before.breathes and owed_seconds > 0)
    payer = before.payer if lingers or before.payer in pausing else next(iter(pausing), None)
    if payer is not None:
        pace = Pace.CLIP_BY_CLIP if breathes else Pace.PAUSE
    elif speaking:
        pace = Pace.CLIP_BY_CLIP
    elif any(lane.open_sessions > 0 for lane in snapshot.serving):
        pace = Pace.QUANTA
    else:
        pace = Pace.RUN
    return Standing(now_seconds, pace, payer, quiet_since, owed_seconds, breathes, before.evicted_at_seconds)


def _owed_seconds(before: Standing, now_seconds: float) -> float:
    passed_seconds = max(0.0, now_seconds - before.at_seconds)
    if before.pace is Pace.PAUSE:
        return min(BREATH_SECONDS, before.owed_seconds + passed_seconds / PAUSE_SHARE)
    return max(0.0, before.owed_seconds - passed_seconds)


def _pace_of(lane: BatchLane, pace: Pace, evicted: Mapping[str, EvictionCause]) -> Pace:
    """A shard that goes back finishes the clips in flight, which it could not while it stands still."""
    if (lane.held and lane.returning) or lane.name in evicted:
        return Pace.CLIP_BY_CLIP
    return Pace.CLIP_BY_CLIP if lane.held and lane.leaves and pace is Pace.PAUSE else pace


def _evicted(snapshot: MacSnapshot, before: Standing, now_seconds: float) -> Mapping[str, EvictionCause]:
    held = sorted(lane.name for lane in snapshot.batches if lane.held and not lane.returning and not lane.leaves)
    if _burns(snapshot):
        return dict.fromkeys(held, EvictionCause.BURN)
    lately = before.evicted_at_seconds is not None and now_seconds - before.evicted_at_seconds < NEXT_EVICTION_SECONDS
    if snapshot.memory_short and snapshot.serving and not lately:
        return dict.fromkeys(held[-1:], EvictionCause.MEMORY)
    return {}


def _burns(snapshot: MacSnapshot) -> bool:
    return any(lane.mode is YieldMode.EVICT and lane.burning_seconds >= BURN_SECONDS for lane in snapshot.serving)


def _takes_batches(snapshot: MacSnapshot, standing: Standing, now_seconds: float) -> bool:
    evicted_at = standing.evicted_at_seconds
    if evicted_at is not None and now_seconds - evicted_at < HOLD_OFF_SECONDS:
        return False
    return not _burns(snapshot) and not (snapshot.memory_short and snapshot.serving)


def _look_again_seconds(standing: Standing, now_seconds: float) -> float | None:
    if standing.payer is None:
        return None
    if standing.quiet_since_seconds is not None:
        return max(0.0, standing.quiet_since_seconds + LINGER_SECONDS - now_seconds)
    if standing.breathes:
        return standing.owed_seconds
    return (BREATH_SECONDS - standing.owed_seconds) * PAUSE_SHARE
