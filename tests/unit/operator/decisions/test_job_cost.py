"""What a job is expected to cost, in its status."""

from __future__ import annotations

from tests.rig.price_books import book, lessor
from tests.unit.operator.decisions.bodies import job_body
from tests.unit.operator.decisions.memory_fleet import CONTROL_PLANE
from tests.unit.operator.decisions.test_isolation import until
from tests.unit.operator.decisions.world import MARGIN_SECONDS, World

from voxfleet_api.kinds.job_status import EstimateBasis, ExpectedCost, JobEstimate
from voxfleet_operator.reconcile.context import ReconcileOptions
from voxfleet_operator.reconcile.job.estimate import meaningful

NOW = "2026-11-20T22:00:00Z"


def a_world() -> World:
    """Progress is written at once."""
    world = World(seed=11, macs=1)
    world.options = ReconcileOptions(CONTROL_PLANE, MARGIN_SECONDS, progress_interval_seconds=0.0)
    world.price_book = book(lessor())
    world.start_operator()
    return world


async def test_a_job_on_macs_with_a_price_says_what_it_costs_at_most() -> None:
    world = a_world()
    for name in world.agents:
        world.api.user_edits("MacAgent", "", name, billing={"lessor": "acme", "sku": "m4pro-48"})
    world.api.add(job_body(maxMachineSeconds=7200))
    await until(world, lambda: world.job().status.estimate is not None)
    estimate = world.job().status.estimate
    assert estimate is not None and estimate.cost is not None
    assert (estimate.cost.currency, estimate.cost.hourly, estimate.cost.limit) == ("EUR", "2", "4.00")


async def test_without_a_price_there_is_no_cost() -> None:
    world = a_world()
    world.api.add(job_body())
    await until(world, lambda: world.job().status.estimate is not None)
    estimate = world.job().status.estimate
    assert estimate is not None and estimate.cost is None


def test_another_price_is_news_and_its_small_change_is_not() -> None:
    def estimate(seconds: int, hourly: str | None) -> JobEstimate:
        cost = None if hourly is None else ExpectedCost(currency="EUR", hourly=hourly, amount="1.00")
        return JobEstimate(machine_seconds=seconds, basis=EstimateBasis.SHARDS, cost=cost)

    old = estimate(1000, "2")
    assert meaningful(old, estimate(1001, "2"), NOW) is old
    for new in (estimate(1000, "3"), estimate(1000, None)):
        assert meaningful(old, new, NOW) is new
