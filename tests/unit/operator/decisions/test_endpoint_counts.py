"""What an endpoint's status counts (sessions, turns, machine time) and how seldom it is written for that."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from tests.rig.measured_turns import a_turn
from tests.unit.operator.decisions.endpoint_world import HOUR, LOADED, EndpointWorld, warm

from voxfleet_api.conditions import Reason
from voxfleet_api.kinds.endpoint_status import EndpointSlo

MINUTE = 60
WINDOW = 5 * MINUTE
TWO = {"min": 2, "max": 2}


def slo(world: EndpointWorld) -> EndpointSlo:
    found = world.endpoint().status.slo
    assert found is not None
    return found


async def speaks(world: EndpointWorld, minutes: int, *milliseconds: int) -> None:
    """These turns on each Mac, every ten seconds."""
    for _ in range(6 * minutes):
        for mac in world.macs:
            world.speak(mac, *milliseconds)
        await world.live(10)


async def test_slow_turns_turn_the_slo_within_a_window_and_their_end_turns_it_back() -> None:
    world = await warm(2, target="1s", lanes=TWO)
    assert world.condition("SLOMet") == "Unknown NoTurns" and world.endpoint().status.slo is None
    await speaks(world, 6, 300)
    assert world.condition("SLOMet") == "True TurnsWithinSLO"
    assert slo(world).breaches == 0 and slo(world).p95 is not None
    world.speak("mac-b", *[a_turn(2_000, wait=1_500, infer=500)] * 10)
    await world.live(MINUTE)
    assert world.condition("SLOMet") == "False TurnsBeyondSLO"
    slowest = slo(world).slowest
    assert slowest is not None and (slowest.part, slowest.mac, slowest.percent) == ("Wait", "mac-b", 75)
    assert "75 % of the time of the slow ones is Wait, most of it on mac-b" in world.message("SLOMet")
    assert Reason.TURNS_BEYOND_SLO in {reason for _, reason, _ in world.journal.published}
    await speaks(world, 6, 300)
    assert world.condition("SLOMet") == "True TurnsWithinSLO" and slo(world).breaches == 0
    await world.live(WINDOW + 2 * MINUTE)
    assert world.condition("SLOMet") == "Unknown NoTurns" and slo(world).turns == 0


async def test_turns_are_written_once_a_minute_at_most_and_an_idle_endpoint_writes_nothing() -> None:
    world = await warm(target="1s", sloWindow="1m")
    verdicts: set[str] = set()
    written: list[float] = []
    for second in range(12 * MINUTE):
        if second % 5 == 0:  # slow for 80 s, then in time for 80 s
            world.speak("mac-a", *([1_500] if second // 80 % 2 else [50] * 40))
        writes = world.api.writes
        await world.live(1)
        verdicts.add(world.condition("SLOMet"))
        if world.api.writes > writes:
            written.append(world.clock.seconds)
    assert verdicts >= {"True TurnsWithinSLO", "False TurnsBeyondSLO"}
    assert len(written) >= 10 and all(later - earlier >= MINUTE for earlier, later in pairwise(written))
    await world.live(WINDOW + 2 * MINUTE)
    writes = world.api.writes
    await world.live(HOUR)
    assert world.api.writes == writes


async def test_a_new_process_leaves_what_is_known_until_it_knows_better() -> None:
    world = await warm(2, target="1s", lanes=TWO)
    await speaks(world, 2, 1_500)
    assert world.condition("SLOMet") == "False TurnsBeyondSLO"
    writes, before = world.api.writes, slo(world)
    world.start_operator()
    await world.live(WINDOW - MINUTE)
    assert world.api.writes == writes and slo(world) == before
    await world.live(3 * MINUTE)
    assert world.condition("SLOMet") == "Unknown NoTurns"


async def test_a_lane_that_is_loaded_anew_loses_no_turn_of_the_window() -> None:
    world = await warm(macs=2, target="1s")
    world.speak("mac-a", *[1_500] * 8)
    await world.live(MINUTE + 10)
    world.edit(transcription={"language": "en"})
    await world.live(2 * LOADED)
    assert world.states() == {"mac-b": "Warm"}
    world.speak("mac-b", *[200] * 2)
    await world.live(MINUTE + 10)
    assert (slo(world).turns, slo(world).breaches) == (10, 8)
    assert world.condition("SLOMet") == "False TurnsBeyondSLO"


async def test_without_a_target_turns_are_shown_and_nothing_is_promised() -> None:
    world = await warm()
    world.speak("mac-a", *[5_000] * 10)
    await world.live(MINUTE + 10)
    assert world.condition("SLOMet") == "" and (slo(world).turns, slo(world).breaches) == (10, 0)


async def test_sessions_are_written_once_a_minute_at_most() -> None:
    world = await warm()
    lane = world.macs["mac-a"].lanes[world.endpoint().metadata.uid]
    await world.live(60)
    writes = world.api.writes
    for turn in range(60):
        lane.sessions = turn % 2
        await world.live(10)
    assert world.api.writes - writes <= 11


class Statement:
    """What a Mac's statement counts of the endpoint."""

    def __init__(self, world: EndpointWorld) -> None:
        self._world, self._uid = world, world.endpoint().metadata.uid
        statement = {"kind": "MachineHourStatement", "metadata": {"name": "mac-a-2026-11"}}
        self._stored = world.api.add({**statement, "spec": {"mac": "mac-a", "month": "2026-11"}})

    def count(self, productive: int, overhead: int) -> None:
        """Both in seconds. The write is the statement's own."""
        time: dict[str, Any] = {
            "uid": self._uid,
            "productiveSeconds": f"{productive}.500",
            "overheadSeconds": f"{overhead}.000",
            "rows": productive + overhead,
        }
        self._world.api._store({**self._stored, "status": {"endpoints": [time, {**time, "uid": "another"}]}})


def usage(world: EndpointWorld) -> tuple[str, str, int]:
    found = world.endpoint().status.usage
    assert found is not None
    return found.productive_seconds, found.overhead_seconds, found.rows


async def test_usage_follows_statements_and_is_written_once_an_hour() -> None:
    world = await warm()
    statement = Statement(world)
    statement.count(1, 2)
    await world.live(130)
    assert usage(world) == ("1.500", "2.000", 3)
    writes = world.api.writes
    for productive in range(2, 32):
        statement.count(productive, 2)
        await world.live(60)
    writes += 30  # its own
    assert world.api.writes == writes, "half an hour"
    await world.live(HOUR)
    assert world.api.writes == writes + 1 and usage(world) == ("31.500", "2.000", 33)
    world.start_operator()
    await world.live(2 * HOUR)
    assert world.api.writes == writes + 1, "nothing is new, whoever leads"


async def test_what_it_costs_to_hold_idle_lanes_is_written_with_what_changes_next_and_at_their_end() -> None:
    world = await warm()
    statement = Statement(world)
    statement.count(1, 2)
    await world.live(130)
    writes = world.api.writes
    for overhead in range(3, 9):
        statement.count(1, overhead)
        await world.live(HOUR / 2)
    assert world.api.writes == writes + 6 and usage(world) == ("1.500", "2.000", 3)
    world.macs["mac-a"].lanes[world.endpoint().metadata.uid].sessions = 1
    await world.live(2 * MINUTE)
    assert usage(world) == ("1.500", "8.000", 9), "its sessions are news"
    world.edit(suspend=True)
    await world.live(MINUTE)
    statement.count(1, 99)
    await world.live(2 * HOUR)
    assert usage(world) == ("1.500", "99.000", 100)


async def test_a_verdict_ends_with_its_turns_although_nobody_speaks_any_more() -> None:
    world = await warm(target="1s")
    await world.live(30)
    world.speak("mac-a", *[1_500] * 6)
    await world.live(WINDOW - 5)
    assert world.condition("SLOMet") == "False TurnsBeyondSLO"
    await world.live(25)
    assert world.condition("SLOMet") == "Unknown NoTurns"


@pytest.mark.parametrize("minutes", [1, 60])
async def test_the_window_is_as_long_as_the_spec_says_and_no_write_comes_too_late_for_it(minutes: int) -> None:
    world = await warm(target="1s", sloWindow=f"{minutes}m")
    world.speak("mac-a", *[1_500] * 6)
    await world.live(MINUTE)
    assert world.condition("SLOMet") == "False TurnsBeyondSLO"
    await world.live((minutes - 2) * MINUTE)
    assert world.condition("SLOMet") == "False TurnsBeyondSLO"
    await world.live(4 * MINUTE)
    assert world.condition("SLOMet") == "Unknown NoTurns"
