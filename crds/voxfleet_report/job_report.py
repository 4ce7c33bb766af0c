"""What the report of a job says: report.json. Pure.

No text of a transcript and no address of a clip: what is listed of a clip is in errors.jsonl too.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from voxfleet_api.base import Digest, Sha256Hex, StatusModel, Uid
from voxfleet_api.ladder_table import LadderTable
from voxfleet_api.limit_checks import ContractLimits
from voxfleet_api.machine_time import MachineTime
from voxfleet_api.results import Counts, FileRef, MeasuredResults, SpentBudget
from voxfleet_report.distribution import Distribution

MAX_CLIPS = 200
"""The most quarantined, and the most failed, clips that a report lists."""
MAX_LADDERS = 8
MAX_MACHINES = 32
MAX_TEXT = 256


class ReportedClip(StatusModel):
    index: int
    custom_id: Annotated[str, Field(max_length=MAX_TEXT)]
    failure_class: str
    reason: Annotated[str, Field(max_length=MAX_TEXT)]


class ReportedMachine(StatusModel):
    """A kind of machine and its software, and how many attempts had it."""

    chip: str
    memory_bytes: int
    os: str
    versions: dict[str, str]
    dtype: str | None = None
    attempts: int


class JobReport(StatusModel):
    """report.json, from which report.html is made."""

    format: Literal["voxfleet.dev/report/v1"] = "voxfleet.dev/report/v1"
    namespace: str
    name: str
    uid: Uid
    task: str
    billing_key: str | None = None
    contract_digest: Digest
    model_digest: Digest
    model: str | None = None
    """The model as the job names it; None when nothing ran."""
    manifest_sha256: Sha256Hex
    clips: Counts
    audio_milliseconds: int
    """The audio of all clips."""
    timed_audio_milliseconds: int
    """The audio of the clips that have a result and were timed."""
    infer_milliseconds: int
    """The model's time for these: each batch counts once."""
    quarantined_audio_milliseconds: int
    retries: int
    """Fetches and inferences of a clip beyond the first."""
    spent_budget: SpentBudget | None = None
    """The most of one Mac's failureBudget; None: not told."""
    failure_classes: dict[str, int]
    warnings: dict[str, int]
    quarantined: tuple[ReportedClip, ...]
    """The first MAX_CLIPS by index."""
    failed: tuple[ReportedClip, ...]
    """The first MAX_CLIPS by index."""
    times: dict[str, Distribution]
    """Milliseconds of clips with a result: latency, own, fetch, decode, wait, infer, write."""
    rtf: Distribution | None
    """Thousandths: of each clip with a result, its share of its batch's inference per second of its audio."""
    batch_sizes: dict[str, int]
    ladders: tuple[LadderTable, ...]
    machines: tuple[ReportedMachine, ...]
    peak_rss_bytes: int
    """Of the lane that took most."""
    limits: ContractLimits
    machine_time: MachineTime | None
    """None: a run without a fleet, whose time is not metered."""
    files: tuple[FileRef, ...]
    """The result files and those of repro/."""

    @property
    def measured(self) -> MeasuredResults:
        """As the job's status has it."""
        infer = self.times.get("infer")
        return MeasuredResults(
            infer_p95_milliseconds=None if infer is None else infer.p95,
            retries=self.retries,
            quarantined_audio_milliseconds=self.quarantined_audio_milliseconds,
            spent_budget=self.spent_budget,
        )
