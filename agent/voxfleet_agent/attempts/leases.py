"""Decides which attempts have gone too long without a renewal of their lease. Pure.

The lease's own clock decides whenever it is asked: at each renewal and PUT, before each batch and the commit, at each
sign of progress, and once a second. So after a sleep in which its lease expired an attempt takes up nothing more, and
no renewal that comes first revives it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from voxfleet_api.attempt_spec import AttemptKey
from voxfleet_api.protocol import AttemptState

LEASED_STATES = frozenset({AttemptState.ACCEPTED, AttemptState.RUNNING})


@dataclass(frozen=True, slots=True)
class Lease:
    key: AttemptKey
    state: AttemptState
    lease_seconds: int
    renewed_at_seconds: float
    """A time on the lease clock, as `now_seconds` is."""


def expired(leases: Iterable[Lease], now_seconds: float, stop_at_seconds: float | None = None) -> list[AttemptKey]:
    """`stop_at_seconds`: the time beyond which no lease of this Mac lasts."""
    return [
        lease.key for lease in leases if lease.state in LEASED_STATES and _over(lease, now_seconds, stop_at_seconds)
    ]


def renewable(leases: Iterable[Lease], now_seconds: float, stop_at_seconds: float | None = None) -> list[AttemptKey]:
    """The attempts whose leases a renewal renews: one that has expired is over, also before it is parked."""
    return [
        lease.key for lease in leases if lease.state in LEASED_STATES and not _over(lease, now_seconds, stop_at_seconds)
    ]


def lease_is_over(
    lease_seconds: int, renewed_at_seconds: float, now_seconds: float, stop_at_seconds: float | None
) -> bool:
    """Times are on the lease clock. `stop_at_seconds`: the time beyond which no lease of this Mac lasts."""
    if stop_at_seconds is not None and now_seconds >= stop_at_seconds:
        return True
    return now_seconds - renewed_at_seconds >= lease_seconds


def _over(lease: Lease, now_seconds: float, stop_at_seconds: float | None) -> bool:
    return lease_is_over(lease.lease_seconds, lease.renewed_at_seconds, now_seconds, stop_at_seconds)
