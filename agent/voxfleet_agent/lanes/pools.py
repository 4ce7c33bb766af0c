"""The agent's pools: named groups of lanes, of which a free one can be acquired."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from voxfleet_agent.config import PoolConfig
from voxfleet_agent.confinement.confinement import Confinement
from voxfleet_agent.lane_protocol.lane_lock import reap_stale
from voxfleet_agent.lanes.interactive_pools import InteractivePools
from voxfleet_agent.lanes.lane import ProcessLane
from voxfleet_agent.lanes.lane_user import LaneUser
from voxfleet_api.machine_messages import PoolFacts
from voxfleet_api.pools import PoolKind
from voxfleet_api.run_record import LaneReadings


class LanePools:
    """Lanes by pool. A lane has one user from `acquire` to `release`; its child and model outlast the release."""

    def __init__(
        self,
        configs: Sequence[PoolConfig],
        folder: Path,
        *,
        quarantine: Path | None = None,
        lane_user: LaneUser | None = None,
        confinement: Confinement | None = None,
        now_seconds: Callable[[], float] = time.monotonic,
    ) -> None:
        """`folder` holds a folder for each lane, `<pool>-<slot>`. Lanes run as `lane_user`, or as the agent when None,
        within `confinement`, or with all that their account may do when None.

        With a lane user, `folder` must lie on the scratch volume, and the lane user must be able to reach it.
        """
        self._configs = tuple(configs)
        self._lane_user = lane_user
        self.interactive = InteractivePools(
            [config for config in configs if config.kind is PoolKind.INTERACTIVE],
            folder,
            quarantine=quarantine,
            lane_user=lane_user,
            confinement=confinement,
        )
        """The lanes of Interactive pools, which serve sessions and no batches."""
        self._lanes = {
            config.name: [
                ProcessLane(
                    f"{config.name}-{slot}",
                    folder / f"{config.name}-{slot}",
                    memory_cap_bytes=config.memory_cap_bytes,
                    batch_size=config.batch_size,
                    quarantine=quarantine,
                    lane_user=lane_user,
                    confinement=confinement,
                )
                for slot in range(config.lanes)
            ]
            for config in self._configs
            if config.kind is PoolKind.OFFLINE
        }
        self._acquired: set[str] = set()
        self._now_seconds = now_seconds
        self._released_at_seconds: dict[str, float] = {}

    @property
    def lanes(self) -> tuple[ProcessLane, ...]:
        """Those that work on batches."""
        return tuple(lane for lanes in self._lanes.values() for lane in lanes)

    def acquire(self, pool: str, digest: str | None = None) -> ProcessLane | None:
        """A free lane, if possible one that has loaded the model `digest`, else one without a model; None without any.

        A lane that is acquired is neither handed out nor unloaded before its release. Raises KeyError for a pool that
        is unknown or Interactive: `interactive` hands out the lanes of those.
        """
        free = [lane for lane in self._lanes[pool] if lane.name not in self._acquired]
        if not free:
            return None
        lane = min(free, key=lambda lane: self._cost(lane, digest))
        self._acquired.add(lane.name)
        return lane

    def _cost(self, lane: ProcessLane, digest: str | None) -> tuple[bool, bool, float]:
        """Least for the lane to take: another model that is given up for this one must be loaded again."""
        loaded = lane.loaded_digest
        return (loaded is None or loaded != digest, loaded is not None, self._released_at_seconds.get(lane.name, 0.0))

    def release(self, lane: ProcessLane) -> None:
        """Frees the lane; a second call does nothing."""
        if lane.name in self._acquired:
            self._acquired.discard(lane.name)
            self._released_at_seconds[lane.name] = self._now_seconds()

    async def unload_idle(self, after_seconds: float) -> int:
        """Ends the children of lanes for batches that hold a model and had no work for this long; returns how many.

        A child's end gives all of its memory back, which unloading a model inside it does not.
        """
        now_seconds = self._now_seconds()
        idle = [
            lane
            for lane in self.lanes
            if lane.name not in self._acquired
            and lane.loaded_digest is not None
            and now_seconds - self._released_at_seconds.get(lane.name, now_seconds) >= after_seconds
        ]
        self._acquired.update(lane.name for lane in idle)
        try:
            await asyncio.gather(*(lane.kill() for lane in idle))
        finally:
            self._acquired.difference_update(lane.name for lane in idle)
        return len(idle)

    def facts(self) -> tuple[PoolFacts, ...]:
        return tuple(
            PoolFacts(
                name=config.name,
                kind=config.kind,
                lanes=config.lanes,
                free_lanes=self._free_lanes(config),
                memory_cap_bytes=config.memory_cap_bytes,
            )
            for config in self._configs
        )

    def _free_lanes(self, config: PoolConfig) -> int:
        if config.kind is PoolKind.INTERACTIVE:
            return self.interactive.free_lanes(config.name)
        return sum(lane.name not in self._acquired for lane in self._lanes[config.name])

    def readings(self) -> dict[str, LaneReadings]:
        """The readings of each lane since its last `load`, by the lane's name."""
        return {lane.name: lane.readings() for lane in self.lanes} | self.interactive.readings()

    def loaded_models(self) -> tuple[str, ...]:
        """Digests of the models that lanes for batches have loaded, sorted."""
        return tuple(sorted({lane.loaded_digest for lane in self.lanes if lane.loaded_digest is not None}))

    async def reap_stale(self) -> list[int]:
        """Ends the children of an earlier supervisor; returns their pids. Raises LaneBusyError."""
        uid = None if self._lane_user is None else self._lane_user.uid
        ended = await asyncio.gather(*(asyncio.to_thread(reap_stale, lane.folder, uid) for lane in self.lanes))
        return [pid for pid in ended if pid is not None] + await self.interactive.reap_stale()

    async def close(self) -> None:
        """Ends every child."""
        await asyncio.gather(self.interactive.close(), *(lane.kill() for lane in self.lanes))
