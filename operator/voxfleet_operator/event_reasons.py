"""The closed list of what events say: each reason, its action, whether it is a warning, and what it means. Pure.

An event about a condition has the condition's reason; `voxfleet_api/condition_texts.py` says what that means. The
others are here, with the reasons of EventReason.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from voxfleet_api.conditions import Reason
from voxfleet_api.failures import FailureClass


class EventReason(StrEnum):
    """What happens and no condition says."""

    API_SERVER_RESTORED = "ApiServerRestored"
    BUDGET_EXHAUSTED = "BudgetExhausted"
    BUDGET_THRESHOLD_REACHED = "BudgetThresholdReached"
    CLEANUP_INCOMPLETE = "CleanupIncomplete"
    CONTENTION_ENDED = "ContentionEnded"
    EPOCH_RAISED = "EpochRaised"
    EXCLUDED = "Excluded"
    EXCLUSION_ENDED = "ExclusionEnded"
    JOB_REPLACED = "JobReplaced"
    JOB_STARTED = "JobStarted"
    LEASE_DELETED = "LeaseDeleted"
    LEDGER_BEGUN_ANEW = "LedgerBegunAnew"
    MACHINE_REPLACED = "MachineReplaced"
    MAC_REBOOTED = "MacRebooted"
    NIGHT_CLOSED = "NightClosed"
    NIGHT_NOT_CLOSED = "NightNotClosed"
    OTHER_FAILURE = "OtherFailure"
    PRICE_BOOK_REFUSED = "PriceBookRefused"
    REQUEST_TOO_OLD = "RequestTooOld"
    ROWS_LEFT_BEHIND = "RowsLeftBehind"
    RUNS_MISSED = "RunsMissed"
    STOPPED_UNSEEN = "StoppedUnseen"
    UNBLOCKED = "Unblocked"
    VERSIONS_CHANGED = "VersionsChanged"


Announced = EventReason | Reason | FailureClass
"""The reason of an event. An attempt may fail with a class that only a newer agent knows: OTHER_FAILURE."""


class Action(StrEnum):
    """What the operator was at."""

    ACCEPT = "Accept"
    BILL = "Bill"
    CLEAN_UP = "CleanUp"
    CONNECT = "Connect"
    DRAIN = "Drain"
    EXCLUDE = "Exclude"
    FINALIZE = "Finalize"
    HALT = "Halt"
    KEEP_WARM = "KeepWarm"
    LEAD = "Lead"
    PLACE = "Place"
    PLAN = "Plan"
    RUN = "Run"
    SCHEDULE = "Schedule"
    SETTLE = "Settle"
    SPLIT = "Split"
    TRY_MAC = "TryMac"
    VERIFY = "Verify"


@dataclass(frozen=True, slots=True)
class EventFacts:
    action: Action
    warning: bool


@dataclass(frozen=True, slots=True)
class EventText:
    about: str
    """Kinds of the objects that the event regards."""
    means: str
    to_do: str


def facts_of(reason: Announced) -> EventFacts:
    """Raises KeyError for a reason that is not listed; a test asks for all of them."""
    if isinstance(reason, FailureClass):
        return EventFacts(Action.RUN, warning=reason is not FailureClass.MACHINE_RETURNED)
    return FACTS[reason]


def announced(reason: str) -> Announced:
    """The reason of a condition or the class of a failure, as an event's reason."""
    if reason in set(Reason):
        return Reason(reason)
    return FailureClass(reason) if reason in set(FailureClass) else EventReason.OTHER_FAILURE


def _facts(
    action: Action, *, normal: tuple[Announced, ...] = (), warning: tuple[Announced, ...] = ()
) -> Mapping[Announced, EventFacts]:
    return {
        **{reason: EventFacts(action, warning=False) for reason in normal},
        **{reason: EventFacts(action, warning=True) for reason in warning},
    }


FACTS: Mapping[Announced, EventFacts] = {
    **_facts(
        Action.ACCEPT,
        normal=(Reason.ACCEPTED, Reason.PENDING, Reason.SOURCE_NOT_ENDED, EventReason.UNBLOCKED),
        warning=(
            Reason.CONTRACT_NOT_FOUND,
            Reason.INVALID_SPEC,
            Reason.SECRET_FORBIDDEN,
            Reason.SECRET_INCOMPLETE,
            Reason.SECRET_NOT_FOUND,
            Reason.SECRET_UNREADABLE,
            Reason.SOURCE_NOT_FOUND,
            Reason.SOURCE_WITHOUT_RESULTS,
        ),
    ),
    **_facts(Action.PLAN, normal=(Reason.PLANNING,), warning=(Reason.SHARD_NAME_TAKEN,)),
    **_facts(Action.PLACE, normal=(Reason.ASSIGNED, Reason.WAITING_FOR_MAC)),
    **_facts(
        Action.RUN,
        normal=(EventReason.CONTENTION_ENDED, Reason.COMMITTED, Reason.RUNNING, Reason.SUSPENDED),
        warning=(
            EventReason.OTHER_FAILURE,
            Reason.CLIPS_QUARANTINED,
            Reason.LANES_SLOWED_DOWN,
            Reason.UNKNOWN,
        ),
    ),
    **_facts(
        Action.HALT,
        warning=(
            Reason.ATTEMPTS_EXHAUSTED,
            Reason.CANCELLED,
            Reason.DEADLINE_EXCEEDED,
            Reason.MAX_MACHINE_SECONDS_EXCEEDED,
            Reason.QUARANTINE_LIMIT_EXCEEDED,
        ),
    ),
    **_facts(
        Action.FINALIZE,
        normal=(
            Reason.FINALIZING,
            Reason.FINISHED,
            Reason.NOT_TOLD_BY_ROWS,
            Reason.TAIL_WITHIN_SLO,
            Reason.WITHIN_BUDGET,
        ),
        warning=(
            Reason.CLIPS_FAILED,
            Reason.FAILED,
            Reason.FINALIZE_DEADLINE_EXCEEDED,
            Reason.TAIL_BEYOND_SLO,
        ),
    ),
    **_facts(
        Action.SCHEDULE,
        normal=(EventReason.JOB_STARTED, Reason.SCHEDULED),
        warning=(
            EventReason.JOB_REPLACED,
            EventReason.REQUEST_TOO_OLD,
            EventReason.RUNS_MISSED,
            Reason.JOB_FORBIDDEN,
            Reason.JOB_NAME_TAKEN,
            Reason.JOB_REFUSED,
        ),
    ),
    **_facts(
        Action.BILL,
        normal=(EventReason.BUDGET_THRESHOLD_REACHED, EventReason.NIGHT_CLOSED),
        warning=(EventReason.BUDGET_EXHAUSTED, EventReason.NIGHT_NOT_CLOSED, EventReason.PRICE_BOOK_REFUSED),
    ),
    **_facts(
        Action.KEEP_WARM,
        normal=(
            Reason.LANES_LOADING,
            Reason.LANES_WARM,
            Reason.NO_MAC_FITS,
            Reason.NO_TURNS,
            Reason.TOO_FEW_TURNS,
            Reason.TURNS_WITHIN_SLO,
        ),
        warning=(Reason.LANES_FAILED, Reason.LANE_REFUSED, Reason.LANE_UNREACHABLE, Reason.TURNS_BEYOND_SLO),
    ),
    **_facts(Action.SPLIT, warning=(Reason.SPLIT,)),
    **_facts(Action.CLEAN_UP, warning=(EventReason.CLEANUP_INCOMPLETE, Reason.DELETION_HANGS)),
    **_facts(
        Action.CONNECT,
        normal=(
            EventReason.MAC_REBOOTED,
            EventReason.VERSIONS_CHANGED,
            Reason.AVAILABLE,
            Reason.COMPATIBLE,
            Reason.CONNECTED,
            Reason.CONNECTING,
            Reason.POOLS_MATCH,
        ),
        warning=(
            EventReason.MACHINE_REPLACED,
            Reason.AGENT_TOKEN_REFUSED,
            Reason.AGENT_UNREACHABLE,
            Reason.CERTIFICATE_UNREADABLE,
            Reason.CLIENT_CERTIFICATE_EXPIRED,
            Reason.CLIENT_CERTIFICATE_REFUSED,
            Reason.CLIENT_CERTIFICATE_REVOKED,
            Reason.CONNECTION_RESET,
            Reason.DUPLICATE_MACHINE,
            Reason.EPOCH_NOT_BELIEVED,
            Reason.HOST_KEY_MISMATCH,
            Reason.HTTPS_UNREACHABLE,
            Reason.IDENTITY_MISMATCH,
            Reason.INCOMPATIBLE,
            Reason.MEMORY_OVERCOMMITTED,
            Reason.OTHER_CONTROL_PLANE,
            Reason.POOLS_DIFFER,
            Reason.SERVER_CERTIFICATE_EXPIRED,
            Reason.SERVER_CERTIFICATE_NOT_YET_VALID,
            Reason.SERVER_NAME_MISMATCH,
            Reason.SERVER_CERTIFICATE_UNTRUSTED,
            Reason.SSH_AUTHENTICATION_FAILED,
            Reason.SSH_UNREACHABLE,
            Reason.TLS_HANDSHAKE_FAILED,
            Reason.TLS_NOT_SPOKEN,
        ),
    ),
    **_facts(
        Action.DRAIN,
        normal=(
            Reason.DRAINED,
            Reason.DRAINING,
            Reason.OUTSIDE_RENTAL,
            Reason.OUTSIDE_WINDOW,
            Reason.ROWS_LEFT,
            Reason.UNSCHEDULABLE,
        ),
        warning=(EventReason.STOPPED_UNSEEN,),
    ),
    **_facts(
        Action.TRY_MAC,
        normal=(Reason.ACCEPTANCE_PASSED, Reason.AWAITS_ACCEPTANCE),
        warning=(Reason.ACCEPTANCE_FAILED, Reason.OTHER_MACHINE_ACCEPTED),
    ),
    **_facts(
        Action.EXCLUDE,
        normal=(EventReason.EXCLUSION_ENDED,),
        warning=(EventReason.EXCLUDED, Reason.FAILS_TOO_OFTEN, Reason.REFUSES_ATTEMPTS),
    ),
    **_facts(
        Action.SETTLE,
        normal=(Reason.ARCHIVED, Reason.FINAL, Reason.MONTH_OPEN),
        warning=(
            EventReason.ROWS_LEFT_BEHIND,
            Reason.ARCHIVE_UNAVAILABLE,
            Reason.NO_ARCHIVE,
            Reason.ROWS_EXPECTED,
        ),
    ),
    **_facts(Action.VERIFY, normal=(Reason.VERIFIED,), warning=(EventReason.LEDGER_BEGUN_ANEW, Reason.ROW_REFUSED)),
    **_facts(
        Action.LEAD,
        warning=(EventReason.API_SERVER_RESTORED, EventReason.EPOCH_RAISED, EventReason.LEASE_DELETED),
    ),
}

TEXTS: Mapping[EventReason, EventText] = {
    EventReason.API_SERVER_RESTORED: EventText(
        "Lease, AudioBatchJob, MacAgent",
        "The API server was restored from a backup: a Mac, or the operator, remembers more than it knows.",
        "Nothing, if it was restored on purpose. Attempts that it does not know are deleted and run again.",
    ),
    EventReason.BUDGET_EXHAUSTED: EventText(
        "Lease",
        "A budget of the price book is used up, or exceeded by a threshold. With policy Hold its new shards wait.",
        "Raise it in the price book, or wait for the next month. See docs/how-to/keep-to-a-budget.md.",
    ),
    EventReason.BUDGET_THRESHOLD_REACHED: EventText(
        "Lease",
        "A budget of the price book has reached one of its `thresholdsPercent`, once each month.",
        "See who uses it, before it is used up.",
    ),
    EventReason.CLEANUP_INCOMPLETE: EventText(
        "AudioBatchJob, VoiceEndpoint",
        "The object was deleted although attempts or lanes may be left on Macs, because these stayed away.",
        "Nothing: attempts are removed once the Mac is in contact again, and a lane goes with its lease.",
    ),
    EventReason.CONTENTION_ENDED: EventText(
        "MacAgent", "The Mac's lanes work as fast again as their ladder measured, or have no work.", "Nothing."
    ),
    EventReason.EPOCH_RAISED: EventText(
        "Lease",
        "An agent had seen a newer leader than the Lease names, so the operator raised the Lease's transitions.",
        "Look whether the Lease was deleted, or etcd was restored.",
    ),
    EventReason.EXCLUDED: EventText(
        "MacAgent",
        "Attempts of several jobs failed there in a row, so that the Mac takes nothing for a while.",
        "`voxfleet why mac/NAME`, then `voxfleet-agent doctor` on the Mac.",
    ),
    EventReason.EXCLUSION_ENDED: EventText("MacAgent", "The Mac takes attempts again.", "Nothing."),
    EventReason.JOB_REPLACED: EventText(
        "AudioBatchSchedule",
        "The schedule cancelled a job that was not done, since its policy is Replace and the next run was due.",
        "Give the schedule more time between runs, or Macs; or let its policy be Forbid.",
    ),
    EventReason.JOB_STARTED: EventText("AudioBatchSchedule", "The schedule made the job of a run.", "Nothing."),
    EventReason.LEASE_DELETED: EventText(
        "Lease",
        "Somebody deleted the Lease of the operator.",
        "Leave the Lease alone; the holder ends, or makes it anew.",
    ),
    EventReason.LEDGER_BEGUN_ANEW: EventText(
        "MacAgent",
        "The agent signs another chain of machine-hours: it has lost its state, or got another key.",
        "Ask who removed the agent's state. Machine time that was not read before is lost.",
    ),
    EventReason.MACHINE_REPLACED: EventText(
        "MacAgent",
        "Another machine answers under this name.",
        "Nothing, if it was exchanged on purpose; otherwise see which host the MacAgent names.",
    ),
    EventReason.MAC_REBOOTED: EventText(
        "MacAgent", "The Mac was started anew.", "Nothing: attempts that it had are resumed."
    ),
    EventReason.NIGHT_CLOSED: EventText(
        "Lease",
        "A night is closed, and its CSV is in the ledger archive.",
        "Nothing: `voxfleet bill nightly` reads it.",
    ),
    EventReason.NIGHT_NOT_CLOSED: EventText(
        "Lease",
        "The CSV of a night cannot be written, or leaves a Mac out; the note says why.",
        "Mend the ledger archive. It is tried again, and rows that were left out are in the CSV of a later night.",
    ),
    EventReason.OTHER_FAILURE: EventText(
        "AudioBatchJob",
        "An attempt failed with a class that only a newer agent knows; the note names it.",
        "Upgrade the operator.",
    ),
    EventReason.PRICE_BOOK_REFUSED: EventText(
        "Lease",
        "The file of `--price-book` cannot be used; the last one that could still counts.",
        "Mend what the note names.",
    ),
    EventReason.REQUEST_TOO_OLD: EventText(
        "AudioBatchSchedule",
        "`requestedAt` names a time that lies too far back to start a run.",
        "Write the time of now.",
    ),
    EventReason.ROWS_LEFT_BEHIND: EventText(
        "MacAgent",
        "A MacAgent was deleted, and rows of its Mac are not settled: the ledger archive does not answer, or attempts"
        " are open.",
        "Mend the archive within the hour. After it, apply the MacAgent again and drain it first.",
    ),
    EventReason.RUNS_MISSED: EventText(
        "AudioBatchSchedule",
        "Runs were due while no operator could start them, or while an earlier job ran.",
        "The note has the command that makes up for them: `voxfleet backfill`.",
    ),
    EventReason.STOPPED_UNSEEN: EventText(
        "MacAgent",
        "The Mac's time is over, and without contact nobody knows whether its attempts stopped in time.",
        "See that the Mac is in contact once more, so that its signed rows are read.",
    ),
    EventReason.UNBLOCKED: EventText(
        "AudioBatchJob, AudioBatchSchedule, MacAgent, VoiceEndpoint",
        "What blocked the object is gone.",
        "Nothing: it goes on by itself.",
    ),
    EventReason.VERSIONS_CHANGED: EventText(
        "MacAgent", "The agent runs with other versions of itself or its packages.", "Nothing."
    ),
}
