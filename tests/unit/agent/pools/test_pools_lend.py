"""What a lane is like when it is lent."""

from __future__ import annotations

from pathlib import Path

from voxfleet_agent.config import PoolConfig
from voxfleet_agent.pools.pools import Pools


def test_a_lane_is_lent_with_its_pools_batch_size(tmp_path: Path) -> None:
    pools = Pools([PoolConfig(name="offline", lanes=1, batch_size=5)], tmp_path)
    lane = pools.acquire("offline")
    assert lane is not None and lane.batch_size == 5
    lane.batch_size = 1  # as a clip that needs much memory leaves it
    pools.release(lane)
    assert pools.acquire("offline") is lane
    assert lane.batch_size == 5
