"""A Mac that fails too often takes nothing for a while: when, for how long, and never more than half of the fleet."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from itertools import cycle

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.operator.decisions.bodies import job_body
from tests.unit.operator.decisions.test_every_job_ends import until
from tests.unit.operator.decisions.world import World

from voxfleet_api.conditions import ConditionType, Reason, find, is_true
from voxfleet_api.failures import RULES, FailureClass, Remedy
from voxfleet_api.kinds import MacAgent
from voxfleet_api.kinds.audio_shard import AttemptOutcome
from voxfleet_operator.queue import Key
from voxfleet_operator.reconcile.exclusions import (
    FAILURES,
    FIRST_SECONDS,
    LONGEST_SECONDS,
    PROBATION_SECONDS,
    WINDOW_SECONDS,
    Exclusion,
    Exclusions,
)
from voxfleet_operator.reconcile.job_life import has_ended
from voxfleet_operator.reconcile.mac.exclusion import shown_exclusion, stored_exclusion

MACS = ("mac-a", "mac-b", "mac-c", "mac-d")
GPU = FailureClass.GPU_ABORT_TIMEOUT


JOBS = ("one", "two")


def failing(
    exclusions: Exclusions,
    times: Sequence[float],
    mac: str = "mac-a",
    fleet_size: int = 4,
    jobs: Sequence[str] = JOBS,
) -> list[bool]:
    """The jobs fail in turns."""
    return [exclusions.failed(mac, job, GPU, now, fleet_size) for now, job in zip(times, cycle(jobs), strict=False)]


def test_five_failures_within_an_hour_exclude_and_a_success_between_them_starts_anew() -> None:
    exclusions = Exclusions()
    assert failing(exclusions, [0, 60, 120, 180, 240]) == [False] * 4 + [True]
    found = exclusions.of("mac-a", 241)
    assert found == Exclusion(240 + FIRST_SECONDS, FAILURES, GPU, 1)
    assert exclusions.of("mac-a", 240 + FIRST_SECONDS) is None
    calm = Exclusions()
    failing(calm, [0, 60, 120, 180])
    assert not calm.succeeded("mac-a", 200) and failing(calm, [240, 300, 360, 420]) == [False] * 4


def test_failures_that_lie_further_apart_exclude_nobody() -> None:
    assert not any(failing(Exclusions(), [number * WINDOW_SECONDS / (FAILURES - 1) for number in range(100)]))


def test_a_failure_is_forgotten_although_no_other_one_comes() -> None:
    exclusions = Exclusions()
    failing(exclusions, [0])
    exclusions.forget(WINDOW_SECONDS - 1)
    assert len(exclusions) == 1
    exclusions.forget(WINDOW_SECONDS)
    assert len(exclusions) == 0


def test_one_job_alone_excludes_nobody_however_often_it_fails() -> None:
    exclusions = Exclusions()
    assert not any(failing(exclusions, range(100), jobs=("one",)))
    assert failing(exclusions, [101], jobs=("two",)) == [True], "nor does it hide what others show"


def test_one_job_alone_goes_on_with_an_exclusion_only_while_others_failed_within_the_hour() -> None:
    exclusions = Exclusions()
    assert failing(exclusions, [0] * FAILURES)[-1]
    last = 0
    for now in range(0, 100_000, 60):
        if exclusions.of("mac-a", now) is None and any(failing(exclusions, [now], jobs=("one",))):
            last = now
    assert 0 < last < WINDOW_SECONDS


def test_each_exclusion_in_a_row_is_longer_up_to_an_hour_and_two_jobs_that_fail_within_one_bring_it_about() -> None:
    exclusions, now, lengths, firsts = Exclusions(), 0.0, [], []
    failing(exclusions, [now] * (FAILURES - 2))
    for _ in range(6):
        first, second = failing(exclusions, [now, now])
        assert first or second
        firsts.append(first)
        found = exclusions.of("mac-a", now)
        assert found is not None
        lengths.append(found.until_seconds - now)
        now = found.until_seconds + 1
    assert lengths == [600, 1200, 2400, 3600, 3600, 3600] and lengths[0] == FIRST_SECONDS
    assert firsts == [False, True, True, True, False, False], "what failed before a short exclusion counts, too"
    now += PROBATION_SECONDS
    assert failing(exclusions, [now]) == [False], "after an hour without a failure it counts from the beginning"


def test_a_success_ends_it_at_once() -> None:
    exclusions = Exclusions()
    failing(exclusions, [0] * FAILURES)
    assert exclusions.succeeded("mac-a", 5) and exclusions.of("mac-a", 5) is None
    assert failing(exclusions, [6]) == [False] and len(exclusions) == 1


@pytest.mark.parametrize(("fleet_size", "excluded"), [(0, 0), (1, 0), (2, 1), (3, 1), (4, 2), (8, 4)])
def test_at_most_half_of_the_macs_in_contact_are_excluded(fleet_size: int, excluded: int) -> None:
    exclusions = Exclusions()
    macs = [f"mac-{number}" for number in range(8)]
    for mac in macs:
        failing(exclusions, [0] * FAILURES, mac, fleet_size)
    assert [mac for mac in macs if exclusions.of(mac, 1) is not None] == macs[:excluded]


ENDS = st.lists(
    st.tuples(
        st.sampled_from(MACS), st.integers(0, 3000), st.sampled_from(["fails", "succeeds"]), st.sampled_from(JOBS)
    ),
    max_size=200,
)


@given(ends=ENDS)
def test_whatever_happens_it_ends_within_an_hour_and_memory_stays_bounded(
    ends: list[tuple[str, int, str, str]],
) -> None:
    exclusions, now = Exclusions(), 0.0
    for mac, later, what, job in ends:
        now += later
        if what == "fails":
            exclusions.failed(mac, job, GPU, now, len(MACS))
        else:
            exclusions.succeeded(mac, now)
            assert exclusions.of(mac, now) is None
        held = [found for name in MACS if (found := exclusions.of(name, now)) is not None]
        assert 2 * len(held) <= len(MACS) and all(found.until_seconds <= now + LONGEST_SECONDS for found in held)
        assert len(exclusions) <= len(MACS)
    end = now + LONGEST_SECONDS + PROBATION_SECONDS
    exclusions.failed("another", "one", GPU, end, len(MACS))
    assert len(exclusions) == 1, "machines that have not failed for so long are forgotten"


def test_the_next_process_takes_it_up_and_no_clock_prolongs_it() -> None:
    now = datetime(2026, 11, 20, 22, 0, tzinfo=UTC)
    shown = shown_exclusion(Exclusion(700.0, 5, GPU, 2), None, 100.0, now)
    assert shown is not None and shown.until == "2026-11-20T22:10:00Z"
    assert shown_exclusion(Exclusion(700.0, 5, GPU, 2), shown, 101.0, now + timedelta(seconds=9)) == shown
    taken = stored_exclusion(shown, 40.0, now + timedelta(minutes=4))
    assert taken == Exclusion(40.0 + 360.0, 5, GPU, 2)
    exclusions = Exclusions()
    exclusions.restore("mac-a", Exclusion(1e9, 5, GPU, 2), 40.0)
    found = exclusions.of("mac-a", 41.0)
    assert found is not None and found.until_seconds == 40.0 + LONGEST_SECONDS
    exclusions.restore("mac-b", taken, 500.0)
    assert exclusions.of("mac-b", 500.0) is None, "it is over"
    exclusions.succeeded("mac-c", 50.0)


# Whole lives.


async def a_broken_mac() -> World:
    world = World(seed=9, macs=3)
    broken = world.agents["mac-b"]
    broken.failures, broken.failure_rate = (GPU,), 1.0
    for name in ("one", "two", "three", "four"):
        world.api.add(job_body(name))
    await until_excluded(world)
    return world


async def until_excluded(world: World) -> None:
    await until_job(world, lambda: mac(world).status.exclusion is not None)


async def until_job(world: World, what: Callable[[], bool]) -> None:
    start = world.clock.seconds
    while not what():
        await world.settle(1)
        assert world.clock.seconds - start < 3600


def mac(world: World, name: str = "mac-b") -> MacAgent:
    return MacAgent.load(world.api.objects[Key("MacAgent", "", name)])


async def test_a_mac_that_fails_whatever_it_gets_is_excluded_and_says_so() -> None:
    world = await a_broken_mac()
    shown = mac(world).status.exclusion
    assert shown is not None and (shown.failures, shown.failure_class, shown.times) == (FAILURES, GPU, 1)
    available = find(mac(world).status.conditions, ConditionType.AVAILABLE)
    assert available is not None and (available.status, available.reason) == ("False", Reason.FAILS_TOO_OFTEN)
    assert "5 failures in 1 hour without a success, the last: GpuAbortTimeout" in available.message
    assert [note for name, reason, note in world.journal.published if (name, reason) == ("mac-b", "Excluded")] == [
        f"takes no attempts for a while: 5 failures in 1 hour without a success, the last: {GPU}; until {shown.until}"
    ]
    begun = len([name for _, name in world.fleet.started if name == "mac-b"])
    await until_job(world, lambda: all(has_ended(world.job(name)) for name in ("one", "two", "three", "four")))
    assert all(
        is_true(world.job(name).status.conditions, ConditionType.COMPLETE) for name in ("one", "two", "three", "four")
    )
    left = [name for _, name in world.fleet.started if name == "mac-b"]
    assert len(left) - begun <= 1, "an attempt may have been on its way"


async def test_a_new_operator_takes_the_exclusion_up_before_it_places_anything() -> None:
    world = await a_broken_mac()
    shown = mac(world).status.exclusion
    world.start_operator()
    world.api.add(job_body("next"))
    started = len(world.fleet.started)
    await until_job(world, lambda: has_ended(world.job("next")))
    assert all(name != "mac-b" for _, name in world.fleet.started[started:])
    assert mac(world).status.exclusion == shown


async def test_it_is_tried_again_afterwards_and_one_success_clears_it() -> None:
    world = await a_broken_mac()
    world.agents["mac-b"].failure_rate = 0.0
    await until_job(world, lambda: mac(world).status.exclusion is None)
    assert ("mac-b", "ExclusionEnded", "takes attempts again") in world.journal.published
    world.api.add(job_body("next", parallelism=3))
    await until(world, lambda: has_ended(world.job("next")))
    assert "mac-b" in {item.mac for shard in world.shards("next") for item in shard.status.attempts}


async def test_one_job_that_fails_everywhere_leaves_the_fleet_to_the_others() -> None:
    world = World(seed=2, macs=4)
    for agent in world.agents.values():
        agent.poison = frozenset(range(10))
    world.api.add(job_body("bad"))
    await until(world, lambda: has_ended(world.job("bad")), 24 * 3600, 4)
    records = [record for shard in world.shards("bad") for record in shard.status.attempts]
    failed = Counter(record.mac for record in records if record.outcome is AttemptOutcome.FAILED)
    assert max(failed.values()) > FAILURES
    assert not [item for item in world.journal.published if item[1] == "Excluded"]


async def test_the_reason_why_a_job_waits_names_the_excluded_mac() -> None:
    world = await a_broken_mac()
    world.api.add(job_body("picky", macSelector={"matchLabels": {"no": "such"}}))
    for agent in world.agents.values():
        agent.lanes = 0
    await world.settle(40)
    reason = next(
        text for name in ("one", "two", "three", "four", "picky") if (text := world.job(name).status.pending_reason)
    )
    assert "1 is excluded because it fails too often (mac-b: 5 failures in 1 hour without a success" in reason


@pytest.mark.parametrize("failure", FailureClass)
def test_only_what_another_mac_may_do_better_counts(failure: FailureClass) -> None:
    """The rule that the shard's reconciler asks; a failure of a clip, a job or a storage is nobody's on the fleet."""
    machine = {
        FailureClass.MACHINE_LOST,
        FailureClass.MACHINE_RETURNED,  # and never counted: its outcome is no failure
        FailureClass.RUNTIME_MISMATCH,
        FailureClass.SCRATCH_EXHAUSTED,
        FailureClass.GPU_ABORT_OUT_OF_MEMORY,
        FailureClass.GPU_ABORT_TIMEOUT,
        FailureClass.GPU_ABORT_INNOCENT_VICTIM,
    }
    assert (RULES[failure].remedy is Remedy.OTHER_MAC) == (failure in machine)
