"""Budgets of the price book in the whole operator, in memory: what they hold, what they tell, what frees them."""

from __future__ import annotations

import pytest
from tests.rig.price_books import book
from tests.unit.operator.decisions.bodies import job_body
from tests.unit.operator.decisions.memory_api import START
from tests.unit.operator.decisions.placement_objects import NOW, a_job, a_mac, a_shard, placed, run
from tests.unit.operator.decisions.test_isolation import state, until
from tests.unit.operator.decisions.world import World

from voxfleet_api.conditions import Reason
from voxfleet_api.kinds import MachineHourStatement
from voxfleet_api.kinds.audio_shard import Stage
from voxfleet_billing.price_book import PriceBook
from voxfleet_operator.metering.budget_accounts import BudgetAccounts
from voxfleet_operator.queue import PLACEMENT

WHY = "budget of billing key speech: 1.0 of 1 machine-hours used in 2026-11"


def test_a_job_over_its_budget_gets_no_lane_and_says_why() -> None:
    held, other = a_job("held"), a_job("other")
    shards = [a_shard(held), a_shard(held, 1), a_shard(other)]
    plan = run(shards, [a_mac("mac-a"), a_mac("mac-b")], over_budget={held.uid: WHY}, budgets_renew_seconds=NOW + 60)
    assert placed(plan) == {f"{other.uid}/0": "mac-a"}
    assert plan.pending == {held.uid: WHY} and plan.wake_after_seconds == 60


def test_what_needs_no_lane_costs_nothing_and_goes_on() -> None:
    held = a_job("held")
    plan = run([a_shard(held, stage=Stage.PLAN)], [a_mac()], over_budget={held.uid: WHY})
    assert placed(plan) == {f"{held.uid}/0": "mac-a"} and not plan.pending


def test_a_retry_of_a_lost_attempt_waits_too() -> None:
    held = a_job("held")
    plan = run([a_shard(held, replaces_lost=True)], [a_mac()], over_budget={held.uid: WHY})
    assert not plan.assignments and plan.pending == {held.uid: WHY}


def a_book(hours: str, policy: str = "Hold") -> PriceBook:
    return book(budgets=[{"billingKey": "speech", "machineHoursPerMonth": hours, "policy": policy}])


async def add_statement(world: World, seconds: str) -> None:
    total = {"namespace": "elsewhere", "billingKey": "speech", "class": "Productive", "machineSeconds": seconds}
    world.api.add(
        {
            "kind": "MachineHourStatement",
            "metadata": {"name": "mac-z-2026-11"},
            "spec": {"mac": "mac-z", "month": "2026-11"},
        }
    )
    status = {"totals": [total], "machineSeconds": seconds}
    await world.api.apply_status(MachineHourStatement, "", "mac-z-2026-11", status)
    world.deliver()


async def test_a_budget_that_is_used_up_holds_new_shards_until_the_month_is_over() -> None:
    world = World(seed=5, macs=1)
    world.price_book = a_book("1")
    await add_statement(world, "3600.000")
    world.api.add(job_body("held", billingKey="speech"))
    world.api.add(job_body("free", billingKey="text"))
    await until(world, lambda: "budget" in (world.job("held").status.pending_reason or ""))
    held = world.job("held").status
    assert held.pending_reason == f"{WHY}; raise it in the price book, or wait until 2026-12-01"
    assert state(world, "held") == Reason.WAITING_FOR_MAC
    await until(world, lambda: state(world, "free") == Reason.FINISHED)
    assert not any(shard.status.attempts for shard in world.shards("held") if shard.spec.stage is Stage.PROCESS)
    world.clock.seconds = (START.replace(month=12, day=1, hour=0) - START).total_seconds() - 30
    await until(world, lambda: state(world, "held") == Reason.FINISHED)
    assert world.clock.now().month == 12


async def test_a_budget_that_is_raised_frees_at_once() -> None:
    world = World(seed=6, macs=1)
    world.price_book = a_book("1")
    await add_statement(world, "3600.000")
    world.api.add(job_body("held", billingKey="speech"))
    await until(world, lambda: "budget" in (world.job("held").status.pending_reason or ""))
    world.price_book = a_book("100")
    world.queue.add(PLACEMENT)  # as the price book's watch does
    before = world.clock.seconds
    await until(world, lambda: state(world, "held") == Reason.FINISHED)
    assert world.clock.seconds - before < 300


async def test_a_budget_that_only_warns_holds_nothing_and_tells() -> None:
    world = World(seed=7, macs=1)
    world.price_book = a_book("1", "Warn")
    await add_statement(world, "1799.999")
    world.api.add(job_body("job", billingKey="speech"))
    await until(world, lambda: state(world, "job") == Reason.FINISHED)
    reached = [item.percent for item in world.context.budgets.take_reached()]
    assert reached == [50]


async def test_a_budget_holds_before_any_statement_counts() -> None:
    """Statements are hourly; what shards list, and lanes that are held, count at once."""
    world = World(seed=8, macs=1)
    world.price_book = a_book("0.001")
    world.api.add(job_body("job", billingKey="speech"))
    await until(world, lambda: "budget" in (world.job().status.pending_reason or ""))
    assert not world.api.all(MachineHourStatement)
    shards = [shard for shard in world.shards() if shard.spec.stage is Stage.PROCESS]
    begun = [shard for shard in shards if shard.status.attempts]
    assert 0 < len(begun) < len(shards)
    names = {shard.metadata.name for shard in begun}

    def what_ran_is_done() -> bool:
        return all(shard.status.commit is not None for shard in world.shards() if shard.metadata.name in names)

    await until(world, what_ran_is_done)


async def test_after_a_restart_the_budget_holds_at_once_and_is_not_told_again() -> None:
    world = World(seed=9, macs=1)
    world.price_book = a_book("1")
    await add_statement(world, "3600.000")
    world.start_operator()
    world.api.add(job_body("job", billingKey="speech"))
    await until(world, lambda: "budget" in (world.job().status.pending_reason or ""))
    assert world.context.budgets.take_reached() == []


@pytest.mark.parametrize("budgets", [BudgetAccounts(), BudgetAccounts(lambda: book())])
def test_without_budgets_nothing_is_found(budgets: BudgetAccounts) -> None:
    assert budgets.found({}, {}, "2026-11") == () and budgets.take_reached() == []
