"""AudioBatchJob: one batch of clips, a model, an input and an output."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, ClassVar

from pydantic import Field

from voxfleet_api.base import (
    NOT_FILLED_IN,
    OPEN_VALUE,
    ChosenClips,
    Decimal3,
    Digest,
    Duration,
    Message,
    ObservedGeneration,
    Sha256Hex,
    SpecModel,
    StatusModel,
    Timestamp,
    Uri,
    between,
    cel,
    list_map,
    list_set,
    list_unique,
    open_enum,
    validations,
)
from voxfleet_api.clip_warnings import WarningCounts
from voxfleet_api.conditions import Conditions
from voxfleet_api.failures import FailureClass
from voxfleet_api.kinds.contract_output import OutputFormat
from voxfleet_api.kinds.job_input import JobInput
from voxfleet_api.kinds.job_model import ModelSource
from voxfleet_api.kinds.job_requirements import Requirements
from voxfleet_api.kinds.job_source import AcceptedSource, JobSource
from voxfleet_api.kinds.job_task import Synthesis, Task, Transcription
from voxfleet_api.kinds.resource import AGE_COLUMN, CrdFacts, FrozenSpec, LocalRef, PrinterColumn, Resource
from voxfleet_api.kinds.voice_contract import VoiceContractSpec
from voxfleet_api.results import PlanResult
from voxfleet_api.selectors import LabelSelector
from voxfleet_api.taints import Toleration

STATUS_CLIPS = 20
"""The most quarantined, and the most failed, clips that a status names."""
MAX_PRIORITY = 1000
MAX_DEADLINE_SECONDS = 366 * 24 * 3600
MAX_MACHINE_SECONDS = 1000 * MAX_DEADLINE_SECONDS
"""As many lanes as a job may have, for as long as it may take."""
CLEANUP_FINALIZER = "voxfleet.dev/cleanup"


class JobOutput(SpecModel):
    """Where results go."""

    uri: Annotated[
        Uri,
        Field(
            description="Prefix of the results; the job writes into a folder of its own below it.",
            pattern=r"^(file:///|s3://[a-z0-9]).*/$",
        ),
    ]
    formats: Annotated[
        tuple[OutputFormat, ...],
        Field(
            min_length=1,
            max_length=len(OutputFormat),
            json_schema_extra=list_unique(),
            description="Formats among the contract's; results.jsonl is always written.",
        ),
    ] = (OutputFormat.JSONL,)


class Sharding(SpecModel):
    """How clips are grouped into shards."""

    target_audio: Annotated[
        Duration,
        Field(
            description="Audio per shard. When a Mac is lost, its shards move to other Macs.",
            json_schema_extra=between("1s", "10000h"),
        ),
    ] = "30m"


class AudioBatchJobSpec(
    SpecModel,
    json_schema_extra=validations(
        cel(
            "has(self.input) != has(self.source)",
            "write exactly one of input and source: new clips, or those of an ended job",
            field_path=".input",
        ),
        cel(
            "!has(self.only) || !has(self.source)",
            "only chooses among the clips of input; write source.indexes instead",
            field_path=".only",
        ),
        cel(
            "has(self.credentialsSecretRef) || !(self.output.uri.startsWith('s3://')"
            " || (has(self.input) && ((has(self.input.prefix) && self.input.prefix.uri.startsWith('s3://'))"
            " || (has(self.input.manifest) && self.input.manifest.uri.startsWith('s3://'))"
            " || (has(self.input.clips) && self.input.clips.exists(c, has(c.uri) && c.uri.startsWith('s3://')))))"
            " || (has(self.model.uri) && self.model.uri.startsWith('s3://'))"
            " || (has(self.synthesis) && has(self.synthesis.reference)"
            " && self.synthesis.reference.uri.startsWith('s3://')))",
            "s3:// needs credentialsSecretRef: agents use no credentials of their own",
        ),
        cel(
            "(self.task == 'Synthesize') == has(self.synthesis)",
            "task Synthesize needs synthesis, and no other task takes it",
            field_path=".synthesis",
        ),
        cel(
            "self.task != 'Synthesize' || !has(self.input) || (!has(self.input.prefix) && !(has(self.input.clips)"
            " && self.input.clips.exists(c, !has(c.text))))",
            "task Synthesize speaks texts; write input.clips with text, or an input.manifest of texts",
            field_path=".input",
        ),
        cel(
            "self.task != 'Transcribe' || !has(self.input) || !has(self.input.clips)"
            " || self.input.clips.all(c, has(c.uri))",
            "task Transcribe needs recordings; write uri for each of input.clips",
            field_path=".input",
        ),
        cel(
            "!oldSelf.cancel || self.cancel",
            "a cancelled job does not start again; apply a job with another name instead",
            field_path=".cancel",
        ),
    ),
):
    """One batch of clips. Only how it runs may change, not what it does: a rerun is a new job."""

    contract_ref: Annotated[LocalRef, Field(description="The VoiceContract, in the same namespace.")]
    task: Annotated[Task, Field(description="What to do with the clips.")] = Task.TRANSCRIBE
    model: Annotated[
        ModelSource, Field(description="The model; `{builtin: {name: commands}}` is a small one, for trials only.")
    ]
    input: Annotated[JobInput | None, Field(description="The clips; absent in a rerun, which has source.")] = None
    only: Annotated[
        ChosenClips | None,
        Field(
            description="Indexes of input's clips, from 0 in their order, such as `3,7-9`: the job consists of these"
            " alone, and the others get no row. Its own clips are numbered anew; `source_index` in each row is the"
            " index here. Absent: all."
        ),
    ] = None
    source: Annotated[
        JobSource | None, Field(description="Instead of input: clips of an ended job that run again.")
    ] = None
    output: Annotated[JobOutput, Field(description="Where results go.")]
    transcription: Annotated[Transcription, Field(description="How the model transcribes.")] = Transcription()
    synthesis: Annotated[
        Synthesis | None, Field(description="How the model synthesizes speech; only for Synthesize.")
    ] = None
    credentials_secret_ref: Annotated[
        LocalRef | None,
        Field(
            description="Secret in the same namespace with AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and, where needed,"
            " AWS_SESSION_TOKEN, AWS_REGION and AWS_ENDPOINT_URL. Absent: file:// only."
        ),
    ] = None
    parallelism: Annotated[
        int, Field(ge=1, le=1000, description="Maximum number of lanes that work on this job at the same time.")
    ] = 4
    priority: Annotated[
        int,
        Field(
            ge=-MAX_PRIORITY,
            le=MAX_PRIORITY,
            json_schema_extra=NOT_FILLED_IN,
            description="Jobs with a higher priority get lanes before the others of their namespace; older ones come"
            " first among equals. Namespaces share the Macs whatever the priorities of their jobs. Absent: 0.",
        ),
    ] = 0
    active_deadline_seconds: Annotated[
        int | None,
        Field(
            ge=1,
            le=MAX_DEADLINE_SECONDS,
            description="How long the job may take, from status.startTime. Then what runs is stopped, what was done is"
            " merged, and the job is Failed with the reason DeadlineExceeded. Absent: as long as it takes.",
        ),
    ] = None
    max_machine_seconds: Annotated[
        int | None,
        Field(
            ge=1,
            le=MAX_MACHINE_SECONDS,
            description="How much lane time the job may take. When what is verified and what attempts may have taken"
            " since they were assigned reach it, nothing starts any more, what runs is stopped, what was done is"
            " merged, and the job is Failed with the reason MaxMachineSecondsExceeded. Absent: as much as it takes.",
        ),
    ] = None
    suspend: Annotated[
        bool,
        Field(
            description="True stops the job's attempts and starts none; the clips that they delivered are kept. False"
            " again resumes it, and activeDeadlineSeconds counts anew."
        ),
    ] = False
    cancel: Annotated[
        bool,
        Field(
            description="True stops the job for good: what was done is merged, and it is Failed with the reason"
            " Cancelled. It cannot be taken back."
        ),
    ] = False
    sharding: Annotated[Sharding, Field(description="How clips are grouped into shards.")] = Sharding()
    mac_selector: Annotated[
        LabelSelector, Field(description="Labels of the MacAgents that may run this job; empty: all.")
    ] = LabelSelector()
    tolerations: Annotated[
        tuple[Toleration, ...],
        Field(
            max_length=16,
            json_schema_extra={**list_unique(), **NOT_FILLED_IN},
            description="Taints of MacAgents that do not keep this job off; absent: none.",
        ),
    ] = ()
    requirements: Annotated[
        Requirements,
        Field(json_schema_extra=NOT_FILLED_IN, description="What a Mac must have to run this job; absent: nothing."),
    ] = Requirements()
    billing_key: Annotated[
        str | None,
        Field(min_length=1, max_length=63, description="The cost centre that the machine-hour rows carry."),
    ] = None

    def uris(self) -> tuple[str, ...]:
        """Returns all addresses that the job names, for access checks."""
        reference = self.synthesis.reference if self.synthesis is not None else None
        others = (self.output.uri, self.model.address, None if reference is None else reference.uri)
        named = () if self.input is None else self.input.uris()
        return (*named, *(uri for uri in others if uri is not None))


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


class ScratchReport(StatusModel):
    """Scratch that the job's attempts used on their Macs."""

    high_water_bytes: Annotated[int, Field(description="Largest number of bytes that one attempt held.")] = 0
    residue_bytes: Annotated[int, Field(description="Bytes that ended attempts left behind.")] = 0


class StoredFile(StatusModel):
    """A file in the output."""

    uri: Annotated[str, Field(max_length=1024, description="Its address.")]
    sha256: Annotated[Sha256Hex, Field(description="sha256 of its bytes.")]


class AudioBatchJobStatus(StatusModel):
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
        Field(max_length=256, json_schema_extra=list_set(), description="Macs that ever held an attempt."),
    ] = ()
    pending_reason: Annotated[Message | None, Field(description="Why the next shard has no Mac.")] = None
    estimate: Annotated[
        JobEstimate | None,
        Field(description="What it is expected to take. Absent before the plan, at its end, and while nothing tells."),
    ] = None
    usage: JobUsage = JobUsage()
    scratch: ScratchReport = ScratchReport()
    results: Annotated[StoredFile | None, Field(description="index.json, the list of all result files.")] = None


_STATE = '.status.conditions[?(@.type=="Complete")].reason'


class AudioBatchJob(
    Resource,
    json_schema_extra=validations(
        cel(
            "self.metadata.name.size() <= 52",
            "metadata.name is longer than 52 characters; shorten it, shards add a suffix to it",
        ),
        cel(
            "!has(self.spec.source) || self.spec.source.jobRef.name != self.metadata.name",
            "source names this very job; a rerun is a job with another name",
            field_path=".spec.source.jobRef.name",
        ),
    ),
):
    """One batch of clips: a contract, a model, an input and an output."""

    crd: ClassVar[CrdFacts] = CrdFacts(
        kind="AudioBatchJob",
        plural="audiobatchjobs",
        singular="audiobatchjob",
        short_names=("abj",),
        everyday_name="job",
        scope="Namespaced",
        columns=(
            PrinterColumn("State", "string", _STATE, "State of the job"),
            PrinterColumn("Clips", "integer", ".status.clips.total", "Clips of the job"),
            PrinterColumn("Succeeded", "integer", ".status.clips.succeeded", "Clips with a result"),
            PrinterColumn("Quarantined", "integer", ".status.clips.quarantined", "Clips refused for their own data"),
            PrinterColumn("Failed", "integer", ".status.clips.failed", "Clips that failed for another reason"),
            PrinterColumn("Machine-Hours", "string", ".status.usage.machineHours", "Verified machine-hours"),
            PrinterColumn("Shards", "string", ".status.shards.committed", "Committed shards", priority=1),
            PrinterColumn("Macs", "string", ".status.macs", "Macs that held an attempt", priority=1),
            PrinterColumn("Why", "string", ".status.pendingReason", "Why the next shard has no Mac", priority=1),
            AGE_COLUMN,
        ),
        frozen_spec=FrozenSpec(
            "apply a job with another name instead",
            mutable=("parallelism", "priority", "activeDeadlineSeconds", "maxMachineSeconds", "suspend", "cancel"),
        ),
    )

    spec: AudioBatchJobSpec
    status: AudioBatchJobStatus = AudioBatchJobStatus()
