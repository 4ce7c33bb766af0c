"""Namespaces share the lanes by what they have used, and none waits for long while others are given some."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.operator.decisions.placement_objects import NOW, a_job, a_mac, a_shard, run

from voxfleet_operator.metering.recent_use import HALF_LIFE_SECONDS, decay
from voxfleet_operator.placement.order import LANE_SECONDS, LONGEST_WAIT_SECONDS, NamespaceTurns, queue_of_jobs
from voxfleet_operator.placement.snapshot import NamespaceStanding

HOUR = 3600.0


def lanes_given(standings: dict[str, NamespaceStanding], lanes: int) -> Counter[str]:
    shards = [a_shard(a_job(namespace=name, parallelism=1000), number) for name in standings for number in range(lanes)]
    plan = run(shards, [a_mac(free_lanes=lanes)], standings=standings)
    return Counter(assignment.shard_uid.split("/")[0] for assignment in plan.assignments)


TABLE: dict[str, tuple[dict[str, NamespaceStanding], dict[str, int]]] = {
    "equals take turns": ({"a": NamespaceStanding(), "b": NamespaceStanding()}, {"a": 3, "b": 3}),
    "lanes that are held count": (
        {"a": NamespaceStanding(held_lanes=4, used_seconds=4 * LANE_SECONDS), "b": NamespaceStanding()},
        {"a": 1, "b": 5},
    ),
    "who used less comes first until both have used the same": (
        {"a": NamespaceStanding(used_seconds=2 * LANE_SECONDS), "b": NamespaceStanding()},
        {"a": 2, "b": 4},
    ),
    "a weight of two is a double share": (
        {"a": NamespaceStanding(weight=2), "b": NamespaceStanding()},
        {"a": 4, "b": 2},
    ),
    "whoever has waited for an hour without a lane comes first, but once": (
        {"a": NamespaceStanding(used_seconds=1e9, waited_seconds=LONGEST_WAIT_SECONDS), "b": NamespaceStanding()},
        {"a": 1, "b": 5},
    ),
    "not before the hour is over": (
        {"a": NamespaceStanding(used_seconds=1e9, waited_seconds=LONGEST_WAIT_SECONDS - 1), "b": NamespaceStanding()},
        {"b": 6},
    ),
    "and not with a lane": (
        {"a": NamespaceStanding(1, 1e9, waited_seconds=2 * LONGEST_WAIT_SECONDS), "b": NamespaceStanding()},
        {"b": 6},
    ),
}


@pytest.mark.parametrize("name", TABLE)
def test_shares(name: str) -> None:
    standings, want = TABLE[name]
    assert lanes_given(standings, 6) == want


def test_what_lost_macs_had_is_given_in_turns_too() -> None:
    lost = [a_shard(a_job(namespace="a"), number, replaces_lost=True) for number in range(6)]
    others = [a_shard(a_job(namespace="b"), number) for number in range(6)]
    late = {"a": NamespaceStanding(used_seconds=1e9, waited_seconds=LONGEST_WAIT_SECONDS), "b": NamespaceStanding()}
    for standings, want in ((late, {"a": 1, "b": 5}), ({}, {"a": 3, "b": 3})):
        plan = run([*lost, *others], [a_mac(free_lanes=6)], standings=standings, live_lanes={"a/job": 6})
        assert Counter(assignment.shard_uid.split("/")[0] for assignment in plan.assignments) == want


def test_the_longest_wait_comes_first() -> None:
    waits = {name: NamespaceStanding(waited_seconds=hours * HOUR) for name, hours in (("a", 2), ("b", 3), ("c", 0))}
    turns = NamespaceTurns(waits, waits)
    assert [turns.take() for _ in range(4)] == ["b", "a", "c", None]


def test_plans_cost_nothing() -> None:
    turns = NamespaceTurns(["a", "b"], {"b": NamespaceStanding(used_seconds=1.0)})
    for _ in range(3):
        assert turns.take() == "a"
        turns.again("a", lanes=0)


def test_the_queue_of_jobs() -> None:
    """Each namespace's jobs by priority and age, and the namespaces in turns; what has its lanes waits for none."""
    urgent = a_job("urgent", "a", priority=5, created="2026-11-20T23:00:00Z")
    old, young = a_job("old", "a"), a_job("young", "a", created="2026-11-20T23:30:00Z")
    other, full = a_job("other", "b"), a_job("full", "b", parallelism=2, priority=9)
    shards = [a_shard(job, number) for job in (young, old, urgent, other, full) for number in range(2)]
    queue = queue_of_jobs(shards, {"a": NamespaceStanding(used_seconds=1.0)}, {"b/full": 2}, NOW)
    assert queue == ["b/other", "a/urgent", "a/old", "a/young"]
    narrow = [replace(shard, job=replace(shard.job, parallelism=1)) for shard in shards if shard.job.namespace == "a"]
    assert queue_of_jobs(narrow, {}, {}, NOW) == ["a/urgent", "a/old", "a/young"]


@dataclass
class Lanes:
    """A Mac whose lanes are always wanted by all namespaces, event by event."""

    lanes: int
    random: Random
    longest_seconds: float
    used: dict[str, float]
    """Decayed machine time of attempts that have ended, at `now`."""
    now: float = 0.0
    running: list[tuple[float, str, float]] = field(default_factory=list)
    """End, namespace and begin of each attempt."""
    worked: Counter[str] = field(default_factory=Counter)
    """Lane seconds by namespace, as floats rounded down, since the start."""
    last_given: dict[str, float] = field(default_factory=dict)
    longest_wait: dict[str, float] = field(default_factory=dict)

    def standings(self) -> dict[str, NamespaceStanding]:
        found = {}
        for name, used in self.used.items():
            mine = [begin for _, namespace, begin in self.running if namespace == name]
            found[name] = NamespaceStanding(
                held_lanes=len(mine),
                used_seconds=used + sum(max(LANE_SECONDS, self.now - begin) for begin in mine),
                waited_seconds=self.now - self.last_given.get(name, 0.0),
            )
        return found

    def step(self) -> None:
        """Fills the free lanes, and goes on to the end of the first attempt."""
        for name, count in lanes_given(self.standings(), self.lanes - len(self.running)).items():
            for _ in range(count):
                length = self.random.uniform(self.longest_seconds / 10, self.longest_seconds)
                self.running.append((self.now + length, name, self.now))
            waited = self.now - self.last_given.get(name, 0.0)
            self.longest_wait[name] = max(waited, self.longest_wait.get(name, 0.0))
            self.last_given[name] = self.now
        self.running.sort()
        end, name, begin = self.running.pop(0)
        left = decay(end - self.now)
        self.used = {other: used * left for other, used in self.used.items()}
        self.used[name] += end - begin
        self.worked[name] += int(end - begin)
        self.now = end

    def run(self, seconds: float) -> None:
        until = self.now + seconds
        while self.now < until:
            self.step()


def fleets(most_used_seconds: float) -> st.SearchStrategy[Lanes]:
    return st.builds(
        lambda lanes, seed, names, longest, used: Lanes(
            lanes,
            Random(seed),  # noqa: S311 # a schedule that can be repeated, no secret
            longest,
            dict(zip("abc"[:names], used, strict=False)),
        ),
        st.integers(1, 5),
        st.integers(0, 2**32),
        st.integers(2, 3),
        st.sampled_from([300.0, 1200.0]),
        st.lists(st.floats(0.0, most_used_seconds), min_size=3, max_size=3),
    )


@settings(max_examples=15, deadline=None)
@given(fleets(most_used_seconds=2 * HOUR))
def test_with_equal_demand_all_get_the_same(fleet: Lanes) -> None:
    """After some hours every namespace has used as much as the others, what it had used before included."""
    before = dict(fleet.used)
    fleet.run(12 * HOUR)
    shares = {name: fleet.used[name] for name in before}
    most = fleet.longest_seconds + fleet.lanes * LANE_SECONDS
    assert max(shares.values()) - min(shares.values()) <= most, (before, shares)


@settings(max_examples=10, deadline=None)
@given(fleets(most_used_seconds=0.0), st.floats(0.0, 1e9))
def test_no_history_starves_a_namespace(fleet: Lanes, history: float) -> None:
    """It gets a lane an hour after its last one, as soon as one is free."""
    fleet.used["a"] = history
    fleet.run(8 * HOUR)
    others = len(fleet.used) - 1
    bound = LONGEST_WAIT_SECONDS + (1 + others) * fleet.longest_seconds
    assert fleet.longest_wait["a"] <= bound
    assert max(fleet.longest_wait.values()) <= bound


def test_without_that_rule_a_history_does_starve(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("voxfleet_operator.placement.order.LONGEST_WAIT_SECONDS", float("inf"))
    fleet = Lanes(1, Random(1), 1200.0, {"a": 1e9, "b": 0.0})  # noqa: S311 # no secret
    fleet.run(8 * HOUR)
    assert "a" not in fleet.longest_wait


def test_half_of_what_was_used_counts_after_a_half_life() -> None:
    assert (decay(0), decay(HALF_LIFE_SECONDS), decay(2 * HALF_LIFE_SECONDS)) == (1.0, 0.5, 0.25)
    assert decay(-5.0) == 1.0, "a clock that was set back makes nothing count double"
