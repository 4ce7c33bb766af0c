"""Lanes without a child: they remember which model they hold, and never work."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence

from voxfleet_agent.lanes.lane_types import ClipTask, ClipVerdict, LaneSpec, LoadedModel, StepDown
from voxfleet_agent.models.resolved_model import ResolvedModel
from voxfleet_api.machine_messages import PoolFacts
from voxfleet_api.run_record import LaneReadings

POOL = "offline"
LANE_MEMORY_BYTES = 4 * 2**30
SEED = 0


class SleepingLane:
    """Implements lane_types.LaneHandle; the stage that holds it does the sleeping."""

    def __init__(self, name: str, load_seconds: float) -> None:
        self.name = name
        self.batch_size = 4
        self.stepped_down: StepDown | None = None
        self.loaded_digest: str | None = None
        self._load_seconds = load_seconds

    async def load(self, model: ResolvedModel, spec: LaneSpec) -> LoadedModel:
        if self.loaded_digest != model.digest:
            await asyncio.sleep(self._load_seconds)
            self.loaded_digest = model.digest
        return LoadedModel(
            sample_rate_hz=16_000,
            family="asleep",
            batches=True,
            parameters=0,
            dtype="float32",
            ring_bytes=0,
            seed=SEED,
            blas="none",
        )

    def work(self, batches: AsyncIterator[Sequence[ClipTask]]) -> AsyncGenerator[ClipVerdict, None]:
        raise NotImplementedError("a sleeping lane hears nothing; its stage writes the rows")

    async def unload(self) -> None:
        self.loaded_digest = None

    async def kill(self) -> None:
        self.loaded_digest = None

    def readings(self) -> LaneReadings:
        return LaneReadings(batch_size=self.batch_size)


class SleepingPools:
    """One pool. Implements attempts.slots.AcquirablePools."""

    def __init__(self, lanes: int, load_seconds: float) -> None:
        self._lanes = [SleepingLane(f"{POOL}-{slot}", load_seconds) for slot in range(lanes)]
        self._acquired: set[str] = set()

    def acquire(self, pool: str, digest: str | None = None) -> SleepingLane | None:
        free = [lane for lane in self._lanes if lane.name not in self._acquired]
        if pool != POOL or not free:
            return None
        lane = min(free, key=lambda lane: lane.loaded_digest != digest)
        self._acquired.add(lane.name)
        return lane

    def release(self, lane: SleepingLane) -> None:
        self._acquired.discard(lane.name)

    def facts(self) -> tuple[PoolFacts, ...]:
        return (
            PoolFacts(
                name=POOL,
                kind="Offline",
                lanes=len(self._lanes),
                free_lanes=len(self._lanes) - len(self._acquired),
                memory_cap_bytes=LANE_MEMORY_BYTES,
            ),
        )

    def loaded_models(self) -> tuple[str, ...]:
        return tuple(sorted({lane.loaded_digest for lane in self._lanes if lane.loaded_digest is not None}))

    def readings(self) -> dict[str, LaneReadings]:
        return {lane.name: lane.readings() for lane in self._lanes}

    async def unload_idle(self, after_seconds: float) -> int:
        return 0
