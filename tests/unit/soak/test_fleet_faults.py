"""The seeds of the fleet's soak strike with every kind of fault, at every moment, and lose a Mac often enough."""

from __future__ import annotations

from collections import Counter

from tests.soak.fleet.faults import KINDS, Moment, Target, make_fleet_schedule
from tests.soak.fleet.runs import FULL_RUNS, shortcomings

SCHEDULES = [make_fleet_schedule(seed) for seed in range(1, FULL_RUNS + 1)]


def test_every_kind_has_its_turn_at_every_moment() -> None:
    faults = [fault for schedule in SCHEDULES for fault in schedule.faults]
    kinds = Counter(fault.kind for fault in faults)
    assert {str(kind) for kind in KINDS if kinds[kind] < 3} == set()
    assert len({str(kind) for kind in KINDS}) == len(KINDS)
    moments = {(fault.kind.target, fault.moment) for fault in faults}
    assert {(Target.OPERATOR, moment) for moment in Moment} | {(Target.ETCD, Moment.WORKING)} <= moments


def test_every_second_seed_loses_a_mac() -> None:
    losing = [schedule.seed for schedule in SCHEDULES for fault in schedule.faults if fault.kind.loses_mac]
    assert losing == [*range(2, FULL_RUNS + 1, 2)]
    assert {schedule.replicas for schedule in SCHEDULES} == {1, 2}


def test_a_seed_is_a_schedule() -> None:
    assert [make_fleet_schedule(seed) for seed in range(1, FULL_RUNS + 1)] == SCHEDULES


def test_what_a_full_set_has_left_out_is_named() -> None:
    kinds = {str(kind): 1 for kind in KINDS}
    assert shortcomings({"killsByPlace": kinds, "runs": 60, "runsWithTakeover": 20}) == []
    found = shortcomings({"killsByPlace": {**kinds, "etcd killed": 0}, "runs": 60, "runsWithTakeover": 19})
    assert found == ["never struck: etcd killed", "only 19 of 60 runs took a shard over from a lost Mac"]
