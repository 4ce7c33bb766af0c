"""A job's folders, and everything that a stage is given: real files and scratch, a stub lane, a journal in memory."""

from __future__ import annotations

import hashlib
import os
import wave
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

from voxfleet_agent.attempts.key import AttemptKey
from voxfleet_agent.scratch import Scratch
from voxfleet_agent.stages.finalize import run_finalize
from voxfleet_agent.stages.plan import run_plan
from voxfleet_agent.stages.process import run_process
from voxfleet_agent.stages.stage import (
    ClipTask,
    ClipVerdict,
    FrozenPart,
    ModelResolver,
    Provenance,
    ResolvedModel,
    StageContext,
    StageJournal,
    Transcriber,
)
from voxfleet_agent.storage import ObjectVersion, Storage
from voxfleet_api.digest import digest_of, sha256_hex
from voxfleet_api.failures import FailureClass
from voxfleet_api.kinds.audio_batch_job import JobInput, ModelSource, PrefixInput, Task
from voxfleet_api.kinds.audio_shard import JobRef, Stage
from voxfleet_api.kinds.voice_contract import Container, ContractInput, VoiceContractSpec
from voxfleet_api.protocol import AttemptSpec, CommitRef, FinalizeOrder, PlanOrder, ProcessOrder, ShardResult
from voxfleet_api.ranges import encode
from voxfleet_api.results import Attestation, Index, ManifestRow, PlanResult, ResultRow, attempt_folder

T = TypeVar("T")

CONTRACT = VoiceContractSpec(input=ContractInput(containers=(Container.WAV,), sample_rates_hz=(16000,), channels=(1,)))
MODEL_DIGEST = "sha256:" + "5" * 64
RATE_HZ = 16000
CLIP_MILLISECONDS = 200


class Edges:
    """Places where a test can look, or end the run: before and after each durable write and each transfer."""

    def __init__(self, watch: Callable[[str], None] = lambda name: None) -> None:
        self.watch = watch
        self.passed: list[str] = []

    def step(self, name: str) -> None:
        self.passed.append(name)
        self.watch(name)


class MemoryJournal(StageJournal):
    """The semantics that stage.py documents, without a disk."""

    def __init__(self, edges: Edges) -> None:
        self.edges = edges
        self.base_content: bytes | None = None
        self.rows: dict[int, ResultRow] = {}
        self.frozen: dict[int, FrozenPart] = {}
        self.held: set[int] = set()

    async def base(self) -> bytes | None:
        self.edges.step("read base")
        return self.base_content

    async def freeze_base(self, content: bytes) -> None:
        self.edges.step("before freeze base")
        assert self.base_content is None, "a base is frozen once"
        self.base_content = content
        self.edges.step("after freeze base")

    async def record_row(self, row: ResultRow) -> None:
        self.edges.step("before record row")
        assert row.index not in self.rows, f"clip {row.index} has two rows under one attempt"
        self.rows[row.index] = row
        self.edges.step("after record row")

    async def recorded_indexes(self) -> frozenset[int]:
        return frozenset(self.rows)

    async def unfrozen_rows(self) -> Sequence[ResultRow]:
        return [self.rows[index] for index in sorted(self.rows.keys() - self.held)]

    async def freeze_part(self, part: FrozenPart, indexes: Sequence[int]) -> None:
        self.edges.step(f"before freeze part-{part.number:06d}")
        assert part.number not in self.frozen
        assert self.held.isdisjoint(indexes)
        assert set(indexes) <= self.rows.keys()
        self.frozen[part.number] = part
        self.held.update(indexes)
        self.edges.step(f"after freeze part-{part.number:06d}")

    async def parts(self) -> Sequence[FrozenPart]:
        return [self.frozen[number] for number in sorted(self.frozen)]

    async def mark_uploaded(self, number: int) -> None:
        self.edges.step(f"before mark part-{number:06d}")
        self.frozen[number] = replace(self.frozen[number], uploaded=True)
        self.edges.step(f"after mark part-{number:06d}")


class WatchedStorage(Storage):
    """The real storage on local files, with edges around every transfer."""

    def __init__(self, allow: Sequence[str], edges: Edges) -> None:
        super().__init__(allow)
        self.edges = edges

    async def download(self, uri: str, target: Path, version: ObjectVersion) -> str:
        return await self._around("download", uri, lambda: super(WatchedStorage, self).download(uri, target, version))

    async def put(self, uri: str, content: bytes) -> None:
        await self._around("put", uri, lambda: super(WatchedStorage, self).put(uri, content))

    async def put_once(self, uri: str, content: bytes) -> None:
        await self._around("put", uri, lambda: super(WatchedStorage, self).put_once(uri, content))

    async def list_names(self, prefix: str, limit: int) -> list[str]:
        return await self._around("list", prefix, lambda: super(WatchedStorage, self).list_names(prefix, limit))

    async def _around(self, verb: str, uri: str, call: Callable[[], Awaitable[T]]) -> T:
        name = f"{verb} {uri.rpartition('/')[2]}"
        self.edges.step(f"before {name}")
        result = await call()
        self.edges.step(f"after {name}")
        return result


class StubLane:
    """A deterministic Transcriber: the text of a clip is a function of its bytes."""

    def __init__(self, journal: MemoryJournal | None = None) -> None:
        self.journal = journal
        self.loaded = 0
        self.transcribed: list[int] = []
        self.failures: dict[int, tuple[FailureClass, str]] = {}
        self.before: Callable[[ClipTask], Awaitable[None]] | None = None

    async def load(self, model: ResolvedModel) -> None:
        self.loaded += 1

    async def transcribe(self, task: ClipTask) -> ClipVerdict:
        if self.before is not None:
            await self.before(task)
        if self.journal is not None:
            assert task.index not in self.journal.rows, "a recorded clip is never transcribed again"
        self.transcribed.append(task.index)
        failure_class, reason = self.failures.get(task.index, (None, ""))
        return ClipVerdict(
            index=task.index,
            text=None if failure_class else text_of(task.path.read_bytes()),
            failure_class=failure_class,
            reason=reason,
            audio_milliseconds=CLIP_MILLISECONDS,
            attestation=Attestation(
                container="wav", encoding="pcm16", sample_rate_hz=RATE_HZ, channels=1, decoder="stub 1"
            ),
            decode_milliseconds=1,
            infer_milliseconds=2,
            batch_size=1,
        )


class FixedModel:
    def __init__(self, digest: str = MODEL_DIGEST) -> None:
        self.digest = digest

    async def resolve(self, source: ModelSource) -> ResolvedModel:
        return ResolvedModel(Path("/nowhere"), self.digest)


def text_of(content: bytes) -> str:
    return f"words of {hashlib.sha256(content).hexdigest()[:8]}"


def write_wav(path: Path, seed: int, milliseconds: int = CLIP_MILLISECONDS, rate_hz: int = RATE_HZ) -> None:
    samples = bytes((seed * 7 + position * 3) % 256 for position in range(2 * rate_hz * milliseconds // 1000))
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate_hz)
        file.writeframes(samples)


@dataclass
class Job:
    """One job in a folder of its own: clips/ is the input, out/ the output."""

    root: Path
    uid: str = "0f0f0f0f-0000-4000-8000-000000000000"
    edges: Edges = field(default_factory=Edges)
    models: ModelResolver = field(default_factory=FixedModel)
    contract: VoiceContractSpec = field(default_factory=lambda: CONTRACT)
    chip: str = "M4"
    progress: list[tuple[int, int]] = field(default_factory=list)
    metered_milliseconds: list[int] = field(default_factory=list)

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
        plan: PlanOrder | None = None,
        process: ProcessOrder | None = None,
        finalize: FinalizeOrder | None = None,
    ) -> AttemptSpec:
        return AttemptSpec(
            namespace="speech",
            job=JobRef(name="nightly", uid=self.uid),
            shard_name=shard_uid,
            shard_uid=shard_uid,
            attempt=attempt,
            stage=stage,
            task=Task.TRANSCRIBE,
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
        lane: Transcriber | None = None,
        storage: Storage | None = None,
        scratch: Scratch | None = None,
    ) -> StageContext:
        scratch = scratch or self.open_scratch()
        return StageContext(
            spec=spec,
            storage=storage or WatchedStorage(self.allow, self.edges),
            journal=journal or MemoryJournal(self.edges),
            scratch=scratch.open_attempt(AttemptKey(spec.shard_uid, spec.attempt)),
            models=self.models,
            transcriber=lane,
            provenance=Provenance(chip=self.chip, versions={"mlx": "0.32.4"}),
            progress=lambda done, total: self.progress.append((done, total)),
            audio_meter=self._meter,
        )

    def _meter(self, audio_milliseconds: int) -> None:
        self.metered_milliseconds.append(audio_milliseconds)

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
        storage: Storage | None = None,
    ) -> ShardResult:
        order = PlanOrder(
            input=job_input or self.prefix_input(),
            model=ModelSource(path="default"),
            shard_audio_milliseconds=shard_audio_milliseconds,
            max_shards=5000,
        )
        return await run_plan(self.context(self.spec(Stage.PLAN, "plan", attempt, plan=order), storage=storage))

    def process_spec(self, plan: PlanResult, *, attempt: int = 1, ordinal: int = 0) -> AttemptSpec:
        order = ProcessOrder(
            plan_attempt=1,
            manifest_sha256=plan.manifest_sha256,
            model=ModelSource(path="default"),
            model_digest=plan.model_digest,
            boundaries_digest=digest_of(list(plan.boundaries)),
            ordinal=ordinal,
            indexes=encode(range(plan.boundaries[ordinal], plan.boundaries[ordinal + 1])),
        )
        return self.spec(Stage.PROCESS, shard_uid(ordinal), attempt, process=order)

    async def process(
        self,
        plan: PlanResult,
        *,
        attempt: int = 1,
        ordinal: int = 0,
        journal: StageJournal | None = None,
        lane: Transcriber | None = None,
        storage: Storage | None = None,
        scratch: Scratch | None = None,
    ) -> ShardResult:
        spec = self.process_spec(plan, attempt=attempt, ordinal=ordinal)
        return await run_process(
            self.context(spec, journal=journal, lane=lane or StubLane(), storage=storage, scratch=scratch)
        )

    def finalize_spec(self, plan: PlanResult, commits: Sequence[CommitRef], attempt: int = 1) -> AttemptSpec:
        """What no commit names did not run."""
        total = plan.boundaries[-1]
        delivered = {
            index
            for commit in commits
            for index in range(*plan.boundaries[int(commit.shard_uid.removeprefix("shard-")) :][:2])
        }
        order = FinalizeOrder(
            plan_attempt=1,
            manifest_sha256=plan.manifest_sha256,
            total=total,
            commits=tuple(commits),
            not_run=encode(set(range(total)) - delivered),
        )
        return self.spec(Stage.FINALIZE, "finalize", attempt, finalize=order)

    async def finalize(self, plan: PlanResult, commits: Sequence[CommitRef], attempt: int = 1) -> ShardResult:
        return await run_finalize(self.context(self.finalize_spec(plan, commits, attempt)))

    def manifest(self) -> list[ManifestRow]:
        content = (self.folder / "plan" / "1" / "manifest.jsonl").read_bytes()
        return [ManifestRow.model_validate_json(line) for line in content.splitlines()]

    def attempt_files(self, attempt: int, ordinal: int = 0) -> Path:
        return self.folder / attempt_folder(shard_uid(ordinal), attempt)

    def results(self) -> list[ResultRow]:
        """The rows that index.json names, its digests checked, by index."""
        index = Index.model_validate_json((self.folder / "index.json").read_bytes())
        rows = []
        for file in index.files:
            content = (self.folder / file.path).read_bytes()
            assert (sha256_hex(content), len(content)) == (file.sha256, file.size_bytes)
            rows += [ResultRow.model_validate_json(line) for line in content.splitlines()]
        return sorted(rows, key=lambda row: row.index)

    def expected_texts(self) -> list[str]:
        return [text_of(path.read_bytes()) for path in sorted(self.clips.glob("*.wav"))]


def planned(result: ShardResult) -> PlanResult:
    assert result.plan is not None
    return result.plan


def shard_uid(ordinal: int) -> str:
    return f"shard-{ordinal}"


def commit_ref(result: ShardResult, attempt: int = 1, ordinal: int = 0) -> CommitRef:
    return CommitRef(shard_uid=shard_uid(ordinal), attempt=attempt, sha256=result.commit_sha256)


def touch_later(path: Path) -> None:
    """Another version with the same bytes."""
    facts = path.stat()
    os.utime(path, ns=(facts.st_atime_ns, facts.st_mtime_ns + 5_000_000_000))
