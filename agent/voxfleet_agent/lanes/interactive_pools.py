"""The lanes of a Mac's Interactive pools, of which each has at most one holder."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

from voxfleet_agent.config import PoolConfig
from voxfleet_agent.confinement.confinement import Confinement
from voxfleet_agent.lane_protocol.lane_lock import reap_stale
from voxfleet_agent.lanes.child_start import WORKER
from voxfleet_agent.lanes.interactive_lane import InteractiveLane
from voxfleet_agent.lanes.lane_user import LaneUser
from voxfleet_api.run_record import LaneReadings


class InteractivePools:
    """Each lane has one holder, from `acquire` to `release`; who releases it has ended its child."""

    def __init__(
        self,
        configs: Sequence[PoolConfig],
        folder: Path,
        *,
        quarantine: Path | None = None,
        lane_user: LaneUser | None = None,
        confinement: Confinement | None = None,
        worker: Sequence[str] = WORKER,
    ) -> None:
        """`folder` holds a folder for each lane, `<pool>-<slot>`. For the rest see lanes.pools.LanePools."""
        self._lane_user = lane_user
        self._lanes = {
            config.name: [
                InteractiveLane(
                    f"{config.name}-{slot}",
                    folder / f"{config.name}-{slot}",
                    memory_cap_bytes=config.memory_cap_bytes,
                    quarantine=quarantine,
                    lane_user=lane_user,
                    confinement=confinement,
                    worker=worker,
                )
                for slot in range(config.lanes)
            ]
            for config in configs
        }
        self._held: set[str] = set()

    @property
    def lanes(self) -> tuple[InteractiveLane, ...]:
        return tuple(lane for lanes in self._lanes.values() for lane in lanes)

    @property
    def open_sessions(self) -> int:
        return sum(lane.open_sessions for lane in self.lanes)

    @property
    def largest_cap_bytes(self) -> int | None:
        """The most memory that one of the lanes may take; None: there are none."""
        return max((lane.memory_cap_bytes for lane in self.lanes), default=None)

    def has_free(self, memory_cap_bytes: int) -> bool:
        """Whether a lane is free that may take this much."""
        return bool(self._free(memory_cap_bytes))

    def acquire(self, memory_cap_bytes: int) -> InteractiveLane | None:
        """The smallest free lane that may take this much, so that a large one is left for who needs it; None without
        any."""
        lane = min(self._free(memory_cap_bytes), key=lambda lane: lane.memory_cap_bytes, default=None)
        if lane is not None:
            self._held.add(lane.name)
        return lane

    def release(self, lane: InteractiveLane) -> None:
        """Frees the lane; a second call does nothing."""
        self._held.discard(lane.name)

    def free_lanes(self, pool: str) -> int:
        """Lanes of the pool that nobody holds. Raises KeyError for an unknown pool."""
        return sum(lane.name not in self._held for lane in self._lanes[pool])

    def readings(self) -> dict[str, LaneReadings]:
        """The readings of each lane since its last `load`, by the lane's name."""
        return {lane.name: lane.readings() for lane in self.lanes}

    async def reap_stale(self) -> list[int]:
        """Ends the children of an earlier supervisor; returns their pids. Raises LaneBusyError."""
        uid = None if self._lane_user is None else self._lane_user.uid
        ended = await asyncio.gather(*(asyncio.to_thread(reap_stale, lane.folder, uid) for lane in self.lanes))
        return [pid for pid in ended if pid is not None]

    async def close(self) -> None:
        """Ends every child."""
        await asyncio.gather(*(lane.kill() for lane in self.lanes))

    def _free(self, memory_cap_bytes: int) -> list[InteractiveLane]:
        return [
            lane for lane in self.lanes if lane.name not in self._held and lane.memory_cap_bytes >= memory_cap_bytes
        ]
