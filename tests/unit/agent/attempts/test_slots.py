from __future__ import annotations

from voxfleet_agent.attempts.slots import ControlSlots, SlotQueue


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
