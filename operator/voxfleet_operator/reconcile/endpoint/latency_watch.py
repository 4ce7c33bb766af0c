"""What this process has seen of the turns of endpoints' lanes. In memory only: a new process looks for a window anew.

Nothing is written for it. A lane that leaves its Mac stays in the window for as long as its turns do.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from voxfleet_api.endpoint_latency import LaneLatency
from voxfleet_api.kinds import VoiceEndpoint
from voxfleet_api.kinds.endpoint_status import STATUS_MACS, EndpointLane
from voxfleet_api.quantities import duration_milliseconds
from voxfleet_api.session_protocol import LatencyKind
from voxfleet_operator.reconcile.context import Context
from voxfleet_operator.reconcile.endpoint.lane_life import LaneSight
from voxfleet_operator.reconcile.endpoint.latency_window import (
    LaneWindow,
    Latencies,
    added,
    looked_at,
    step_seconds,
    turns_within,
)
from voxfleet_operator.reconcile.endpoint.slo import RecentTurns

MOST_WINDOWS = 2 * STATUS_MACS
"""Of one endpoint: its lanes, and those that left within the window."""
_KNOWN_KINDS = frozenset[str](LatencyKind)


@dataclass(slots=True)
class _Watched:
    since_seconds: float
    windows: dict[tuple[str, int], LaneWindow] = field(default_factory=dict)
    """By Mac and number of the lane; the one that was looked at longest ago first."""


class LatencyWatch:
    def __init__(self, context: Context) -> None:
        self._context = context
        self._endpoints: dict[str, _Watched] = {}
        """By UID."""

    def look(
        self, endpoint: VoiceEndpoint, lanes: Iterable[EndpointLane], sights: Mapping[str, LaneSight]
    ) -> RecentTurns:
        """Takes in what agents say of these lanes now; returns the turns of the endpoint's window."""
        now, metadata = self._context.clock(), endpoint.metadata
        window_seconds = slo_window_seconds(endpoint)
        watched = self._endpoints.setdefault(metadata.uid, _Watched(now))
        for lane in lanes:
            told = _told(sights.get(lane.mac))
            if told is None:
                continue
            key = (lane.mac, lane.generation)
            window, grew = looked_at(watched.windows.pop(key, None), told, now, window_seconds)
            watched.windows[key] = window
            if grew:
                self._context.metrics.turns.took(metadata.namespace, metadata.name, grew)
        found = {key: turns_within(window, now, window_seconds) for key, window in watched.windows.items()}
        held = {(lane.mac, lane.generation) for lane in lanes}
        over = [key for key in watched.windows if key not in held and not found[key]]
        for key in over or list(watched.windows)[:-MOST_WINDOWS]:
            del watched.windows[key]
        by_mac: dict[str, list[Latencies]] = {}
        for (mac, _), turns in found.items():
            if turns:
                by_mac.setdefault(mac, []).append(turns)
        return RecentTurns(
            window=endpoint.spec.slo_window,
            by_mac={mac: added(turns) for mac, turns in by_mac.items()},
            complete=now >= watched.since_seconds + window_seconds,
        )

    def forget(self, endpoint_uid: str) -> None:
        self._endpoints.pop(endpoint_uid, None)


def slo_window_seconds(endpoint: VoiceEndpoint) -> float:
    return duration_milliseconds(endpoint.spec.slo_window) / 1000


def next_look_seconds(endpoint: VoiceEndpoint, turns: RecentTurns) -> float | None:
    """Until the window may have lost turns; None: it has none."""
    return step_seconds(slo_window_seconds(endpoint)) if turns.by_mac else None


def _told(sight: LaneSight | None) -> LaneLatency | None:
    """Without kinds that this version does not know: an agent may name any, and each would be kept and scraped."""
    status = None if sight is None or sight.answer is None else sight.answer.status
    told = None if status is None else status.latency
    if told is None or all(kind.latency in _KNOWN_KINDS for kind in told.kinds):
        return told
    return told.model_copy(update={"kinds": tuple(kind for kind in told.kinds if kind.latency in _KNOWN_KINDS)})
