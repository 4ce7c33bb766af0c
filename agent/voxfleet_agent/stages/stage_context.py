"""What a stage works with: its spec, and protocols for everything outside the stage that it may touch."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from voxfleet_agent.clip_metrics import ClipMetrics
from voxfleet_agent.journal.stage_journal import FrozenPart
from voxfleet_agent.lanes.lane_types import ClipTask, ClipVerdict, Lane, LaneSpec
from voxfleet_agent.models.resolved_model import ModelResolver, ResolvedModel
from voxfleet_agent.storage import Storage
from voxfleet_api.attempt_spec import AttemptSpec
from voxfleet_api.failures import FailureClass
from voxfleet_api.ladder_table import LadderTable
from voxfleet_api.machine_time import MachineTime
from voxfleet_api.results import SpentBudget
from voxfleet_api.rows import Evidence, ResultRow


class LadderBook(Protocol):
    """The ladder tables of this Mac: measured batch sizes by model and contract."""

    async def table(
        self,
        lane: Lane,
        model: ResolvedModel,
        spec: LaneSpec,
        longest: Callable[[], Awaitable[Sequence[ClipTask]]],
    ) -> LadderTable | None:
        """The table for this model, Mac and contract; measured now when none is stored.

        None when none is stored and the contract declares no ladder. `longest` fetches clips of the job, the longest
        first, as many as the largest tier needs; called at most once, and not for a model that works on one clip at a
        time. A measurement leaves the lane without a model: load it afterwards.
        """
        ...

    def stored(self, model: ResolvedModel, contract_digest: str) -> LadderTable | None: ...

    async def step_down(self, model: ResolvedModel, contract_digest: str, batch_size: int, reason: str) -> None:
        """Limits the stored table's `chosen` to `batch_size` until the table is measured again.

        `reason`: why a job had to step down to this size.
        """
        ...


class LanePace(Protocol):
    """Compares the pace of the attempt's lane with its ladder."""

    def working(self) -> AbstractContextManager[None]:
        """The lane works within it."""
        ...

    def compare_with(self, table: LadderTable | None) -> None:
        """Before the first clip. None: there is nothing to compare with."""
        ...

    def clips_sent(self, count: int) -> None:
        """The lane gets so many clips."""
        ...

    def clip_done(self, verdict: ClipVerdict) -> None: ...


class UnwatchedPace:
    """Implements LanePace where nobody asks for it."""

    def working(self) -> AbstractContextManager[None]:
        return nullcontext()

    def compare_with(self, table: LadderTable | None) -> None: ...

    def clips_sent(self, count: int) -> None: ...

    def clip_done(self, verdict: ClipVerdict) -> None: ...


class QuarantineFolder(Protocol):
    """The job's folder of quarantined clips on this Mac."""

    async def keep(self, evidence: Evidence, clip: Path | None) -> None:
        """Keeps the evidence and a copy of the clip for the contract's `retainFor`, within the quarantine's quota."""
        ...


class JobFailureBudget(Protocol):
    """Counts the job's failures on this Mac. Both calls raise VoxFleetError(FAILURE_BUDGET_EXHAUSTED)."""

    @property
    def spent(self) -> SpentBudget:
        """The most so far, of all of the job's attempts that this process has run."""
        ...

    def spend_retry(self, failure_class: FailureClass) -> None: ...

    def spend_quarantined(self, audio_milliseconds: int) -> None: ...


class StageJournal(Protocol):
    """What one attempt stores durably on this Mac. Every write is synced before its call returns."""

    async def base(self) -> bytes | None:
        """The content of the frozen base.json; None before `freeze_base`."""
        ...

    async def freeze_base(self, content: bytes, kept_rows: Sequence[ResultRow] = ()) -> None:
        """Stores the base and records the inherited rows that lie in none of its parts, in one transaction."""
        ...

    async def record_rows(self, rows: Sequence[ResultRow]) -> None:
        """Records all of these rows or none. Their clips are done and never run again in this attempt."""
        ...

    async def recorded_indexes(self) -> frozenset[int]: ...

    async def unfrozen_lines(self, limit: int) -> Sequence[tuple[int, bytes]]:
        """(index, line) of the first `limit` recorded rows that are in no part yet, by index."""
        ...

    async def freeze_part(self, part: FrozenPart, content: bytes, indexes: Sequence[int]) -> None:
        """Stores the part's bytes and assigns the rows to it, in one transaction."""
        ...

    async def parts(self) -> Sequence[FrozenPart]:
        """All frozen parts, by number."""
        ...

    async def part_content(self, number: int) -> bytes: ...

    async def mark_uploaded(self, number: int) -> None: ...


class StageScratch(Protocol):
    """The attempt's own 0700 folder."""

    @property
    def path(self) -> Path: ...

    async def reserve(self, name: str, size_bytes: int, *, wait: bool = True) -> Path:
        """Reserves bytes for one file that is released without needing more scratch, and returns its path.

        Waits until they fit the quota, minFree and the contract. Raises VoxFleetError(SCRATCH_EXHAUSTED) when they can
        never fit, when they do not fit now and `wait` is false, and when others hold them for too long.
        """
        ...

    async def reserve_kept(self, name: str, size_bytes: int, beside_bytes: int) -> Path:
        """Reserves bytes for one file that stays until the attempt ends; raises as `reserve` does.

        `beside_bytes`: the largest file that the attempt will reserve beside it; without room for it, the attempt could
        never go on.
        """
        ...

    async def release(self, path: Path) -> None:
        """Unlinks the file and frees its bytes; a second call does nothing."""
        ...


@dataclass(frozen=True, slots=True)
class Provenance:
    """The machine and versions that every row names."""

    chip: str
    versions: dict[str, str]
    memory_bytes: int = 0
    os: str = ""


class ProgressSink(Protocol):
    def __call__(self, done: int, total: int, audio_milliseconds: int = 0) -> None:
        """`done` of `total` clips are done. `audio_milliseconds`: how much of the audio that Plan found is worked
        through, parts of clips included; only Process tells it."""
        ...


class WorkSignal(Protocol):
    async def __call__(self) -> None:
        """Ends Setup, which includes loading and the ladder, and begins Work. A second call does nothing."""
        ...


class WorkMeter(Protocol):
    def __call__(self, audio_milliseconds: int = 0, clips: int = 0) -> None:
        """Adds audio that the lane has worked through, and clips with a durable row, to the machine-hour rows."""
        ...


class WorkPermit(Protocol):
    """For how long an attempt may work."""

    @property
    def called_back(self) -> bool:
        """Whether it has to end after the clips in flight."""
        ...

    async def wait_called_back(self) -> None: ...

    async def check(self) -> None:
        """Returns if the attempt may go on. Never returns once its lease has expired: then its task is cancelled."""
        ...


class EndlessPermit:
    """Of an attempt that nobody leases out."""

    called_back = False

    async def wait_called_back(self) -> None:
        await asyncio.get_running_loop().create_future()

    async def check(self) -> None:
        return


@dataclass(frozen=True, slots=True)
class StageContext:
    """Everything that a stage works with. Cancelling its task stops it; later it can resume from the journal."""

    spec: AttemptSpec
    storage: Storage
    journal: StageJournal
    scratch: StageScratch
    models: ModelResolver
    lane: Lane | None
    """None for Plan and Finalize, which need no lane."""
    ladders: LadderBook
    quarantine: QuarantineFolder
    budget: JobFailureBudget
    provenance: Provenance
    progress: ProgressSink
    working: WorkSignal
    """Awaited before the lane gets the first clip of the attempt itself; the ladder's clips do not count."""
    work_meter: WorkMeter
    permit: WorkPermit = field(default_factory=EndlessPermit)
    """Asked before each batch and before the commit."""
    pace: LanePace = field(default_factory=UnwatchedPace)
    one_machine: bool = False
    """Whether this machine runs the whole job, so that no folder need be shared with another."""
    clip_metrics: ClipMetrics = field(default_factory=ClipMetrics)
    batch_halvings: int = 0
    """How often the chosen batch size is halved, because earlier attempts of the shard ran out of memory or time."""
    machine_time: MachineTime | None = None
    """For Finalize: what the job had used when its last shard had ended; None without a fleet."""
