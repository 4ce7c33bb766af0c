"""Which lanes a job may count on, and how long they take for what is left of it. Pure.

The rules are as simple as they can be told: the lanes of all Macs that could run the job, once they are free, are
shared equally by the namespaces that have work for lanes, and within its namespace the jobs before it go first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import zip_longest
from math import fsum

from voxfleet_billing.expected_cost import HourlyPrice


@dataclass(frozen=True, slots=True)
class LaneOutlook:
    lanes: int
    """Of all Macs that could run the job, if they were free."""
    audio_milliseconds_per_second: float | None = None
    """What one of these lanes works through, by what their Macs have measured; None: none has measured it."""
    namespaces: int = 1
    """How many have work for lanes, the job's own among them."""
    ahead_seconds: float = 0.0
    """Machine time that the jobs before it in its namespace still need."""
    price: HourlyPrice | None = None
    """The highest of these lanes' Macs; None: unknown."""
    closing_seconds: tuple[float, ...] = ()
    """For each lane whose Mac has an end in sight, such as a window that closes, the time until then."""

    @property
    def share(self) -> float:
        """The lanes of the job's namespace."""
        return self.lanes / max(1, self.namespaces)


def seconds_until_done(left_seconds: float, most_lanes: int, outlook: LaneOutlook) -> float | None:
    """How long `left_seconds` of machine time take on at most `most_lanes` lanes; None if there is no lane."""
    if outlook.lanes < 1:
        return None
    own = min(float(max(1, most_lanes)), outlook.share)
    return max(left_seconds / own, (outlook.ahead_seconds + left_seconds) / outlook.share)


def fits_window(
    running_seconds: Sequence[float], waiting_seconds: Sequence[float], most_lanes: int, outlook: LaneOutlook
) -> bool | None:
    """Whether the work can end before its lanes close; None if none of them ever does.

    It is what each shard needs that runs or waits. No shard is begun that would not end before its lane closes, so of a
    lane's time only whole shards count, each as long as the longest that waits.
    """
    if not outlook.closing_seconds:
        return None
    if outlook.lanes > len(outlook.closing_seconds):
        return True
    lanes, running = sorted(outlook.closing_seconds, reverse=True), sorted(running_seconds, reverse=True)
    if any(left > lane for left, lane in zip(running, lanes, strict=False)):
        return False
    longest = max(waiting_seconds, default=0.0)
    if longest <= 0:
        return True
    rounds = [(lane - left) // longest for lane, left in zip_longest(lanes, running[: len(lanes)], fillvalue=0.0)]
    waiting = fsum(waiting_seconds) / longest
    return waiting <= sum(
        sorted(rounds, reverse=True)[: max(1, most_lanes)]
    ) and waiting + outlook.ahead_seconds / longest <= sum(rounds) / max(1, outlook.namespaces)
