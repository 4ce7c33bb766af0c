"""Messages between operator and agent: HTTP/1.1, JSON, under `/v1`.

Envelopes ignore unknown fields and keep unknown values of their enums. An AttemptSpec does not: an agent that does not
know a field must refuse the attempt (RuntimeMismatch) rather than run it differently.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, cast

from pydantic import Field, SecretStr, ValidationError, ValidatorFunctionWrapHandler, WrapValidator, model_validator

from voxfleet_api.base import (
    OPEN_VALUE,
    Digest,
    Sha256Hex,
    StatusModel,
    open_enum,
)
from voxfleet_api.clip_warnings import WarningCounts
from voxfleet_api.failures import FailureClass
from voxfleet_api.kinds.audio_shard import ReportedJob, Stage
from voxfleet_api.kinds.job_status import FailedClip, QuarantinedClip
from voxfleet_api.ledger import SignedRow
from voxfleet_api.machine_time import MachineTime
from voxfleet_api.results import Counts, MeasuredResults, PlanResult, SpentBudget

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
    spent_budget: SpentBudget | None = None
    """Of a Process attempt: what the job has spent so far of this Mac's failureBudget."""
    measured: MeasuredResults | None = None
    """Of a Finalize attempt: what all rows come to."""


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
    """Body of POST /v1/renew, which renews the leases of all attempts. What it asks holds until the next renewal says
    otherwise.

    An agent without contact does by its own clock what the last renewal asked for.
    """

    takes_nothing: bool = False
    """New attempts are refused with 503; those that the agent has go on, and resume."""
    return_after_seconds: Annotated[int, Field(ge=0)] | None = None
    """From then on Process attempts end as MachineReturned after the clips in flight, with their parts delivered."""
    stop_after_seconds: Annotated[int, Field(ge=0)] | None = None
    """No lease lasts longer."""
    lanes: bool = False
    """Warm lanes of endpoints are renewed, too. An operator that knows of none, and could delete none, does not say it,
    so that those which a newer one left behind end with their leases."""


class RenewAnswer(StatusModel):
    renewed: int
    """Attempts."""
    renewed_lanes: int | None = None
    """Warm lanes of endpoints; None: the agent has none."""


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
    held_generation: int | None = None
    """With 409 and 410 of an endpoint's lane."""
    owner: str | None = None
    """With 403: the control plane that this agent serves."""
