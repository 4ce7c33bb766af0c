"""The agent's pools: named groups of lanes, and who gets a free one."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

from voxfleet_agent.config import PoolConfig
from voxfleet_agent.lane_protocol.lane_lock import reap_stale
from voxfleet_agent.lanes.lane import ProcessLane
from voxfleet_agent.lanes.lane_user import LaneUser
from voxfleet_api.protocol import PoolFacts
from voxfleet_api.results import LaneReadings


class LanePools:
    """Lanes by pool. A lane has one holder from `acquire` to `release`; its child and model outlive the holder."""

    def __init__(
        self,
        configs: Sequence[PoolConfig],
        folder: Path,
        *,
        quarantine: Path | None = None,
        account: LaneUser | None = None,
    ) -> None:
        """`folder` keeps a folder for each lane, `<pool>-<slot>`; `account` is who the lanes run as, if not the agent.

        With an account, `folder` must lie on the scratch volume and be reachable for it.
        """
        self._configs = tuple(configs)
        self._account = account
        self._lanes = {
            config.name: [
                ProcessLane(
                    f"{config.name}-{slot}",
                    folder / f"{config.name}-{slot}",
                    memory_cap_bytes=config.memory_cap_bytes,
                    batch_size=config.batch_size,
                    quarantine=quarantine,
                    account=account,
                )
                for slot in range(config.lanes)
            ]
            for config in self._configs
        }
        self._held: set[str] = set()

    @property
    def lanes(self) -> tuple[ProcessLane, ...]:
        return tuple(lane for lanes in self._lanes.values() for lane in lanes)

    def acquire(self, pool: str, digest: str | None = None) -> ProcessLane | None:
        """A free lane, one that holds the model `digest` if there is one; None when all are held.

        Raises KeyError for an unknown pool.
        """
        free = [lane for lane in self._lanes[pool] if lane.name not in self._held]
        if not free:
            return None
        lane = next((lane for lane in free if digest is not None and lane.loaded_digest == digest), free[0])
        self._held.add(lane.name)
        return lane

    def release(self, lane: ProcessLane) -> None:
        """Frees the lane; a second call does nothing."""
        self._held.discard(lane.name)

    def facts(self) -> tuple[PoolFacts, ...]:
        return tuple(
            PoolFacts(
                name=config.name,
                kind=config.kind,
                lanes=config.lanes,
                free_lanes=sum(lane.name not in self._held for lane in self._lanes[config.name]),
            )
            for config in self._configs
        )

    def readings(self) -> dict[str, LaneReadings]:
        """What each lane met since its last load, by its name."""
        return {lane.name: lane.readings() for lane in self.lanes}

    def loaded_models(self) -> tuple[str, ...]:
        """Digests of the models that lanes hold in memory, sorted."""
        return tuple(sorted({lane.loaded_digest for lane in self.lanes if lane.loaded_digest is not None}))

    async def reap_stale(self) -> list[int]:
        """Ends the children of an earlier supervisor; returns their pids. Raises LaneBusyError."""
        uid = None if self._account is None else self._account.uid
        ended = await asyncio.gather(*(asyncio.to_thread(reap_stale, lane.folder, uid) for lane in self.lanes))
        return [pid for pid in ended if pid is not None]

    async def close(self) -> None:
        """Ends every child."""
        await asyncio.gather(*(lane.kill() for lane in self.lanes))
