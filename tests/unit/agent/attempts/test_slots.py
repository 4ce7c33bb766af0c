from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st
from tests.rig.fake_fleet.lanes import SleepingLane

from voxfleet_agent.attempts.slots import ControlSlots, LaneSlots, SlotGrant, SlotQueue
from voxfleet_agent.lanes.lane_types import LaneHandle
from voxfleet_api.machine_messages import PoolFacts
from voxfleet_api.pools import PoolKind
from voxfleet_api.run_record import LaneReadings


async def test_slots_are_granted_in_the_order_of_the_claims() -> None:
    slots = SlotQueue[None](ControlSlots(1))
    first, second, third = slots.claim(), slots.claim(), slots.claim()
    assert (first.done(), second.done(), third.done(), slots.free, slots.waiting) == (True, False, False, 0, 2)
    slots.withdraw(first)
    assert second.done() and not third.done()


async def test_a_withdrawn_claim_is_skipped() -> None:
    slots = SlotQueue[None](ControlSlots(1))
    first, second, third = slots.claim(), slots.claim(), slots.claim()
    slots.withdraw(second)
    slots.withdraw(first)
    assert second.cancelled() and third.done()
    slots.withdraw(third)
    assert slots.free == 1 and slots.waiting == 0


async def test_a_claim_that_its_task_cancelled_releases_nothing() -> None:
    slots = SlotQueue[None](ControlSlots(1))
    first, second = slots.claim(), slots.claim()
    second.cancel()
    slots.withdraw(second)
    assert slots.free == 0
    slots.withdraw(first)
    assert slots.free == 1


@dataclass
class CountedPools:
    """Pools by name, each of a kind and with so many lanes."""

    shape: Mapping[str, tuple[str, int]]
    taken: set[str] = field(default_factory=set)

    def facts(self) -> Sequence[PoolFacts]:
        return [
            PoolFacts(name=name, kind=kind, lanes=lanes, free_lanes=len(self._free(name)))
            for name, (kind, lanes) in self.shape.items()
        ]

    def _free(self, pool: str) -> list[str]:
        names = [f"{pool}-{slot}" for slot in range(self.shape[pool][1])]
        return [name for name in names if name not in self.taken]

    def acquire(self, pool: str, digest: str | None = None) -> SleepingLane | None:
        free = self._free(pool)
        if not free:
            return None
        self.taken.add(free[0])
        return SleepingLane(free[0], load_seconds=0)

    def release(self, lane: SleepingLane) -> None:
        self.taken.remove(lane.name)

    def loaded_models(self) -> Sequence[str]:
        return ()

    def readings(self) -> Mapping[str, LaneReadings]:
        return {}

    async def unload_idle(self, after_seconds: float) -> int:
        return 0


KINDS = st.sampled_from([*PoolKind, "Streaming"])
SHAPES = st.dictionaries(st.sampled_from(["a", "b", "c", "d"]), st.tuples(KINDS, st.integers(1, 3)), min_size=1)


@given(SHAPES, st.lists(st.one_of(st.just("claim"), st.just("endpoint"), st.integers(0, 20)), max_size=40))
def test_a_lane_that_is_not_offline_is_never_granted_to_an_attempt(
    shape: dict[str, tuple[str, int]], steps: list[str | int]
) -> None:
    """Whatever is free, whatever endpoints hold, and in whatever order claims come and go."""
    pools = CountedPools(shape)
    slots = LaneSlots(pools)
    offline = {name for name, (kind, _) in shape.items() if kind == PoolKind.OFFLINE}
    lanes = sum(count for name, (_, count) in shape.items() if name in offline)
    held: list[SlotGrant[LaneHandle]] = []
    for step in steps:
        if step == "claim":
            grant = slots.acquire(None)
            assert (grant is None) == (len(held) == lanes)
            if grant is not None:
                held.append(grant)
        elif step == "endpoint":
            for name in shape.keys() - offline:
                pools.acquire(name)
        elif held:
            held.pop(int(step) % len(held)).give_back()
        assert {grant.slot.name.partition("-")[0] for grant in held} <= offline
        assert {grant.price_class for grant in held} <= {PoolKind.OFFLINE}
        assert slots.free == lanes - len(held)
