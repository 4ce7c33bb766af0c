"""AudioShard: one stage of a job's work on one range of its clips. Written by the operator only."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, ClassVar

from pydantic import ConfigDict, Field

from voxfleet_api.base import (
    OPEN_VALUE,
    Digest,
    Message,
    Month,
    ObservedGeneration,
    Ranges,
    Sha256Hex,
    SpecModel,
    StatusModel,
    Timestamp,
    Uid,
    cel,
    list_atomic,
    list_map,
    list_set,
    open_enum,
    validations,
)
from voxfleet_api.clip_warnings import WarningCounts
from voxfleet_api.conditions import Conditions
from voxfleet_api.failures import FailureClass
from voxfleet_api.kinds.job_status import FailedClips, QuarantinedClips
from voxfleet_api.kinds.resource import AGE_COLUMN, CrdFacts, FrozenSpec, PrinterColumn, Resource
from voxfleet_api.machine_time import MachineTime
from voxfleet_api.results import MeasuredResults, PlanResult, SpentBudget

MAX_ATTEMPTS = 16
MAX_CHIP = 128
"""The longest name of a chip that is kept."""
MAX_SPLITS_IN_A_ROW = 20
"""The most halvings that lead to one clip: a job has fewer than 2**20 clips."""


class Stage(StrEnum):
    PLAN = "Plan"
    PROCESS = "Process"
    FINALIZE = "Finalize"


class AttemptOutcome(StrEnum):
    """The outcome of an attempt, as the operator saw it."""

    ASSIGNED = "Assigned"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"
    REFUSED = "Refused"
    RETURNED = "Returned"  # by a Mac without room for it, or that drains or closes, or called back: it costs no retry
    LOST = "Lost"


class ReportedJob(StatusModel):
    """A job as an envelope names it."""

    name: Annotated[str, Field(min_length=1, max_length=253, description="Name of the job.")]
    uid: Annotated[Uid, Field(description="UID of the job.")]


class JobRef(ReportedJob):
    """A job as a spec names it."""

    model_config = ConfigDict(extra="forbid")


class ShardPiece(SpecModel):
    """Which part of a planned shard this is. A shard that keeps failing is split into two halves."""

    path: Annotated[
        str,
        Field(
            min_length=1,
            max_length=MAX_SPLITS_IN_A_ROW,
            pattern=r"^[01]+$",
            description="The half of each split, from the first split on: 0 the first clips, 1 the rest.",
        ),
    ]
    inherits: Annotated[
        tuple[Uid, ...],
        Field(
            min_length=1,
            max_length=MAX_SPLITS_IN_A_ROW,
            json_schema_extra=list_atomic(),
            description="UIDs of the shards that it was split from, the nearest first; it takes over what they have"
            " delivered.",
        ),
    ]
    after_attempt: Annotated[
        int,
        Field(
            ge=1,
            description="The attempts of those shards have numbers up to this one, and its own have higher ones.",
        ),
    ]


class AudioShardSpec(
    SpecModel,
    json_schema_extra=validations(
        cel(
            "!has(self.piece) || self.stage == 'Process'",
            "piece belongs to the Process stage, and only to it",
        ),
        cel(
            "!has(self.machineTime) || self.stage == 'Finalize'",
            "machineTime belongs to the Finalize stage, and only to it",
        ),
        cel(
            "(self.stage == 'Process') == has(self.ordinal)",
            "ordinal and indexes belong to the Process stage, and only to it",
        ),
        cel(
            "has(self.ordinal) == has(self.indexes)",
            "ordinal and indexes belong to the Process stage, and only to it",
        ),
    ),
):
    """What the shard is. Immutable."""

    job_ref: Annotated[JobRef, Field(description="The job.")]
    stage: Annotated[Stage, Field(description="Plan, Process or Finalize.")]
    ordinal: Annotated[int | None, Field(ge=0, description="Number of a Process shard, from 0.")] = None
    indexes: Annotated[Ranges | None, Field(description="Clips of a Process shard.")] = None
    piece: Annotated[ShardPiece | None, Field(description="Absent: all clips of the planned shard.")] = None
    machine_time: Annotated[
        MachineTime | None,
        Field(description="Of a Finalize shard: what the job had used by then, for its report."),
    ] = None


class AttemptEstimate(StatusModel):
    """Lane time of an attempt whose Mac is gone: from its assignment until contact was lost, less its verified rows."""

    milliseconds: Annotated[int, Field(ge=1, description="The most that it can have used beside its rows.")]
    month: Annotated[Month, Field(description="When it was estimated: that month's statement has it.")]


class AttemptUsage(StatusModel):
    """Verified ledger rows of one attempt."""

    chain_id: Annotated[str, Field(max_length=64, description="The Mac's chain of ledger rows.")]
    first_sequence: Annotated[int, Field(description="Number of the attempt's first row.")]
    last_sequence: Annotated[int, Field(description="Number of the attempt's last row.")]
    rows: Annotated[int, Field(description="Rows of the attempt.")]
    last_hash: Annotated[
        Sha256Hex | None, Field(description="Hash of its last row, which fixes all rows of the chain up to it.")
    ] = None
    setup_milliseconds: Annotated[int, Field(description="Lane time before the first clip.")] = 0
    work_milliseconds: Annotated[int, Field(description="Lane time of the clips.")] = 0
    cleanup_milliseconds: Annotated[int, Field(description="Lane time after the last clip.")] = 0
    audio_milliseconds: Annotated[int, Field(description="Processed audio.")] = 0
    complete: Annotated[bool, Field(description="True when the attempt can have no further rows.")] = False
    given_up: Annotated[
        bool, Field(description="True if its Mac stayed away or was removed, so that signed rows may be missing here.")
    ] = False
    estimate: Annotated[
        AttemptEstimate | None, Field(description="What no signed row proves, if its Mac is gone. In no other sum.")
    ] = None

    @property
    def machine_milliseconds(self) -> int:
        return self.setup_milliseconds + self.work_milliseconds + self.cleanup_milliseconds


class MachineIdentity(StatusModel):
    """A machine, whatever MacAgent stands for it."""

    hardware_id: Annotated[str, Field(max_length=128, description="Identifies the machine.")]
    ledger_key: Annotated[str, Field(max_length=64, description="Public key that signs its machine-hours.")]


class AttemptRecord(StatusModel):
    """One attempt of the shard."""

    attempt: Annotated[int, Field(ge=1, description="Its number.")]
    mac: Annotated[str, Field(max_length=253, description="The MacAgent that it was assigned to.")]
    machine: Annotated[
        MachineIdentity | None,
        Field(description="The machine that the MacAgent was then. The attempt stays its own."),
    ] = None
    chip: Annotated[str | None, Field(max_length=MAX_CHIP, description="That machine's chip.")] = None
    outcome: Annotated[str, OPEN_VALUE, open_enum(AttemptOutcome), Field(description="What became of it.")]
    failure_class: Annotated[
        Annotated[str, OPEN_VALUE, open_enum(FailureClass)] | None,
        Field(alias="class", description="Failure class, if it has failed."),
    ] = None
    message: Annotated[Message | None, Field(description="Why it ended, for people.")] = None
    held_seconds: Annotated[
        int | None,
        Field(ge=0, description="For how long it was assigned: the most that it can have used; gone once it is known."),
    ] = None
    usage: Annotated[AttemptUsage | None, Field(description="Absent until its signed rows are verified.")] = None

    @property
    def costs_retry(self) -> bool:
        """Whether its end counts against the retry limit; a Mac that had no room, or gave it back, costs none."""
        return self.outcome not in (AttemptOutcome.ASSIGNED, AttemptOutcome.SUCCEEDED, AttemptOutcome.RETURNED)


class FoldedAttempts(StatusModel):
    """The sum of ended attempts, once there are too many to list."""

    attempts: Annotated[int, Field(description="How many attempts the sum has.")] = 0
    retries: Annotated[int, Field(description="How many of them cost a retry.")] = 0
    chip: Annotated[
        str | None, Field(max_length=MAX_CHIP, description="The chip of the last of them that may have worked.")
    ] = None
    unsettled: Annotated[int, Field(description="How many had signed rows that were not verified in time.")] = 0
    rows: Annotated[int, Field(description="Their verified ledger rows.")] = 0
    setup_milliseconds: Annotated[int, Field(description="Lane time before their first clip.")] = 0
    work_milliseconds: Annotated[int, Field(description="Lane time of the clips.")] = 0
    cleanup_milliseconds: Annotated[int, Field(description="Lane time after their last clip.")] = 0
    audio_milliseconds: Annotated[int, Field(description="Processed audio.")] = 0

    @property
    def machine_milliseconds(self) -> int:
        return self.setup_milliseconds + self.work_milliseconds + self.cleanup_milliseconds


class ShardCommit(StatusModel):
    """The shard's result. Recording this digest is the commit."""

    attempt: Annotated[int, Field(ge=1, description="The attempt that delivered the result.")]
    sha256: Annotated[
        Sha256Hex, Field(description="sha256 of the stage's commit file: plan.json, commit.json or index.json.")
    ]


class ShardClipCounts(StatusModel):
    """Outcomes of a shard's clips."""

    succeeded: Annotated[int, Field(description="With a result.")] = 0
    failed: Annotated[int, Field(description="Without a result, for a reason outside the clip.")] = 0
    quarantined: Annotated[int, Field(description="Refused for their own data.")] = 0
    not_run: Annotated[int, Field(description="Never tried, because the job failed first.")] = 0


class AudioShardStatus(
    StatusModel,
    json_schema_extra=validations(
        cel(
            "!has(oldSelf.attempt) || (has(self.attempt) && self.attempt >= oldSelf.attempt)",
            "attempt is a fencing token and never falls",
        ),
        cel(
            "!has(oldSelf.attempt) || self.attempt != oldSelf.attempt"
            " || (self.mac == oldSelf.mac && self.specDigest == oldSelf.specDigest)",
            "an attempt belongs to one Mac for ever; assign the next attempt instead",
        ),
        cel(
            "!has(oldSelf.commit) || (has(self.commit) && self.commit == oldSelf.commit)",
            "a commit does not change",
        ),
    ),
):
    observed_generation: ObservedGeneration = -1
    conditions: Conditions = ()
    attempt: Annotated[
        int | None,
        Field(
            ge=1,
            description="Number of the newest attempt; the fencing token. It may be one that is in no list: of a Mac"
            " that had more attempts than a restored API server knows.",
        ),
    ] = None
    mac: Annotated[str | None, Field(max_length=253, description="The Mac of the newest attempt.")] = None
    spec_digest: Annotated[Digest | None, Field(description="Digest of the newest attempt's spec.")] = None
    lease_seconds: Annotated[
        int | None, Field(ge=1, description="The agent parks the attempt when it receives no renewal for this long.")
    ] = None
    assigned_at: Annotated[Timestamp | None, Field(description="When the newest attempt was assigned.")] = None
    attempts: Annotated[
        tuple[AttemptRecord, ...],
        Field(max_length=MAX_ATTEMPTS, json_schema_extra=list_map("attempt"), description="The newest attempts."),
    ] = ()
    folded: Annotated[FoldedAttempts | None, Field(description="The attempts that the list leaves out.")] = None
    superseded_by: Annotated[
        tuple[Annotated[str, Field(max_length=253)], ...],
        Field(
            max_length=2,
            json_schema_extra=list_set(),
            description="The two shards that it was split into. It gets no further attempt and has no result.",
        ),
    ] = ()
    commit: ShardCommit | None = None
    plan: Annotated[PlanResult | None, Field(description="Result of a Plan shard.")] = None
    clips: Annotated[ShardClipCounts | None, Field(description="Outcomes of the committed clips.")] = None
    quarantine: QuarantinedClips = ()
    failures: FailedClips = ()
    warnings: WarningCounts = ()
    spent_budget: Annotated[
        SpentBudget | None,
        Field(description="Of a Process shard: what the job had spent of its Mac's failureBudget by then."),
    ] = None
    measured: Annotated[
        MeasuredResults | None, Field(description="Of a Finalize shard: what the job's results come to.")
    ] = None
    scratch_high_water_bytes: Annotated[int, Field(description="Largest number of bytes that one attempt held.")] = 0
    scratch_residue_bytes: Annotated[int, Field(description="Bytes that ended attempts left behind.")] = 0


class AudioShard(Resource):
    """One stage of a job's work on one range of its clips. Written by the operator only."""

    crd: ClassVar[CrdFacts] = CrdFacts(
        kind="AudioShard",
        plural="audioshards",
        singular="audioshard",
        short_names=("ash",),
        everyday_name="shard",
        scope="Namespaced",
        columns=(
            PrinterColumn("Stage", "string", ".spec.stage", "Plan, Process or Finalize"),
            PrinterColumn("Clips", "string", ".spec.indexes", "Clip indexes"),
            PrinterColumn("State", "string", '.status.conditions[?(@.type=="Committed")].reason', "State of the shard"),
            PrinterColumn("Attempt", "integer", ".status.attempt", "Newest attempt"),
            PrinterColumn("Mac", "string", ".status.mac", "Mac of the newest attempt"),
            PrinterColumn("Job", "string", ".spec.jobRef.name", "The job", priority=1),
            PrinterColumn("Succeeded", "integer", ".status.clips.succeeded", "Committed results", priority=1),
            PrinterColumn("Quarantined", "integer", ".status.clips.quarantined", "Quarantined clips", priority=1),
            AGE_COLUMN,
        ),
        frozen_spec=FrozenSpec("it belongs to the operator"),
    )

    spec: AudioShardSpec
    status: AudioShardStatus = AudioShardStatus()
