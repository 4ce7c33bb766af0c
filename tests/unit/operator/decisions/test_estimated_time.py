"""Time that no signed row proves, because a Mac is gone: estimated by one rule, never among signed time, and replaced
by rows that come after all.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.rig.memory_archive import MemoryArchive
from tests.unit.operator.decisions.bodies import job_body
from tests.unit.operator.decisions.job_objects import a_job, a_shard
from tests.unit.operator.decisions.test_archived_statements import (
    DAY,
    Killed,
    assert_the_archive_has_what_statements_count,
    indexes,
    reason,
    statements,
    sums,
)
from tests.unit.operator.decisions.test_every_job_ends import lose, processing, until
from tests.unit.operator.decisions.test_growth import HOUR, pass_hours
from tests.unit.operator.decisions.world import World

from voxfleet_api.attempt_spec import AttemptKey
from voxfleet_api.conditions import ConditionType
from voxfleet_api.kinds import AudioBatchJob, AudioShard, MacAgent
from voxfleet_api.kinds.audio_shard import AttemptEstimate, Stage
from voxfleet_api.ledger import RowOwner
from voxfleet_api.quantities import seconds_milliseconds
from voxfleet_billing.archive_format import MonthIndex, SettledAttempt, SettlementRecord, TimeClass
from voxfleet_billing.archive_reader import MacMonth
from voxfleet_operator.fleet.verified_row import VerifiedRow
from voxfleet_operator.metering.usage import job_usage
from voxfleet_operator.queue import RESTORE, Key
from voxfleet_operator.reconcile.job_life import has_ended
from voxfleet_operator.reconcile.shard.missing_rows import WAITED, given_up
from voxfleet_operator.reconcile.statement.decide import SettledRow, SettledRun
from voxfleet_operator.reconcile.statement.estimates import classed, replaced_by

ENDED = "2026-11-20T22:00:00Z"
IN_TIME = datetime.fromisoformat(ENDED) + timedelta(hours=1)
OVERDUE = datetime.fromisoformat(ENDED) + WAITED
MAC_B = "mac-b-2026-11"


def ended_job() -> AudioBatchJob:
    job = a_job()
    complete = {"type": "Complete", "status": "True", "reason": "Finished", "message": "", "lastTransitionTime": ENDED}
    body = {**job.dump(), "status": {**job.status.dump(), "conditions": [complete], "completionTime": ENDED}}
    return AudioBatchJob.load(body)


def lost(**fields: object) -> dict[str, Any]:
    return {"attempt": 1, "mac": "mac-b", "outcome": "Lost", "heldSeconds": 70, **fields}


def proven(milliseconds: int) -> dict[str, object]:
    span = {"chainId": "c", "firstSequence": 4, "lastSequence": 5, "rows": 2}
    return {"usage": {**span, "setupMilliseconds": milliseconds}}


@pytest.mark.parametrize(
    ("attempt", "removed", "silent", "now", "estimated"),
    [
        (lost(), True, True, IN_TIME, 70_000),
        (lost(), False, True, OVERDUE, 70_000),
        (lost(), False, True, IN_TIME, None),  # it may come back
        (lost(), False, False, OVERDUE, 0),  # it is there, and its rows do not verify
        (lost(**proven(30_000)), True, True, IN_TIME, 40_000),
        (lost(**proven(70_000)), True, True, IN_TIME, 0),
        (lost(**proven(99_000)), True, True, IN_TIME, 0),
        (lost(heldSeconds=None), True, True, IN_TIME, 0),
        (lost(outcome="Succeeded"), True, True, IN_TIME, 70_000),
        (lost(outcome="Assigned"), True, True, IN_TIME, None),
    ],
)
def test_the_rule(attempt: dict[str, Any], removed: bool, silent: bool, now: datetime, estimated: int | None) -> None:
    """Estimated: from its assignment until contact was lost, less what is proven. None: nothing is given up."""
    job = ended_job()
    shard = a_shard(job, Stage.PROCESS, 0, attempt=1, attempts=[attempt])
    found = dict(given_up(job, shard, lambda _: removed, lambda _: silent, now))
    if estimated is None:
        assert found == {}
        return
    assert found[1].complete and found[1].given_up
    assert found[1].machine_milliseconds == attempt.get("usage", {}).get("setupMilliseconds", 0), "no row is made up"
    expected = AttemptEstimate(milliseconds=estimated, month="2026-11") if estimated else None
    assert found[1].estimate == expected


@given(
    held_seconds=st.lists(st.integers(0, 10**6), max_size=6),
    proven_milliseconds=st.lists(st.integers(0, 10**9), min_size=6, max_size=6),
)
def test_an_estimate_is_in_no_other_sum(held_seconds: list[int], proven_milliseconds: list[int]) -> None:
    job = ended_job()
    attempts = [
        lost(attempt=number, heldSeconds=held, **proven(proven_milliseconds[number - 1]))
        for number, held in enumerate(held_seconds, 1)
    ]
    shard = a_shard(job, Stage.PROCESS, 0, attempt=len(attempts) or None, attempts=attempts)
    usages = dict(given_up(job, shard, lambda _: True, lambda _: True, IN_TIME))
    records = tuple(
        record.model_copy(update={"usage": usages.get(record.attempt, record.usage)})
        for record in shard.status.attempts
    )
    settled = shard.model_copy(update={"status": shard.status.model_copy(update={"attempts": records})})
    usage = job_usage([settled], ended=True)
    signed = proven_milliseconds[: len(held_seconds)]
    assert seconds_milliseconds(usage.machine_seconds) == sum(signed)
    classes = (usage.productive_seconds, usage.retry_seconds, usage.overhead_seconds)
    assert sum(map(seconds_milliseconds, classes)) == sum(signed)
    unproven = sum(max(0, 1000 * held - rows) for held, rows in zip(held_seconds, signed, strict=True))
    assert seconds_milliseconds(usage.estimated_seconds or "0.000") == unproven
    assert usage.settled and usage.unverified_attempts == len(held_seconds)


# The small world.


async def with_a_lost_mac(world: World) -> None:
    """mac-b works on an attempt when it is lost, and the job ends without it."""
    world.api.add(job_body())
    agent = world.agents["mac-b"]
    await until(world, lambda: processing(agent))
    for run in agent.runs.values():
        run.left = 10**6
    world.clock.seconds += 5
    world.refresh("mac-b")
    lose(world, "mac-b")
    await until(world, lambda: has_ended(world.job()), 3600, 4)


async def days(world: World, count: float) -> None:
    """Time passes at once, then a few hours in which all that is due is done."""
    world.clock.seconds += count * DAY - 3 * HOUR
    await pass_hours(world, 3)


def estimates(world: World) -> dict[str, str]:
    return {name: status.estimated_seconds for name, status in statements(world).items()}


async def test_a_mac_that_stays_away_is_estimated_after_a_week() -> None:
    store = MemoryArchive()
    world = World(seed=3, archive=store)
    await with_a_lost_mac(world)
    await days(world, 6.5)
    assert not world.job().status.usage.settled and MAC_B not in estimates(world)
    await days(world, 1)
    usage = world.job().status.usage
    assert usage.settled and usage.estimated_seconds is not None and seconds_milliseconds(usage.estimated_seconds) > 0
    assert estimates(world)[MAC_B] == usage.estimated_seconds
    assert statements(world)[MAC_B].machine_seconds == "0.000"
    (work,) = [
        item for item in MacMonth(store, indexes(store)["mac-b"]).settlements.values() if item.estimated_milliseconds
    ]
    assert (work.work, work.owner.name) == ("Retry", "job")
    await pass_hours(world, 2)
    assert world.api.all(AudioShard) == [], "the archive has it, so its shard is not needed any more"
    assert estimates(world)[MAC_B] == usage.estimated_seconds


async def test_an_estimate_survives_everything_but_the_archive() -> None:
    store = MemoryArchive()
    world = World(seed=3, archive=store)
    await with_a_lost_mac(world)
    world.api.user_deletes(MacAgent, "", "mac-b")
    await pass_hours(world, 3)
    before = sums(world)
    assert seconds_milliseconds(estimates(world)[MAC_B]) > 0
    world.api.user_deletes(AudioBatchJob, "team", "job")
    await pass_hours(world, 1)
    for key in [key for key in world.api.objects if key.kind != "VoiceContract"]:
        del world.api.objects[key]
    world.start_operator()
    while await world.reconcilers["MachineHourStatement"].reconcile(RESTORE) is not None:
        pass
    assert sums(world) == before


async def test_a_statement_says_what_the_archive_estimates_also_when_the_job_is_gone() -> None:
    """The process died after it had archived an estimate, or its write failed, and then the job was deleted."""
    world = World(seed=3, archive=MemoryArchive())
    await with_a_lost_mac(world)
    world.api.user_deletes(MacAgent, "", "mac-b")
    await pass_hours(world, 3)
    estimate = estimates(world)[MAC_B]
    assert seconds_milliseconds(estimate) > 0
    world.api.user_deletes(AudioBatchJob, "team", "job")
    await pass_hours(world, 1)
    stored = world.api.objects[Key("MachineHourStatement", "", MAC_B)]
    world.api._store({**stored, "status": {**stored["status"], "estimatedSeconds": "0.000"}})
    await pass_hours(world, 1)
    assert estimates(world)[MAC_B] == estimate


async def test_a_shard_stays_until_its_estimate_is_archived() -> None:
    store = MemoryArchive()
    world = World(seed=3, archive=store)
    await with_a_lost_mac(world)
    await pass_hours(world, 1)
    store.down = True
    world.api.user_deletes(MacAgent, "", "mac-b")
    await pass_hours(world, 5)
    assert world.job().status.usage.settled
    left = [record for shard in world.shards() for record in shard.status.attempts if record.mac == "mac-b"]
    assert [record.usage is not None and record.usage.estimate is not None for record in left] == [True]
    store.down = False
    world.start_operator()
    await pass_hours(world, 5)
    assert world.shards() == []
    assert estimates(world)[MAC_B] == world.job().status.usage.estimated_seconds


async def test_rows_that_come_after_all_replace_an_estimate() -> None:
    store = MemoryArchive()
    world = World(seed=3, archive=store)
    await with_a_lost_mac(world)
    await days(world, 8)
    assert seconds_milliseconds(estimates(world)[MAC_B]) > 0
    frozen = world.job().status.usage
    world.fleet.reachable.add("mac-b")
    await pass_hours(world, 3)
    found = statements(world)[MAC_B]
    signed = sum(row.machine_milliseconds for row in world.agents["mac-b"].rows)
    assert signed and (seconds_milliseconds(found.machine_seconds), found.estimated_seconds) == (signed, "0.000")
    assert found.orphaned_seconds == "0.000", "the archive says what the attempt was"
    assert_the_archive_has_what_statements_count(world, store)
    assert world.job().status.usage == frozen, "a settled usage never changes"


async def test_rows_that_come_after_a_final_month_correct_its_estimate() -> None:
    store = MemoryArchive()
    world = World(seed=3, archive=store)
    await with_a_lost_mac(world)
    await days(world, 8)
    estimate = estimates(world)[MAC_B]
    agent = world.agents["mac-b"]
    (lost_key,) = [key for key, run in agent.runs.items() if run.spec.stage is Stage.PROCESS]
    agent._seal(lost_key, 3000, agent.runs.pop(lost_key).spec)  # in November
    for _ in range(40):
        await days(world, 1)
        if reason(world, ConditionType.FINAL, MAC_B) == "Final":
            break
    before = sums(world)[MAC_B]
    world.fleet.reachable.add("mac-b")
    await pass_hours(world, 3)
    assert sums(world)[MAC_B] == before and estimates(world)[MAC_B] == estimate
    (correction,) = [item for status in statements(world).values() for item in status.corrections]
    assert (correction.month, correction.machine_seconds) == ("2026-11", "3.110")
    assert correction.estimated_seconds == estimate
    assert_the_archive_has_the_same_again(world)


def assert_the_archive_has_the_same_again(world: World) -> None:
    """What the archive says of each Mac's months is what their statements say."""
    store = world.archive
    assert isinstance(store, MemoryArchive)
    for name, status in statements(world).items():
        mac, month = name[:5], name[6:13]
        index = indexes(store, month)[mac]
        assert seconds_milliseconds(status.estimated_seconds) == index.estimated_milliseconds
        replaced = sum(item.milliseconds for item in index.replaced_estimates)
        told = sum(seconds_milliseconds(item.estimated_seconds or "0.000") for item in status.corrections)
        assert replaced == told


@settings(max_examples=5, deadline=None)
@given(kill_at=st.lists(st.integers(0, 5), min_size=1, max_size=4), returns=st.booleans())
async def test_an_estimate_counts_once_wherever_the_operator_dies(kill_at: list[int], returns: bool) -> None:
    store = MemoryArchive()
    world = World(seed=3, archive=store)
    await with_a_lost_mac(world)
    left, writes = [*kill_at], [0]

    def count(_: str) -> None:
        writes[0] += 1
        if left and writes[0] > left[0]:
            left.pop(0)
            writes[0] = 0
            raise Killed

    store.before_write = count
    world.clock.seconds += 7 * DAY
    for hour in range(14):
        if hour == 6 and returns:
            world.fleet.reachable.add("mac-b")
        try:
            await pass_hours(world, 1)
        except Killed:
            world.start_operator()
    store.before_write = lambda _: None
    await pass_hours(world, 3)
    assert_the_archive_has_what_statements_count(world, store)
    assert_the_archive_has_the_same_again(world)
    usage = world.job().status.usage
    assert usage.settled and usage.estimated_seconds is not None
    assert estimates(world)[MAC_B] == ("0.000" if returns else usage.estimated_seconds)


# What rows replace.

ESTIMATED = MonthIndex(
    control_plane="c",
    mac="mac-b",
    month="2026-11",
    revision=1,
    estimates=(
        SettlementRecord(
            owner=RowOwner(kind="AudioBatchJob", namespace="team", name="job", uid="u"),
            shard_uid="s",
            settled_at=ENDED,
            attempts=(
                SettledAttempt(
                    attempt=1,
                    work=TimeClass.RETRY,
                    estimated_milliseconds=40_000,
                    proven_chain_id="chain",
                    proven_sequence=5,
                ),
            ),
        ),
    ),
)


def run_of(chain_id: str, sequence: int, *, attempt: int = 1, ours: bool = True) -> SettledRun:
    key = AttemptKey("s", attempt)
    row = VerifiedRow(chain_id, sequence, "a" * 64, "2026-11", key, ours, "Work", 1000, 0)
    return SettledRun(chain_id, "2026-11", (SettledRow(row, TimeClass.ORPHANED),))


@pytest.mark.parametrize(
    ("run", "replaced"),
    [
        (run_of("chain", 5), False),  # the estimate is beside it
        (run_of("chain", 6), True),
        (run_of("another", 0), True),
        (run_of("chain", 6, attempt=2), False),
        (run_of("chain", 6, ours=False), False),
    ],
)
def test_rows_that_were_known_replace_no_estimate(run: SettledRun, replaced: bool) -> None:
    assert bool(replaced_by(ESTIMATED, run)) is replaced


def test_rows_of_a_shard_that_is_gone_have_the_class_of_their_estimate() -> None:
    (row,) = classed(run_of("chain", 6), replaced_by(ESTIMATED, run_of("chain", 6))).rows
    assert row.time_class is TimeClass.RETRY
    (other,) = classed(run_of("chain", 6, attempt=2), replaced_by(ESTIMATED, run_of("chain", 6))).rows
    assert other.time_class is TimeClass.ORPHANED
