"""What a job is expected to take: from its own shards with a result, or from what Macs have measured. Pure.

A shard counts as one of equal shards, as Plan made them, and a part of one by its clips. So neither lengths of clips
nor progress are needed, and the machine time moves only when a shard ends.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from math import ceil
from statistics import median

from voxfleet_api.kinds import AudioShard
from voxfleet_api.kinds.audio_shard import Stage
from voxfleet_api.kinds.job_status import EstimateBasis, ExpectedCost, JobEstimate, JobPlan
from voxfleet_api.moments import timestamp
from voxfleet_api.quantities import seconds_milliseconds
from voxfleet_billing.expected_cost import HourlyPrice
from voxfleet_operator.reconcile.job.shards import JobShards
from voxfleet_operator.reconcile.job.status import shard_total
from voxfleet_operator.reconcile.lane_outlook import LaneOutlook, fits_window, seconds_until_done
from voxfleet_operator.reconcile.shard.facts import ShardFacts
from voxfleet_operator.reconcile.shard.pieces import path_of, piece_range

STEP = 0.1
"""Relative: an estimate that differs by less is no news."""
STEP_SECONDS = 60.0
MINUTE_SECONDS = 60


def job_estimate(
    plan: JobPlan,
    shards: JobShards,
    parallelism: int,
    outlook: LaneOutlook,
    now: str,
    *,
    suspended: bool = False,
    most_seconds: int | None = None,
) -> JobEstimate | None:
    """None while nothing tells how long a shard takes. `most_seconds`: the job's maxMachineSeconds."""
    open_shards = [found for found in shards.coverage.covering if not (found.is_committed or found.is_failed)]
    missing = shards.coverage.missing(shard_total(plan))
    shard_seconds, basis = expected_shard_seconds(plan, shards, outlook)
    if shard_seconds is None or not (open_shards or missing):
        return None
    live = [(_share(plan, found.ordinal, found.path), found.assigned_at) for found in open_shards if found.is_live]
    waiting = [
        *(shard_seconds * _share(plan, found.ordinal, found.path) for found in open_shards if not found.is_live),
        *(shard_seconds * _share(plan, new.ordinal or 0, new.path) for new in missing),
    ]
    running = [max(0.0, shard_seconds * share - _seconds_since(at, now)) for share, at in live]
    used = sum(found.machine_milliseconds for found in shards.facts if found.is_process) / 1000
    needed = shard_seconds * sum(share for share, _ in live) + sum(waiting)
    most_lanes = min(parallelism, len(running) + len(waiting))
    done_in = seconds_until_done(sum(running) + sum(waiting), most_lanes, outlook)
    return JobEstimate(
        machine_seconds=ceil(used + needed),
        finishes_at=None if done_in is None or suspended else _later(now, done_in),
        fits_window=fits_window(running, waiting, most_lanes, outlook),
        basis=basis,
        cost=None if outlook.price is None else expected_cost(outlook.price, ceil(used + needed), most_seconds),
    )


def expected_cost(price: HourlyPrice, seconds: int, most_seconds: int | None) -> ExpectedCost:
    """Of machine time in seconds."""
    return ExpectedCost(
        currency=price.currency,
        hourly=price.hourly_text,
        amount=price.amount_text(1000 * seconds),
        limit=None if most_seconds is None else price.amount_text(1000 * most_seconds),
    )


def expected_shard_seconds(
    plan: JobPlan, shards: JobShards, outlook: LaneOutlook
) -> tuple[float | None, EstimateBasis]:
    """The machine time of one more planned shard, and what says so; None while nothing does."""
    own = own_shard_seconds(plan, shards.coverage.covering)
    if own is not None:
        return own, EstimateBasis.SHARDS
    pace, total = outlook.audio_milliseconds_per_second, shard_total(plan)
    audio_milliseconds = seconds_milliseconds(plan.audio_seconds)
    if not pace or not total or not audio_milliseconds:
        return None, EstimateBasis.LADDER
    return audio_milliseconds / total / pace, EstimateBasis.LADDER


def own_shard_seconds(plan: JobPlan, shards: Sequence[ShardFacts]) -> float | None:
    """What a planned shard of the job costs on the average, failed attempts included, by those with a result; None if
    there is none whose time is verified.

    Of the setup the middle one counts: each Mac's first shard may have fetched the model and measured batch sizes.
    """
    done = [found for found in shards if found.is_committed and found.machine_milliseconds > 0]
    if not done:
        return None
    setups = [found.setup_milliseconds for found in done]
    work = sum(found.machine_milliseconds for found in done) - sum(setups)
    return (median(setups) + work / sum(_share(plan, found.ordinal, found.path) for found in done)) / 1000


@dataclass(frozen=True, slots=True)
class ShardTime:
    """How long an attempt that delivers a result holds its Mac, failed attempts left out.

    It is the middle of those that did, and of whole shards where there are any. So one bad shard does not make a Mac
    that closes seem too short-lived for all others.
    """

    setup_seconds: float
    work_seconds: float
    """Of a planned shard."""

    @classmethod
    def of(cls, plan: JobPlan, shards: Iterable[AudioShard]) -> ShardTime | None:
        """None if no time of a shard with a result is verified."""
        return cls.of_facts(plan, map(ShardFacts.of, shards))

    @classmethod
    def of_facts(cls, plan: JobPlan, shards: Iterable[ShardFacts]) -> ShardTime | None:
        found = [(shard, usage) for shard in shards if (usage := shard.committing) is not None]
        found = [item for item in found if not item[0].path] or found
        if not found:
            return None
        return cls(
            median([usage.setup_milliseconds for _, usage in found]) / 1000,
            median(
                [
                    (usage.work_milliseconds + usage.cleanup_milliseconds) / _share(plan, shard.ordinal, shard.path)
                    for shard, usage in found
                ]
            )
            / 1000,
        )

    def seconds(self, share: float) -> float:
        """In whole minutes, so that placement has few kinds of shards to judge."""
        return MINUTE_SECONDS * ceil((self.setup_seconds + self.work_seconds * share) / MINUTE_SECONDS)


def held_seconds(plan: JobPlan | None, time: ShardTime | None, shard: AudioShard) -> float | None:
    """How long the shard's next attempt will hold a Mac; None: unknown."""
    return held_seconds_of(plan, time, shard.spec.stage, shard.spec.ordinal or 0, path_of(shard))


def held_seconds_of(
    plan: JobPlan | None, time: ShardTime | None, stage: Stage, ordinal: int, path: str
) -> float | None:
    if plan is None or time is None or stage is not Stage.PROCESS:
        return None
    return time.seconds(_share(plan, ordinal, path))


def shard_share(plan: JobPlan, shard: AudioShard) -> float:
    """What the shard is of a planned one, by its clips: 1 for a whole one."""
    return _share(plan, shard.spec.ordinal or 0, path_of(shard))


def _share(plan: JobPlan, ordinal: int, path: str) -> float:
    if not path:
        return 1.0
    planned = range(*plan.boundaries[ordinal : ordinal + 2])
    return len(piece_range(planned, path)) / len(planned)


def meaningful(old: JobEstimate | None, new: JobEstimate | None, now: str) -> JobEstimate | None:
    """The new estimate if it tells more than small change, else the old one: each one written is a write.

    What was known stays while no Mac is there that could tell, but for the time of the end.
    """
    if old is None:
        return new
    if new is None:
        return old.model_copy(update={"finishes_at": None})
    if _price(new) != _price(old):
        return new
    if (new.basis, new.fits_window) != (old.basis, old.fits_window) or (new.finishes_at is None) != (
        old.finishes_at is None
    ):
        return new
    if abs(new.machine_seconds - old.machine_seconds) > STEP * old.machine_seconds:
        return new
    if old.finishes_at is None or new.finishes_at is None:
        return old
    left, moved = _seconds_between(now, new.finishes_at), _seconds_between(old.finishes_at, new.finishes_at)
    return new if abs(moved) > max(STEP_SECONDS, STEP * left) else old


def _price(estimate: JobEstimate) -> tuple[str, str] | None:
    return None if estimate.cost is None else (estimate.cost.currency, estimate.cost.hourly)


def _seconds_since(at: str | None, now: str) -> float:
    return 0.0 if at is None else max(0.0, _seconds_between(at, now))


def _seconds_between(earlier: str, later: str) -> float:
    return (datetime.fromisoformat(later) - datetime.fromisoformat(earlier)).total_seconds()


def _later(now: str, seconds: float) -> str:
    return timestamp(datetime.fromisoformat(now) + timedelta(seconds=ceil(seconds)))
