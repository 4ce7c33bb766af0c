"""Slots in which attempts run, handed out in the order of asking."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from voxfleet_agent.lanes.lane_types import LaneHandle
from voxfleet_api.protocol import PoolFacts
from voxfleet_api.results import LaneReadings

S_co = TypeVar("S_co", covariant=True)
S = TypeVar("S")
L = TypeVar("L", bound=LaneHandle)


@dataclass(frozen=True, slots=True)
class SlotGrant(Generic[S_co]):
    slot: S_co
    give_back: Callable[[], None]


class SlotSource(Protocol[S_co]):
    """Where free slots come from."""

    def take(self, wish: str | None) -> SlotGrant[S_co] | None:
        """A free slot, the wished one if that is free too; None when none is free."""
        ...

    @property
    def free(self) -> int: ...


class PoolView(Protocol):
    """Facts about the lanes of every pool."""

    def facts(self) -> Sequence[PoolFacts]: ...

    def loaded_models(self) -> Sequence[str]: ...

    def readings(self) -> Mapping[str, LaneReadings]: ...


class LanePools(PoolView, Protocol[L]):
    """All lanes of this agent, such as pools.pools.Pools."""

    def acquire(self, pool: str, digest: str | None = None) -> L | None: ...

    def release(self, lane: L) -> None: ...


class LaneSlots(Generic[L]):
    """Lanes of every pool; the wish is the digest of a model that a lane may hold in memory."""

    def __init__(self, pools: LanePools[L]) -> None:
        self._pools = pools

    def take(self, wish: str | None) -> SlotGrant[LaneHandle] | None:
        for pool in self._pools.facts():
            lane = self._pools.acquire(pool.name, wish)
            if lane is not None:
                return self._grant(lane)
        return None

    def _grant(self, lane: L) -> SlotGrant[LaneHandle]:
        return SlotGrant(lane, lambda: self._pools.release(lane))

    @property
    def free(self) -> int:
        return sum(pool.free_lanes for pool in self._pools.facts())


class ControlSlots:
    """Slots of Plan and Finalize: no lane, no MLX, so that they never wait behind a night's shards."""

    def __init__(self, count: int) -> None:
        self.free = count

    def take(self, wish: str | None) -> SlotGrant[None] | None:
        if self.free == 0:
            return None
        self.free -= 1
        return SlotGrant(None, self._give_back)

    def _give_back(self) -> None:
        self.free += 1


class SlotQueue(Generic[S]):
    """A claim is a future: done at once when a slot is free, otherwise when its turn comes."""

    def __init__(self, supply: SlotSource[S]) -> None:
        self._supply = supply
        self._waiting: deque[tuple[asyncio.Future[SlotGrant[S]], str | None]] = deque()

    @property
    def free(self) -> int:
        return self._supply.free

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    def claim(self, wish: str | None = None) -> asyncio.Future[SlotGrant[S]]:
        claim: asyncio.Future[SlotGrant[S]] = asyncio.get_running_loop().create_future()
        self._waiting.append((claim, wish))
        self._serve()
        return claim

    def withdraw(self, claim: asyncio.Future[SlotGrant[S]]) -> None:
        """Ends a claim: a slot that was granted goes to the next in line."""
        if not claim.done():
            claim.cancel()
        elif not claim.cancelled():
            claim.result().give_back()
        self._serve()

    def _serve(self) -> None:
        while self._waiting:
            claim, wish = self._waiting[0]
            if not claim.done():
                grant = self._supply.take(wish)
                if grant is None:
                    return
                claim.set_result(grant)
            self._waiting.popleft()
