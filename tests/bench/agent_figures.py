"""Figures of one agent process: what it adds to a clip, and what a large job makes of its memory."""

from __future__ import annotations

import json
import statistics
import wave
from collections.abc import Callable
from pathlib import Path

from tests.bench.agent_alone import AgentAlone
from tests.bench.failure import MeasurementFailed
from tests.bench.report import Figure, Goal
from tests.bench.resident import PeakResident

from make_clips import Clip, write_manifest
from voxfleet_api.rows import ClipStatus, ResultRow

SHORT_CLIPS = 2000
SHORT_MILLISECONDS = 300
WARM_CLIPS = 8
OVERHEAD_ROUNDS = 3
LARGE_JOB = 100_000
SHARDS = 25
"""Of the large job; one is run. A tenth of its clips meet the model, the others are refused for their rate."""
RATE_HZ, REFUSED_RATE_HZ = 16_000, 8_000
TIMEOUT_SECONDS = 900.0
MIB = 2**20

Say = Callable[[str], None]


def overhead_figures(directory: Path, say: Say, clips: int = SHORT_CLIPS) -> list[Figure]:
    """What a clip costs the attempt beyond the model's own time. Raises MeasurementFailed, ChildFailed."""
    folder = directory / "clips"
    paths = [_silence(folder / f"{number:05d}.wav", SHORT_MILLISECONDS, RATE_HZ) for number in range(clips)]
    made = [Clip(path.stem, path, "") for path in paths]
    few, manifest = folder / "few.jsonl", folder / "all.jsonl"
    write_manifest(few, made[:WARM_CLIPS])
    write_manifest(manifest, made)
    say(f"an agent, {OVERHEAD_ROUNDS} times {clips} clips of {SHORT_MILLISECONDS} ms")
    overheads: list[float] = []
    with AgentAlone(directory / "agent", folder) as agent:
        warm = agent.job(few)
        agent.process(warm, agent.plan(warm, TIMEOUT_SECONDS), TIMEOUT_SECONDS)
        for _ in range(OVERHEAD_ROUNDS):
            job = agent.job(manifest)
            attempt = agent.process(job, agent.plan(job, TIMEOUT_SECONDS), TIMEOUT_SECONDS)
            beyond = agent.work_seconds(attempt) - busy_seconds(agent.rows(job, attempt.shard_uid), clips)
            overheads.append(beyond * 1000 / clips)
    return [
        Figure(
            "agent_overhead_milliseconds_per_clip",
            statistics.median(overheads),
            f"milliseconds a clip: an attempt's Work less its inference, {clips} clips of {SHORT_MILLISECONDS} ms",
            Goal("<=", 2),
            tuple(overheads),
        )
    ]


def busy_seconds(rows: list[ResultRow], clips: int) -> float:
    """The model's time: each row carries that of the batch it was in. Raises MeasurementFailed when a clip failed."""
    good = [row for row in rows if row.status is ClipStatus.SUCCEEDED]
    if len(good) != clips or len(rows) != clips:
        raise MeasurementFailed(f"{len(good)} of {len(rows)} rows succeeded, expected {clips}")
    milliseconds = 0.0
    for row in good:
        if row.timings is None or not row.batch_size:
            raise MeasurementFailed(f"row {row.index} names no times or no batch")
        # Whole milliseconds, cut off: half of one is lost a batch.
        milliseconds += (row.timings.infer_milliseconds + 0.5) / row.batch_size
    return milliseconds / 1000


def memory_figures(directory: Path, say: Say, clips: int = LARGE_JOB, shards: int = SHARDS) -> list[Figure]:
    """The supervisor's peak over Plan, Process and Finalize of one large job. Raises MeasurementFailed, ChildFailed."""
    folder = directory / "clips"
    manifest = _large_manifest(folder, clips)
    with AgentAlone(directory / "agent", folder) as agent:
        idle_bytes = agent.supervisor.memory_info().rss
        with PeakResident(agent.supervisor) as peak:
            say(f"an agent plans {clips} clips")
            job = agent.job(manifest, shards)
            plan = agent.plan(job, TIMEOUT_SECONDS)
            planned_bytes = peak.peak_bytes
            say(f"runs the first of its {len(plan.boundaries) - 1} shards, {plan.boundaries[1]} clips")
            attempt = agent.process(job, plan, TIMEOUT_SECONDS)
            processed_bytes = peak.peak_bytes
            say("merges all")
            agent.finalize(job, plan, attempt, TIMEOUT_SECONDS)
            peak_bytes = peak.peak_bytes
    say(
        f"supervisor: {idle_bytes / MIB:.0f} MiB idle, peak {planned_bytes / MIB:.0f} after Plan,"
        f" {processed_bytes / MIB:.0f} after Process, {peak_bytes / MIB:.0f} after Finalize"
    )
    return [
        Figure(
            "supervisor_peak_rss_megabytes",
            peak_bytes / 1e6,
            f"MB of the agent's supervisor, job of {clips} clips: Plan, a shard of {plan.boundaries[1]}, Finalize",
            Goal("<=", 120),
        ),
        Figure("supervisor_idle_rss_megabytes", idle_bytes / 1e6, "MB of the agent's supervisor before any work"),
    ]


def _large_manifest(folder: Path, clips: int) -> Path:
    """Every tenth clip is good, the others have a rate that the contract does not accept; few files, many names."""
    good = _silence(folder / "good.wav", SHORT_MILLISECONDS, RATE_HZ).name
    refused = _silence(folder / "refused.wav", SHORT_MILLISECONDS, REFUSED_RATE_HZ).name
    manifest = folder / "large.jsonl"
    with manifest.open("w") as lines:
        for number in range(clips):
            lines.write(json.dumps({"id": f"clip-{number:06d}", "uri": refused if number % 10 else good}) + "\n")
    return manifest


def _silence(path: Path, milliseconds: int, rate_hz: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate_hz)
        file.writeframes(bytes(2 * rate_hz * milliseconds // 1000))
    return path
