"""The seeds of `make soak` strike everywhere, and no edge of the agent is forgotten by those who strike."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import pytest
from tests.component.agent import test_whole_attempts
from tests.e2e import test_crashes
from tests.soak.schedule import EDGES, MOST_KILLS, PLACES, Kill, Moment, Victim, make_schedule, spared_places

from voxfleet_api.kinds.audio_shard import Stage

AGENT = Path(__file__).parents[3] / "agent"
IDS = [f"clip-{number}" for number in range(35)]
SCHEDULES = [make_schedule(seed, IDS) for seed in range(1, 201)]
STRIKERS: dict[str, tuple[Iterable[str], dict[str, str]]] = {
    "make soak": ([edge for edges in EDGES.values() for edge in edges], {}),
    "tests/e2e/test_crashes.py": (test_crashes.AGENT_EDGES, {}),
    "tests/component/agent/test_whole_attempts.py": (
        test_whole_attempts.EDGES,
        {"plan-uploaded": "kills at edges of Process alone", "index-uploaded": "kills at edges of Process alone"},
    ),
}
"""Who kills the agent at which edges, and which it leaves out, with the reason."""


def crash_points() -> set[str]:
    sources = [path.read_text() for path in AGENT.rglob("*.py")]
    return {name for source in sources for name in re.findall(r"crash_points\.point\((.*?)\)", source)}


def test_every_edge_has_a_name_that_can_be_found() -> None:
    assert [name for name in crash_points() if not re.fullmatch(r'"[a-z-]+"', name)] == []
    assert len(crash_points()) >= 12


@pytest.mark.parametrize("striker", STRIKERS)
def test_every_edge_of_the_agent_is_struck_or_left_out_for_a_reason(striker: str) -> None:
    edges, left_out = STRIKERS[striker]
    struck = {edge.partition("@")[0] for edge in edges}
    assert struck.isdisjoint(left_out)
    assert struck | set(left_out) == {name.strip('"') for name in crash_points()}


def test_the_seeds_strike_at_every_place() -> None:
    struck = Counter(kill.place for schedule in SCHEDULES for kill in schedule.kills)
    assert {place: count for place, count in struck.items() if count < 3} == {}
    assert set(struck) == set(PLACES)
    assert {(place.moment, place.victim) for place in PLACES if place.moment} == {
        (moment, victim) for moment in Moment for victim in Victim
    }
    assert {place.stage for place in PLACES} == set(Stage)


def test_a_seed_is_a_schedule_in_the_order_of_the_job() -> None:
    assert [make_schedule(seed, IDS) for seed in range(1, 201)] == SCHEDULES
    for schedule in SCHEDULES:
        order = [PLACES.index(kill.place) for kill in schedule.kills]
        assert order == sorted(order) and 1 <= len(order) <= MOST_KILLS


def test_each_kill_of_a_run_finds_as_many_clips_as_it_waits_for() -> None:
    for schedule in SCHEDULES:
        counts = [kill.count for kill in schedule.kills if kill.place.edge == "row-recorded"]
        assert sum(counts) <= len(schedule.clips)


def test_a_place_without_a_kill_is_named() -> None:
    assert spared_places(Kill(place) for place in PLACES[1:]) == [PLACES[0]]
    assert spared_places(Kill(place) for place in PLACES) == []
