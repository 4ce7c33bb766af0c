"""Measures one model within its time: a job with a ladder in one child process, mlx-audio's own loop in another."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from voxfleet_agent.config import ModelCacheConfig
from voxfleet_agent.engine.model_rates import heard_rate_hz
from voxfleet_agent.engine.upstream_messages import UPSTREAM_MODULE, UpstreamOrder, read_answer
from voxfleet_agent.finished_runs.run_files import FinishedRun, UnreadableRun, open_run
from voxfleet_agent.ladder.ladder_book import LadderFiles
from voxfleet_agent.mac_benchmark.benchmark_job import BenchmarkJob
from voxfleet_agent.mac_benchmark.measured_model import MeasuredModel
from voxfleet_agent.models.model_access import ModelAccess
from voxfleet_agent.models.model_files import read_config
from voxfleet_agent.models.resolved_model import ResolvedModel
from voxfleet_agent.models.store import ModelStore
from voxfleet_agent.storage import Storage
from voxfleet_api.failures import VoxFleetError
from voxfleet_api.kinds.job_model import ModelSource

DEFAULT_RATE_HZ = 16_000
STEPS = 3
"""Of one model: its files, the agent's run, mlx-audio's own loop."""
STOP_SECONDS = 20.0
"""How long a child has to end by itself once its time is over."""

Say = Callable[[str], None]


class TimeBudget:
    """The time of all steps together; each may take an equal share of what is left."""

    def __init__(self, seconds: float, steps: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._end = clock() + seconds
        self._steps = steps

    def next_step_seconds(self) -> float:
        share = max(0.0, self._end - self._clock()) / max(1, self._steps)
        self._steps -= 1
        return share

    def skip_steps(self, count: int) -> None:
        self._steps -= count


def measure_model(
    name: str,
    source: ModelSource,
    clips: Mapping[str, Path],
    largest_batch: int,
    folder: Path,
    cache: Path,
    budget: TimeBudget,
    say: Say,
) -> MeasuredModel:
    """`folder`: an empty folder for what the children write. Takes STEPS steps of the budget; raises OSError."""
    measured = MeasuredModel(name, len(clips))
    seconds = budget.next_step_seconds()
    try:
        model = asyncio.run(asyncio.wait_for(_resolved(source, cache), seconds))
    except (VoxFleetError, TimeoutError) as error:
        budget.skip_steps(STEPS - 1)
        late = f"its files were not here after {seconds:.0f} s; fetch them before, or give it more with --minutes"
        return replace(measured, notes=(late if isinstance(error, TimeoutError) else str(error),))
    measured = replace(measured, digest=model.digest)
    say(f"{name}: the ladder and {len(clips)} clips with the agent")
    job = BenchmarkJob(source, clips, _rate_hz(model.path), largest_batch)
    measured = _with_run(measured, job, folder, budget.next_step_seconds())
    say(f"{name}: the same clips with mlx-audio's own loop")
    return _with_upstream(measured, model, clips, folder, budget.next_step_seconds())


async def _resolved(source: ModelSource, cache: Path) -> ResolvedModel:
    kept = ModelCacheConfig(path=cache / "models")
    models = ModelStore(kept.path, kept.quota_bytes, ModelAccess(hub=() if source.hub is None else (source.hub.id,)))
    async with Storage([] if source.address is None else [source.address]) as storage:
        return await models.resolve(source, storage)


def _with_run(measured: MeasuredModel, job: BenchmarkJob, folder: Path, seconds: float) -> MeasuredModel:
    manifest, yaml, state = folder / "clips.jsonl", folder / "job.yaml", folder / "state"
    manifest.write_text(job.manifest_text())
    yaml.write_text(job.documents(manifest, folder / "results"))
    arguments = ["run", "-f", str(yaml), "--state", str(state), "-o", "json"]
    for clips_folder in sorted({str(file.parent) for file in job.clips.values()}):
        arguments += ["--allow", f"file://{clips_folder}/"]
    took, output = child(["-m", "voxfleet_agent", *arguments], seconds)
    notes = measured.notes
    if took is None:
        notes += (f"the agent's run was stopped after {seconds:.0f} s; give it more with --minutes, or fewer clips",)
    try:
        summary = json.loads(output)
    except ValueError:
        summary = {}
        notes += ("the agent's run gave no summary; run it by hand: docs/how-to/run-without-a-cluster.md",) * (
            took is not None
        )
    if summary.get("reason"):
        notes += (f"the agent's run: {summary['reason']}",)
    tables, _ = LadderFiles(state / "ladders").all()
    run = asyncio.run(_finished(summary.get("output")))
    return replace(
        measured,
        notes=notes,
        wall_seconds=summary.get("wallSeconds"),
        ladder_seconds=summary.get("ladderSeconds"),
        ladders=tuple(tables),
        agent_process_seconds=took,
        rows=() if run is None else run.rows,
    )


async def _finished(output: object) -> FinishedRun | None:
    if not isinstance(output, str):
        return None
    try:
        async with open_run(output, {}) as files:
            return await files.finished()
    except UnreadableRun:
        return None


def _with_upstream(
    measured: MeasuredModel, model: ResolvedModel, clips: Mapping[str, Path], folder: Path, seconds: float
) -> MeasuredModel:
    order, answer = folder / "upstream.json", folder / "upstream.jsonl"
    paths = {clip_id: str(file) for clip_id, file in clips.items()}
    order.write_text(UpstreamOrder(model=str(model.path), clips=paths).model_dump_json(by_alias=True))
    took, _ = child(["-m", UPSTREAM_MODULE, str(order), str(answer)], seconds)
    upstream = read_answer(answer.read_text().splitlines() if answer.exists() else ())
    notes = measured.notes
    if len(upstream.clips) < len(clips):
        why = "failed" if took is not None else f"was stopped after {seconds:.0f} s"
        notes += (f"mlx-audio's own loop {why}, with {len(upstream.clips)} of {len(clips)} clips done",)
    return replace(measured, notes=notes, upstream=upstream, upstream_process_seconds=took)


def _rate_hz(model: Path) -> int:
    config = read_config(model)
    return heard_rate_hz(str(config.get("model_type")), config) or DEFAULT_RATE_HZ


def child(arguments: Sequence[str], seconds: float, stop_seconds: float = STOP_SECONDS) -> tuple[float | None, str]:
    """(the seconds until it ended, None when it was stopped; its standard output). Its standard error is this one's."""
    started = time.monotonic()
    process = subprocess.Popen(  # noqa: S603 - this Python with modules of this package
        [sys.executable, *arguments], stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True, env=os.environ
    )
    try:
        output = process.communicate(timeout=seconds)[0]
        return time.monotonic() - started, output
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGINT)
    try:
        return None, process.communicate(timeout=stop_seconds)[0]
    except subprocess.TimeoutExpired:
        process.kill()
        return None, process.communicate()[0]
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
