"""The services that a fleet's attempts use; the daemon assembles them once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from voxfleet_agent.attempts.lane_yields import LaneYields
from voxfleet_agent.attempts.slots import PoolView, SlotSource
from voxfleet_agent.clock import Clock
from voxfleet_agent.ladder.pace_watch import PaceWatch
from voxfleet_agent.ladder.shared_ladders import SharedLadders
from voxfleet_agent.lanes.giving_way import YieldingLane
from voxfleet_agent.lanes.interactive_pools import InteractivePools
from voxfleet_agent.lanes.lane_types import LaneHandle
from voxfleet_agent.ledger import Ledger
from voxfleet_agent.stages.stage_runner import StageServices
from voxfleet_agent.storage import Storage
from voxfleet_api.machine_messages import ReservedFacts
from voxfleet_api.protocol import S3Credentials


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptServices(StageServices):
    ledger: Ledger
    clock: Clock
    lanes: SlotSource[LaneHandle]
    pools: PoolView
    interactive: InteractivePools
    """The lanes for the sessions of VoiceEndpoints."""
    batch_lanes: Sequence[YieldingLane] = ()
    """Those of `lanes`."""
    unload_after_seconds: float
    """How long a lane without work keeps its model in memory."""
    reserved: Sequence[ReservedFacts] = ()
    """Memory of others on this Mac."""
    shared_ladders: SharedLadders
    pace: PaceWatch = field(default_factory=PaceWatch)
    batches_yield: bool = True
    """Whether lanes for batches give way to sessions."""
    yields: LaneYields = field(default_factory=LaneYields)
    """How lanes for batches give way to sessions."""
    open_storage: Callable[[S3Credentials | None, Sequence[str] | None], Storage]
    """Takes an attempt's credentials and the prefixes that are open to its namespace; without either, None."""
