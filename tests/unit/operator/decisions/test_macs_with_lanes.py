"""A Mac's reconciler beside the endpoints that have lanes there."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.unit.operator.decisions.endpoint_world import LOAD_SECONDS, EndpointWorld

from voxfleet_api.conditions import Condition, ConditionType, find
from voxfleet_api.endpoint_lanes import LaneKey
from voxfleet_api.failures import FailureClass
from voxfleet_api.kinds import MacAgent
from voxfleet_operator.fleet.mac_view import MacView
from voxfleet_operator.queue import Key

LOADED = LOAD_SECONDS + 3
MAC = Key(MacAgent.crd.kind, "", "mac-a")


async def draining(world: EndpointWorld) -> Condition:
    """What mac-a says of its drain once its reconciler has looked at it."""
    await world.reconcilers[MAC.kind].reconcile(MAC)
    world._deliver()
    found = find(MacAgent.load(world.api.objects[MAC]).status.conditions, ConditionType.DRAINING)
    assert found is not None
    return found


async def test_a_drained_mac_is_empty_although_an_endpoint_remembers_that_a_lane_failed_there() -> None:
    world = EndpointWorld(2)
    world.macs["mac-a"].fails_with = FailureClass.MODEL_UNAVAILABLE
    await world.live(2 * LOADED)
    assert world.states() == {"mac-a": "Failed", "mac-b": "Warm"} and not world.macs["mac-a"].lanes
    world.edit_mac("mac-a", drain={})
    await world.live(1)
    assert (await draining(world)).reason == "Drained"
    world.start_operator()
    assert (await draining(world)).message.startswith("1 lane still to go (of team/captions)"), "nobody said so yet"
    await world.live(1)
    assert (await draining(world)).reason == "Drained"


async def test_a_mac_that_drains_is_empty_once_its_lane_is_gone() -> None:
    world = EndpointWorld(1)
    await world.live(LOADED)
    world.macs["mac-a"].deletes = False
    world.edit_mac("mac-a", drain={"mode": "Finish", "deadlineSeconds": 600})
    await world.live(1)
    assert "1 lane still to go (of team/captions): each goes once another" in (await draining(world)).message
    await world.live(700)
    assert world.states() == {"mac-a": "Leaving"}
    assert "1 lane still to go (of team/captions): they are taken away" in (await draining(world)).message
    world.macs["mac-a"].deletes = True
    await world.live(2)
    assert (await draining(world)).reason == "Drained" and not world.macs["mac-a"].lanes


def tell_of_lanes(world: EndpointWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    """What Macs say of their machine lists the lanes that they have."""
    seen = world.fleet.view

    def view(name: str) -> MacView:
        found, mac = seen(name), world.macs[name]
        lanes = tuple(mac._status(uid, lane) for uid, lane in mac.lanes.items())
        machine = found.machine
        return replace(found, machine=None if machine is None else machine.model_copy(update={"endpoint_lanes": lanes}))

    monkeypatch.setattr(world.fleet, "view", view)


async def test_a_cache_that_lags_takes_no_lane_away(monkeypatch: pytest.MonkeyPatch) -> None:
    world = EndpointWorld()
    await world.live(LOADED)
    endpoint = world.endpoint()
    tell_of_lanes(world, monkeypatch)
    before = endpoint.model_copy(update={"status": endpoint.status.model_copy(update={"macs": ()})})
    world.cache.assume(before)
    await world.reconcilers[MAC.kind].reconcile(MAC)
    world.cache.withdraw(endpoint.metadata.uid)
    await world.live(LOADED)
    assert world.endpoint().status == endpoint.status and len(world.macs["mac-a"].loads) == 1

    del world.api.objects[Key(endpoint.crd.kind, "team", "captions")]
    world.cache.assume(before)
    await world.reconcilers[MAC.kind].reconcile(MAC)
    world._call()
    assert not world.macs["mac-a"].lanes, "what no endpoint has is deleted"


async def test_a_lane_that_was_deleted_although_it_is_wanted_gets_a_new_number() -> None:
    world = EndpointWorld()
    await world.live(LOADED)
    (lane,) = world.endpoint().status.macs
    world.fleet.drop_lane(world.fleet.view("mac-a"), LaneKey(world.endpoint().metadata.uid, lane.generation))
    await world.live(LOADED)
    (after,) = world.endpoint().status.macs
    assert after.state == "Warm" and after.generation > lane.generation
