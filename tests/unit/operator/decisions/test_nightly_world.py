"""Nights beside the settlement of rows: what the CSVs say is what statements count, row by row."""

from __future__ import annotations

import csv
import io
from datetime import timedelta

from tests.rig.memory_archive import MemoryArchive
from tests.rig.nights import Leader, made_anew
from tests.unit.operator.decisions.bodies import job_body
from tests.unit.operator.decisions.test_growth import HOUR, pass_hours
from tests.unit.operator.decisions.world import World, at_once

from voxfleet_api.kinds import MachineHourStatement
from voxfleet_api.quantities import seconds_milliseconds
from voxfleet_billing.nightly.night_archive import newest_night
from voxfleet_billing.nightly.nightly_format import Closed
from voxfleet_billing.nights import UTC_DAYS
from voxfleet_operator.metrics import NightlyMetrics
from voxfleet_operator.nightly.writer import NightlyEnvironment, NightlyWriter


def writer(world: World) -> NightlyWriter:
    archive = world.context.archive
    assert archive is not None
    return NightlyWriter(
        NightlyEnvironment(
            archive=archive,
            cache=world.cache,
            views=lambda: world.fleet.views().values(),
            leader=Leader(),
            night_clock=lambda: UTC_DAYS,
            publish=lambda *_: None,
            synced=lambda: True,
            now=world.clock.now,
            metrics=NightlyMetrics(),
            sleep=lambda _: at_once(lambda: None),
        )
    )


async def test_the_csvs_of_nights_have_each_row_that_statements_count() -> None:
    store = MemoryArchive()
    world = World(seed=5, archive=store)
    await pass_hours(world, 1)
    nights = writer(world)
    await nights.step()
    for number in range(2):
        world.api.add(job_body(f"night-{number}"))
        await world.settle()
        for _ in range(24):
            await pass_hours(world, 1)
            await nights.step()
    told = [
        line
        for path, content in sorted(store.objects.items())
        if path.startswith("nightly/") and path.endswith(".csv")
        for line in csv.DictReader(io.StringIO(content.decode()))
    ]
    statements = [item.status for item in world.api.all(MachineHourStatement)]
    assert len({line["row"] for line in told}) == len(told) == sum(status.rows for status in statements) > 0
    counted = sum(seconds_milliseconds(status.machine_seconds) for status in statements)
    assert sum(seconds_milliseconds(line["machine_seconds"]) for line in told) == counted
    productive = sum(
        seconds_milliseconds(line["machine_seconds"]) for line in told if line["time_class"] == "Productive"
    )
    assert productive == sum(seconds_milliseconds(status.productive_seconds) for status in statements)
    newest = newest_night(store)
    assert newest is not None and newest.manifest.closed is Closed.ALL_ROWS_ARCHIVED
    assert all(store.objects[path] == content for path, content in made_anew(store, newest.manifest.night).items())


async def test_a_night_waits_for_an_attempt_that_was_given_before_its_end() -> None:
    store = MemoryArchive()
    world = World(seed=5, macs=1, archive=store)
    world.clock.seconds += timedelta(days=1) // timedelta(seconds=1)
    nights = writer(world)
    await nights.step()
    first = newest_night(store)
    assert first is not None
    world.api.add(job_body())
    for _ in range(40):
        world.deliver()
        await world.reconcile(3)
        world.refresh("mac-a")
        world.clock.seconds += 1
    world.clock.seconds += 3 * HOUR
    await nights.step()
    assert (found := newest_night(store)) is not None and found.manifest.night == first.manifest.night
    world.clock.seconds += 12 * HOUR
    await nights.step()
    assert (found := newest_night(store)) is not None and found.manifest.closed is Closed.DEADLINE
    assert found.manifest.awaited == ("mac-a",)
