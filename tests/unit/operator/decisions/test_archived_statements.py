"""Statements and the ledger archive: they say the same, whatever dies, is deleted or lost."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.rig.memory_archive import MemoryArchive
from tests.unit.operator.decisions import memory_fleet
from tests.unit.operator.decisions.bodies import job_body, mac_agent
from tests.unit.operator.decisions.test_growth import HOUR, pass_hours
from tests.unit.operator.decisions.world import World

from voxfleet_api.attempt_spec import AttemptKey
from voxfleet_api.conditions import Condition, ConditionType, find
from voxfleet_api.kinds import AudioBatchJob, AudioShard, MacAgent, MachineHourStatement
from voxfleet_api.kinds.machine_hour_statement import (
    MAX_CHAINS,
    MAX_NAMESPACES,
    ChainCursor,
    MachineHourStatementStatus,
    NamespaceUse,
)
from voxfleet_api.quantities import seconds_milliseconds
from voxfleet_api.stored_size import stored_bytes
from voxfleet_billing.archive_format import MonthIndex, TimeClass
from voxfleet_billing.archive_reader import month_indexes, read_rows
from voxfleet_operator.kube_errors import Conflict
from voxfleet_operator.queue import RESTORE, Key
from voxfleet_operator.reconcile.statement.status import MESSAGE_BYTES
from voxfleet_operator.reconcile.statement.totals import CountedRow, with_rows

MONTH = "2026-11"
DAY = 24 * HOUR
VARIES = {"updatedAt", "recentUse", "conditions", "observedGeneration", "archive"}


def indexes(store: MemoryArchive, month: str = MONTH) -> dict[str, MonthIndex]:
    return {index.mac: index for index in month_indexes(store, month)}


def statements(world: World) -> dict[str, MachineHourStatementStatus]:
    return {item.metadata.name: item.status for item in world.api.all(MachineHourStatement)}


def sums(world: World) -> dict[str, Any]:
    return {
        name: {field: value for field, value in status.dump().items() if field not in VARIES}
        for name, status in statements(world).items()
    }


def assert_the_archive_has_what_statements_count(world: World, store: MemoryArchive) -> None:
    for item in world.api.all(MachineHourStatement):
        index = indexes(store, item.spec.month)[item.spec.mac]
        rows = list(read_rows(store, index))
        assert item.status.rows == len(rows)
        assert seconds_milliseconds(item.status.machine_seconds) == sum(row.milliseconds for row in rows)
        by_class = {
            name: sum(row.milliseconds for row in rows if row.time_class == name)
            for name in ("Productive", "Retry", "Overhead", "Orphaned")
        }
        assert seconds_milliseconds(item.status.productive_seconds) == by_class["Productive"]
        assert seconds_milliseconds(item.status.retry_seconds) == by_class["Retry"]
        assert seconds_milliseconds(item.status.orphaned_seconds) == by_class["Orphaned"]
        totals = sum(seconds_milliseconds(total.machine_seconds) for total in item.status.totals)
        assert totals == sum(row.milliseconds for row in rows)
        assert stored_bytes(item.status) < 16_000
    signed = {row.hash for agent in world.agents.values() for row in agent.rows}
    archived = {
        row.hash
        for month in store.names("")
        for index in indexes(store, month).values()
        for row in read_rows(store, index)
    }
    assert archived == signed


async def worked(world: World, hours: int = 2) -> None:
    world.api.add(job_body())
    await world.settle()
    await pass_hours(world, hours)


def reason(world: World, type_: ConditionType, name: str = "mac-a-2026-11") -> str | None:
    found = find(statements(world)[name].conditions, type_)
    return None if found is None else found.reason


async def test_settled_rows_are_in_the_archive_with_their_classes_and_their_mac() -> None:
    store = MemoryArchive()
    world = World(seed=5, archive=store)
    await worked(world)
    assert_the_archive_has_what_statements_count(world, store)
    assert reason(world, ConditionType.ARCHIVED) == "Archived"
    assert reason(world, ConditionType.FINAL) == "MonthOpen"
    found = indexes(store)
    assert {mac: len(index.facts) for mac, index in found.items()} == {"mac-a": 1, "mac-b": 1}
    newest = statements(world)["mac-a-2026-11"].archive
    assert newest is not None and newest.revision == found["mac-a"].revision


async def test_without_an_archive_statements_say_so() -> None:
    world = World(seed=5)
    await worked(world)
    assert reason(world, ConditionType.ARCHIVED) == "NoArchive"
    assert reason(world, ConditionType.FINAL) is None


class Killed(BaseException):
    """The process dies: nothing may catch it."""


@settings(max_examples=6, deadline=None)
@given(kill_at=st.lists(st.integers(0, 6), min_size=1, max_size=4), seed=st.integers(0, 1000), etcd=st.booleans())
async def test_a_row_counts_once_wherever_the_operator_dies(kill_at: list[int], seed: int, etcd: bool) -> None:
    """Before each write to the archive, and before (`etcd`) the statement's write that follows."""
    store = MemoryArchive()
    world = World(seed, archive=store)
    left, apply, waits = [*kill_at], world.api.apply_status, [0]

    def count(_: Any) -> None:
        waits[0] += 1
        if left and waits[0] > left[0]:
            left.pop(0)
            waits[0] = 0
            raise Killed

    async def dying(kind: Any, *request: Any) -> Any:
        if kind is MachineHourStatement:
            count(None)
        return await apply(kind, *request)

    if etcd:
        world.api.apply_status = dying  # type: ignore[method-assign, assignment] # the server of this test
    else:
        store.before_write = count
    world.api.add(job_body())
    for hour in range(8):
        try:
            if hour == 0:
                await world.settle()
            await pass_hours(world, 1)
        except Killed:
            world.start_operator()
    store.before_write = lambda _: None
    world.api.apply_status = apply  # type: ignore[method-assign]
    await pass_hours(world, 4)
    assert_the_archive_has_what_statements_count(world, store)


async def test_a_months_totals_stay_when_everything_is_deleted_and_etcd_is_lost() -> None:
    store = MemoryArchive()
    world = World(seed=7, archive=store)
    await worked(world)
    before = sums(world)
    assert before
    world.api.user_deletes(AudioBatchJob, "team", "job")
    world.api.user_deletes(MacAgent, "", "mac-b")
    await pass_hours(world, 2)
    world.start_operator()
    await pass_hours(world, 2)
    assert sums(world) == before
    assert indexes(store)["mac-b"].facts[-1].until is not None

    for key in [key for key in world.api.objects if key.kind != "VoiceContract"]:
        del world.api.objects[key]
    world.start_operator()
    assert world.api.all(MachineHourStatement) == []
    while await world.reconcilers["MachineHourStatement"].reconcile(RESTORE) is not None:
        pass
    assert sums(world) == before

    world.api.add(mac_agent("mac-a"))  # the Mac still has its rows, and is read from the first one
    world.start_operator()
    await pass_hours(world, 3)
    assert sums(world) == before
    assert world.api.all(AudioShard) == []


async def test_while_the_archive_is_down_rows_wait_and_work_goes_on() -> None:
    store = MemoryArchive()
    world = World(seed=5, archive=store)
    await worked(world)
    before = sums(world)
    store.down = True
    world.api.add(job_body("second"))
    await world.settle()
    await pass_hours(world, 3)
    assert find(world.job("second").status.conditions, ConditionType.COMPLETE).status == "True"  # type: ignore[union-attr]
    assert sums(world) == before
    assert reason(world, ConditionType.ARCHIVED) == "ArchiveUnavailable"
    assert any(item[1] == "ArchiveUnavailable" for item in world.journal.published)
    store.down = False
    await pass_hours(world, 3)
    assert_the_archive_has_what_statements_count(world, store)
    assert reason(world, ConditionType.ARCHIVED) == "Archived"


async def test_a_damaged_month_of_one_mac_keeps_no_other_from_its_own() -> None:
    store = MemoryArchive()
    world = World(seed=7, archive=store)
    await worked(world)
    before = sums(world)
    (newest,) = store.names("2026-11/mac-b/index")[-1:]
    path = f"2026-11/mac-b/index/{newest}"
    whole, store.objects[path] = store.objects[path], b"{"
    for name in before:
        del world.api.objects[Key("MachineHourStatement", "", name)]
    world.start_operator()
    await pass_hours(world, 2)
    assert sums(world) == {"mac-a-2026-11": before["mac-a-2026-11"]}
    world.api.add(job_body("second"))
    await world.settle()
    await pass_hours(world, 2)
    (counted,) = statements(world).values()
    assert counted.rows == len(world.agents["mac-a"].rows) > before["mac-a-2026-11"]["rows"]

    store.objects[path] = whole
    await pass_hours(world, 2)
    assert_the_archive_has_what_statements_count(world, store)
    assert statements(world).keys() == before.keys()


async def test_a_month_becomes_final_and_never_changes() -> None:
    store = MemoryArchive()
    world = World(seed=5, macs=1, archive=store)
    await worked(world)
    before = sums(world)["mac-a-2026-11"]
    world.clock.seconds += 33 * DAY
    await pass_hours(world, 8)
    assert reason(world, ConditionType.FINAL) == "Final"
    assert indexes(store)["mac-a"].final
    assert sums(world)["mac-a-2026-11"] == before


async def test_what_a_mac_brings_after_a_month_is_final_corrects_it() -> None:
    store = MemoryArchive()
    world = World(seed=5, macs=1, archive=store)
    await worked(world)
    before, agent = sums(world)["mac-a-2026-11"], world.agents["mac-a"]
    late = len(agent.rows)
    world.fleet.reachable.discard("mac-a")
    agent._seal(AttemptKey("a-deleted-shard", 1), work=1000)
    world.clock.seconds += 40 * DAY
    for _ in range(30):
        await pass_hours(world, 24)
        if reason(world, ConditionType.FINAL) == "Final":
            break
    assert reason(world, ConditionType.FINAL) == "Final", "it is not waited for longer than 14 days"
    world.fleet.reachable.add("mac-a")
    await pass_hours(world, 3)
    assert sums(world)["mac-a-2026-11"] == before
    (correction,) = [item for status in statements(world).values() for item in status.corrections]
    brought = [row for row in agent.rows[late:] if row.month == MONTH]
    assert brought and (correction.month, correction.rows) == (MONTH, len(brought))
    assert seconds_milliseconds(correction.machine_seconds) == sum(row.machine_milliseconds for row in brought)
    signed = {row.hash for row in agent.rows}
    found = [index for month in store.names("") for index in indexes(store, month).values()]
    assert {row.hash for index in found for row in read_rows(store, index)} == signed


@pytest.mark.parametrize("month", ["2026-11"])
async def test_an_idle_mac_has_an_index_too(month: str) -> None:
    store = MemoryArchive()
    world = World(seed=5, archive=store)
    await pass_hours(world, 1)
    assert indexes(store, month).keys() == {"mac-a", "mac-b"}
    world.api.user_deletes(MacAgent, "", "mac-b")
    await pass_hours(world, 1)
    assert indexes(store, month)["mac-b"].facts[-1].until is not None
    assert len(indexes(store, month)["mac-a"].facts) <= 2


@pytest.mark.parametrize(("payers", "by_class"), [(9, 9), (12, 7), (27, 0)])
def test_a_statement_tells_who_used_how_much_before_it_tells_the_classes(payers: int, by_class: int) -> None:
    """Budgets are told by it: what shares an entry with others counts to none."""
    classes = (TimeClass.PRODUCTIVE, TimeClass.RETRY, TimeClass.OVERHEAD)
    status = MachineHourStatementStatus()
    for time_class in classes:  # in three runs
        rows = [
            CountedRow(MONTH, "team", f"key-{number:02d}", time_class, 1000 + number, 0, 0) for number in range(payers)
        ]
        status = with_rows(status, MONTH, rows)
    found: dict[str | None, int] = {}
    for total in status.totals:
        found[total.billing_key] = found.get(total.billing_key, 0) + seconds_milliseconds(total.machine_seconds)
    assert found == {f"key-{number:02d}": 3 * (1000 + number) for number in range(payers)}
    assert sum(total.time_class == "Productive" for total in status.totals) == by_class


def test_a_statement_has_at_most_16_kilobytes() -> None:
    """With all chains, namespaces, billing keys, classes and corrected months that there may be."""
    wide = "\U0001f399" * 63
    rows = [
        CountedRow(
            month=f"20{year:02d}-{month:02d}",
            namespace=f"{number:02d}" + "n" * 61,
            billing_key=wide,
            time_class=time_class,
            milliseconds=10**12 + number,
            audio_milliseconds=10**15,
            clips=10**9,
        )
        for number in range(70)
        for time_class in (TimeClass.PRODUCTIVE, TimeClass.RETRY, TimeClass.OVERHEAD, TimeClass.ORPHANED)
        for year, month in ((26, 11), (24, 11 if number < 12 else 12), (25, number % 12 + 1), (26, number % 10 + 1))
    ]
    status = with_rows(MachineHourStatementStatus(), MONTH, rows)
    assert len(status.totals) >= 4 and len(status.corrections) >= 24
    totals = sum(seconds_milliseconds(item.machine_seconds) for item in status.totals)
    assert totals == seconds_milliseconds(status.machine_seconds)
    cursors = tuple(
        ChainCursor(chain_id=f"{number:064d}", sequence=10**9, hash="a" * 64, ledger_key="k" * 44)
        for number in range(MAX_CHAINS)
    )
    used = tuple(
        NamespaceUse(namespace=f"{number:02d}" + "n" * 61, machine_seconds="999999999.999")
        for number in range(MAX_NAMESPACES)
    )
    conditions = tuple(
        Condition(
            type=type_,
            status="False",
            reason="R" * 20,
            message="m" * MESSAGE_BYTES,
            last_transition_time="2026-12-01T00:00:00Z",
        )
        for type_ in (ConditionType.ARCHIVED, ConditionType.FINAL)
    )
    corrections = tuple(item.model_copy(update={"estimated_seconds": "999999999.999"}) for item in status.corrections)
    parts = {"cursors": cursors, "recent_use": used, "conditions": conditions, "corrections": corrections}
    full = status.model_copy(update=parts)
    assert stored_bytes(full) < 16_000


async def with_rows_while_the_archive_is_down(store: MemoryArchive) -> World:
    world = World(seed=5, archive=store)
    await worked(world)
    store.down = True
    world.api.add(job_body("second"))
    await world.settle()
    await pass_hours(world, 1)
    assert world.fleet.view("mac-b").rows
    world.api.user_deletes(MacAgent, "", "mac-b")
    return world


def told_of_left_rows(world: World) -> list[str]:
    return [note for name, reason, note in world.journal.published if (name, reason) == ("mac-b", "RowsLeftBehind")]


async def test_rows_of_a_macagent_that_is_deleted_while_the_archive_is_down_wait_for_it() -> None:
    store = MemoryArchive()
    world = await with_rows_while_the_archive_is_down(store)
    await minutes(world, 30)
    assert world.fleet.closings["mac-b"].takes_nothing, "nothing may run on a Mac that is none of the fleet's any more"
    store.down = False
    await minutes(world, 15)
    assert "mac-b" not in world.fleet.ensured
    (told,) = told_of_left_rows(world)
    assert "wait for the archive" in told
    await pass_hours(world, 2)
    assert_the_archive_has_what_statements_count(world, store)


async def test_rows_that_a_deleted_macagent_leaves_behind_are_named_and_read_once_it_is_back() -> None:
    store = MemoryArchive()
    world = await with_rows_while_the_archive_is_down(store)
    await minutes(world, 90)
    assert "mac-b" not in world.fleet.ensured
    _, told = told_of_left_rows(world)
    assert "mac-b#" in told and "apply the MacAgent again" in told
    store.down = False
    world.api.add(mac_agent("mac-b"))
    await pass_hours(world, 3)
    assert_the_archive_has_what_statements_count(world, store)


async def minutes(world: World, count: int) -> None:
    for _ in range(count * 2):
        world.deliver()
        world.clock.seconds += 30
        for mac in world.agents:
            world.refresh(mac)
        world.queue.tick()
        while world.queue.ready:
            await world.reconcile(3)
            world.deliver()


async def test_a_cluster_that_is_built_anew_goes_on_with_the_months_of_the_lost_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its kube-system has another UID, and the Mac, whose agent begins anew for it, signs rows of that one."""
    store = MemoryArchive()
    world = World(seed=7, macs=1, archive=store)
    await worked(world)
    before = seconds_milliseconds(statements(world)["mac-a-2026-11"].machine_seconds)
    for key in [key for key in world.api.objects if key.kind != "VoiceContract"]:
        del world.api.objects[key]
    monkeypatch.setattr(memory_fleet, "CONTROL_PLANE", "a-new-uid")
    world.options = replace(world.options, control_plane="a-new-uid")
    world.start_operator()
    while await world.reconcilers["MachineHourStatement"].reconcile(RESTORE) is not None:
        pass
    world.api.add(mac_agent("mac-a"))
    world.start_operator()
    await worked(world)
    index = indexes(store)["mac-a"]
    assert index.control_planes == {"control-plane-uid", "a-new-uid"}
    rows = list(read_rows(store, index))
    assert not [row for row in rows if row.time_class == TimeClass.FOREIGN]
    after = seconds_milliseconds(statements(world)["mac-a-2026-11"].machine_seconds)
    assert after == sum(row.milliseconds for row in rows) > before


@pytest.mark.parametrize("fault", [Conflict("changed"), Killed()])
async def test_a_statement_that_was_created_and_not_written_is_taken_from_the_archive_all_the_same(
    fault: BaseException,
) -> None:
    """Its Mac is registered, so that only its missing totals say that the archive knows more."""
    store = MemoryArchive()
    world = World(seed=7, archive=store)
    await worked(world)
    before, apply, left = sums(world), world.api.apply_status, [fault]
    for key in [key for key in world.api.objects if key.kind not in ("VoiceContract", "MacAgent")]:
        del world.api.objects[key]

    async def failing(kind: Any, *request: Any) -> Any:
        if kind is MachineHourStatement and left:
            raise left.pop()
        return await apply(kind, *request)

    world.api.apply_status = failing  # type: ignore[method-assign, assignment] # the server of this test
    world.start_operator()
    restore = world.reconcilers["MachineHourStatement"].reconcile
    try:
        while await restore(RESTORE) is not None:
            pass
    except Killed:
        world.start_operator()
        while await world.reconcilers["MachineHourStatement"].reconcile(RESTORE) is not None:
            pass
    assert not left and sums(world) == before
