"""A real agent process without operator, control plane or SSH: the bench asks it for attempts itself."""

from __future__ import annotations

import itertools
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Self

import httpx
import psutil
from tests.bench.failure import MeasurementFailed
from tests.bench.rig import CONTRACT
from tests.rig.agent_process import AgentProcess
from tests.rig.job_specs import MODEL, JobSpecs

from voxfleet_api.attempt_spec import AttemptSpec
from voxfleet_api.kinds.job_input import JobInput, ManifestInput
from voxfleet_api.kinds.job_model import ModelSource
from voxfleet_api.kinds.voice_contract import VoiceContractSpec
from voxfleet_api.ledger import Activity
from voxfleet_api.protocol import TERMINAL_STATES, AttemptState, AttemptStatus
from voxfleet_api.results import PlanResult
from voxfleet_api.rows import ResultRow

BENCH_CONTRACT = VoiceContractSpec.load(CONTRACT["spec"])
POLL_SECONDS = 0.05


class AgentAlone:
    """Everything below `directory`; `readable` is the folder whose files it may read. A context manager.

    `model`: a folder (default: the built-in model); `environment` is added to the agent's.
    """

    def __init__(
        self,
        directory: Path,
        readable: Path,
        *,
        model: Path | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.results = directory / "results"
        self._model = MODEL if model is None else ModelSource(path=str(model))
        allow = [f"file://{folder}/" for folder in (readable, self.results, model) if folder is not None]
        self._agent = AgentProcess(directory / "mac-a", allow, environment=environment)
        self._jobs = itertools.count()

    def __enter__(self) -> Self:
        self.results.mkdir(parents=True)
        self._agent.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._agent.close()

    @property
    def supervisor(self) -> psutil.Process:
        """The agent without its lanes."""
        return psutil.Process(self._agent.mac.agent.pid)

    def job(self, manifest: Path, shards: int = 1) -> JobSpecs:
        """A new job over the manifest's clips, in one shard, or at most so many."""
        return JobSpecs(
            JobInput(manifest=ManifestInput(uri=f"file://{manifest}")),
            f"file://{self.results}/",
            BENCH_CONTRACT,
            shard_audio_milliseconds=10**9 if shards == 1 else 1,
            max_shards=shards,
            model=self._model,
            number=next(self._jobs),
        )

    def plan(self, job: JobSpecs, timeout_seconds: float) -> PlanResult:
        """Raises MeasurementFailed."""
        status = self._run(job.plan(), timeout_seconds)
        if status.result is None or status.result.plan is None:
            raise MeasurementFailed("Plan gave no result")
        return status.result.plan

    def process(self, job: JobSpecs, plan: PlanResult, timeout_seconds: float) -> AttemptStatus:
        """Runs the plan's first shard. Raises MeasurementFailed."""
        return self._run(next(job.process(plan)), timeout_seconds)

    def finalize(
        self, job: JobSpecs, plan: PlanResult, process: AttemptStatus, timeout_seconds: float
    ) -> AttemptStatus:
        """Merges the first shard's commit; the other clips are not_run. Raises MeasurementFailed."""
        if process.result is None:
            raise MeasurementFailed("Process gave no result")
        not_run = range(plan.boundaries[1], plan.boundaries[-1])
        order = job.finalize(plan, [(next(job.process(plan)), process.result)], not_run)
        return self._run(order, timeout_seconds)

    def work_seconds(self, attempt: AttemptStatus) -> float:
        """Of the attempt's signed rows of activity Work. Raises MeasurementFailed without any."""
        work = [
            signed.row.monotonic_milliseconds
            for signed in self._agent.ledger()
            if signed.row.shard_uid == attempt.shard_uid and signed.row.activity is Activity.WORK
        ]
        if not sum(work):
            raise MeasurementFailed(f"attempt {attempt.shard_name} has no Work in its ledger rows")
        return sum(work) / 1000

    def rows(self, job: JobSpecs, shard_uid: str) -> list[ResultRow]:
        """Of every part that the shard's attempt wrote."""
        parts = sorted(job.local_folder.glob(f"parts/{shard_uid}/*/part-*.jsonl"))
        return [ResultRow.model_validate_json(line) for part in parts for line in part.read_bytes().splitlines()]

    def _run(self, spec: AttemptSpec, timeout_seconds: float) -> AttemptStatus:
        """Asks now and then, as following every event would cost the agent time."""
        try:
            status = self._agent.put(spec)
            deadline = time.monotonic() + timeout_seconds
            while status.state not in TERMINAL_STATES:
                if time.monotonic() > deadline:
                    raise MeasurementFailed(
                        f"attempt {spec.shard_name}: {status.state}, {status.progress.done} of {status.progress.total}"
                        f" after {timeout_seconds:g} s"
                    )
                time.sleep(POLL_SECONDS)
                status = self._agent.status(spec)
        except httpx.HTTPError as error:
            log = self._agent.mac.agent.log_tail(15)
            raise MeasurementFailed(f"attempt {spec.shard_name}: {error}; last of the agent:\n{log}") from error
        if status.state is not AttemptState.SUCCEEDED:
            raise MeasurementFailed(f"attempt {spec.shard_name}: {status.failure}")
        return status
