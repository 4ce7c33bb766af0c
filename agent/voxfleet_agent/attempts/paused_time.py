"""What of a held lane's time an endpoint pays for, because the lane stood still for its sessions. Pure.

Pauses last seconds, so they get no row each: within a hold they are added up by endpoint. On the wall, whose times are
for the record alone, the sums stand behind the attempt's own time, so that the rows of a lane never overlap.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from voxfleet_agent.clock import timestamp
from voxfleet_agent.journal.lane_holds import EndpointHolder, LaneHold
from voxfleet_api.attempt_spec import AttemptKey
from voxfleet_api.ledger import Activity


@dataclass(frozen=True, slots=True)
class Payer:
    """The endpoint for whose sessions a lane stands still."""

    key: AttemptKey
    """The endpoint's UID and the number of its lane, as in the rows of that lane."""
    holder: EndpointHolder


def with_paused(hold: LaneHold, paused_milliseconds: Mapping[Payer, int]) -> list[LaneHold]:
    """The hold without what others pay for, followed by a hold of each of them.

    `hold`: its wall time is never less than its milliseconds, nor these less than the sum of `paused_milliseconds`.
    """
    ends = datetime.fromisoformat(hold.wall_end)
    starts = ends - timedelta(milliseconds=sum(paused_milliseconds.values()))
    left = hold.milliseconds - sum(paused_milliseconds.values())
    holds = [replace(hold, wall_end=timestamp(starts), milliseconds=left)]
    for payer, milliseconds in paused_milliseconds.items():
        until = starts + timedelta(milliseconds=milliseconds)
        holds.append(
            replace(
                hold,
                key=payer.key,
                holder=payer.holder,
                activity=Activity.PAUSED,
                wall_start=timestamp(starts),
                wall_end=timestamp(until),
                milliseconds=milliseconds,
                audio_milliseconds=0,
                clips=0,
            )
        )
        starts = until
    return holds
