"""Condition types and reasons, and how a condition is set.

True is the normal status of all types except `Failed`, `Halted`, `Suspended`, `Stalled`, `Quarantined`, `Contended`
and `Degraded`, which are present only when true, `Draining`, which is present while a Mac has `spec.drain`,
`AcceptancePassed`, which is present while a Mac requires or has an acceptance, `PoolsMatch`, which is present while a
Mac has `spec.pools` or `spec.reserved`, `SLOMet`, which an endpoint has whose contract has `slo.interactiveP95`, and
`OfflineSLOMet` and `WithinFailureBudget`, which a job has once its contract's limits are told.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field

from voxfleet_api.base import OPEN_VALUE_PATTERN, Message, StatusModel, Timestamp, list_map
from voxfleet_api.stored_size import shortened

MESSAGE_LIMIT = 1024
"""In bytes as they are stored; the API server takes as many characters."""


class ConditionType(StrEnum):
    ACCEPTED = "Accepted"
    READY = "Ready"  # of a schedule: jobs can be made
    COMPLETE = "Complete"
    COMMITTED = "Committed"
    FAILED = "Failed"
    SUSPENDED = "Suspended"
    HALTED = "Halted"  # no attempt starts any more, and the reason says why
    RECONCILING = "Reconciling"
    STALLED = "Stalled"
    QUARANTINED = "Quarantined"
    OFFLINE_SLO_MET = "OfflineSLOMet"  # of a job with results, whose contract has slo.offlineTailP95
    WITHIN_FAILURE_BUDGET = "WithinFailureBudget"  # the same of failureBudget
    AVAILABLE = "Available"  # of a Mac: it takes attempts; of an endpoint: as many lanes are warm as lanes.min
    DEGRADED = "Degraded"  # of an endpoint: a lane failed, or has no Mac
    SLO_MET = "SLOMet"  # of an endpoint whose contract has slo.interactiveP95
    REACHABLE = "Reachable"
    RUNTIME_COMPATIBLE = "RuntimeCompatible"
    LEDGER_VERIFIED = "LedgerVerified"
    CONTENDED = "Contended"  # of a Mac whose lanes somebody else seems to slow down
    DRAINING = "Draining"  # of a Mac with spec.drain: True until nothing runs there any more
    ARCHIVED = "Archived"  # of a statement: its rows are in the ledger archive
    FINAL = "Final"  # of a statement: it never changes again
    POOLS_MATCH = "PoolsMatch"  # of a Mac with spec.pools or spec.reserved
    ACCEPTANCE_PASSED = "AcceptancePassed"  # of a Mac with spec.requireAcceptance or spec.acceptance


class Reason(StrEnum):
    """The reasons that are not failure classes."""

    ACCEPTED = "Accepted"
    INVALID_SPEC = "InvalidSpec"
    CONTRACT_NOT_FOUND = "ContractNotFound"
    SECRET_NOT_FOUND = "SecretNotFound"
    SECRET_FORBIDDEN = "SecretForbidden"
    SECRET_INCOMPLETE = "SecretIncomplete"
    SECRET_UNREADABLE = "SecretUnreadable"
    SHARD_NAME_TAKEN = "ShardNameTaken"
    SOURCE_NOT_FOUND = "SourceNotFound"
    SOURCE_NOT_ENDED = "SourceNotEnded"
    SOURCE_WITHOUT_RESULTS = "SourceWithoutResults"
    # A job's Complete condition, in order.
    PENDING = "Pending"
    PLANNING = "Planning"
    RUNNING = "Running"
    WAITING_FOR_MAC = "WaitingForMac"
    SUSPENDED = "Suspended"
    FINALIZING = "Finalizing"
    FINISHED = "Finished"
    FAILED = "Failed"
    # Why a job failed.
    CLIPS_FAILED = "ClipsFailed"
    QUARANTINE_LIMIT_EXCEEDED = "QuarantineLimitExceeded"
    ATTEMPTS_EXHAUSTED = "AttemptsExhausted"
    DEADLINE_EXCEEDED = "DeadlineExceeded"
    MAX_MACHINE_SECONDS_EXCEEDED = "MaxMachineSecondsExceeded"
    CANCELLED = "Cancelled"
    FINALIZE_DEADLINE_EXCEEDED = "FinalizeDeadlineExceeded"
    CLIPS_QUARANTINED = "ClipsQuarantined"
    # Its contract's limits.
    TAIL_WITHIN_SLO = "TailWithinSLO"
    TAIL_BEYOND_SLO = "TailBeyondSLO"
    WITHIN_BUDGET = "WithinBudget"
    NOT_TOLD_BY_ROWS = "NotToldByRows"
    # A shard's Committed condition.
    ASSIGNED = "Assigned"
    COMMITTED = "Committed"
    SPLIT = "Split"
    # A schedule.
    SCHEDULED = "Scheduled"
    JOB_NAME_TAKEN = "JobNameTaken"
    JOB_REFUSED = "JobRefused"
    JOB_FORBIDDEN = "JobForbidden"
    # An endpoint.
    LANES_WARM = "LanesWarm"
    LANES_LOADING = "LanesLoading"
    LANES_FAILED = "LanesFailed"
    LANE_REFUSED = "LaneRefused"
    LANE_UNREACHABLE = "LaneUnreachable"
    NO_MAC_FITS = "NoMacFits"
    TURNS_WITHIN_SLO = "TurnsWithinSLO"
    TURNS_BEYOND_SLO = "TurnsBeyondSLO"
    NO_TURNS = "NoTurns"
    TOO_FEW_TURNS = "TooFewTurns"
    # A Mac.
    AVAILABLE = "Available"
    UNSCHEDULABLE = "Unschedulable"
    DRAINING = "Draining"
    DRAINED = "Drained"
    ROWS_LEFT = "RowsLeft"
    OUTSIDE_WINDOW = "OutsideWindow"
    OUTSIDE_RENTAL = "OutsideRental"
    FAILS_TOO_OFTEN = "FailsTooOften"
    REFUSES_ATTEMPTS = "RefusesAttempts"
    DELETION_HANGS = "DeletionHangs"
    LANES_SLOWED_DOWN = "LanesSlowedDown"
    MEMORY_OVERCOMMITTED = "MemoryOvercommitted"
    POOLS_MATCH = "PoolsMatch"
    POOLS_DIFFER = "PoolsDiffer"
    AWAITS_ACCEPTANCE = "AwaitsAcceptance"
    ACCEPTANCE_PASSED = "AcceptancePassed"
    ACCEPTANCE_FAILED = "AcceptanceFailed"
    OTHER_MACHINE_ACCEPTED = "OtherMachineAccepted"
    CONNECTED = "Connected"
    CONNECTING = "Connecting"
    HOST_KEY_MISMATCH = "HostKeyMismatch"
    SSH_AUTHENTICATION_FAILED = "SshAuthenticationFailed"
    SSH_UNREACHABLE = "SshUnreachable"
    HTTPS_UNREACHABLE = "HttpsUnreachable"
    CONNECTION_RESET = "ConnectionReset"
    TLS_NOT_SPOKEN = "TlsNotSpoken"
    TLS_HANDSHAKE_FAILED = "TlsHandshakeFailed"
    SERVER_CERTIFICATE_UNTRUSTED = "ServerCertificateUntrusted"
    SERVER_NAME_MISMATCH = "ServerNameMismatch"
    SERVER_CERTIFICATE_EXPIRED = "ServerCertificateExpired"
    SERVER_CERTIFICATE_NOT_YET_VALID = "ServerCertificateNotYetValid"
    CLIENT_CERTIFICATE_REFUSED = "ClientCertificateRefused"
    CLIENT_CERTIFICATE_EXPIRED = "ClientCertificateExpired"
    CLIENT_CERTIFICATE_REVOKED = "ClientCertificateRevoked"
    CERTIFICATE_UNREADABLE = "CertificateUnreadable"  # of a Secret
    AGENT_UNREACHABLE = "AgentUnreachable"
    AGENT_TOKEN_REFUSED = "AgentTokenRefused"
    IDENTITY_MISMATCH = "IdentityMismatch"
    OTHER_CONTROL_PLANE = "OtherControlPlane"
    DUPLICATE_MACHINE = "DuplicateMachine"
    EPOCH_NOT_BELIEVED = "EpochNotBelieved"
    COMPATIBLE = "Compatible"
    INCOMPATIBLE = "Incompatible"
    VERIFIED = "Verified"
    ROW_REFUSED = "RowRefused"
    # A statement.
    ARCHIVED = "Archived"
    NO_ARCHIVE = "NoArchive"
    ARCHIVE_UNAVAILABLE = "ArchiveUnavailable"
    FINAL = "Final"
    MONTH_OPEN = "MonthOpen"
    ROWS_EXPECTED = "RowsExpected"
    UNKNOWN = "Unknown"


class Condition(StatusModel):
    """A metav1.Condition."""

    type: Annotated[str, Field(max_length=63, description="What the condition describes.")]
    status: Annotated[Literal["True", "False", "Unknown"], Field(description="Whether it holds.")]
    reason: Annotated[
        str, Field(max_length=128, pattern=OPEN_VALUE_PATTERN, description="Why, as one word for programs.")
    ]
    message: Annotated[Message, Field(description="Why, and what to do, for people.")] = ""
    observed_generation: Annotated[int, Field(description="metadata.generation that the condition describes.")] = 0
    last_transition_time: Annotated[Timestamp, Field(description="When the status last changed.")]


Conditions = Annotated[
    tuple[Condition, ...],
    Field(max_length=16, json_schema_extra=list_map("type"), description="The state of the object, by type."),
]


def truncate(message: str, limit_bytes: int = MESSAGE_LIMIT) -> str:
    """A limit in characters would let a message in wide ones fill a status."""
    return shortened(message, limit_bytes)


def condition(
    previous: Iterable[Condition],
    type_: ConditionType,
    status: bool | None,
    reason: str,
    message: str,
    *,
    generation: int,
    now: str,
) -> Condition:
    """Returns a condition whose transition time is `now` only if its status differs from the previous status.

    Or if the time lies ahead: it is of a clock that was fast, and what counts from it would wait for as long.
    """
    text: Literal["True", "False", "Unknown"] = "Unknown" if status is None else ("True" if status else "False")
    old = find(previous, type_)
    since = min(old.last_transition_time, now) if old is not None and old.status == text else now
    message = truncate(message)
    if old is not None and (text, reason, message, generation, since) == (
        old.status,
        old.reason,
        old.message,
        old.observed_generation,
        old.last_transition_time,
    ):
        return old
    return Condition(
        type=type_,
        status=text,
        reason=reason,
        message=message,
        observed_generation=generation,
        last_transition_time=since,
    )


def find(conditions: Iterable[Condition], type_: ConditionType) -> Condition | None:
    for item in conditions:
        if item.type == type_:
            return item
    return None


def is_true(conditions: Iterable[Condition], type_: ConditionType) -> bool:
    present = find(conditions, type_)
    return present is not None and present.status == "True"


def is_false(conditions: Iterable[Condition], type_: ConditionType) -> bool:
    """One that is absent is not."""
    present = find(conditions, type_)
    return present is not None and present.status == "False"
