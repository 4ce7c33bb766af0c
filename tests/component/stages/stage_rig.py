"""A job's folders, and a StageContext for it: real files and scratch, a stub lane, a journal in memory."""

from __future__ import annotations

import os
import wave
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.component.stages.stage_stubs import (
    CLIP_MILLISECONDS,
    RATE_HZ,
    Edges,
    FixedModel,
    MemoryJournal,
    StubLadders,
    StubLane,
    StubQuarantine,
    WatchedStorage,
    text_of,
)

from voxfleet_agent.clock import SystemClock
from voxfleet_agent.failure_budget import MacFailureBudget
from voxfleet_agent.lanes.lane_types import Lane
from voxfleet_agent.models.resolved_model import ModelResolver
from voxfleet_agent.scratch import Scratch
from voxfleet_agent.stages.finalize.finalize_stage import run_finalize
from voxfleet_agent.stages.plan.plan_stage import run_plan
from voxfleet_agent.stages.process.process_stage import run_process
from voxfleet_agent.stages.stage_context import (
    EndlessPermit,
    LadderBook,
    LanePace,
    Provenance,
    QuarantineFolder,
    StageContext,
    StageJournal,
    UnwatchedPace,
    WorkPermit,
)
from voxfleet_agent.storage import Storage
from voxfleet_api.attempt_spec import (
    AttemptKey,
    AttemptSpec,
    CommitRef,
    FinalizeSpec,
    PlanSource,
    PlanSpec,
    ProcessSpec,
)
from voxfleet_api.digest import digest_of, sha256_hex
from voxfleet_api.kinds.audio_shard import JobRef, Stage
from voxfleet_api.kinds.contract_input import Container, ContractInput
from voxfleet_api.kinds.contract_limits import Backoff, Retries
from voxfleet_api.kinds.contract_output import OutputFormat
from voxfleet_api.kinds.job_input import JobInput, PrefixInput
from voxfleet_api.kinds.job_model import BuiltinModel, BuiltinName, ModelSource
from voxfleet_api.kinds.job_task import Synthesis, Task
from voxfleet_api.kinds.voice_contract import VoiceContractSpec
from voxfleet_api.protocol import ShardResult
from voxfleet_api.quantities import quantity_bytes
from voxfleet_api.ranges import encode
from voxfleet_api.results import PlanResult, ResultIndex, attempt_folder
from voxfleet_api.rows import ManifestRow, ResultRow

CONTRACT = VoiceContractSpec(
    input=ContractInput(containers=(Container.WAV,), sample_rates_hz=(16000,), channels=(1,)),
    retries=Retries(backoff=Backoff(initial="0s", cap="0s")),
)
TIMEOUT_SECONDS = 30


def write_wav(path: Path, seed: int, milliseconds: int = CLIP_MILLISECONDS, rate_hz: int = RATE_HZ) -> None:
    samples = bytes((seed * 7 + position * 3) % 256 for position in range(2 * rate_hz * milliseconds // 1000))
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate_hz)
        file.writeframes(samples)


@dataclass
class Job:
    """One job in its own folder: clips/ is the input, out/ the output."""

    root: Path
    uid: str = "0f0f0f0f-0000-4000-8000-000000000000"
    edges: Edges = field(default_factory=Edges)
    models: ModelResolver = field(default_factory=FixedModel)
    contract: VoiceContractSpec = field(default_factory=lambda: CONTRACT)
    chip: str = "M4"
    formats: tuple[OutputFormat, ...] = (OutputFormat.JSONL,)
    task: Task = Task.TRANSCRIBE
    synthesis: Synthesis | None = None
    ladders: StubLadders = field(default_factory=StubLadders)
    book: LadderBook | None = None
    """None: `ladders` is used."""
    quarantine: QuarantineFolder | None = None
    """None: a stub that keeps everything."""
    one_machine: bool = False
    permit: WorkPermit = field(default_factory=EndlessPermit)
    pace: LanePace = field(default_factory=UnwatchedPace)
    plan_attempt: int = 1
    """The Plan that Process attempts follow."""
    work_signals: int = 0
    """How often an attempt has called `StageContext.working`."""
    progress: list[tuple[int, int]] = field(default_factory=list)
    heard_milliseconds: list[int] = field(default_factory=list)
    """Audio that was worked through, at each report of progress."""
    metered_milliseconds: list[int] = field(default_factory=list)
    metered_clips: int = 0

    def __post_init__(self) -> None:
        self.clips.mkdir(parents=True, exist_ok=True)

    @property
    def clips(self) -> Path:
        return self.root / "clips"

    @property
    def folder(self) -> Path:
        return self.root / "out" / f"nightly-{self.uid[:8]}"

    @property
    def allow(self) -> list[str]:
        return [f"{self.root.as_uri()}/"]

    def add_clips(self, count: int) -> None:
        for number in range(count):
            write_wav(self.clips / f"{number:03d}.wav", number)

    def prefix_input(self) -> JobInput:
        return JobInput(prefix=PrefixInput(uri=f"{self.clips.as_uri()}/"))

    def spec(
        self,
        stage: Stage,
        shard_uid: str,
        attempt: int,
        *,
        plan: PlanSpec | None = None,
        process: ProcessSpec | None = None,
        finalize: FinalizeSpec | None = None,
    ) -> AttemptSpec:
        return AttemptSpec(
            namespace="speech",
            job=JobRef(name="nightly", uid=self.uid),
            shard_name=shard_uid,
            shard_uid=shard_uid,
            attempt=attempt,
            stage=stage,
            task=self.task,
            synthesis=self.synthesis,
            formats=self.formats,
            contract=self.contract,
            contract_digest=digest_of(self.contract),
            output_folder=self.folder.as_uri(),
            plan=plan,
            process=process,
            finalize=finalize,
        )

    def context(
        self,
        spec: AttemptSpec,
        *,
        journal: StageJournal | None = None,
        lane: Lane | None = None,
        storage: Storage | None = None,
        scratch: Scratch | None = None,
    ) -> StageContext:
        scratch = scratch or self.open_scratch()
        return StageContext(
            spec=spec,
            storage=storage or WatchedStorage(self.allow, self.edges),
            journal=journal or MemoryJournal(self.edges),
            scratch=scratch.open_attempt(
                AttemptKey(spec.shard_uid, spec.attempt), quantity_bytes(spec.contract.scratch.max_bytes)
            ),
            models=self.models,
            lane=lane,
            ladders=self.book or self.ladders,
            quarantine=self.quarantine or StubQuarantine(self.edges),
            budget=MacFailureBudget(spec.contract.failure_budget, SystemClock()),
            provenance=Provenance(chip=self.chip, versions={"mlx": "0.32.4"}, memory_bytes=2**34, os="macOS 26"),
            progress=self._note_progress,
            working=self._signal_work,
            work_meter=self._meter,
            permit=self.permit,
            pace=self.pace,
            one_machine=self.one_machine,
        )

    async def _signal_work(self) -> None:
        self.work_signals += 1

    def _note_progress(self, done: int, total: int, audio_milliseconds: int = 0) -> None:
        self.progress.append((done, total))
        self.heard_milliseconds.append(audio_milliseconds)

    def _meter(self, audio_milliseconds: int = 0, clips: int = 0) -> None:
        if audio_milliseconds:
            self.metered_milliseconds.append(audio_milliseconds)
        self.metered_clips += clips

    def open_scratch(self) -> Scratch:
        path = self.root / f"scratch-{len(list(self.root.glob('scratch-*')))}"
        return Scratch(path, quota_bytes=2**20, min_free_bytes=0)

    def scratch_files(self) -> list[Path]:
        return [path for path in self.root.glob("scratch-*/**/clip-*") if path.is_file()]

    async def plan(
        self,
        *,
        attempt: int = 1,
        job_input: JobInput | None = None,
        shard_audio_milliseconds: int = 3_600_000,
        only: str | None = None,
        source: PlanSource | None = None,
        storage: Storage | None = None,
    ) -> ShardResult:
        plan_spec = PlanSpec(
            input=(job_input or self.prefix_input()) if source is None else None,
            only=only,
            source=source,
            model=ModelSource(builtin=BuiltinModel(name=BuiltinName.COMMANDS)),
            shard_audio_milliseconds=shard_audio_milliseconds,
            max_shards=5000,
        )
        return await run_plan(self.context(self.spec(Stage.PLAN, "plan", attempt, plan=plan_spec), storage=storage))

    def piece_spec(
        self, plan: PlanResult, name: str, clips: range, inherits: tuple[str, ...], *, attempt: int
    ) -> AttemptSpec:
        """An attempt of a part of the first planned shard, which was split."""
        whole = self.process_spec(plan).process
        assert whole is not None
        piece = whole.model_copy(update={"indexes": encode(clips), "inherits": inherits})
        return self.spec(Stage.PROCESS, name, attempt, process=piece)

    def process_spec(self, plan: PlanResult, *, attempt: int = 1, ordinal: int = 0) -> AttemptSpec:
        process_spec = ProcessSpec(
            plan_attempt=self.plan_attempt,
            manifest_sha256=plan.manifest_sha256,
            model=ModelSource(builtin=BuiltinModel(name=BuiltinName.COMMANDS)),
            model_digest=plan.model_digest,
            boundaries_digest=digest_of(list(plan.boundaries)),
            ordinal=ordinal,
            indexes=encode(range(plan.boundaries[ordinal], plan.boundaries[ordinal + 1])),
        )
        return self.spec(Stage.PROCESS, shard_uid(ordinal), attempt, process=process_spec)

    async def process(
        self,
        plan: PlanResult,
        *,
        attempt: int = 1,
        ordinal: int = 0,
        journal: StageJournal | None = None,
        lane: Lane | None = None,
        storage: Storage | None = None,
        scratch: Scratch | None = None,
    ) -> ShardResult:
        spec = self.process_spec(plan, attempt=attempt, ordinal=ordinal)
        return await run_process(
            self.context(spec, journal=journal, lane=lane or StubLane(), storage=storage, scratch=scratch)
        )

    def finalize_spec(self, plan: PlanResult, commits: Sequence[CommitRef], attempt: int = 1) -> AttemptSpec:
        """A spec in which clips without a commit did not run."""
        total = plan.boundaries[-1]
        delivered = {
            index
            for commit in commits
            for index in range(*plan.boundaries[int(commit.shard_uid.removeprefix("shard-")) :][:2])
        }
        finalize_spec = FinalizeSpec(
            plan_attempt=1,
            manifest_sha256=plan.manifest_sha256,
            total=total,
            commits=tuple(commits),
            not_run=encode(set(range(total)) - delivered),
        )
        return self.spec(Stage.FINALIZE, "finalize", attempt, finalize=finalize_spec)

    async def finalize(self, plan: PlanResult, commits: Sequence[CommitRef], attempt: int = 1) -> ShardResult:
        return await run_finalize(self.context(self.finalize_spec(plan, commits, attempt)))

    def manifest(self) -> list[ManifestRow]:
        content = (self.folder / "plan" / "1" / "manifest.jsonl").read_bytes()
        return [ManifestRow.model_validate_json(line) for line in content.splitlines()]

    def attempt_files(self, attempt: int, ordinal: int = 0) -> Path:
        return self.folder / attempt_folder(shard_uid(ordinal), attempt)

    def results(self) -> list[ResultRow]:
        """All rows of the files that index.json names, by index. Checks their digests."""
        index = ResultIndex.model_validate_json((self.folder / "index.json").read_bytes())
        rows = []
        for file in index.files:
            content = (self.folder / file.path).read_bytes()
            assert (sha256_hex(content), len(content)) == (file.sha256, file.size_bytes)
            if file.path in ("results.jsonl", "errors.jsonl"):
                rows += [ResultRow.model_validate_json(line) for line in content.splitlines()]
        return sorted(rows, key=lambda row: row.index)

    def expected_texts(self) -> list[str]:
        return [text_of(path.read_bytes()) for path in sorted(self.clips.glob("*.wav"))]


def frozen(result: ShardResult) -> ShardResult:
    """What a Plan that runs again returns again: all but the size of the model, which stands in no file."""
    return result.model_copy(update={"plan": planned(result).model_copy(update={"model_bytes": None})})


def planned(result: ShardResult) -> PlanResult:
    assert result.plan is not None
    return result.plan


def shard_uid(ordinal: int) -> str:
    return f"shard-{ordinal}"


def commit_ref(result: ShardResult, attempt: int = 1, ordinal: int = 0) -> CommitRef:
    return CommitRef(shard_uid=shard_uid(ordinal), attempt=attempt, sha256=result.commit_sha256)


def touch_later(path: Path) -> None:
    """Gives the file another version with the same bytes."""
    facts = path.stat()
    os.utime(path, ns=(facts.st_atime_ns, facts.st_mtime_ns + 5_000_000_000))
