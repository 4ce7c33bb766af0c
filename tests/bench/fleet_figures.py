"""The figures that need the whole product: latency, load on the control plane, throughput of one Mac."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from tests.bench.audit import operator_requests
from tests.bench.clips import Pool
from tests.bench.failure import MeasurementFailed
from tests.bench.pace import Pace, pace_of_job
from tests.bench.report import Figure, Goal
from tests.bench.rig import LADDER_CONTRACT, Rig

SMALL_JOB_CLIPS = 8
REQUESTS_GOAL_CLIPS = 1000
FIRST_CLIP_POLL_SECONDS = 0.02
FIRST_CLIP_TIMEOUT_SECONDS = 120.0
WARMING_JOBS = 3
# One shard holds all the clips, so that a job's Work is one stretch of one lane.
ONE_SHARD = {"targetAudio": "24h"}
# Some shards more than there are Macs, so that every lane loads the model.
SPREAD = {"targetAudio": "4s"}

Say = Callable[[str], None]


@dataclass(frozen=True)
class JobLoad:
    """What the operator asked of kube-apiserver for one job, and how soon the first clip was done."""

    first_clip_seconds: float
    requests: Counter[str]


def two_mac_figures(directory: Path, pool: Pool, clips: int, say: Say) -> list[Figure]:
    """Latency and requests on a fleet of two Macs. Raises MeasurementFailed, ChildFailed, KubectlFailed."""
    with Rig(directory, macs=2, readable=pool.folder) as rig:
        say("two Macs and the operator are up; a small job on cold lanes")
        cold = _run_job(rig, "cold", pool.manifest("cold", SMALL_JOB_CLIPS), SMALL_JOB_CLIPS, sharding=SPREAD)
        _warm_every_lane(rig, pool)
        say(f"first clip after {cold.first_clip_seconds:.1f} s; a small job on warm lanes")
        warm = _run_job(rig, "warm", pool.manifest("warm", SMALL_JOB_CLIPS), SMALL_JOB_CLIPS)
        say(f"first clip after {warm.first_clip_seconds:.1f} s; requests: {_listed(warm.requests)}")
        say(f"a job of {clips} clips")
        large = _run_job(rig, "large", pool.manifest("large", clips), clips)
        say(f"requests: {_listed(large.requests)}")
    seconds = "seconds from apply until a row is durable"
    return [
        Figure("apply_to_first_clip_cold_seconds", cold.first_clip_seconds, f"{seconds}, model not loaded"),
        Figure("apply_to_first_clip_warm_seconds", warm.first_clip_seconds, f"{seconds}, model loaded", Goal("<=", 10)),
        Figure(
            "control_plane_requests_per_clip",
            large.requests.total() / clips,
            f"requests of the operator a clip, job of {clips} clips",
            Goal("<=", 0.05) if clips >= REQUESTS_GOAL_CLIPS else None,
        ),
        Figure(
            "control_plane_requests_small_job",
            float(warm.requests.total()),
            f"requests of the operator, job of {SMALL_JOB_CLIPS} clips",
            Goal("<=", 25),
        ),
    ]


def agent_pace(directory: Path, pool: Pool) -> Pace:
    """Work of one Mac with one lane and a ladder. Raises MeasurementFailed, ChildFailed, KubectlFailed."""
    with Rig(directory, macs=1, readable=pool.folder, contract=LADDER_CONTRACT) as rig:
        clips = len(pool.clips)
        rig.submit("throughput", pool.manifest("throughput", clips), sharding=ONE_SHARD)
        work_seconds = float(rig.completed("throughput", clips).status.usage.productive_seconds)
    if work_seconds <= 0:
        raise MeasurementFailed("job throughput: status.usage.productive_seconds is 0 though every clip succeeded")
    return pace_of_job(directory / "results", pool.total_audio_seconds, work_seconds)


def _run_job(rig: Rig, name: str, manifest: Path, clips: int, **spec: object) -> JobLoad:
    applied, clock = datetime.now(UTC), time.monotonic()
    rig.submit(name, manifest, **spec)
    rig.wait_for(
        f"first clip of job {name}",
        lambda: any(attempt.progress.done > 0 for attempt in rig.process_attempts(name)),
        FIRST_CLIP_TIMEOUT_SECONDS,
        FIRST_CLIP_POLL_SECONDS,
    )
    first_clip_seconds = time.monotonic() - clock
    rig.completed(name, clips)
    ended = datetime.now(UTC)
    with rig.control_plane.audit_log.open(encoding="utf-8") as lines:
        return JobLoad(first_clip_seconds, operator_requests(lines, applied, ended))


def _warm_every_lane(rig: Rig, pool: Pool) -> None:
    for number in range(WARMING_JOBS):
        if rig.models_are_loaded():
            return
        name = f"warming-{number}"
        _run_job(rig, name, pool.manifest(name, SMALL_JOB_CLIPS), SMALL_JOB_CLIPS, sharding=SPREAD)
    if not rig.models_are_loaded():
        raise MeasurementFailed(f"not every Mac has loaded the model after {WARMING_JOBS} jobs")


def _listed(requests: Counter[str]) -> str:
    return ", ".join(f"{count} {what}" for what, count in requests.most_common())
