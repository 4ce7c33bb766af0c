"""AudioBatchJob: one batch of clips, a model, an input and an output."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from voxfleet_api.base import (
    NOT_FILLED_IN,
    ChosenClips,
    Duration,
    SpecModel,
    Uri,
    between,
    cel,
    list_unique,
    validations,
)
from voxfleet_api.kinds.contract_output import OutputFormat
from voxfleet_api.kinds.job_input import JobInput
from voxfleet_api.kinds.job_model import ModelSource
from voxfleet_api.kinds.job_requirements import Requirements
from voxfleet_api.kinds.job_source import JobSource
from voxfleet_api.kinds.job_status import AudioBatchJobStatus
from voxfleet_api.kinds.job_task import Synthesis, Task, Transcription
from voxfleet_api.kinds.resource import AGE_COLUMN, CrdFacts, FrozenSpec, LocalRef, PrinterColumn, Resource
from voxfleet_api.selectors import LabelSelector
from voxfleet_api.taints import Toleration

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


JOB_RULES = (
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
)
"""What holds for every job, and for the template of one."""


class AudioBatchJobSpec(
    SpecModel,
    json_schema_extra=validations(
        *JOB_RULES,
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
