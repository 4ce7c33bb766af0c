"""A placement pass over 2,000 pending shards and 500 Macs: processor time, in the shapes that fleets have."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from statistics import median

from tests.bench.processor_time import Pace, milliseconds
from tests.bench.report import Figure, Goal
from tests.bench.stored_fleet import StoredFleet
from tests.bench.stored_objects import Shape, load, machine_facts, process_body

from voxfleet_api.kinds import AudioBatchJob, AudioShard
from voxfleet_operator.placement.gather import PlacementGatherer
from voxfleet_operator.placement.place import place
from voxfleet_operator.placement.snapshot import PlacementPlan
from voxfleet_operator.reconcile.registration import SharedFindings

SHAPES = {
    "20 jobs": Shape(jobs=20, shards_a_job=100, macs=500),
    "2,000 jobs": Shape(jobs=2000, shards_a_job=1, macs=500),
    "1 job": Shape(jobs=1, shards_a_job=2000, macs=500),
}
PASSES, BURSTS = 60, 9
GOAL = Goal("<=", 20)
"""Milliseconds of a whole pass after one change: what it gathers and what it decides."""


def placement_figures(say: Callable[[str], None]) -> list[Figure]:
    figures = []
    for name, shape in SHAPES.items():
        for state, lanes in (("all Macs idle", 1), ("no lane free", 0)):
            title = f"placement pass, 2,000 shards of {name}, 500 Macs, {state}"
            say(title)
            measured = _Measured(shape, lanes)
            first = milliseconds(measured.one_pass)
            later = measured.after_one_change()
            figures += [
                Figure(f"{title}: median", later.median, "ms", GOAL),
                Figure(f"{title}: p95", later.p95, "ms", GOAL),
                Figure(f"{title}: first of a process", first, "ms"),
            ]
            if lanes:
                count, after = measured.after_assignments()
                figures.append(Figure(f"{title}: after one that assigned {count}", after, "ms"))
    return [*figures, _chip_figure(_Measured(SHAPES["1 job"], lanes=1))]


class _Measured:
    def __init__(self, shape: Shape, lanes: int) -> None:
        self.fleet = fleet = StoredFleet(shape)
        facts = {name: machine_facts(number, lanes) for number, name in enumerate(sorted(fleet.by_name))}
        fleet.by_name = {name: replace(view, machine=facts[name]) for name, view in fleet.by_name.items()}
        context = fleet.context()
        self.gatherer = PlacementGatherer(context, SharedFindings.empty(context))

    def one_pass(self) -> PlacementPlan:
        snapshot = self.gatherer.gather()
        return place(snapshot, self.fleet.clock_seconds, self.gatherer.alike(snapshot))

    def after_one_change(self) -> Pace:
        """Passes each of which follows the change of one shard."""
        fleet, times = self.fleet, []
        shards = fleet.cache.all(AudioShard)
        for number in range(PASSES):
            fleet.change(shards[number * len(shards) // PASSES])
            fleet.clock_seconds += 1.0
            times.append(milliseconds(self.one_pass))
        return Pace(median(times), sorted(times)[int(0.95 * len(times))])

    def after_assignments(self) -> tuple[int, float]:
        """How many shards a pass assigned, and the median of what the next one takes."""
        counts, times = [], []
        for _ in range(BURSTS):
            assigned = self.one_pass().assignments
            for assignment in assigned:
                self.put(assignment.shard_uid, live_on=int(assignment.mac[-3:]))
            counts.append(len(assigned))
            times.append(milliseconds(self.one_pass))
            for assignment in assigned:
                self.put(assignment.shard_uid, live_on=None)
        return max(counts), median(times)

    def put(self, uid: str, live_on: int | None) -> None:
        shard = self.fleet.cache.by_uid(AudioShard, uid)
        job = None if shard is None else self.fleet.cache.by_uid(AudioBatchJob, shard.spec.job_ref.uid)
        assert shard is not None and job is not None
        self.fleet.change(load(process_body(job, shard.spec.ordinal or 0, live_on=live_on)))


def _chip_figure(measured: _Measured) -> Figure:
    """What a large homogeneous job adds to its assignments in a pass."""
    assigned = measured.one_pass().assignments
    job = measured.fleet.cache.all(AudioBatchJob)[0]
    assert job.spec.requirements.homogeneous
    taken = []
    for assignment in assigned:
        measured.put(assignment.shard_uid, live_on=int(assignment.mac[-3:]))
        taken.append(milliseconds(lambda: measured.gatherer.chip_of(job)))
    title = f"chip of a homogeneous job of 2,000 shards, asked for by each of {len(assigned)} assignments: in all"
    return Figure(title, sum(taken), "ms")
