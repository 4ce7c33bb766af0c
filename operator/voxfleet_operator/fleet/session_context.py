"""What all sessions of a fleet share, and how long they wait between dials and renewals."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from voxfleet_api.kinds import MacAgent
from voxfleet_api.ledger import ChainHead
from voxfleet_api.protocol import HEARTBEAT_SECONDS
from voxfleet_operator.fleet.dialer import Dialer, SecretReader
from voxfleet_operator.fleet.lease_grants import LeaseGrants

LEASE_FRACTION = 3


@dataclass(frozen=True, slots=True)
class SessionTiming:
    call_seconds: float = 10.0
    silence_seconds: float = 3.0 * HEARTBEAT_SECONDS
    shortest_renewal_interval_seconds: float = 0.2
    longest_renewal_interval_seconds: float = 10.0
    first_backoff_seconds: float = 1.0
    longest_backoff_seconds: float = 30.0
    deaf_seconds: float = 60.0
    """How long an agent in contact may leave all PUTs, or one DELETE, unanswered."""
    deleting_seconds: float = 900.0
    """After how long a deletion hangs. Agents leave a lane that does not end behind after half a minute."""
    forget_puts_seconds: float = 60.0
    """After how long without a PUT the next one that gets no answer is the first. Longer than a call and a pause."""
    stay_away_margin_seconds: float = 120.0
    """Longer than the margin after which a silent Mac's attempts are lost."""


@dataclass(frozen=True, slots=True)
class SessionContext:
    """What all sessions of a fleet share."""

    control_plane: str
    leader: str
    epoch: Callable[[], int]
    secrets: SecretReader
    dialer: Dialer
    on_change: Callable[[str, frozenset[str]], None]
    on_sessions: Callable[[str], None]
    """Gets the UID of an endpoint of which a lane has another number of sessions, and nothing else is new."""
    on_stale_epoch: Callable[[int], None]
    clock: Callable[[], float]
    now: Callable[[], datetime]
    """In UTC."""
    timing: SessionTiming
    grants: LeaseGrants
    older_twin: Callable[[str], str | None]
    """The older MacAgent for the same machine, if there is one."""
    on_identified: Callable[[str], None]
    stored_head: Callable[[str, str], ChainHead | None]
    """(ledger key, chain) -> the newest row of the chain that a statement counts."""
    settles: Callable[[], bool]
    """Whether rows can be settled now, as far as is known; False while the ledger archive does not answer."""


def same_conversation(dialer: Dialer, old: MacAgent, new: MacAgent) -> bool:
    """Whether a changed spec lets the connection stay."""
    return (
        dialer.same_connection(old, new)
        and old.spec.token_secret_ref == new.spec.token_secret_ref
        and old.spec.ledger_public_key == new.spec.ledger_public_key
    )


def backoff_seconds(failures: int, timing: SessionTiming, fraction: float) -> float:
    """The wait after some failures; it doubles from the first value up to the cap.

    `fraction`, in [0, 1), takes away up to half of it, so that Macs do not dial all at once.
    """
    # The exponent is bounded, as a float would overflow.
    wait = min(timing.longest_backoff_seconds, timing.first_backoff_seconds * 2.0 ** min(failures, 32))
    return wait * (1.0 - fraction / 2.0)


def renewal_interval_seconds(lease_seconds: float, timing: SessionTiming) -> float:
    """A lease is renewed some times over, but never in a hot loop, however short it is."""
    interval_seconds = min(lease_seconds / LEASE_FRACTION, timing.longest_renewal_interval_seconds)
    return max(timing.shortest_renewal_interval_seconds, interval_seconds)


def renews_before_reading(stuck_at: int | None, verified: int) -> bool:
    """Whether a session may renew leases before it has read the Mac's history, which can take longer than a lease.

    `stuck_at` is the newest verified row when the last session that did so began, None if that session came to follow
    events. A Mac that answers renewals and nothing else gets them once; otherwise it would never count as lost.
    """
    return stuck_at is None or verified > stuck_at
