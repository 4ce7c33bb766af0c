"""Slots in which attempts run: lanes and control slots, granted first come, first served."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from voxfleet_agent.lanes.lane_types import LaneHandle
from voxfleet_api.machine_messages import PoolFacts
from voxfleet_api.pools import PoolKind
from voxfleet_api.run_record import LaneReadings

S_co = TypeVar("S_co", covariant=True)
S = TypeVar("S")
L = TypeVar("L", bound=LaneHandle)


@dataclass(frozen=True, slots=True)
class SlotGrant(Generic[S_co]):
    slot: S_co
    give_back: Callable[[], None]
    price_class: str | None = None
    """The kind of a lane's pool, which prices go by."""


class SlotSource(Protocol[S_co]):
    """A source of free slots."""

    def acquire(self, model_digest: str | None) -> SlotGrant[S_co] | None:
        """Returns a free slot, if possible one whose lane has loaded this model; None when no slot is free."""
        ...

    @property
    def free(self) -> int: ...


class PoolView(Protocol):
    """The state of every pool's lanes, of each kind."""

    def facts(self) -> Sequence[PoolFacts]: ...

    def loaded_models(self) -> Sequence[str]: ...

    def readings(self) -> Mapping[str, LaneReadings]: ...

    async def unload_idle(self, after_seconds: float) -> int: ...


class AcquirablePools(PoolView, Protocol[L]):
    """All lanes of this agent; lanes.pools.LanePools implements it."""

    def acquire(self, pool: str, digest: str | None = None) -> L | None: ...

    def release(self, lane: L) -> None: ...


def offline(pools: PoolView) -> list[PoolFacts]:
    """The pools whose lanes attempts may get."""
    return [pool for pool in pools.facts() if pool.kind == PoolKind.OFFLINE]


class LaneSlots(Generic[L]):
    """Slots that are lanes of Offline pools, preferably one that holds the model in memory.

    A lane of an Interactive pool is never one, however long it is free: who speaks waits for no batch.
    """

    def __init__(self, pools: AcquirablePools[L]) -> None:
        self._pools = pools

    def acquire(self, model_digest: str | None) -> SlotGrant[LaneHandle] | None:
        for pool in offline(self._pools):
            lane = self._pools.acquire(pool.name, model_digest)
            if lane is not None:
                return self._grant(lane, pool.kind)
        return None

    def _grant(self, lane: L, kind: str) -> SlotGrant[LaneHandle]:
        return SlotGrant(lane, lambda: self._pools.release(lane), kind)

    @property
    def free(self) -> int:
        return sum(pool.free_lanes for pool in offline(self._pools))


class ControlSlots:
    """Slots for Plan and Finalize, which use neither a lane nor MLX, and so never wait for hours of Process shards."""

    def __init__(self, count: int) -> None:
        self.free = count

    def acquire(self, model_digest: str | None) -> SlotGrant[None] | None:
        if self.free == 0:
            return None
        self.free -= 1
        return SlotGrant(None, self._give_back)

    def _give_back(self) -> None:
        self.free += 1


class SlotQueue(Generic[S]):
    """A queue of claims. A claim is a future that is done at once when a slot is free, otherwise in its turn."""

    def __init__(self, source: SlotSource[S]) -> None:
        self._source = source
        self._waiting: deque[tuple[asyncio.Future[SlotGrant[S]], str | None]] = deque()

    @property
    def free(self) -> int:
        return self._source.free

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    def claim(self, model_digest: str | None = None) -> asyncio.Future[SlotGrant[S]]:
        claim: asyncio.Future[SlotGrant[S]] = asyncio.get_running_loop().create_future()
        self._waiting.append((claim, model_digest))
        self.grant_waiting()
        return claim

    def withdraw(self, claim: asyncio.Future[SlotGrant[S]]) -> None:
        """Ends a claim; a slot that it was granted goes to the next claim."""
        if not claim.done():
            claim.cancel()
        elif not claim.cancelled():
            claim.result().give_back()
        self.grant_waiting()

    def grant_waiting(self) -> None:
        """Grants free slots to the claims that wait for them."""
        while self._waiting:
            claim, model_digest = self._waiting[0]
            if not claim.done():
                grant = self._source.acquire(model_digest)
                if grant is None:
                    return
                claim.set_result(grant)
            self._waiting.popleft()
