"""Messages between operator and agent: HTTP/1.1, JSON, under `/v1`.

Envelopes ignore unknown fields and keep unknown values of their enums. An AttemptSpec does not: an agent that does not
know a field must refuse the attempt (RuntimeMismatch) rather than run it differently.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, NamedTuple, cast

from pydantic import Field, SecretStr, ValidationError, ValidatorFunctionWrapHandler, WrapValidator, model_validator

from voxfleet_api.base import (
    OPEN_VALUE,
    ChosenClips,
    Digest,
    Ranges,
    Sha256Hex,
    SpecModel,
    StatusModel,
    Uid,
    open_enum,
)
from voxfleet_api.clip_warnings import WarningCounts
from voxfleet_api.failures import FailureClass
from voxfleet_api.kinds.audio_shard import JobRef, ReportedJob, Stage
from voxfleet_api.kinds.contract_output import OutputFormat
from voxfleet_api.kinds.job_input import JobInput
from voxfleet_api.kinds.job_model import ModelSource
from voxfleet_api.kinds.job_source import SourceSelect
from voxfleet_api.kinds.job_status import FailedClip, QuarantinedClip
from voxfleet_api.kinds.job_task import Synthesis, Task, Transcription
from voxfleet_api.kinds.voice_contract import VoiceContractSpec
from voxfleet_api.ledger import SignedRow
from voxfleet_api.machine_time import MachineTime
from voxfleet_api.results import MAX_SHARDS, Counts, PlanResult

CONTROL_PLANE_HEADER = "VoxFleet-Control-Plane"
EPOCH_HEADER = "VoxFleet-Epoch"
LEADER_HEADER = "VoxFleet-Leader"
HEARTBEAT_SECONDS = 5
TOMBSTONE_DAYS = 30
MAX_REPORTED_LADDERS = 32
MAX_LISTED_CHAINS = 256
"""A new chain begins with each new ledger key, and when somebody asks for one."""
MAX_LADDER_CHARACTERS = 16_384
"""Of one table. One with eight batch sizes has about 2,500."""


class AttemptKey(NamedTuple):
    """The identity of an attempt."""

    shard_uid: str
    attempt: int

    def __str__(self) -> str:
        return f"{self.shard_uid}.{self.attempt}"


class PlanSource(SpecModel):
    """An ended job, some clips of which run again. `index_sha256` verifies all that is read of it."""

    folder: Annotated[str, Field(max_length=2048)]
    """Its own output folder, without a slash at the end."""
    index_sha256: Sha256Hex
    plan_attempt: Annotated[int, Field(ge=1)]
    select: SourceSelect
    indexes: ChosenClips | None = None


class PlanSpec(SpecModel):
    """The work of Plan: list the input, check headers, resolve the model, write manifest.jsonl and plan.json."""

    input: JobInput | None = None
    model: ModelSource
    shard_audio_milliseconds: Annotated[int, Field(ge=1)]
    max_shards: Annotated[int, Field(ge=1)]
    min_shards: Annotated[int, Field(ge=1)] | None = None
    """Shards for this many lanes, though they hold less audio; None: as few as their audio asks for."""
    only: ChosenClips | None = None
    """The clips of `input` that are the job's; None: all."""
    source: PlanSource | None = None
    """Instead of `input`."""


class ProcessSpec(SpecModel):
    """The work of Process: transcribe or synthesize some clips.

    Process first verifies what Plan froze; a difference is PlanMismatch or ModelMismatch.
    """

    plan_attempt: Annotated[int, Field(ge=1)]
    manifest_sha256: Sha256Hex
    model: ModelSource
    """The resolved model: a hub model names a commit."""
    model_digest: Digest
    boundaries_digest: Digest
    """`digest_of` the list of boundaries."""
    ordinal: Annotated[int, Field(ge=0)]
    indexes: Ranges
    inherits: tuple[Uid, ...] = ()
    """For a part of a planned shard: the shards that it was split from, the nearest first. It takes over what they have
    delivered of its clips."""


class CommitRef(SpecModel):
    shard_uid: Uid
    attempt: Annotated[int, Field(ge=1)]
    sha256: Sha256Hex


class FinalizeSpec(SpecModel):
    """The work of Finalize: merge the named commits. The result depends on them alone, not on a clock or a host."""

    plan_attempt: Annotated[int, Field(ge=1)]
    manifest_sha256: Sha256Hex
    total: Annotated[int, Field(ge=0)]
    commits: tuple[CommitRef, ...]
    not_run: Annotated[str, Field(max_length=16 * MAX_SHARDS)] = ""
    """The clips without a commit, because the job failed or was cancelled."""


class AttemptSpec(SpecModel):
    """What an attempt does. Its digest is part of its identity; credentials, epoch and trace are not.

    A field that has its default is not sent. So a field that is new concerns neither an older agent nor the digest of
    an attempt that an older operator has assigned, as long as nobody uses it. A default must never change.
    """

    namespace: Annotated[str, Field(min_length=1, max_length=253)]
    job: JobRef
    shard_name: Annotated[str, Field(min_length=1, max_length=253)]
    shard_uid: Uid
    attempt: Annotated[int, Field(ge=1)]
    stage: Stage
    task: Task
    contract: VoiceContractSpec
    contract_digest: Digest
    output_folder: Annotated[str, Field(max_length=2048)]
    """The job's own folder, without a slash at the end."""
    billing_key: str | None = None
    transcription: Transcription = Transcription()
    synthesis: Synthesis | None = None
    formats: tuple[OutputFormat, ...] = (OutputFormat.JSONL,)
    plan: PlanSpec | None = None
    process: ProcessSpec | None = None
    finalize: FinalizeSpec | None = None

    def dump(self) -> dict[str, Any]:
        short = self.model_dump(mode="json", by_alias=True, exclude_none=True, exclude_defaults=True)
        return {**short, "contract": self.contract.dump()}


class S3Credentials(StatusModel):
    """Credentials that stay in memory; SecretStr keeps them out of logs and tracebacks."""

    access_key_id: SecretStr
    secret_access_key: SecretStr
    session_token: SecretStr | None = None
    region: str | None = None
    endpoint_url: str | None = None


class ReportedLadder(StatusModel):
    """A measured ladder, as its Mac tells of it and as another Mac is handed it."""

    profile: Digest
    """Digest of all that a measurement depends on besides model and contract: chip, versions, memory cap and so on."""
    model_digest: Digest
    contract_digest: Digest
    audio_milliseconds_per_second: Annotated[int, Field(ge=0, le=2**53)] | None = None
    """What a lane works through with the chosen batch size; None if that was not measured."""
    measured_on: Annotated[str, Field(max_length=253)] | None = None
    """The MacAgent that measured it; None in the report of the Mac that did."""
    table: Annotated[str, Field(max_length=MAX_LADDER_CHARACTERS)]
    """The LadderTable as JSON. Agents parse it strictly; the operator passes it on as it is."""


class LadderList(StatusModel):
    """Answer to GET /v1/ladders: the tables that hold for this Mac as it is, the newest first."""

    ladders: tuple[ReportedLadder, ...] = ()


def _readable_ladder(ladder: object, parse: ValidatorFunctionWrapHandler) -> ReportedLadder | None:
    try:
        return cast("ReportedLadder | None", parse(ladder))
    except ValidationError:
        return None


class AttemptRequest(StatusModel):
    """Body of PUT /v1/attempts/{shardUID}/{n}. What is no part of the spec may differ when the PUT is repeated."""

    spec_digest: Digest
    spec: dict[str, object]
    """An AttemptSpec as sent; the agent digests these fields before it parses them strictly."""
    lease_seconds: Annotated[int, Field(ge=1)]
    credentials: S3Credentials | None = None
    uri_prefixes: tuple[Annotated[str, Field(max_length=1024)], ...] | None = None
    """What MacAgent.spec.access opens to the job's namespace: bounds all that the attempt reads and writes, inside the
    agent's own `allow`. None: an operator that does not know the field."""
    ladder: Annotated[ReportedLadder | None, WrapValidator(_readable_ladder)] = None
    """What another Mac measured for this model and contract, for an agent that has measured nothing itself. None also
    for one that this reader does not understand: it measures, then."""
    batch_halvings: Annotated[int, Field(ge=0)] = 0
    """How often the batch size that this Mac would choose is halved, after attempts that ran out of memory or time. An
    older agent does not know the field and runs full batches."""
    machine_time: MachineTime | None = None
    """For Finalize: what the job had used when its last shard had ended, the same for each attempt."""


class AttemptState(StrEnum):
    ACCEPTED = "Accepted"
    RUNNING = "Running"
    PARKED = "Parked"  # the lease expired or the agent restarted; the same PUT resumes it
    FINISHING = "Finishing"  # the outcome is durable; cleanup and sealing remain
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"
    DELETING = "Deleting"


TERMINAL_STATES = frozenset({AttemptState.SUCCEEDED, AttemptState.FAILED})


class AttemptFailure(StatusModel):
    failure_class: Annotated[str, OPEN_VALUE, open_enum(FailureClass), Field(alias="class")]
    message: Annotated[str, Field(max_length=1024)]


class ShardProgress(StatusModel):
    total: int = 0
    done: int = 0


class ShardResult(StatusModel):
    """The result of a succeeded attempt."""

    commit_sha256: Sha256Hex
    plan: PlanResult | None = None
    counts: Counts | None = None
    """The counts of a Process or Finalize attempt, inherited clips included."""
    quarantine: tuple[QuarantinedClip, ...] = ()
    """The first quarantined clips, by index."""
    failures: tuple[FailedClip, ...] = ()
    """The first failed clips, by index."""
    warnings: WarningCounts = ()
    """The warnings of the same rows that `counts` counts."""


class LedgerSpan(StatusModel):
    """The range of an attempt's sealed rows."""

    chain_id: str
    first_sequence: int
    last_sequence: int


class AttemptStatus(StatusModel):
    """An attempt as its agent sees it. In a terminal state lane and scratch are free and all rows are sealed."""

    shard_uid: str
    attempt: int
    spec_digest: str
    control_plane: str
    namespace: str
    job: ReportedJob
    shard_name: str
    stage: Annotated[str, OPEN_VALUE, open_enum(Stage)]
    state: Annotated[str, OPEN_VALUE, open_enum(AttemptState)]
    ended: bool = False
    """Whether the state is terminal, for a reader that does not know it."""
    lane: str | None = None
    failure: AttemptFailure | None = None
    progress: ShardProgress = ShardProgress()
    result: ShardResult | None = None
    ledger: LedgerSpan | None = None
    scratch_high_water_bytes: int = 0
    scratch_residue_bytes: int = 0

    @property
    def has_ended(self) -> bool:
        return self.ended or self.state in TERMINAL_STATES


class AttemptList(StatusModel):
    """Answer to GET /v1/attempts?limit=N&continue=TOKEN: attempts in the order of their keys.

    Without `limit` it holds all of them, for an operator that knows no pages.
    """

    attempts: tuple[AttemptStatus, ...]
    cursor: str
    """The cursor to stream from: the events after that of the first page and all pages miss nothing."""
    continue_token: str | None = None
    """Asks for the next page; None on the last page, and from an agent that knows no pages."""


class Identity(StatusModel):
    """Answer to GET /v1/identity?nonce=. The signature covers IDENTITY_CONTEXT and `identity_claim`."""

    hardware_id: str
    control_plane: str | None = None
    public_key: str
    nonce: str
    signature: str


def nonce_for_port(unpredictable: str, port: int) -> str:
    """A nonce that the agent signs only for callers of this port of its own.

    Somebody else on the Mac could listen on the port that the operator calls, and hand the nonce on to the agent on
    another one. An agent that does not know of this signs it as any nonce.
    """
    return f"{unpredictable}@{port}"


def port_of_nonce(nonce: str) -> int | None:
    """The port that a nonce is for; None: any."""
    _, _, port = nonce.partition("@")
    return int(port) if port.isascii() and port.isdecimal() and len(port) <= 5 else None


def identity_claim(identity: Identity) -> dict[str, object]:
    """Returns the signed part of an Identity."""
    return {"hardwareId": identity.hardware_id, "controlPlane": identity.control_plane, "nonce": identity.nonce}


class PoolFacts(StatusModel):
    name: str
    kind: Annotated[str, OPEN_VALUE]
    lanes: int
    free_lanes: int
    memory_cap_bytes: int | None = None
    """Of each lane; None: an agent that does not say."""


class Capability(StrEnum):
    """What an agent can do that not every agent can. A version number would not tell of a fork or a patch."""

    NAMESPACE_ACCESS = "NamespaceAccess"  # it keeps each attempt within AttemptRequest.uri_prefixes
    RETURNS_AT_NEXT_CLIP = "ReturnsAtNextClip"  # it does what RenewRequest asks beyond the renewal
    CHOSEN_CLIPS = "ChosenClips"  # it knows PlanSpec.only and .source, and the `source_index` of rows
    SHARD_PIECES = "ShardPieces"  # it runs a part of a planned shard (ProcessSpec.inherits)
    LEDGER_CHAINS = "LedgerChains"  # it lists its chains of rows, and serves those before the current one


class MachineFacts(StatusModel):
    """Answer to GET /v1/machine."""

    hardware_id: str
    boot_id: str
    chip: str
    memory_bytes: int
    os: str
    versions: dict[str, str]
    runtime_compatible: bool
    runtime_message: str
    capabilities: tuple[Annotated[str, OPEN_VALUE, open_enum(Capability)], ...] = ()
    pools: tuple[PoolFacts, ...]
    loaded_models: tuple[str, ...] = ()
    """Digests of the models that lanes hold in memory."""
    lacks_scratch: bool = False
    """Whether an attempt that needs a lane would be refused now for want of scratch (507)."""
    scratch_reserved_bytes: int | None = None
    """What attempts hold of scratch; None, as for the quota: an agent that does not say."""
    scratch_quota_bytes: int | None = None
    ledger_chain_id: str
    ledger_sequence: int
    ladder_profile: Digest | None = None
    """The `profile` of this Mac's ladders; None: an agent that takes no ladder from others."""
    ladders_revision: Annotated[str, Field(max_length=64)] | None = None
    """Another text means that GET /v1/ladders has another answer; None: the agent does not know that call."""


def _readable_row(row: object, parse: ValidatorFunctionWrapHandler) -> SignedRow | None:
    try:
        return cast("SignedRow | None", parse(row))
    except ValidationError:
        return None


class EventType(StrEnum):
    ATTEMPT = "Attempt"
    ROW = "Row"
    HEARTBEAT = "Heartbeat"


class Event(StatusModel):
    """One line of GET /v1/events?after=CURSOR. A cursor is `<journal id>:<number>`."""

    type: Annotated[str, OPEN_VALUE, open_enum(EventType)]
    cursor: str
    attempt: AttemptStatus | None = None
    row: Annotated[SignedRow | None, WrapValidator(_readable_row)] = None
    """None also for a row that this reader does not understand, which a LedgerPage then tells of."""


class EventAck(StatusModel):
    """Body of POST /v1/events/ack, answered with 204: the operator has all events up to this cursor."""

    cursor: str


class RenewRequest(StatusModel):
    """Body of POST /v1/renew, which renews all leases. What it asks holds until the next renewal says otherwise.

    An agent without contact does by its own clock what the last renewal asked for.
    """

    takes_nothing: bool = False
    """New attempts are refused with 503; those that the agent has go on, and resume."""
    return_after_seconds: Annotated[int, Field(ge=0)] | None = None
    """From then on Process attempts end as MachineReturned after the clips in flight, with their parts delivered."""
    stop_after_seconds: Annotated[int, Field(ge=0)] | None = None
    """No lease lasts longer."""


class RenewAnswer(StatusModel):
    renewed: int


class LedgerChain(StatusModel):
    """One chain of this Mac's rows, and its newest row."""

    chain_id: Annotated[str, Field(max_length=64)]
    ledger_key: Annotated[str | None, Field(max_length=64)] = None
    """The key that signs it; None of a chain that an older agent left behind with another key."""
    sequence: Annotated[int, Field(ge=-1)]
    """-1 before the first row."""
    hash: Sha256Hex | None = None
    """None before the first row, and if the newest one is damaged."""


class LedgerChains(StatusModel):
    """Answer to GET /v1/ledger/chains: the newest first, which is the current one."""

    chains: Annotated[tuple[LedgerChain, ...], Field(max_length=MAX_LISTED_CHAINS)]


class LedgerPage(StatusModel):
    """Answer to GET /v1/ledger?chain=ID&after=SEQUENCE&limit=N: rows of the chain; -1 asks for its first rows.

    Without `chain`, and for an agent that does not know it, they are of the current chain.
    """

    chain_id: str
    rows: tuple[SignedRow, ...]
    damaged_sequence: int | None = None
    """The number of the next row when the agent's journal, or this reader, cannot read it."""

    @model_validator(mode="before")
    @classmethod
    def _end_before_what_cannot_be_read(cls, data: object) -> object:
        """A row that only a newer version understands counts as damaged, because its time cannot be counted."""
        sent = data.get("rows") if isinstance(data, dict) else None
        if not isinstance(data, dict) or not isinstance(sent, list):
            return data
        rows: list[SignedRow] = []
        for item in sent:
            try:
                rows.append(SignedRow.load(item))
            except ValidationError:
                return {**data, "rows": rows, "damagedSequence": _sequence(item)}
        return {**data, "rows": rows}


def _sequence(row: object) -> int:
    """The number that an unreadable row has, if any."""
    content = row.get("row") if isinstance(row, dict) else None
    number = content.get("sequence") if isinstance(content, dict) else None
    return number if isinstance(number, int) else -1


class Problem(StatusModel):
    """Body of every answer whose status is not 2xx."""

    failure_class: Annotated[Annotated[str, OPEN_VALUE, open_enum(FailureClass)] | None, Field(alias="class")] = None
    message: str
    held_epoch: int | None = None
    """With 412."""
    held_attempt: int | None = None
    """With 409 and 410."""
    owner: str | None = None
    """With 403: the control plane that this agent serves."""
