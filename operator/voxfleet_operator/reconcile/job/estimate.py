"""What a job is expected to take: from its own shards with a result, or from what Macs have measured. Pure.

A shard counts as one of equal shards, as Plan made them, so neither lengths of clips nor progress are needed, and the
machine time moves only when a shard ends.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from math import ceil
from statistics import fmean, median

from voxfleet_api.kinds import AudioShard
from voxfleet_api.kinds.audio_batch_job import EstimateBasis, JobEstimate, JobPlan
from voxfleet_api.kinds.audio_shard import Stage
from voxfleet_api.quantities import seconds_milliseconds
from voxfleet_operator.reconcile.job.shards import JobShards
from voxfleet_operator.reconcile.job.status import shard_total
from voxfleet_operator.reconcile.lane_outlook import LaneOutlook, fits_window, seconds_until_done
from voxfleet_operator.reconcile.shard.status import is_committed, is_failed, is_live

STEP = 0.1
"""Relative: an estimate that differs by less is no news."""
STEP_SECONDS = 60.0


def job_estimate(
    plan: JobPlan, shards: JobShards, parallelism: int, outlook: LaneOutlook, now: str, *, suspended: bool = False
) -> JobEstimate | None:
    """None while nothing tells how long a shard takes."""
    total = shard_total(plan)
    open_shards = sum(not is_committed(shard) and not is_failed(shard) for shard in shards.process)
    left = open_shards + len(shards.coverage.missing(total))
    shard_seconds, basis = expected_shard_seconds(plan, shards, outlook)
    if shard_seconds is None or left < 1:
        return None
    used = sum(_machine_seconds(shard) for shard in shards.all if shard.spec.stage is Stage.PROCESS)
    machine_seconds = used + left * shard_seconds
    worked = sum(min(shard_seconds, _assigned_seconds(shard, now)) for shard in filter(is_live, shards.process))
    left_seconds, most_lanes = left * shard_seconds - worked, min(parallelism, left)
    done_in = seconds_until_done(left_seconds, most_lanes, outlook)
    return JobEstimate(
        machine_seconds=ceil(machine_seconds),
        finishes_at=None if done_in is None or suspended else _later(now, done_in),
        fits_window=fits_window(left_seconds, most_lanes, outlook),
        basis=basis,
    )


def expected_shard_seconds(
    plan: JobPlan, shards: JobShards, outlook: LaneOutlook
) -> tuple[float | None, EstimateBasis]:
    """The machine time of one more shard, and what says so; None while nothing does."""
    own = own_shard_seconds(shards.process)
    if own is not None:
        return own, EstimateBasis.SHARDS
    pace, total = outlook.audio_milliseconds_per_second, shard_total(plan)
    audio_milliseconds = seconds_milliseconds(plan.audio_seconds)
    if not pace or not total or not audio_milliseconds:
        return None, EstimateBasis.LADDER
    return audio_milliseconds / total / pace, EstimateBasis.LADDER


def own_shard_seconds(shards: Sequence[AudioShard]) -> float | None:
    """What the job's shards with a result took on the average; None if there is none whose time is verified.

    Of the setup the middle one counts: each Mac's first shard may have fetched the model and measured batch sizes.
    """
    done = [shard for shard in shards if is_committed(shard) and _machine_seconds(shard) > 0]
    if not done:
        return None
    setups = [_setup_seconds(shard) for shard in done]
    work = fmean(_machine_seconds(shard) - setup for shard, setup in zip(done, setups, strict=True))
    return median(setups) + work


def meaningful(old: JobEstimate | None, new: JobEstimate | None, now: str) -> JobEstimate | None:
    """The new estimate if it tells more than small change, else the old one: each one written is a write.

    What was known stays while no Mac is there that could tell, but for the time of the end.
    """
    if old is None:
        return new
    if new is None:
        return old.model_copy(update={"finishes_at": None})
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


def _machine_seconds(shard: AudioShard) -> float:
    """The verified lane time of all its attempts."""
    folded = shard.status.folded
    listed = sum(record.usage.machine_milliseconds for record in shard.status.attempts if record.usage is not None)
    return (listed + (0 if folded is None else folded.machine_milliseconds)) / 1000


def _setup_seconds(shard: AudioShard) -> float:
    folded = shard.status.folded
    listed = sum(record.usage.setup_milliseconds for record in shard.status.attempts if record.usage is not None)
    return (listed + (0 if folded is None else folded.setup_milliseconds)) / 1000


def _assigned_seconds(shard: AudioShard, now: str) -> float:
    at = shard.status.assigned_at
    return 0.0 if at is None else max(0.0, _seconds_between(at, now))


def _seconds_between(earlier: str, later: str) -> float:
    return (datetime.fromisoformat(later) - datetime.fromisoformat(earlier)).total_seconds()


def _later(now: str, seconds: float) -> str:
    return (datetime.fromisoformat(now) + timedelta(seconds=ceil(seconds))).strftime("%Y-%m-%dT%H:%M:%SZ")
