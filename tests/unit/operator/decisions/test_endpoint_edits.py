"""Edits of a VoiceEndpoint: which lanes are loaded anew, one after the other, and what a bad edit costs."""

from __future__ import annotations

import pytest
from tests.unit.operator.decisions.endpoint_world import GIB, HOUR, LOADED, EndpointWorld, warm

from voxfleet_api.failures import FailureClass


async def test_what_changes_nothing_for_lanes_loads_none_and_what_does_loads_one_after_the_other() -> None:
    world = await warm(3, lanes={"min": 2, "max": 2})
    world.edit(lanes={"min": 2, "max": 3})
    await world.live(LOADED)
    assert sum(len(mac.loads) for mac in world.macs.values()) == 2
    world.edit(transcription={"language": "en"})
    for _ in range(4 * LOADED):
        await world.live(1)
        assert list(world.states().values()).count("Warm") >= 1
    assert sum(len(mac.loads) for mac in world.macs.values()) == 4
    digests = {lane.spec_digest for lane in world.endpoint().status.macs}
    assert digests == {world.endpoint().status.lane_spec_digest}


BAD = {"path": "/data/typo"}


def everywhere(world: EndpointWorld, path: str) -> None:
    for mac in world.macs.values():
        mac.lacks.add(path)


async def least_warm(world: EndpointWorld, seconds: int) -> int:
    """The fewest lanes that were warm at one time."""
    least = len(world.states())
    for _ in range(seconds):
        await world.live(1)
        least = min(least, list(world.states().values()).count("Warm"))
    return least


@pytest.mark.parametrize(("macs", "least"), [(3, 2), (4, 3)])
async def test_a_bad_edit_costs_one_warm_lane_at_most_and_none_if_a_mac_is_free(macs: int, least: int) -> None:
    world = await warm(macs, lanes={"min": 3, "max": 3})
    everywhere(world, BAD["path"])
    world.edit(model=BAD)
    assert await least_warm(world, 1200) == least
    assert world.condition("Degraded") == "True ModelUnavailable"
    world.edit(model={"path": "/data/better"})
    assert await least_warm(world, 6 * LOADED) == least
    digests = {lane.spec_digest for lane in world.endpoint().status.macs}
    assert digests == {world.endpoint().status.lane_spec_digest}
    assert list(world.states().values()).count("Warm") == 3 and world.condition("Degraded") == ""


async def test_a_bad_edit_is_not_forgotten_while_others_have_the_mac_on_which_it_failed() -> None:
    world = await warm(2, lanes={"min": 2, "max": 2})
    everywhere(world, BAD["path"])
    world.edit(model=BAD)
    await world.live(LOADED)
    failed = next(mac for mac, state in world.states().items() if state == "Failed")
    world.edit_mac(failed, unschedulable=True)
    assert await least_warm(world, 1200) == 1
    world.edit_mac(failed, unschedulable=False)
    for mac in world.macs.values():
        mac.lacks.clear()
    await world.live(3 * LOADED)
    assert world.states() == {"mac-a": "Warm", "mac-b": "Warm"}


async def test_an_edit_is_loaded_on_a_free_mac_first() -> None:
    world = await warm(2)
    world.edit(transcription={"language": "en"})
    assert await least_warm(world, 3 * LOADED) == 1
    assert world.states() == {"mac-b": "Warm"} and not world.macs["mac-a"].lanes


@pytest.mark.parametrize("deletes", [True, False])
async def test_an_edit_beside_a_mac_that_failed_is_written_once(deletes: bool) -> None:
    world = EndpointWorld(2)
    world.macs["mac-a"].deletes = deletes
    world.macs["mac-a"].fails_with = FailureClass.MODEL_UNAVAILABLE
    await world.live(2 * LOADED)
    assert world.states() == {"mac-a": "Failed", "mac-b": "Warm"}
    world.edit(model={"path": "/data/other"})
    await world.live(3 * LOADED)
    writes = world.api.writes
    await world.live(HOUR / 10)
    assert world.api.writes == writes and world.states() == {"mac-a": "Failed", "mac-b": "Warm"}
    world.macs["mac-a"].deletes = True
    await world.live(HOUR / 4)
    assert world.states() == {"mac-b": "Warm"}, "the failure is forgotten"


async def test_an_edit_that_a_mac_is_too_small_for_goes_to_another_one() -> None:
    world = EndpointWorld({"mac-a": (2 * GIB,), "mac-b": (8 * GIB,)}, memoryCap="1Gi")
    await world.live(LOADED)
    assert world.states() == {"mac-a": "Warm"}
    world.edit(memoryCap="6Gi")
    assert await least_warm(world, 3 * LOADED) == 1
    assert world.states() == {"mac-b": "Warm"} and len(world.macs["mac-a"].loads) == 1


@pytest.mark.parametrize("cordoned", [False, True])
async def test_an_edit_reaches_no_lane_that_is_to_leave_its_mac(cordoned: bool) -> None:
    world = await warm()
    world.edit_mac("mac-a", unschedulable=cordoned, drain={"mode": "Finish", "deadlineSeconds": 3600})
    await world.live(3)
    world.edit(session={"maxPerLane": 5})
    assert await least_warm(world, 60) == 1
    assert len(world.macs["mac-a"].loads) == 1


async def test_an_edit_waits_for_a_lane_that_is_out_of_contact() -> None:
    world = await warm()
    world.macs["mac-a"].online = False
    await world.live(5)
    world.edit(transcription={"language": "en"})
    await world.live(5)
    assert world.states() == {"mac-a": "Unreachable"} and world.endpoint().status.last_generation == 1
    world.macs["mac-a"].online = True
    await world.live(2 * LOADED)
    assert world.states() == {"mac-a": "Warm"} and world.endpoint().status.last_generation == 2
