"""Decides which attempts have gone too long without a renewal of their lease. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from voxfleet_api.protocol import AttemptKey, AttemptState

LEASED_STATES = frozenset({AttemptState.ACCEPTED, AttemptState.RUNNING})


@dataclass(frozen=True, slots=True)
class Lease:
    key: AttemptKey
    state: AttemptState
    lease_seconds: int
    renewed_at_seconds: float
    """A time on the lease clock, as `now_seconds` is."""


def expired(leases: Iterable[Lease], now_seconds: float) -> list[AttemptKey]:
    return [
        lease.key
        for lease in leases
        if lease.state in LEASED_STATES and now_seconds - lease.renewed_at_seconds >= lease.lease_seconds
    ]
