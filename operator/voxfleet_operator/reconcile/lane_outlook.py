"""Which lanes a job may count on, and how long they take for what is left of it. Pure.

The rules are as simple as they can be told: the lanes of all Macs that could run the job, once they are free, are
shared equally by the namespaces that have work for lanes, and within its namespace the jobs before it go first.
"""

from __future__ import annotations

from dataclasses import dataclass


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


def fits_window(left_seconds: float, most_lanes: int, outlook: LaneOutlook) -> bool | None:
    """Whether the work can end before its lanes close; None if none of them ever does."""
    if not outlook.closing_seconds:
        return None
    open_lanes = outlook.lanes - len(outlook.closing_seconds)
    if open_lanes >= 1:
        return True
    lasting = sorted(outlook.closing_seconds, reverse=True)[: max(1, most_lanes)]
    return left_seconds + outlook.ahead_seconds <= sum(lasting)
