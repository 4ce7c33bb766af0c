"""A Mac that says again and again that it has no room gets longer pauses and a name, and no job pays for it."""

from __future__ import annotations

import pytest
from tests.unit.operator.decisions.bodies import job_body
from tests.unit.operator.decisions.test_every_job_ends import until
from tests.unit.operator.decisions.test_retry_budget import refusing
from tests.unit.operator.decisions.world import World

from voxfleet_api.conditions import Condition, ConditionType, Reason, find, is_true
from voxfleet_api.kinds import MacAgent
from voxfleet_api.kinds.audio_shard import AttemptOutcome
from voxfleet_operator.queue import Key
from voxfleet_operator.reconcile.job_life import has_ended
from voxfleet_operator.reconcile.refusing_macs import (
    ASKED_LONGEST_SECONDS,
    FORGET_SECONDS,
    LONGEST_SECONDS,
    REFUSALS,
    RefusingMacs,
)
from voxfleet_operator.reconcile.shard.status import retries_used

HOUR = 3600.0


def refusals(macs: RefusingMacs, count: int, mac: str = "mac-a", now: float = 0.0) -> list[float]:
    """One at the end of each pause; returns how long they are."""
    pauses = []
    for _ in range(count):
        found = macs.refused(mac, 429, "every lane is taken", now)
        pauses.append(found.until_seconds - now)
        now = found.until_seconds
    return pauses


def test_pauses_grow_up_to_their_longest() -> None:
    assert refusals(RefusingMacs(), 11) == [1, 2, 4, 8, 16, 32, 64, 128, 256, LONGEST_SECONDS, LONGEST_SECONDS]


def test_it_is_shown_from_the_fifth_in_a_row_until_it_takes_an_attempt() -> None:
    macs = RefusingMacs()
    for number in range(1, REFUSALS + 3):
        refusals(macs, 1, now=1000.0 * number)
        found = macs.of("mac-a", 1000.0 * number)
        assert found is not None and found.is_shown is (number >= REFUSALS)
    assert not macs.took("mac-a", 1000.0), "it was taken before the last refusal"
    assert macs.took("mac-a", 10_000.0) and macs.of("mac-a", 10_000.0) is None
    assert not macs.took("mac-a", 10_000.0)


def test_attempts_that_were_on_their_way_count_as_one() -> None:
    macs = RefusingMacs()
    for _ in range(REFUSALS):
        found = macs.refused("mac-a", 429, "every lane is taken", 0.0)
    assert (found.refusals, found.until_seconds) == (1, 1.0)


def test_what_the_mac_asks_for_is_believed_up_to_a_bound() -> None:
    assert RefusingMacs().refused("mac-a", 503, "", 0.0, 30.0).until_seconds == 30.0
    assert RefusingMacs().refused("mac-a", 503, "", 0.0, 2147483646.0).until_seconds == ASKED_LONGEST_SECONDS


def test_macs_that_refused_an_hour_ago_are_forgotten() -> None:
    macs = RefusingMacs()
    for number in range(100):
        now = number * FORGET_SECONDS
        refusals(macs, 1, f"mac-{number}", now)
        assert macs.of(f"mac-{number}", now + FORGET_SECONDS) is None
    assert len(macs) == 1
    macs.forget(now + FORGET_SECONDS)
    assert len(macs) == 0, "although no other refusal comes"


# Whole lives.


def available(world: World, mac: str) -> Condition:
    shown = MacAgent.load(world.api.objects[Key("MacAgent", "", mac)])
    found = find(shown.status.conditions, ConditionType.AVAILABLE)
    assert found is not None
    return found


def pending(world: World) -> str:
    return world.job().status.pending_reason or ""


@pytest.mark.parametrize("status", [429, 503, 507])
async def test_a_fleet_that_only_refuses_is_named_and_costs_no_retry_until_the_deadline(status: int) -> None:
    world = World(seed=3, macs=2)
    for mac in world.agents:
        refusing(world, mac, status, lambda: True)
    world.api.add(job_body(activeDeadlineSeconds=5400))
    text = f"0/2 Macs fit: 2 refuse attempts although they seem to have room (mac-a: HTTP {status})"
    await until(world, lambda: pending(world) == text, 600, 1)
    for mac in world.agents:
        assert available(world, mac).reason == Reason.REFUSES_ATTEMPTS
        assert f"the last: HTTP {status}: not now" in available(world, mac).message
    told = [name for name, reason, _ in world.journal.published if reason == Reason.REFUSES_ATTEMPTS]
    (plan,) = world.shards()
    begun = plan.status.attempt or 0
    await until(world, lambda: has_ended(world.job()), 2 * HOUR, 30)
    failed = find(world.job().status.conditions, ConditionType.FAILED)
    assert failed is not None and failed.reason == Reason.DEADLINE_EXCEEDED
    assert sorted(told) == ["mac-a", "mac-b"]
    assert [name for name, reason, _ in world.journal.published if reason == Reason.REFUSES_ATTEMPTS] == told
    (plan,) = [shard for shard in world.shards() if shard.metadata.uid == plan.metadata.uid]
    assert retries_used(plan.status) == 0
    assert all(record.outcome is AttemptOutcome.RETURNED for record in plan.status.attempts)
    tried = (plan.status.attempt or 0) - begun
    assert tried <= 2 * (1.5 * HOUR / LONGEST_SECONDS + 4), "each Mac is tried now and then"


async def test_the_first_attempt_that_it_takes_ends_it() -> None:
    world = World(seed=3, macs=1)
    full_until = world.clock.seconds + 600
    refusing(world, "mac-a", 429, lambda: world.clock.seconds < full_until)
    world.api.add(job_body())
    await until(world, lambda: "refuses attempts" in pending(world), 600, 1)
    assert available(world, "mac-a").reason == Reason.REFUSES_ATTEMPTS
    await until(world, lambda: has_ended(world.job()), 600 + LONGEST_SECONDS + 600, 1)
    assert is_true(world.job().status.conditions, ConditionType.COMPLETE)
    await world.settle()
    assert available(world, "mac-a").reason == Reason.AVAILABLE


async def test_a_mac_that_refuses_leaves_the_work_to_another() -> None:
    world = World(seed=4, macs=2)
    refusing(world, "mac-a", 507, lambda: True)
    for number in range(4):
        world.api.add(job_body(f"job-{number}"))
    jobs = [f"job-{number}" for number in range(4)]
    for name in jobs:
        await until_ended(world, name)
        assert is_true(world.job(name).status.conditions, ConditionType.COMPLETE)


async def until_ended(world: World, name: str) -> None:
    start = world.clock.seconds
    while not has_ended(world.job(name)):
        await world.settle(1)
        assert world.clock.seconds - start < HOUR
