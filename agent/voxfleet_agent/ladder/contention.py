"""Does a lane work slower than its ladder measured? Samples -> slowdown -> verdict. Pure.

A sample is what one clip took of its batch's inference, beside what the ladder's tier of the same batch size took for
as much audio. Inference alone is timed, so waits for the disk, for decoding or for the agent are not in it. Only clips
of about the ladder's own length count: shorter ones cost more for each second of audio whoever else is on the Mac.
Lanes of this agent that work at the same time share its GPU and are no co-tenants, so the time is divided by their
number; a GPU that serves them better than in turn hides a little of a co-tenant's share.

What this cannot tell: who slows the lane down, a power mode that lowers the clock, a fan that is blocked where the
system reports no heat, and a ladder that was measured while the co-tenant was there already.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from voxfleet_agent.ladder.measure import rounds_of
from voxfleet_api.ladder_table import LadderTable

WINDOW_SECONDS = 600.0
"""Older samples say nothing about now."""
MAX_SAMPLES = 128
"""The newest clips that count; a fast lane's window is as much shorter."""
MIN_BATCHES = 5
MIN_INFER_MILLISECONDS = 1000
"""The least evidence: so many batches, and so much inference in them."""
LENGTH_FACTOR = 2
"""How much shorter or longer than the ladder's clips, on average, a clip may be."""
CONTENDED_FROM = 1.5
CLEAR_BELOW = 1.25
"""Slowdowns. Between the two the verdict stays what it was."""
HOLD_SECONDS = 120.0
"""For so long the samples must say the same before a verdict turns."""
FORGET_SECONDS = 1800.0
"""For so long a verdict stands without samples that say something."""


class Finding(StrEnum):
    UNKNOWN = "Unknown"
    CLEAR = "Clear"
    CONTENDED = "Contended"


@dataclass(frozen=True, slots=True)
class PaceSample:
    """What one clip took."""

    at_seconds: float
    slowdown: float
    """Its time by the ladder's; 1: as measured."""
    batches: float
    """Its share in the number of batches."""
    infer_milliseconds: float
    """Its share in the time of inference."""


@dataclass(frozen=True, slots=True)
class LaneVerdict:
    finding: Finding = Finding.UNKNOWN
    slowdown: float = 1.0
    """As it was when the verdict turned."""
    heard_at_seconds: float = 0.0
    """When samples last said something."""
    leaning: Finding | None = None
    """What they say instead of the verdict, and since when without a break."""
    leaning_since_seconds: float = 0.0


def pace_sample(
    table: LadderTable,
    *,
    audio_milliseconds: int,
    infer_milliseconds: int,
    batch_size: int,
    lanes_at_work: int,
    now_seconds: float,
) -> PaceSample | None:
    """`infer_milliseconds`: of the clip's whole batch, of `batch_size` clips. None: the ladder has nothing to compare
    the clip with."""
    tier = next((tier for tier in table.tiers if tier.batch_size == batch_size), None)
    if tier is None or not tier.infer_milliseconds or not audio_milliseconds:
        return None
    measured_clip_milliseconds = tier.audio_milliseconds / (rounds_of(batch_size) * batch_size)
    if not 1 / LENGTH_FACTOR <= audio_milliseconds / max(1.0, measured_clip_milliseconds) <= LENGTH_FACTOR:
        return None
    own_milliseconds = infer_milliseconds / batch_size
    expected_milliseconds = audio_milliseconds / tier.audio_seconds_per_second
    return PaceSample(
        at_seconds=now_seconds,
        slowdown=own_milliseconds / expected_milliseconds / max(1, lanes_at_work),
        batches=1 / batch_size,
        infer_milliseconds=own_milliseconds,
    )


def slowdown(samples: Iterable[PaceSample], now_seconds: float) -> float | None:
    """The median over the batches of the last minutes, so that a few odd ones count for nothing; None: too few."""
    recent = [sample for sample in samples if 0 <= now_seconds - sample.at_seconds <= WINDOW_SECONDS]
    batches = sum(sample.batches for sample in recent)
    if batches < MIN_BATCHES - 1e-6 or sum(sample.infer_milliseconds for sample in recent) < MIN_INFER_MILLISECONDS:
        return None
    below = 0.0
    for sample in sorted(recent, key=lambda sample: sample.slowdown):
        below += sample.batches
        if below >= batches / 2:
            return sample.slowdown
    return None


def judge(before: LaneVerdict, found: float | None, now_seconds: float) -> LaneVerdict:
    """The verdict after `before`, as a sample comes and they show this slowdown; None: too few to tell."""
    if found is None:
        return _leaning(before, None, before.heard_at_seconds, now_seconds)
    said = _finding(found, before.finding)
    if said is before.finding:
        return _leaning(before, None, now_seconds, now_seconds)
    if before.leaning is not said:
        return _leaning(before, said, now_seconds, now_seconds)
    if now_seconds - before.leaning_since_seconds < HOLD_SECONDS:
        return _leaning(before, said, now_seconds, before.leaning_since_seconds)
    return LaneVerdict(said, found, now_seconds)


def still(verdict: LaneVerdict, now_seconds: float) -> LaneVerdict:
    """What is left of a verdict by now."""
    return verdict if now_seconds - verdict.heard_at_seconds <= FORGET_SECONDS else LaneVerdict()


def _finding(found: float, before: Finding) -> Finding:
    if found >= CONTENDED_FROM:
        return Finding.CONTENDED
    return Finding.CLEAR if found < CLEAR_BELOW else before


def _leaning(before: LaneVerdict, said: Finding | None, heard_at_seconds: float, since_seconds: float) -> LaneVerdict:
    return LaneVerdict(before.finding, before.slowdown, heard_at_seconds, said, since_seconds)
