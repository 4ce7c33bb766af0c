"""What a stage is given, and what it may do to the outside world."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from voxfleet_agent.storage import Storage
from voxfleet_api.failures import FailureClass
from voxfleet_api.kinds.audio_batch_job import ModelSource
from voxfleet_api.kinds.voice_contract import VoiceContractSpec
from voxfleet_api.protocol import AttemptSpec
from voxfleet_api.results import Attestation, PartRef, ResultRow


@dataclass(frozen=True, slots=True)
class ResolvedModel:
    """A model folder on this Mac."""

    path: Path
    digest: str
    """`sha256:<hex>` over the folder's files."""
    revision: str | None = None
    """The hub's commit."""


class ModelResolver(Protocol):
    async def resolve(self, source: ModelSource) -> ResolvedModel:
        """Finds the model and digests it; raises VoxFleetError(MODEL_UNAVAILABLE)."""
        ...


@dataclass(frozen=True, slots=True)
class ClipTask:
    """One fetched clip."""

    index: int
    path: Path
    contract: VoiceContractSpec


@dataclass(frozen=True, slots=True)
class ClipVerdict:
    """What the lane made of one clip: a text, or a failure class with its reason."""

    index: int
    text: str | None
    failure_class: FailureClass | None
    reason: str
    audio_milliseconds: int
    attestation: Attestation | None
    decode_milliseconds: int
    infer_milliseconds: int
    batch_size: int


class Transcriber(Protocol):
    """A lane: one child process with a model."""

    async def load(self, model: ResolvedModel) -> None:
        """Holds the model in memory; a no-op when it already does. Raises VoxFleetError."""
        ...

    async def transcribe(self, task: ClipTask) -> ClipVerdict:
        """Decodes and transcribes one clip. A clip's own failure is a verdict.

        When the child dies it is started again and the clip tried once more; a second death is the
        verdict LANE_CRASHED. Raises VoxFleetError only for what another clip would meet too.
        """
        ...


@dataclass(frozen=True, slots=True)
class FrozenPart:
    """A part whose bytes are durable in the journal; `ref.path` holds their sha256."""

    number: int
    ref: PartRef
    content: bytes
    uploaded: bool


class StageJournal(Protocol):
    """What one attempt keeps durable on this Mac. Every call returns after the write is synced."""

    async def base(self) -> bytes | None:
        """The frozen base.json."""
        ...

    async def freeze_base(self, content: bytes) -> None: ...

    async def record_row(self, row: ResultRow) -> None:
        """A clip is done; it is never worked on again under this attempt."""
        ...

    async def recorded_indexes(self) -> frozenset[int]: ...

    async def unfrozen_rows(self) -> Sequence[ResultRow]:
        """Recorded rows that no part holds yet, by index."""
        ...

    async def freeze_part(self, part: FrozenPart, indexes: Sequence[int]) -> None:
        """Keeps the part's bytes and marks the rows as held by it, in one transaction."""
        ...

    async def parts(self) -> Sequence[FrozenPart]: ...

    async def mark_uploaded(self, number: int) -> None: ...


class StageScratch(Protocol):
    """The attempt's own 0700 folder."""

    @property
    def path(self) -> Path: ...

    async def reserve(self, name: str, size_bytes: int) -> Path:
        """A path below the folder, once its bytes fit quota and minFree; waits while siblings hold them.

        Raises VoxFleetError(SCRATCH_EXHAUSTED) when they can never fit.
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


class ProgressSink(Protocol):
    def __call__(self, done: int, total: int) -> None: ...


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
    transcriber: Transcriber | None
    """None for Plan and Finalize, which run without a lane."""
    provenance: Provenance
    progress: ProgressSink
    audio_meter: AudioMeter
