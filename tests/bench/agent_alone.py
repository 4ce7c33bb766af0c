"""A real agent process without operator, control plane or SSH: the bench asks it for attempts itself."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import psutil
from tests.bench.failure import MeasurementFailed
from tests.bench.rig import CONTRACT

from voxfleet_api.digest import digest_of
from voxfleet_api.kinds.audio_shard import JobRef, Stage
from voxfleet_api.kinds.job_input import JobInput, ManifestInput
from voxfleet_api.kinds.job_model import ModelSource
from voxfleet_api.kinds.job_task import Task
from voxfleet_api.kinds.voice_contract import VoiceContractSpec
from voxfleet_api.ledger import Activity
from voxfleet_api.protocol import (
    CONTROL_PLANE_HEADER,
    EPOCH_HEADER,
    TERMINAL_STATES,
    AttemptSpec,
    AttemptState,
    AttemptStatus,
    CommitRef,
    FinalizeOrder,
    LedgerPage,
    PlanOrder,
    ProcessOrder,
)
from voxfleet_api.ranges import encode
from voxfleet_api.results import PlanResult, ResultRow, job_folder
from voxfleet_dev.mac import Mac

BENCH_CONTRACT = VoiceContractSpec.load(CONTRACT["spec"])
LEASE_SECONDS = 3600
POLL_SECONDS = 0.05
MODEL = ModelSource(path="default")


@dataclass(frozen=True)
class Job:
    """One job's attempts share name, contract and folder."""

    name: str
    contract: VoiceContractSpec = BENCH_CONTRACT

    @property
    def ref(self) -> JobRef:
        return JobRef(name=self.name, uid=f"{self.name}-uid")


class AgentAlone:
    """Everything below `directory`; `readable` is the folder whose files it may read. A context manager."""

    def __init__(self, directory: Path, readable: Path) -> None:
        self.results = directory / "results"
        self._mac = Mac("mac-a", directory / "mac-a", allow=[f"file://{readable}/", f"file://{self.results}/"])

    def __enter__(self) -> Self:
        self.results.mkdir(parents=True)
        self._mac.write_files()
        try:
            self._mac.restart_agent()
        except BaseException:
            self._mac.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._mac.stop()

    @property
    def supervisor(self) -> psutil.Process:
        """The agent without its lanes."""
        return psutil.Process(self._mac.agent.pid)

    def plan(self, job: Job, manifest: Path, timeout_seconds: float, shards: int = 1) -> PlanResult:
        """Plans the manifest's clips into one shard, or at most so many. Raises MeasurementFailed."""
        order = PlanOrder(
            input=JobInput(manifest=ManifestInput(uri=f"file://{manifest}")),
            model=MODEL,
            shard_audio_milliseconds=10**9 if shards == 1 else 1,
            max_shards=shards,
        )
        status = self._run(self._spec(job, Stage.PLAN, "plan", plan=order), timeout_seconds)
        if status.result is None or status.result.plan is None:
            raise MeasurementFailed(f"job {job.name}: Plan gave no result")
        return status.result.plan

    def process(self, job: Job, plan: PlanResult, timeout_seconds: float) -> AttemptStatus:
        """Runs the plan's first shard. Raises MeasurementFailed."""
        order = ProcessOrder(
            plan_attempt=1,
            manifest_sha256=plan.manifest_sha256,
            model=MODEL,
            model_digest=plan.model_digest,
            boundaries_digest=digest_of(list(plan.boundaries)),
            ordinal=0,
            indexes=encode(range(plan.boundaries[1])),
        )
        return self._run(self._spec(job, Stage.PROCESS, "process", process=order), timeout_seconds)

    def finalize(self, job: Job, plan: PlanResult, process: AttemptStatus, timeout_seconds: float) -> AttemptStatus:
        """Merges the first shard's commit; the other clips are not_run. Raises MeasurementFailed."""
        total = plan.boundaries[-1]
        if process.result is None:
            raise MeasurementFailed(f"job {job.name}: Process gave no result")
        commit = CommitRef(shard_uid=process.shard_uid, attempt=process.attempt, sha256=process.result.commit_sha256)
        order = FinalizeOrder(
            plan_attempt=1,
            manifest_sha256=plan.manifest_sha256,
            total=total,
            commits=(commit,),
            not_run=encode(range(plan.boundaries[1], total)),
        )
        return self._run(self._spec(job, Stage.FINALIZE, "finalize", finalize=order), timeout_seconds)

    def work_seconds(self, attempt: AttemptStatus) -> float:
        """Of the attempt's signed rows of activity Work. Raises MeasurementFailed without any."""
        if attempt.ledger is None:
            raise MeasurementFailed(f"attempt {attempt.shard_name} has no ledger rows")
        page = LedgerPage.load(self._mac.get_json(f"/v1/ledger?after={attempt.ledger.first_sequence - 1}&limit=1000"))
        work = [
            signed.row.monotonic_milliseconds
            for signed in page.rows
            if signed.row.shard_uid == attempt.shard_uid and signed.row.activity is Activity.WORK
        ]
        if not sum(work):
            raise MeasurementFailed(f"attempt {attempt.shard_name} has no Work in its ledger rows")
        return sum(work) / 1000

    def rows(self, job: Job, shard_uid: str) -> list[ResultRow]:
        """Of every part that the shard's attempt wrote."""
        folder = self.results / Path(job_folder("", job.ref.name, job.ref.uid)).name
        parts = sorted(folder.glob(f"parts/{shard_uid}/*/part-*.jsonl"))
        return [ResultRow.model_validate_json(line) for part in parts for line in part.read_bytes().splitlines()]

    def _spec(
        self, job: Job, stage: Stage, shard: str, **order: PlanOrder | ProcessOrder | FinalizeOrder
    ) -> AttemptSpec:
        content: dict[str, object] = {
            "namespace": "bench",
            "job": job.ref,
            "shard_name": f"{job.name}-{shard}",
            "shard_uid": f"{job.name}-{shard}",
            "attempt": 1,
            "stage": stage,
            "task": Task.TRANSCRIBE,
            "contract": job.contract,
            "contract_digest": digest_of(job.contract),
            "output_folder": job_folder(f"file://{self.results}/", job.ref.name, job.ref.uid),
            **order,
        }
        return AttemptSpec.model_validate(content)

    def _run(self, spec: AttemptSpec, timeout_seconds: float) -> AttemptStatus:
        body = spec.dump()
        self._put(spec, {"specDigest": digest_of(body), "spec": body, "leaseSeconds": LEASE_SECONDS})
        deadline = time.monotonic() + timeout_seconds
        path = f"/v1/attempts/{spec.shard_uid}/{spec.attempt}"
        while True:
            status = AttemptStatus.load(self._mac.get_json(path))
            if status.state in TERMINAL_STATES:
                break
            if time.monotonic() > deadline or not self._mac.agent.running:
                raise MeasurementFailed(
                    f"attempt {spec.shard_name}: {status.state}, {status.progress.done} of {status.progress.total}"
                    f" after {timeout_seconds:g} s; last of the agent:\n{self._mac.agent.log_tail(15)}"
                )
            time.sleep(POLL_SECONDS)
        if status.state is not AttemptState.SUCCEEDED:
            raise MeasurementFailed(f"attempt {spec.shard_name}: {status.failure}")
        return status

    def _put(self, spec: AttemptSpec, body: dict[str, object]) -> None:
        request = urllib.request.Request(  # noqa: S310 - loopback
            f"{self._mac.url}/v1/attempts/{spec.shard_uid}/{spec.attempt}",
            data=json.dumps(body).encode(),
            method="PUT",
            headers={
                "Authorization": f"Bearer {self._mac.token}",
                "Content-Type": "application/json",
                CONTROL_PLANE_HEADER: "bench",
                EPOCH_HEADER: "1",
            },
        )
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(request, timeout=30):
                pass
        except urllib.error.HTTPError as error:
            raise MeasurementFailed(f"attempt {spec.shard_name}: {error.code} {error.read().decode()}") from error
