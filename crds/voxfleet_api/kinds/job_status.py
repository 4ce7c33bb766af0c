"""The status of an AudioBatchJob: what became of its clips, what it cost and what it is expected to take."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from voxfleet_api.base import (
    OPEN_VALUE,
    Decimal3,
    Digest,
    Message,
    ObservedGeneration,
    Sha256Hex,
    StatusModel,
    Timestamp,
    cel,
    list_map,
    list_set,
    open_enum,
    validations,
)
from voxfleet_api.clip_warnings import WarningCounts
from voxfleet_api.conditions import Conditions
from voxfleet_api.failures import FailureClass
from voxfleet_api.kinds.job_source import AcceptedSource
from voxfleet_api.kinds.voice_contract import VoiceContractSpec
from voxfleet_api.results import MeasuredResults, PlanResult

STATUS_CLIPS = 20
"""The most quarantined, and the most failed, clips that a status names."""


class AcceptedContract(StatusModel):
    """The contract at the time when the job was accepted."""

    digest: Annotated[Digest, Field(description="Digest of the contract's spec.")]
    spec: Annotated[VoiceContractSpec, Field(description="The contract's spec, copied.")]


class JobPlan(PlanResult):
    """The frozen plan; Process attempts verify all of it."""

    attempt: Annotated[int, Field(ge=1, description="The attempt of the Plan shard whose files count.")]


class ClipCounts(StatusModel):
    """The states of the clips; all fields except `total` add up to it."""

    total: Annotated[int, Field(description="Clips of the job.")] = 0
    succeeded: Annotated[int, Field(description="With a result.")] = 0
    failed: Annotated[int, Field(description="Without a result, for a reason outside the clip.")] = 0
    quarantined: Annotated[int, Field(description="Refused for their own data.")] = 0
    not_run: Annotated[int, Field(description="Never tried, because the job failed or was cancelled first.")] = 0
    running: Annotated[int, Field(description="In an attempt that holds a lane.")] = 0
    pending: Annotated[int, Field(description="In no attempt yet.")] = 0


class ShardCounts(StatusModel):
    """Progress of the Process shards."""

    total: Annotated[int, Field(description="Process shards.")] = 0
    committed: Annotated[int, Field(description="With a recorded result.")] = 0


class FailedClip(StatusModel):
    """A clip that has no result, for a reason outside its data."""

    index: Annotated[int, Field(description="Number of the clip in the manifest, from 0.")]
    id: Annotated[str, Field(max_length=128, description="The clip's id.")]
    failure_class: Annotated[
        str, OPEN_VALUE, open_enum(FailureClass), Field(alias="class", description="Failure class.")
    ]
    reason: Annotated[str, Field(max_length=256, description="Why it has no result.")]


class QuarantinedClip(FailedClip):
    """A clip that was refused for its own data."""

    sha256: Annotated[Sha256Hex | None, Field(description="sha256 of the clip's bytes as read.")] = None


FailedClips = Annotated[
    tuple[FailedClip, ...],
    Field(
        max_length=STATUS_CLIPS,
        json_schema_extra=list_map("index"),
        description="The first failed clips; errors.jsonl has all of them.",
    ),
]
QuarantinedClips = Annotated[
    tuple[QuarantinedClip, ...],
    Field(
        max_length=STATUS_CLIPS,
        json_schema_extra=list_map("index"),
        description="The first quarantined clips; errors.jsonl has all of them.",
    ),
]


class JobUsage(StatusModel):
    """Machine time: the sum of verified, signed ledger rows, recomputed and never incremented."""

    machine_hours: Annotated[str, Field(max_length=32, description="machineSeconds in hours, for people.")] = "0.0000"
    machine_seconds: Annotated[Decimal3, Field(description="Lane time of all attempts.")] = "0.000"
    productive_seconds: Annotated[Decimal3, Field(description="Seconds of work that was committed.")] = "0.000"
    retry_seconds: Annotated[Decimal3, Field(description="Seconds of work of attempts that were superseded.")] = "0.000"
    overhead_seconds: Annotated[Decimal3, Field(description="Seconds of setup and cleanup.")] = "0.000"
    audio_seconds: Annotated[Decimal3, Field(description="Audio of the processed clips.")] = "0.000"
    estimated_seconds: Annotated[
        Decimal3 | None,
        Field(description="Seconds of attempts that no signed row proves, as their Macs are gone; in no other sum."),
    ] = None
    rows: Annotated[int, Field(description="Signed rows in the sum.")] = 0
    unverified_attempts: Annotated[
        int, Field(description="Attempts of which signed rows may be missing, because their Macs stayed away.")
    ] = 0
    settled: Annotated[
        bool,
        Field(description="True when every attempt has ended, and its rows are verified or counted as unverified."),
    ] = False


class EstimateBasis(StrEnum):
    """What an estimate goes by."""

    LADDER = "Ladder"  # batch sizes that these Macs have measured for this model and contract
    SHARDS = "Shards"  # the shards of this job that have a result


Amount = Annotated[str, Field(max_length=40, pattern=r"^[0-9]+(\.[0-9]+)?$")]
"""Money as text, exact: the API has no floats."""


class ExpectedCost(StatusModel):
    """Machine time at the highest price of the Macs that may run the job, without minimum charges and fees."""

    currency: Annotated[str, Field(max_length=3, pattern=r"^[A-Z]{3}$", description="ISO 4217.")]
    hourly: Annotated[Amount, Field(description="The highest contracted price of a lane-hour.")]
    amount: Annotated[Amount, Field(description="What the estimate's machineSeconds cost at most.")]
    limit: Annotated[Amount | None, Field(description="What spec.maxMachineSeconds cost at most.")] = None


class JobEstimate(StatusModel):
    """What the job is expected to take, from its plan on. A guess, which nobody is billed for."""

    machine_seconds: Annotated[
        int,
        Field(ge=0, description="Lane time of all attempts at the job's end; usage.machineSeconds has what is used."),
    ]
    finishes_at: Annotated[
        Timestamp | None,
        Field(description="When its last shard is expected to end. Absent while no Mac can work on it."),
    ] = None
    fits_window: Annotated[
        bool | None,
        Field(
            description="Whether the rest can be done before its Macs close, for their windows, rentals or drains."
            " Absent: none of them closes."
        ),
    ] = None
    basis: Annotated[
        str,
        OPEN_VALUE,
        open_enum(EstimateBasis),
        Field(description="Ladder: batch sizes that its Macs have measured. Shards: its own shards with a result."),
    ]
    cost: Annotated[
        ExpectedCost | None,
        Field(
            description="What it costs at most. Absent: no price is known of a Mac, or they are in other currencies."
        ),
    ] = None


class ScratchReport(StatusModel):
    """Scratch that the job's attempts used on their Macs."""

    high_water_bytes: Annotated[int, Field(description="Largest number of bytes that one attempt held.")] = 0
    residue_bytes: Annotated[int, Field(description="Bytes that ended attempts left behind.")] = 0


class StoredFile(StatusModel):
    """A file in the output."""

    uri: Annotated[str, Field(max_length=1024, description="Its address.")]
    sha256: Annotated[Sha256Hex, Field(description="sha256 of its bytes.")]


_AMOUNTS = (
    "machineHours",
    "machineSeconds",
    "productiveSeconds",
    "retrySeconds",
    "overheadSeconds",
    "audioSeconds",
    "estimatedSeconds",
    "rows",
    "unverifiedAttempts",
)
_SAME_USAGE = " && ".join(
    f"has(self.usage.{name}) == has(oldSelf.usage.{name})"
    f" && (!has(self.usage.{name}) || self.usage.{name} == oldSelf.usage.{name})"
    for name in _AMOUNTS
)
"""What a newer version adds is not named here, so that it may add it to a job that has ended."""


class AudioBatchJobStatus(
    StatusModel,
    json_schema_extra=validations(
        cel(
            "!has(oldSelf.usage) || !has(oldSelf.usage.settled) || !oldSelf.usage.settled"
            f" || (has(self.usage) && has(self.usage.settled) && self.usage.settled && {_SAME_USAGE})",
            "a usage that is settled never changes; late rows count in statements",
        ),
    ),
):
    observed_generation: ObservedGeneration = -1
    conditions: Conditions = ()
    start_time: Annotated[
        Timestamp | None, Field(description="When the job was accepted, or last resumed; absent while it is suspended.")
    ] = None
    finalize_time: Annotated[
        Timestamp | None,
        Field(description="When the last shard had ended. The results are merged within 30 minutes, or the job fails."),
    ] = None
    completion_time: Annotated[Timestamp | None, Field(description="When the job became Complete or Failed.")] = None
    contract: Annotated[AcceptedContract | None, Field(description="The contract as accepted.")] = None
    source: Annotated[AcceptedSource | None, Field(description="The job that spec.source names, as found then.")] = None
    plan: Annotated[JobPlan | None, Field(description="The frozen plan.")] = None
    clips: ClipCounts = ClipCounts()
    shards: ShardCounts = ShardCounts()
    quarantine: QuarantinedClips = ()
    failures: FailedClips = ()
    warnings: WarningCounts = ()
    macs: Annotated[
        tuple[Annotated[str, Field(max_length=253)], ...],
        Field(max_length=256, json_schema_extra=list_set(), description="Macs that held an attempt, as room allows."),
    ] = ()
    pending_reason: Annotated[Message | None, Field(description="Why the next shard has no Mac.")] = None
    estimate: Annotated[
        JobEstimate | None,
        Field(description="What it is expected to take. Absent before the plan, at its end, and while nothing tells."),
    ] = None
    usage: JobUsage = JobUsage()
    scratch: ScratchReport = ScratchReport()
    measured: Annotated[
        MeasuredResults | None,
        Field(description="What the results come to, for the contract's limits. Absent until they are merged."),
    ] = None
    results: Annotated[StoredFile | None, Field(description="index.json, the list of all result files.")] = None
