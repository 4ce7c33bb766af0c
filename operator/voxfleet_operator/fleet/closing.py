"""When a Mac's attempts have to be over, and how its agent is told. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from voxfleet_api.machine_messages import Capability, MachineFacts
from voxfleet_api.protocol import RenewRequest


class ClosingPhase(StrEnum):
    OPEN = "Open"  # what runs may go on
    RETURNING = "Returning"  # attempts end after the clips in flight
    STOPPED = "Stopped"  # nothing runs any more


@dataclass(frozen=True, slots=True)
class Closing:
    takes_nothing: bool = False
    return_at: datetime | None = None
    """From then on attempts end after the clips in flight."""
    stop_at: datetime | None = None
    """From then on nothing runs."""

    def phase(self, now: datetime) -> ClosingPhase:
        if self.stop_at is not None and self.stop_at <= now:
            return ClosingPhase.STOPPED
        if self.return_at is not None and self.return_at <= now:
            return ClosingPhase.RETURNING
        return ClosingPhase.OPEN

    def renewal(self, now: datetime) -> RenewRequest:
        """What the next renewal of the Mac's leases says."""
        return RenewRequest(
            takes_nothing=self.takes_nothing or self.phase(now) is not ClosingPhase.OPEN,
            return_after_seconds=_whole_seconds(self.return_at, now),
            stop_after_seconds=_whole_seconds(self.stop_at, now),
            lanes=True,
        )


def returns_at_next_clip(machine: MachineFacts | None) -> bool:
    """Whether the agent does what a closing asks by itself; an older one only renews its leases."""
    return machine is not None and Capability.RETURNS_AT_NEXT_CLIP in machine.capabilities


def renews_leases(closing: Closing, machine: MachineFacts | None, now: datetime) -> bool:
    """Whether the Mac gets a renewal. One that is to run nothing gets none that it would take for more time."""
    return closing.phase(now) is not ClosingPhase.STOPPED or returns_at_next_clip(machine)


def _whole_seconds(moment: datetime | None, now: datetime) -> int | None:
    return None if moment is None else max(0, math.ceil((moment - now).total_seconds()))
