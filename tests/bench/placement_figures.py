"""A placement pass over 2,000 pending shards and 500 Macs: processor time, in the shapes that fleets have."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from statistics import median

from tests.bench.processor_time import Pace, milliseconds
from tests.bench.report import Figure, Goal
from tests.bench.stored_fleet import StoredFleet
from tests.bench.stored_objects import Shape, machine_facts

from voxfleet_api.kinds import AudioShard
from voxfleet_operator.placement.gather import PlacementGatherer
from voxfleet_operator.placement.place import place
from voxfleet_operator.reconcile.registration import SharedFindings

SHAPES = {
    "20 jobs": Shape(jobs=20, shards_a_job=100, macs=500),
    "2,000 jobs": Shape(jobs=2000, shards_a_job=1, macs=500),
    "1 job": Shape(jobs=1, shards_a_job=2000, macs=500),
}
PASSES = 60
GOAL = Goal("<=", 20)
"""Milliseconds of a whole pass: what it gathers and what it decides."""


def placement_figures(say: Callable[[str], None]) -> list[Figure]:
    figures = []
    for name, shape in SHAPES.items():
        for state, lanes in (("all Macs idle", 1), ("no lane free", 0)):
            title = f"placement pass, 2,000 shards of {name}, 500 Macs, {state}"
            say(title)
            first, later = _passes(shape, lanes)
            figures += [
                Figure(f"{title}: median", later.median, "ms", GOAL),
                Figure(f"{title}: p95", later.p95, "ms", GOAL),
                Figure(f"{title}: first of a process", first, "ms"),
            ]
    return figures


def _passes(shape: Shape, lanes: int) -> tuple[float, Pace]:
    """The first pass, and passes each of which follows the change of one shard."""
    fleet = StoredFleet(shape)
    facts = {name: machine_facts(number, lanes) for number, name in enumerate(sorted(fleet.by_name))}
    fleet.by_name = {name: replace(view, machine=facts[name]) for name, view in fleet.by_name.items()}
    context = fleet.context()
    gatherer = PlacementGatherer(context, SharedFindings.empty(context))
    shards = fleet.cache.all(AudioShard)

    def one_pass() -> None:
        snapshot = gatherer.gather()
        place(snapshot, fleet.clock_seconds, gatherer.alike(snapshot))

    first = milliseconds(one_pass)
    times = []
    for number in range(PASSES):
        fleet.change(shards[number * len(shards) // PASSES])
        fleet.clock_seconds += 1.0
        times.append(milliseconds(one_pass))
    return first, Pace(median(times), sorted(times)[int(0.95 * len(times))])
