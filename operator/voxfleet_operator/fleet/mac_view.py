"""What the rest of the operator sees of the fleet: immutable views, calls, and how calls fail."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from voxfleet_api.attempt_spec import AttemptKey
from voxfleet_api.conditions import Reason
from voxfleet_api.endpoint_lanes import LaneKey, LaneRequest, LaneStatus
from voxfleet_api.kinds import MacAgent
from voxfleet_api.kinds.audio_shard import AttemptRecord, AttemptUsage, MachineIdentity
from voxfleet_api.machine_messages import MachineFacts
from voxfleet_api.protocol import AttemptRequest, AttemptStatus, Problem, ReportedLadder, S3Credentials
from voxfleet_operator.fleet.closing import Closing
from voxfleet_operator.fleet.verified_row import VerifiedRow


@dataclass(frozen=True, slots=True)
class MacView:
    """One Mac at one moment."""

    name: str
    connected: bool
    """The agent has proven its identity, its attempts are listed, and its events stream in."""
    reason: Reason
    message: str
    identity: MachineIdentity | None = None
    """The machine that proved itself last; None before the first proof."""
    machine: MachineFacts | None = None
    attempts: Mapping[AttemptKey, AttemptStatus] = field(default_factory=dict)
    """What the agent last reported; kept while there is no contact."""
    usage: Mapping[AttemptKey, AttemptUsage] = field(default_factory=dict)
    """Sums of verified ledger rows, of attempts that are not settled."""
    rows: tuple[VerifiedRow, ...] = ()
    """The verified rows that are not settled, each chain in its order."""
    ledger_error: str | None = None
    """The message that names the first row that failed verification."""
    older_errors: tuple[str, ...] = ()
    """The same of chains that the Mac left behind; what is refused of them stops nothing else."""
    rows_left: bool = False
    """Whether it has signed rows that are not read yet, because too many wait to be settled."""
    ladders: Mapping[tuple[str, str], ReportedLadder] = field(default_factory=dict)
    """The batch sizes that it has measured, by digest of model and contract."""
    hung_deletions: tuple[AttemptKey, ...] = ()
    """The attempts that its agent has been deleting for so long that it will not end by itself."""
    lanes: Mapping[LaneKey, LaneAnswer] = field(default_factory=dict)
    """What the agent last answered about each interactive lane that it was told to hold or to drop."""


def stands_for(view: MacView, record: AttemptRecord) -> bool:
    """Whether this Mac is the machine that has the attempt. While it is unknown which one it is, its name counts."""
    if view.identity is None or record.machine is None:
        return view.name == record.mac
    return view.identity is record.machine or view.identity == record.machine


def attempt_view(record: AttemptRecord, views: Mapping[str, MacView]) -> MacView | None:
    """The Mac that has the attempt, under whatever name; None if no MacAgent stands for that machine."""
    named = views.get(record.mac)
    if named is not None and stands_for(named, record):
        return named
    return next((view for view in views.values() if stands_for(view, record)), None)


class AgentRefused(Exception):
    """The agent answered that it refuses the call."""

    def __init__(self, status: int, problem: Problem, retry_after_seconds: float | None = None) -> None:
        super().__init__(f"HTTP {status}: {problem.message}")
        self.status = status
        self.problem = problem
        self.retry_after_seconds = retry_after_seconds


class AgentUnreachable(Exception):
    """The agent gave no answer, so it is unknown whether it acted."""


class Order(StrEnum):
    """What an agent is told about an attempt."""

    PUT = "PUT"  # start or resume it
    DELETE = "DELETE"


class Outcome(StrEnum):
    PENDING = "Pending"  # stated, and not answered yet
    ACCEPTED = "Accepted"
    GONE = "Gone"  # nothing is left on the Mac
    DELETING = "Deleting"  # it never runs again, and is being cleaned up
    REFUSED = "Refused"
    UNKNOWN = "Unknown"  # no answer: the agent may have acted or not


@dataclass(frozen=True, slots=True)
class AgentAnswer:
    """The answer to the newest order of its kind about one attempt."""

    outcome: Outcome
    at_seconds: float
    """On the fleet's clock."""
    refusal: AgentRefused | None = None
    credentials: S3Credentials | None = None
    uri_prefixes: tuple[str, ...] | None = None
    """Both: what a PUT gave the agent."""
    renews: bool = False
    """Of a PUT: the attempt was at work, so that a refusal does not say that the Mac never took it."""


@dataclass(frozen=True, slots=True)
class LaneAnswer:
    """The newest answer about one interactive lane."""

    outcome: Outcome
    at_seconds: float
    """On the fleet's clock."""
    status: LaneStatus | None = None
    """Of a lane that the agent has."""
    refusal: AgentRefused | None = None
    drops: bool = False
    """Whether the agent was told to delete it, so that it never takes this number again."""


PENDING = AgentAnswer(Outcome.PENDING, float("-inf"))


class SecretMissing(Exception):
    """A Secret or one of its keys cannot be read; the message says what to create or which right to grant."""

    def __init__(self, message: str, reason: Reason = Reason.SECRET_NOT_FOUND) -> None:
        super().__init__(message)
        self.message = message
        self.reason = reason


class Fleet(Protocol):
    def view(self, mac: str) -> MacView: ...

    def views(self) -> Mapping[str, MacView]: ...

    def lease_granted_seconds(self, record: AttemptRecord) -> float | None:
        """Monotonic time when the attempt's machine was last sent what grants a lease; None if it never was."""
        ...

    def ensure(self, mac: MacAgent) -> None:
        """Runs a session for this Mac; a changed spec redials."""
        ...

    def close_at(self, mac: str, closing: Closing) -> None:
        """Tells the Mac's agent with every renewal when its attempts have to be over."""
        ...

    def forget(self, mac: str) -> None: ...

    def put(self, mac: MacView, key: AttemptKey, request: AttemptRequest, *, renews: bool = False) -> None:
        """States that an attempt is to start or resume. The answer wakes its shard; a break of contact does, too.

        `renews`: it is at work, and gets another envelope.
        """
        ...

    def delete(self, mac: MacView, key: AttemptKey) -> AgentAnswer | None:
        """States that nothing is to be left of an attempt, and returns the newest answer; None if there is no room.

        The session repeats it until that is so; each new answer wakes the attempt's shard and the MacAgent.
        """
        ...

    def answer(self, mac: MacView, order: Order, key: AttemptKey) -> AgentAnswer | None:
        """None if nothing was stated, or so long ago that it is forgotten."""
        ...

    def hold_lane(self, mac: MacView, key: LaneKey, request: LaneRequest | None) -> None:
        """States that the Mac is to hold a lane, instead of an older one of the same UID.

        Its session tells the agent again and again, which renews the lane and brings its state into the view, until
        the lane is dropped or contact breaks. `request` None: with what was stated before, if anything was; otherwise
        the agent is only asked.
        """
        ...

    def drop_lane(self, mac: MacView, key: LaneKey) -> None:
        """States that nothing is to be left of a lane; its session repeats it until the view says that it is gone."""
        ...
