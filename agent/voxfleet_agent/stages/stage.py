"""What a stage is given, and what it may do to the outside world."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from voxfleet_agent.models.resolved_model import ModelResolver, ResolvedModel
from voxfleet_agent.storage import Storage
from voxfleet_api.failures import FailureClass
from voxfleet_api.kinds.job_task import Synthesis, Task, Transcription
from voxfleet_api.kinds.voice_contract import VoiceContractSpec
from voxfleet_api.protocol import AttemptSpec
from voxfleet_api.results import Attestation, Evidence, LadderTable, LaneReadings, PartRef, ResultRow, TimedText


@dataclass(frozen=True, slots=True)
class LaneOrder:
    """What is the same for all clips of an attempt."""

    task: Task
    contract: VoiceContractSpec
    transcription: Transcription
    synthesis: Synthesis | None = None
    reference: Path | None = None
    """The fetched recording of `synthesis.reference`."""


@dataclass(frozen=True, slots=True)
class LaneFacts:
    """What a lane says of the model that it has loaded."""

    sample_rate_hz: int
    """What the model hears or speaks."""
    family: str
    """mlx-audio's name of the kind of model."""
    batches: bool
    """Whether several clips go through the model together, with the very result of one at a time."""
    parameters: int
    ring_bytes: int
    seed: int
    """Of the model's random choices; set anew before each clip or text."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """The runbook names, as the child sees them."""


LANE_BATCHES = 4
"""Batches that a lane takes at a time: in the model's hands, decoded, being decoded, and on its way; with fewer the
model waits for every other batch, because the thread that infers takes up new ones only between two inferences."""


@dataclass(frozen=True, slots=True)
class StepDown:
    """A batch size that a lane had to fall to."""

    batch_size: int
    reason: str


@dataclass(frozen=True, slots=True)
class ClipTask:
    """One fetched clip, or one text and the file to write."""

    index: int
    path: Path
    """The clip; for a text: where its audio goes, within the bytes that the stage reserved."""
    text: str | None = None
    audio_milliseconds: int = 0
    """What the header announces; 0: unknown."""
    max_bytes: int | None = None
    """For a text: the bytes reserved for its audio, which the lane never exceeds."""


@dataclass(frozen=True, slots=True)
class SpokenFile:
    """What the lane wrote to `ClipTask.path`."""

    size_bytes: int
    sample_rate_hz: int
    chunks: int
    interval_milliseconds: int


@dataclass(frozen=True, slots=True)
class ClipVerdict:
    """What the lane made of one clip: a text or a file, or a failure class with its reason."""

    index: int
    failure_class: FailureClass | None = None
    reason: str = ""
    text: str | None = None
    segments: tuple[TimedText, ...] | None = None
    words: tuple[TimedText, ...] | None = None
    language: str | None = None
    spoken: SpokenFile | None = None
    audio_milliseconds: int = 0
    attestation: Attestation | None = None
    decode_milliseconds: int = 0
    wait_milliseconds: int = 0
    """Between decoding and inference, inside the lane."""
    infer_milliseconds: int = 0
    """Of the batch that the clip was in."""
    batch_size: int = 1
    retried_for: tuple[FailureClass, ...] = ()
    """What the tries before the last one met, where this clip's own output or its lane's end was the cause."""

    @property
    def retries(self) -> int:
        """Tries of this clip beyond the first."""
        return len(self.retried_for)


class Lane(Protocol):
    """One child process with a model. One attempt works with it at a time."""

    @property
    def batch_size(self) -> int:
        """Clips of one batch; falls when memory runs short."""
        ...

    @batch_size.setter
    def batch_size(self, size: int) -> None: ...

    @property
    def stepped_down(self) -> StepDown | None:
        """How far, and why, `batch_size` fell since it was last set by the model's and the clips' doing alone.

        None: it did not, or others on the Mac, or one clip that needs too much even alone, were the cause.
        """
        ...

    async def load(self, model: ResolvedModel, order: LaneOrder) -> LaneFacts:
        """Holds model and order; loads the model only when the child does not hold it yet.

        Raises VoxFleetError, CONTRACT_VIOLATION with the arithmetic when the contract's ring does not fit the lane.
        """
        ...

    def work(self, batches: AsyncIterator[Sequence[ClipTask]]) -> AsyncGenerator[ClipVerdict, None]:
        """Exactly one verdict for each clip of each batch, as they come, in any order.

        Takes the next batches while the child infers the ones before, never more than LANE_BATCHES at a time, and
        splits what is larger than `batch_size`. When the child dies, it is replaced and the clips it had without
        verdict are given to it again, the suspects one at a time; the verdict of one that ends two children alone is
        LANE_CRASHED or MEMORY_EXCEEDED. Raises VoxFleetError only for what another clip would meet too.
        Closing the iterator early ends the child.
        """
        ...

    async def renew(self) -> None:
        """Ends the child in order, so that the next `load` starts a fresh one."""
        ...

    def readings(self) -> LaneReadings:
        """Since the last `load`."""
        ...


class LadderBook(Protocol):
    """Measured batch sizes of this Mac."""

    async def table(
        self, lane: Lane, model: ResolvedModel, order: LaneOrder, longest: Sequence[ClipTask]
    ) -> LadderTable | None:
        """The table for this model, Mac and contract, measured now when there is none; None when the contract
        declares no ladder and none is stored. `longest`: fetched clips of the job, the longest first, as many as the
        largest tier. Leaves the lane without a model: load it after."""
        ...

    def stored(self, model: ResolvedModel, contract_digest: str) -> LadderTable | None: ...

    async def step_down(self, model: ResolvedModel, contract_digest: str, batch_size: int, reason: str) -> None:
        """The stored table's `chosen` is at most `batch_size` until the table is measured anew: a job had to step down
        to that for `reason`."""
        ...


class QuarantineFolder(Protocol):
    """The job's folder of quarantined clips on this Mac."""

    async def keep(self, evidence: Evidence, clip: Path | None) -> None:
        """Keeps evidence and a copy of the clip for the contract's `retainFor`, within the folder's quota."""
        ...


class FailureBudget(Protocol):
    """What this Mac may still spend on the job's failures. Raises VoxFleetError(FAILURE_BUDGET_EXHAUSTED)."""

    def spend_retry(self, failure_class: FailureClass) -> None: ...

    def spend_quarantined(self, audio_milliseconds: int) -> None: ...


@dataclass(frozen=True, slots=True)
class FrozenPart:
    """A part whose bytes are durable in the journal; `ref.path` holds their sha256."""

    number: int
    ref: PartRef
    uploaded: bool


class StageJournal(Protocol):
    """What one attempt keeps durable on this Mac. Every call returns after the write is synced."""

    async def base(self) -> bytes | None:
        """The frozen base.json."""
        ...

    async def freeze_base(self, content: bytes) -> None: ...

    async def record_rows(self, rows: Sequence[ResultRow]) -> None:
        """These clips are done, all or none; they are never worked on again under this attempt."""
        ...

    async def recorded_indexes(self) -> frozenset[int]: ...

    async def unfrozen_lines(self, limit: int) -> Sequence[tuple[int, bytes]]:
        """(index, line) of the first recorded rows that no part holds yet, by index."""
        ...

    async def freeze_part(self, part: FrozenPart, content: bytes, indexes: Sequence[int]) -> None:
        """Keeps the part's bytes and marks the rows as held by it, in one transaction."""
        ...

    async def parts(self) -> Sequence[FrozenPart]:
        """In the order of their numbers."""
        ...

    async def part_content(self, number: int) -> bytes: ...

    async def mark_uploaded(self, number: int) -> None: ...


class StageScratch(Protocol):
    """The attempt's own 0700 folder."""

    @property
    def path(self) -> Path: ...

    async def reserve(self, name: str, size_bytes: int, *, wait: bool = True) -> Path:
        """A path below the folder, once its bytes fit quota, minFree and the contract; waits while others hold them.

        Raises VoxFleetError(SCRATCH_EXHAUSTED) when they can never fit, or do not now and it may not wait.
        """
        ...

    async def release(self, path: Path) -> None:
        """Unlinks the file and gives its bytes back; a second call does nothing."""
        ...


@dataclass(frozen=True, slots=True)
class Provenance:
    """What every row says of the machine."""

    chip: str
    versions: dict[str, str]
    memory_bytes: int = 0
    os: str = ""


class ProgressSink(Protocol):
    def __call__(self, done: int, total: int) -> None: ...


class WorkSignal(Protocol):
    async def __call__(self) -> None:
        """The clips begin: Setup ends, loading and ladder with it, and Work begins. A second call does nothing."""
        ...


class AudioMeter(Protocol):
    def __call__(self, audio_milliseconds: int) -> None:
        """Adds audio to the attempt's machine-hour rows."""
        ...


@dataclass(frozen=True, slots=True)
class StageContext:
    """Everything a stage works with. A stage is cancelled by cancelling its task and resumes from the journal."""

    spec: AttemptSpec
    storage: Storage
    journal: StageJournal
    scratch: StageScratch
    models: ModelResolver
    lane: Lane | None
    """None for Plan and Finalize, which run without one."""
    ladders: LadderBook
    quarantine: QuarantineFolder
    budget: FailureBudget
    provenance: Provenance
    progress: ProgressSink
    working: WorkSignal
    """To be awaited before the first of the attempt's own clips is given to the lane."""
    audio_meter: AudioMeter
