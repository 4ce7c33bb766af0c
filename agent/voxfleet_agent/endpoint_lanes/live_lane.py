"""One endpoint's lane in memory: what it keeps warm, its lease, and the lane of a pool while it holds one."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

from voxfleet_agent.attempts.leases import lease_is_over
from voxfleet_agent.endpoint_lanes.latencies import LaneLatencies
from voxfleet_agent.endpoint_lanes.warm_lane_meter import WarmLaneMeter
from voxfleet_agent.journal.lane_holds import EndpointHolder
from voxfleet_agent.lanes.interactive_lane import InteractiveLane
from voxfleet_agent.logs import Logger, logger
from voxfleet_api.endpoint_lanes import EndpointLaneSpec, LaneKey, LaneState, LaneStatus
from voxfleet_api.protocol import AttemptFailure, S3Credentials

_MESSAGE_LIMIT = 1024


@dataclass(slots=True)
class LiveLane:
    spec: EndpointLaneSpec
    spec_digest: str
    latencies: LaneLatencies
    """Of its turns, over all children that it has."""
    state: LaneState = LaneState.LOADING
    lease_seconds: int = 0
    renewed_at_seconds: float = 0.0
    """On the lease clock."""
    credentials: S3Credentials | None = None
    uri_prefixes: Sequence[str] = ()
    model_digest: str | None = None
    """What it must load, as of the newest PUT."""
    lane: InteractiveLane | None = None
    """None: it holds none, for it failed or is gone."""
    owns_child: bool = False
    """Whether what the lane does is done for this generation: what an older one left in it is ended until then."""
    handed_on: InteractiveLane | None = None
    """The lane that a newer generation took over: this one still ends its child."""
    older: LiveLane | None = None
    """The generation that must be gone before this one's lane is loaded or given back."""
    meter: WarmLaneMeter | None = None
    """From when it takes a lane until the rows of that time are signed."""
    holder: EndpointHolder | None = None
    """As those rows name it."""
    sample_rate_hz: int | None = None
    """Of the model that it has loaded."""
    awaited_sessions: int = 0
    """Connections that have a place, and whose first message has not come."""
    sockets: int = 0
    """Connections of sessions, also of those that have ended."""
    task: asyncio.Task[None] | None = None
    """The first load, then the end."""
    failure: AttemptFailure | None = None
    failures: int = 0
    """In a row."""
    retry_at_seconds: float = 0.0
    """On the lease clock: when a lane that failed may try again."""
    gone: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def key(self) -> LaneKey:
        return self.spec.key

    def has_lapsed(self, now_seconds: float, stop_at_seconds: float | None) -> bool:
        """Whether its lease has expired, or the time beyond which no lease of this Mac lasts has come."""
        if self.state is LaneState.DELETING:
            return False
        return lease_is_over(self.lease_seconds, self.renewed_at_seconds, now_seconds, stop_at_seconds)

    @property
    def _own_lane(self) -> InteractiveLane | None:
        return self.lane if self.owns_child else None

    @property
    def warm(self) -> bool:
        return self._own_lane is not None and self._own_lane.warm

    @property
    def lane_for_sessions(self) -> InteractiveLane | None:
        """The lane while it is ready for this endpoint's sessions."""
        return self.lane if self.state is LaneState.READY else None

    @property
    def open_sessions(self) -> int:
        return 0 if self._own_lane is None else self._own_lane.open_sessions

    def status(self) -> LaneStatus:
        lane, own_lane, spec = self.lane, self._own_lane, self.spec
        return LaneStatus(
            endpoint_uid=spec.endpoint.uid,
            generation=spec.generation,
            spec_digest=self.spec_digest,
            namespace=spec.namespace,
            endpoint=spec.endpoint.name,
            state=self.state,
            lane=None if lane is None else lane.name,
            model_digest=None if own_lane is None else own_lane.loaded_digest,
            sample_rate_hz=self.sample_rate_hz,
            sessions=self.open_sessions,
            failure=self._failure(),
            latency=self.latencies.told(),
        )

    def _failure(self) -> AttemptFailure | None:
        trouble = None if self._own_lane is None else self._own_lane.trouble
        if trouble is None or self.state is not LaneState.LOADING:
            return self.failure
        return AttemptFailure(failure_class=trouble.failure_class, message=trouble.reason[:_MESSAGE_LIMIT])

    def log(self) -> Logger:
        spec = self.spec
        return logger("voxfleet.endpoint_lanes").bind(
            namespace=spec.namespace,
            endpoint=spec.endpoint.name,
            generation=spec.generation,
            lane=None if self.lane is None else self.lane.name,
        )
