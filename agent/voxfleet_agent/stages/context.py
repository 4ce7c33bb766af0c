"""What a stage is given, and what it may do to the outside world."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from voxfleet_agent.journal.stage_journal import FrozenPart
from voxfleet_agent.lanes.lane_types import ClipTask, Lane, LaneSpec
from voxfleet_agent.models.resolved_model import ModelResolver, ResolvedModel
from voxfleet_agent.storage import Storage
from voxfleet_api.failures import FailureClass
from voxfleet_api.protocol import AttemptSpec
from voxfleet_api.results import Evidence, LadderTable, ResultRow


class LadderBook(Protocol):
    """Measured batch sizes of this Mac."""

    async def table(
        self, lane: Lane, model: ResolvedModel, spec: LaneSpec, longest: Sequence[ClipTask]
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


class JobFailureBudget(Protocol):
    """What this Mac may still spend on the job's failures. Raises VoxFleetError(FAILURE_BUDGET_EXHAUSTED)."""

    def spend_retry(self, failure_class: FailureClass) -> None: ...

    def spend_quarantined(self, audio_milliseconds: int) -> None: ...


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
    budget: JobFailureBudget
    provenance: Provenance
    progress: ProgressSink
    working: WorkSignal
    """To be awaited before the first of the attempt's own clips is given to the lane."""
    audio_meter: AudioMeter
