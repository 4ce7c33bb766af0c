"""Macs that drain, close or end their rental while a job runs: nothing is lost, and nothing costs a retry."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.operator.decisions.attempt_objects import record, report, shard_with, view_with
from tests.unit.operator.decisions.bodies import job_body
from tests.unit.operator.decisions.memory_api import Clock
from tests.unit.operator.decisions.test_every_job_ends import MINUTE, lose, processing, until
from tests.unit.operator.decisions.test_job_life_simulation import assert_ended_well, calm, chaos
from tests.unit.operator.decisions.world import World

from voxfleet_api.conditions import Condition, ConditionType, Reason, find, is_true
from voxfleet_api.failures import FailureClass
from voxfleet_api.kinds import AudioShard, MacAgent
from voxfleet_api.kinds.audio_shard import AttemptOutcome, AttemptRecord
from voxfleet_api.protocol import AttemptState, AttemptStatus
from voxfleet_operator.cache import key_of
from voxfleet_operator.fleet.closing import Closing
from voxfleet_operator.queue import Key
from voxfleet_operator.reconcile.job_life import has_ended
from voxfleet_operator.reconcile.mac.decide import left_to_end
from voxfleet_operator.reconcile.mac_closing import RETURN_GRACE
from voxfleet_operator.reconcile.shard.status import is_live, retries_used
from voxfleet_operator.registry import triggers

NEVER_ENDS = 10**6


def edit_mac(world: World, name: str = "mac-a", **spec: object) -> None:
    """A field that is None is taken out."""
    stored = world.api.objects[Key("MacAgent", "", name)]
    fields = {key: value for key, value in {**stored["spec"], **spec}.items() if value is not None}
    generation = stored["metadata"].get("generation", 1) + 1
    world.api._store({**stored, "spec": fields, "metadata": {**stored["metadata"], "generation": generation}})


def mac_condition(world: World, type_: ConditionType, name: str = "mac-a") -> Condition | None:
    return find(MacAgent.load(world.api.objects[Key("MacAgent", "", name)]).status.conditions, type_)


def on_mac(world: World, name: str = "mac-a") -> list[AttemptRecord]:
    return [record for shard in world.shards() for record in shard.status.attempts if record.mac == name]


def live_on(world: World, name: str = "mac-a") -> list[AttemptRecord]:
    return [record for record in on_mac(world, name) if record.outcome is AttemptOutcome.ASSIGNED]


def draining(world: World) -> bool:
    found = mac_condition(world, ConditionType.DRAINING)
    return found is None or found.status == "True"


def returned(world: World, name: str = "mac-a") -> list[str | None]:
    """The classes of the attempts that the Mac gave back."""
    return [item.failure_class for item in on_mac(world, name) if item.outcome is AttemptOutcome.RETURNED]


def until_text(clock: Clock, minutes: float) -> str:
    return (clock.now() + timedelta(minutes=minutes)).strftime("%Y-%m-%dT%H:%M:%SZ")


def window(clock: Clock, opens_minutes: int, closes_minutes: int) -> dict[str, Any]:
    """A window around now, in whole minutes of UTC."""
    now = clock.now()
    start, end = (f"{now + timedelta(minutes=minutes):%H:%M}" for minutes in (opens_minutes, closes_minutes))
    return {"timeZone": "UTC", "windows": [{"start": start, "end": end}]}


async def busy(lost_after: str | None = None, **capabilities: Any) -> World:
    """mac-a has a shard that never ends by itself; mac-b works."""
    world = World(seed=6, macs=2)
    if lost_after is not None:
        edit_mac(world, disconnect={"lostAfter": lost_after})
    for agent in world.agents.values():
        agent.capabilities = capabilities.get("capabilities", agent.capabilities)
    world.api.add(job_body())
    await until(world, lambda: processing(world.agents["mac-a"]))
    for run in world.agents["mac-a"].runs.values():
        run.left = NEVER_ENDS
    world.refresh("mac-a")
    return world


def draining_reason(world: World) -> str | None:
    found = mac_condition(world, ConditionType.DRAINING)
    return None if found is None else found.reason


async def end_well(world: World) -> None:
    await until(world, lambda: has_ended(world.job()), 60 * MINUTE, 5)
    await world.settle()
    assert is_true(world.job().status.conditions, ConditionType.COMPLETE)
    assert all(retries_used(shard.status) == 0 for shard in world.shards())
    assert_ended_well(world)


async def test_a_mac_that_finishes_takes_nothing_new_and_says_when_it_is_empty() -> None:
    world = await busy()
    before = len(on_mac(world))
    edit_mac(world, drain={"mode": "Finish", "deadlineSeconds": 3600})
    await until(world, lambda: mac_condition(world, ConditionType.DRAINING) is not None)
    draining = mac_condition(world, ConditionType.DRAINING)
    assert (
        draining is not None and draining.status == "True" and draining.message.startswith("1 attempt still to end (")
    )
    available = mac_condition(world, ConditionType.AVAILABLE)
    assert available is not None and available.reason == Reason.DRAINING
    await until(world, lambda: sum(shard.status.clips is not None for shard in world.shards()) >= 4)
    for run in world.agents["mac-a"].runs.values():
        run.left = min(run.left, 1)
    await end_well(world)
    assert len(on_mac(world)) == before and all(item.outcome is AttemptOutcome.SUCCEEDED for item in on_mac(world))
    empty = mac_condition(world, ConditionType.DRAINING)
    assert empty is not None and (empty.status, empty.reason) == ("False", Reason.DRAINED)
    assert [item for item in world.journal.published if item[0] == "mac-a" and item[1] == Reason.DRAINED]


GIVEN_UP = shard_with(record(1, "mac-a", AttemptOutcome.LOST))


@pytest.mark.parametrize(
    ("shard", "reports", "control_plane", "left"),
    [
        (shard_with(record(1, "mac-a", AttemptOutcome.ASSIGNED)), (), "cp", ("team/job-00000",)),
        (GIVEN_UP, (), "cp", ()),
        (GIVEN_UP, (report(1, AttemptState.RUNNING),), "cp", ("team/job-00000",)),
        (GIVEN_UP, (report(1, AttemptState.DELETING),), "cp", ("team/job-00000",)),
        (GIVEN_UP, (report(1, AttemptState.FAILED),), "cp", ()),
        (GIVEN_UP, (report(1, AttemptState.RUNNING),), "another", ()),
    ],
    ids=["assigned", "nothing", "works on", "is being deleted", "has ended", "another control plane's"],
)
def test_a_mac_is_empty_once_it_works_on_nothing_whatever_became_of_the_shard(
    shard: AudioShard, reports: tuple[AttemptStatus, ...], control_plane: str, left: tuple[str, ...]
) -> None:
    assert left_to_end([shard], view_with(*reports), control_plane) == left


def test_what_was_given_up_of_a_lost_mac_is_over() -> None:
    assert left_to_end([GIVEN_UP], view_with(report(1, AttemptState.RUNNING), connected=False), "cp") == ()


async def test_a_mac_takes_attempts_again_once_its_drain_is_taken_back() -> None:
    world = World(seed=6, macs=1)
    edit_mac(world, drain={})
    world.api.add(job_body())
    await until(world, lambda: (world.job().status.pending_reason or "") == "0/1 Macs fit: 1 draining")
    edit_mac(world, drain=None)
    await end_well(world)
    assert mac_condition(world, ConditionType.DRAINING) is None


async def test_what_runs_ends_at_its_next_clip_and_goes_on_elsewhere() -> None:
    world = await busy()
    edit_mac(world, drain={"mode": "ReturnAtNextClip"})
    took = await until(world, lambda: not live_on(world))
    assert took < MINUTE
    assert returned(world) == [FailureClass.MACHINE_RETURNED]
    await end_well(world)


@pytest.mark.parametrize("knows_how", [True, False])
async def test_finish_becomes_return_at_the_deadline(knows_how: bool) -> None:
    """An agent that does not know how has its attempt taken back instead."""
    world = await (busy() if knows_how else busy(capabilities=()))
    start = world.clock.seconds
    edit_mac(world, drain={"mode": "Finish", "deadlineSeconds": 600})
    await until(world, lambda: not live_on(world), 20 * MINUTE, 5)
    assert 600 <= world.clock.seconds - start < 660
    assert returned(world) == [FailureClass.MACHINE_RETURNED]
    await end_well(world)


async def test_an_agent_that_does_not_return_is_stopped_after_the_grace() -> None:
    world = await busy()
    world.agents["mac-a"].work = lambda: None  # type: ignore[method-assign] # a clip that takes for ever
    start = world.clock.seconds
    edit_mac(world, drain={"mode": "ReturnAtNextClip"})
    await until(world, lambda: not live_on(world), 20 * MINUTE, 5)
    assert world.clock.seconds - start >= RETURN_GRACE.total_seconds()
    assert not world.agents["mac-a"].runs, "nothing is left there"
    await end_well(world)


async def test_a_mac_that_returns_attempts_unasked_is_paused_for_longer_and_longer() -> None:
    world = World(seed=6, macs=1)
    agent = world.agents["mac-a"]
    agent.process_ticks = 1
    world.api.add(job_body())
    await until(world, lambda: processing(agent))
    agent.failures, agent.failure_rate = (FailureClass.MACHINE_RETURNED,), 1.0
    with pytest.raises(AssertionError):
        await until(world, lambda: has_ended(world.job()), 2 * MINUTE, 1)
    assert set(returned(world)) == {FailureClass.MACHINE_RETURNED}
    assert sum(shard.status.attempt or 0 for shard in world.shards()) <= 12
    agent.failures = ()
    await end_well(world)


async def test_one_shard_that_took_long_to_succeed_keeps_no_other_from_a_mac_that_closes() -> None:
    world = World(seed=6, macs=1)
    world.api.add(job_body())
    await until(world, lambda: any(shard.status.clips is not None for shard in world.shards()))
    [done] = [shard for shard in world.shards() if shard.status.clips is not None]
    stored = world.api.objects[key_of(done)]
    slow = {"attempts": 1, "retries": 1, "workMilliseconds": 4_200_000}
    world.api._store({**stored, "status": {**stored["status"], "folded": slow}})
    edit_mac(world, availability={"rentalEnd": until_text(world.clock, 60)})
    await until(world, lambda: has_ended(world.job()), 30 * MINUTE)
    assert is_true(world.job().status.conditions, ConditionType.COMPLETE)


async def test_a_mac_wakes_its_shards_when_it_calls_them_back() -> None:
    world = await busy()
    while world.queue.ready:
        await world.reconcile(3)
        world.deliver()
    edit_mac(world, drain={"mode": "ReturnAtNextClip"})
    world.deliver()
    world.queue.ready.clear()
    await world.reconcilers["MacAgent"].reconcile(Key("MacAgent", "", "mac-a"))
    live = [shard for shard in world.shards() if is_live(shard) and shard.status.mac == "mac-a"]
    assert live and {key_of(shard) for shard in live} <= set(world.queue.ready)


async def test_a_shard_wakes_the_mac_that_counts_what_is_left() -> None:
    world = await busy()
    shard = next(shard for shard in world.shards() if is_live(shard) and shard.status.mac == "mac-a")
    mac = Key("MacAgent", "", "mac-a")
    world.deliver()
    assert mac not in triggers().keys_of_change(shard, world.cache), "no other Mac counts"
    edit_mac(world, drain={})
    world.deliver()
    assert mac in triggers().keys_of_change(shard, world.cache)


async def test_a_lost_mac_runs_nothing_once_another_one_has_taken_over_and_its_rows_are_missed() -> None:
    """It counts as lost only after its drain is over, so nothing but that shard wakes it again."""
    world = await busy(lost_after="10m")
    lose(world, "mac-a")
    edit_mac(world, drain={"mode": "ReturnAtNextClip"})
    refresh = world.refresh
    world.refresh = lambda mac: None if mac == "mac-a" else refresh(mac)  # type: ignore[method-assign] # out of reach
    await until(world, lambda: not live_on(world), 20 * MINUTE, 5)
    await until(world, lambda: draining_reason(world) == Reason.ROWS_LEFT, MINUTE)
    found = mac_condition(world, ConditionType.DRAINING)
    assert found is not None and found.status == "True" and "without contact nobody knows" in found.message


async def test_plans_on_a_mac_that_closes_are_made_elsewhere() -> None:
    world = World(seed=6, macs=2)
    world.api.add(job_body())
    await until(world, lambda: any(agent.runs for agent in world.agents.values()))
    name = next(name for name, agent in world.agents.items() if agent.runs)
    for run in world.agents[name].runs.values():
        run.left = NEVER_ENDS
    edit_mac(world, name, drain={"mode": "ReturnAtNextClip"})
    await end_well(world)
    assert [record.outcome for record in on_mac(world, name)] == [AttemptOutcome.RETURNED]


async def test_a_window_closes_and_the_job_goes_on_when_it_opens() -> None:
    world = World(seed=6, macs=1)
    edit_mac(world, availability=window(world.clock, -60, 30))
    world.api.add(job_body())
    await until(world, lambda: processing(world.agents["mac-a"]))
    for run in world.agents["mac-a"].runs.values():
        run.left = NEVER_ENDS
    await until(world, lambda: not live_on(world), 40 * MINUTE, 5)
    assert returned(world) == [FailureClass.MACHINE_RETURNED]
    await until(world, lambda: "outside its availability window" in (world.job().status.pending_reason or ""), MINUTE)
    reason = world.job().status.pending_reason or ""
    assert reason.startswith("0/1 Macs fit: 1 is outside its availability window (mac-a: opens at 2026-11-21 21:")
    world.clock.seconds += (datetime(2026, 11, 21, 21, 15, tzinfo=UTC) - world.clock.now()).total_seconds()
    world.refresh("mac-a")
    await until(world, lambda: not world.queue.ready)
    assert not live_on(world)
    took = await until(world, lambda: bool(live_on(world)), 3 * MINUTE, 1)
    assert took > 30, "it waited for the next evening, and nothing but the time woke it"
    await end_well(world)


async def test_nothing_runs_on_a_mac_whose_rental_is_over() -> None:
    world = await busy()
    edit_mac(world, availability={"rentalEnd": until_text(world.clock, 20)})
    over = world.clock.seconds + 20 * MINUTE
    await until(world, lambda: not live_on(world), 21 * MINUTE, 5)
    assert world.clock.seconds <= over and not processing(world.agents["mac-a"])
    await end_well(world)
    available = mac_condition(world, ConditionType.AVAILABLE)
    assert available is not None and available.reason == Reason.OUTSIDE_RENTAL


async def test_a_mac_without_contact_at_the_end_of_its_rental_is_an_event() -> None:
    world = await busy()
    lose(world, "mac-a")
    edit_mac(world, availability={"rentalEnd": until_text(world.clock, 0.3)})
    await until(world, lambda: any(item[1] == "StoppedUnseen" for item in world.journal.published), 5 * MINUTE, 1)
    [note] = [note for name, reason, note in world.journal.published if reason == "StoppedUnseen"]
    assert "whether 1 attempt stopped in time (team/job-" in note
    calm(world)
    await end_well(world)


async def test_an_old_agent_out_of_reach_gets_no_more_leases_after_its_rental() -> None:
    world = await busy(capabilities=())
    edit_mac(world, availability={"rentalEnd": until_text(world.clock, 20)})
    await until(world, lambda: "mac-a" in world.fleet.closings and world.fleet.closings["mac-a"] != Closing())
    world.clock.seconds += 21 * MINUTE
    agent = world.agents["mac-a"]
    world.refresh("mac-a")
    assert agent.renewed_seconds < world.clock.seconds - 20 * MINUTE
    await end_well(world)


async def test_a_zone_that_does_not_exist_is_named_and_stops_nothing() -> None:
    world = await busy()
    edit_mac(world, availability={"timeZone": "Europe/Berln", "windows": [{"start": "20:00", "end": "06:00"}]})
    await until(world, lambda: (mac_condition(world, ConditionType.ACCEPTED) or draft()).status == "False")
    accepted = mac_condition(world, ConditionType.ACCEPTED)
    assert accepted is not None and accepted.reason == Reason.INVALID_SPEC and "Europe/Berln" in accepted.message
    assert live_on(world)
    for run in world.agents["mac-a"].runs.values():
        run.left = 1
    await end_well(world)


def draft() -> Condition:
    return Condition(type="Accepted", status="Unknown", reason="Unknown", last_transition_time="")


CLOSINGS: list[dict[str, Any]] = [
    {"drain": {"mode": "Finish", "deadlineSeconds": 30}},
    {"drain": {"mode": "ReturnAtNextClip"}},
    {"drain": None},
    {"availability": {"rentalEnd": "2026-11-20T22:20:00Z"}},
    {
        "availability": {
            "timeZone": "UTC",
            "windows": [{"start": "22:00", "end": "22:18"}, {"start": "22:25", "end": "22:20"}],
        }
    },
    {"availability": None},
]


@settings(max_examples=25)
@given(
    seed=st.integers(0, 2**32 - 1),
    edits=st.lists(st.tuples(st.integers(0, 60), st.sampled_from(CLOSINGS)), max_size=4),
    old=st.booleans(),
)
async def test_every_job_ends_well_however_macs_close_while_everything_fails(
    seed: int, edits: list[tuple[int, dict[str, Any]]], old: bool
) -> None:
    world = World(seed=seed, macs=2)
    if old:
        world.agents["mac-a"].capabilities = ()
    world.api.add(job_body())
    world.fleet.lost_answers = world.api.lost_answers = 0.1
    for steps, spec in edits:
        await chaos(world, steps)
        edit_mac(world, **spec)
    await chaos(world, 40)
    calm(world)
    edit_mac(world, drain=None, availability=None)
    await world.settle()
    assert_ended_well(world)
