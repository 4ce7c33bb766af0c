"""Nothing grows with history: nights of jobs leave every table of operator and agents as short as one night does."""

from __future__ import annotations

from collections import deque
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.operator.decisions.bodies import job_body
from tests.unit.operator.decisions.test_isolation import until
from tests.unit.operator.decisions.test_job_life_simulation import MACHINE_FAILURES, calm, chaos
from tests.unit.operator.decisions.world import World

from voxfleet_api.attempt_spec import AttemptKey
from voxfleet_api.kinds import AudioBatchJob, AudioShard, MacAgent, MachineHourStatement
from voxfleet_api.kinds.machine_hour_statement import MAX_CHAINS
from voxfleet_api.quantities import seconds_milliseconds
from voxfleet_operator.kube_errors import Conflict
from voxfleet_operator.queue import Key
from voxfleet_operator.reconcile.archived_estimates import ArchivedEstimates
from voxfleet_operator.reconcile.job.settled_shards import KEPT
from voxfleet_operator.reconcile.statement.reconcile import StatementReconciler

HOUR = int(KEPT.total_seconds())


async def pass_hours(world: World, hours: int) -> None:
    """Until the shards of ended jobs may go and all that is due is done."""
    for _ in range(hours * 4):
        world.clock.seconds += HOUR // 4
        for mac in world.agents:
            world.refresh(mac)
        world.queue.tick()
        while world.queue.ready:
            await world.reconcile(3)
            world.deliver()


async def night(world: World, number: int) -> None:
    world.api.add(job_body(f"night-{number}"))
    await world.settle()


def sizes(world: World) -> dict[str, int]:
    """How much is held of what nobody but VoxFleet deletes."""
    views = list(world.fleet.views().values())
    return {
        "shards": len(world.api.all(AudioShard)),
        "statements": len(world.api.all(MachineHourStatement)),
        "attempts on Macs": sum(len(agent.runs) for agent in world.agents.values()),
        "attempts in views": sum(len(view.attempts) for view in views),
        "rows in views": sum(len(view.rows) for view in views),
        "usage in views": sum(len(view.usage) for view in views),
    }


async def test_every_night_leaves_as_little_as_the_first() -> None:
    world = World(seed=5)
    found = []
    for number in range(4):
        await night(world, number)
        await pass_hours(world, 6)
        found.append(sizes(world))
    assert found[0] == found[-1], found
    assert found[0] | {"statements": 0} == dict.fromkeys(found[0], 0)
    assert [job.status.usage.settled for job in world.api.all(AudioBatchJob)] == [True] * 4, "the bills stay"


def tables(world: World) -> dict[str, int]:
    """The length of every dictionary, set and list that the operator holds as long as its process lives."""
    found: dict[str, int] = {}
    seen: set[int] = set()

    def visit(path: str, value: object) -> None:
        if id(value) in seen:
            return
        seen.add(id(value))
        if isinstance(value, dict | set | list | deque):
            found[path] = len(value)
        elif type(value).__module__.startswith("voxfleet_operator"):
            names = getattr(value, "__slots__", ()) or vars(value)
            for name in names:
                visit(f"{type(value).__name__}.{name}", getattr(value, name))

    for reconciler in world.reconcilers.values():
        visit("", reconciler)
    return found


async def test_no_table_of_the_operator_remembers_jobs_that_are_gone() -> None:
    world = World(seed=5)
    found = []
    for number in range(5):
        world.api.add(job_body(f"blocked-{number}", credentialsSecretRef={"name": "missing"}))
        for agent in world.agents.values():
            agent.failures, agent.failure_rate = MACHINE_FAILURES, 0.4
        world.api.add(job_body(f"night-{number}"))
        world.api.add(job_body(f"unplaced-{number}", macSelector={"matchLabels": {"site": "nowhere"}}))
        await world.settle(60)
        world.api.user_deletes(AudioBatchJob, "team", f"unplaced-{number}")
        calm(world)
        await world.settle(150)
        world.api.user_deletes(AudioBatchJob, "team", f"night-{number}")
        world.api.user_deletes(AudioBatchJob, "team", f"blocked-{number}")
        await world.settle()
        await pass_hours(world, 2)
        found.append(tables(world))
    assert len(found[0]) > 10, "else nothing was looked at"
    grown = {path: [each[path] for each in found] for path in found[0] if found[-1][path] > found[1][path] + 3}
    grown.pop("Cache._gone", None)  # which has a bound of its own
    assert not grown


async def test_settled_attempts_are_forgotten_on_their_macs() -> None:
    world = World(seed=5)
    await night(world, 0)
    assert world.shards("night-0") != []
    assert [key for agent in world.agents.values() for key in agent.runs] == []


async def test_shards_wait_for_the_statement_that_counts_them() -> None:
    world = World(seed=5)
    await night(world, 0)
    del world.reconcilers["MachineHourStatement"]  # type: ignore[attr-defined] # a dict, in truth
    world.reconcilers["MachineHourStatement"] = Idle()  # type: ignore[index] # see above
    await pass_hours(world, 6)
    names = [f"night-0-{n:05d}" for n in range(5)]
    assert [shard.metadata.name for shard in world.shards("night-0")] == names

    world.start_operator()
    await world.reconcilers["AudioBatchJob"].reconcile(Key("AudioBatchJob", "team", "night-0"))
    assert [shard.metadata.name for shard in world.shards("night-0")] == names, "a new leader knows no Mac at first"
    for mac in world.agents:
        world.api.user_deletes(MacAgent, "", mac)
    world.deliver()
    await world.reconcilers["AudioBatchJob"].reconcile(Key("AudioBatchJob", "team", "night-0"))
    assert world.shards("night-0") == [], "no MacAgent has the key, so nothing more will be settled"


class Idle:
    async def reconcile(self, key: Key) -> float | None:
        return None


def assert_each_mac_is_counted_once(world: World) -> None:
    statements = world.api.all(MachineHourStatement)
    assert {statement.spec.mac for statement in statements} <= set(world.agents)
    for mac, agent in world.agents.items():
        own = [statement.status for statement in statements if statement.spec.mac == mac]
        done = sum(row.machine_milliseconds for row in agent.rows)
        assert sum(seconds_milliseconds(status.machine_seconds) for status in own) == done
        assert sum(status.rows for status in own) == len(agent.rows)


async def test_the_last_rows_of_a_macagent_that_is_deleted_stand_in_its_statement() -> None:
    world = World(seed=5)
    await night(world, 0)
    await pass_hours(world, 1)
    await night(world, 1)
    world.api.user_deletes(MacAgent, "", "mac-b")
    await until(world, lambda: "mac-b" not in world.fleet.views())
    assert world.agents["mac-b"].rows
    await pass_hours(world, 4)
    assert_each_mac_is_counted_once(world)


def assert_statements_are_what_the_macs_did(world: World) -> None:
    assert_each_mac_is_counted_once(world)
    statements = world.api.all(MachineHourStatement)
    jobs = [job.status.usage for job in world.api.all(AudioBatchJob)]
    for field in ("machine_seconds", "productive_seconds", "retry_seconds", "overhead_seconds"):
        by_macs = sum(seconds_milliseconds(getattr(statement.status, field)) for statement in statements)
        by_jobs = sum(seconds_milliseconds(getattr(usage, field)) for usage in jobs)
        assert by_macs == by_jobs, field


@settings(max_examples=5)
@given(
    seed=st.integers(0, 2**32 - 1),
    macs=st.integers(1, 3),
    steps=st.integers(0, 100),
    lost_answers=st.sampled_from([0.0, 0.1]),
    failure_rate=st.sampled_from([0.0, 0.3]),
)
async def test_statements_and_jobs_count_the_same_time_once(
    seed: int, macs: int, steps: int, lost_answers: float, failure_rate: float
) -> None:
    world = World(seed, macs)
    world.api.lost_answers = world.fleet.lost_answers = lost_answers
    for agent in world.agents.values():
        agent.failures, agent.failure_rate = MACHINE_FAILURES, failure_rate
    world.api.add(job_body())
    await chaos(world, steps)
    world.api.add(job_body("second"))
    await pass_hours_in_chaos(world)
    calm(world)
    await world.settle()
    await pass_hours(world, 4)
    assert_statements_are_what_the_macs_did(world)
    assert [shard for shard in world.api.all(AudioShard) if shard.status.commit is not None] == []


async def pass_hours_in_chaos(world: World) -> None:
    """Statements are due in the middle of the work, and the month ends."""
    for _ in range(3):
        world.clock.seconds += HOUR * world.random.choice([1, 100])
        await chaos(world, 30)


async def test_a_run_is_written_only_after_the_one_before_it() -> None:
    """Else the cursor of the second would say that the rows of the first are counted, too."""
    world, key = World(seed=5, macs=1), AttemptKey("a-deleted-shard", 1)
    agent = world.agents["mac-a"]
    agent._seal(key, work=1000)
    world.clock.seconds += 30 * 24 * HOUR
    agent._seal(key, work=2000)
    written, apply = [], world.api.apply_status

    async def refuse_the_first(kind: Any, namespace: str, name: str, status: Any, version: Any = None) -> Any:
        if kind is MachineHourStatement:
            written.append(name)
            if len(written) == 1:
                raise Conflict(name)
        return await apply(kind, namespace, name, status, version)

    world.api.apply_status = refuse_the_first  # type: ignore[method-assign, assignment] # the server of this test
    await pass_hours(world, 2)
    assert written == ["mac-a-2026-11", "mac-a-2026-11", "mac-a-2026-12"]
    assert_each_mac_is_counted_once(world)


async def test_a_run_that_another_process_has_settled_meanwhile_is_not_settled_again() -> None:
    """A former leader writes between two runs of a pass, and the watch shows it before the second run's turn."""
    world, key = World(seed=5, macs=1), AttemptKey("a-deleted-shard", 1)
    agent = world.agents["mac-a"]
    agent._seal(key, work=1000)
    world.clock.seconds += 30 * 24 * HOUR
    agent._seal(key, work=2000)
    former, apply = StatementReconciler(world.context, ArchivedEstimates()), world.api.apply_status

    async def let_the_former_leader_write(kind: Any, *request: Any) -> Any:
        written = await apply(kind, *request)
        if kind is MachineHourStatement:
            world.api.apply_status = apply  # type: ignore[method-assign] # the server of this test
            world.deliver()
            world.clock.seconds += HOUR  # else it finds that none is due
            while await former.reconcile(Key("MachineHourStatement", "", "mac-a")) == 0.0:
                pass
        return written

    world.api.apply_status = let_the_former_leader_write  # type: ignore[method-assign, assignment] # as above
    await pass_hours(world, 2)
    assert_each_mac_is_counted_once(world)


async def test_rows_of_the_machine_before_are_not_counted_under_the_key_of_the_next() -> None:
    """The MacAgent was edited, and its session still shows the machine that it stood for."""
    world, key = World(seed=5, macs=1), AttemptKey("a-deleted-shard", 1)
    agent = world.agents["mac-a"]
    agent._seal(key, work=1000)
    await pass_hours(world, 2)
    assert_each_mac_is_counted_once(world)

    world.fleet.stored_head = lambda _: None  # the session has begun no new book
    world.api.user_edits("MacAgent", "", "mac-a", ledgerPublicKey="B" * 43 + "=")
    world.deliver()
    await pass_hours(world, 2)
    assert_each_mac_is_counted_once(world)


@pytest.mark.parametrize("ended", [False, True])
async def test_a_shard_whose_job_is_gone_holds_up_no_statement(ended: bool) -> None:
    """After `kubectl delete --cascade=orphan`."""
    world = World(seed=5, macs=1)
    world.api.add(job_body())
    agent = world.agents["mac-a"]
    await until(world, lambda: any(run.laned for run in agent.runs.values()))
    if ended:
        agent.work()
    world.api._drop(world.api.objects[Key("AudioBatchJob", "team", "job")])
    await pass_hours(world, 2)
    assert agent.rows and not agent.runs and world.shards() != []
    assert_each_mac_is_counted_once(world)


async def test_more_chains_in_a_month_than_a_statement_lists_go_on_in_its_next_part() -> None:
    """A chain begins anew with each loss of an agent's state."""
    world = World(seed=5, macs=1)
    agent = world.agents["mac-a"]
    world.fleet.stored_head = lambda _: None
    for number in range(MAX_CHAINS + 2):
        agent.sequence, first = 0, len(agent.rows)
        agent._seal(AttemptKey(f"a-deleted-shard-{number}", 1), work=1000)
        agent.rows[first:] = [replace(row, chain_id=f"chain-{number}") for row in agent.rows[first:]]
        await pass_hours(world, 2)
    names = [statement.metadata.name for statement in world.api.all(MachineHourStatement)]
    assert names == ["mac-a-2026-11", "mac-a-2026-11-2"]
    assert_each_mac_is_counted_once(world)
