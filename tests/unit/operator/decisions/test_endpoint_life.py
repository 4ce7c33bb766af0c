"""A VoiceEndpoint from its first lane to its deletion, with Macs that fail, leave and come back."""

from __future__ import annotations

from typing import Any

import pytest
from tests.unit.operator.decisions.endpoint_world import GIB, HOUR, KIND, LOADED, EndpointWorld, endpoint_body, warm

from voxfleet_api.failures import FailureClass
from voxfleet_api.kinds import VoiceEndpoint
from voxfleet_operator.event_reasons import EventReason


async def test_a_lane_is_written_before_its_mac_is_called_and_an_idle_endpoint_writes_nothing() -> None:
    world = EndpointWorld()
    mac = world.macs["mac-a"]
    mac.online = False
    await world.live(1)
    assert world.states() == {} and world.condition("Available") == "False NoMacFits"
    assert world.endpoint().status.pending_reason == "0/1 Macs fit: 1 unreachable (mac-a: no route to host)"
    mac.online = True
    await world.live(LOADED)
    assert world.states() == {"mac-a": "Warm"} and world.condition("Accepted") == "True Accepted"
    assert len(mac.loads) == 1
    writes, puts = world.api.writes, len(mac.puts)
    await world.live(HOUR / 2)
    assert world.api.writes == writes
    assert len(mac.puts) > puts and len(mac.loads) == 1, "the lane is renewed, and loaded once"


async def test_a_new_process_finds_its_lanes_and_writes_nothing() -> None:
    world = await warm(3, lanes={"min": 2, "max": 2})
    writes = world.api.writes
    world.start_operator()
    await world.live(LOADED)
    assert world.api.writes == writes
    assert sum(len(mac.loads) for mac in world.macs.values()) == 2


async def test_a_new_process_that_reaches_no_mac_says_so_after_its_dials_and_not_before() -> None:
    world = await warm()
    world.macs["mac-a"].online = False
    world.start_operator()
    await world.live(30)
    assert world.states() == {"mac-a": "Warm"}
    await world.live(30)
    assert world.states() == {"mac-a": "Unreachable"}


async def test_lanes_are_spread_and_each_has_a_mac_of_its_own() -> None:
    world = await warm(3, lanes={"min": 3, "max": 3})
    assert world.states() == {"mac-a": "Warm", "mac-b": "Warm", "mac-c": "Warm"}
    assert len({lane.generation for lane in world.endpoint().status.macs}) == 3


@pytest.mark.parametrize(
    "fails",
    [
        FailureClass.MEMORY_EXCEEDED,
        FailureClass.MODEL_UNAVAILABLE,
        FailureClass.RUNTIME_MISMATCH,
        FailureClass.TRANSPORT,
    ],
)
async def test_a_lane_that_fails_goes_to_another_mac_and_its_own_is_tried_again_later(fails: FailureClass) -> None:
    world = EndpointWorld(2)
    world.macs["mac-a"].fails_with = fails
    await world.live(2 * LOADED)
    assert world.states() == {"mac-a": "Failed", "mac-b": "Warm"}
    assert world.condition("Degraded") == f"True {fails}" and world.condition("Available") == "True LanesWarm"
    assert f"mac-a: {fails}: broken" in world.message("Degraded")
    assert not world.macs["mac-a"].lanes, "the failed one is taken away"
    await world.live(HOUR / 2)
    assert world.states() == {"mac-b": "Warm"} and world.condition("Degraded") == ""
    assert len(world.macs["mac-a"].loads) == 1, "nothing asks for it again"


async def test_a_lane_that_keeps_failing_is_tried_ever_more_rarely() -> None:
    world = EndpointWorld(1)
    world.macs["mac-a"].fails_with = FailureClass.MODEL_UNAVAILABLE
    await world.live(HOUR)
    loads = len(world.macs["mac-a"].loads)
    assert 8 <= loads <= 14
    assert world.condition("Available") == "False LanesFailed"
    assert world.condition("Degraded") == "True ModelUnavailable"
    world.macs["mac-a"].fails_with = None
    await world.live(HOUR / 4)
    assert world.states() == {"mac-a": "Warm"} and world.condition("Degraded") == ""
    assert world.endpoint().status.macs[0].failures == 0


@pytest.mark.parametrize("status", [404, 422, 429, 503, 507])
async def test_a_mac_that_refuses_a_lane_is_left_for_another(status: int) -> None:
    world = EndpointWorld(2)
    world.macs["mac-a"].refuses_with = status
    await world.live(2 * LOADED)
    assert world.states() == {"mac-a": "Failed", "mac-b": "Warm"}


async def test_a_mac_out_of_contact_is_replaced_after_a_minute_and_its_lane_dropped_when_it_returns() -> None:
    world = await warm(2)
    world.macs["mac-a"].online = False
    await world.live(10)
    assert world.states() == {"mac-a": "Unreachable"} and world.condition("Available") == "False LaneUnreachable"
    await world.live(70)
    assert world.states() == {"mac-b": "Warm", "mac-a": "Leaving"}
    assert world.condition("Available") == "True LanesWarm"
    world.macs["mac-a"].online = True
    await world.live(10)
    assert world.states() == {"mac-b": "Warm"} and not world.macs["mac-a"].lanes


async def test_a_short_break_of_contact_moves_and_loads_nothing() -> None:
    world = await warm(2)
    world.macs["mac-a"].online = False
    await world.live(20)
    world.macs["mac-a"].online = True
    await world.live(LOADED)
    assert world.states() == {"mac-a": "Warm"} and len(world.macs["mac-a"].loads) == 1


async def test_suspend_unloads_and_resume_loads_again() -> None:
    world = await warm()
    world.edit(suspend=True)
    await world.live(5)
    assert world.states() == {} and not world.macs["mac-a"].lanes
    assert world.condition("Available") == "False Suspended" and world.condition("Suspended") == "True Suspended"
    assert world.condition("Degraded") == ""
    world.edit(suspend=None)
    await world.live(LOADED)
    assert world.states() == {"mac-a": "Warm"}, "its agent remembers the lane before, and takes a newer one"


async def test_a_window_unloads_when_it_closes_and_loads_when_it_opens() -> None:
    # The clock begins at 22:16:40.
    world = await warm(timeZone="UTC", windows=[{"start": "20:00", "end": "22:30"}])
    await world.live(14 * 60)
    assert not world.macs["mac-a"].lanes and world.condition("Available") == "False OutsideWindow"
    assert "2026-11-21 20:00 UTC" in world.message("Available")
    world.clock.seconds += 21 * HOUR
    await world.live(60 * 60)
    assert world.states() == {"mac-a": "Warm"}


@pytest.mark.parametrize("standing", ["unschedulable", "taints", "drain"])
async def test_closed_access_ends_a_lane_whatever_else_keeps_the_mac_off(standing: str) -> None:
    fields: dict[str, dict[str, Any]] = {
        "unschedulable": {"unschedulable": True},
        "taints": {"taints": [{"key": "rented", "value": "yes", "effect": "NoSchedule"}]},
        "drain": {"drain": {"mode": "Finish", "deadlineSeconds": 86400}},
    }
    world = await warm()
    world.edit_mac("mac-a", **fields[standing])
    await world.live(3)
    assert world.states() == {"mac-a": "Warm"}
    world.edit_mac("mac-a", access=[])
    await world.live(3)
    assert world.states() == {} and not world.macs["mac-a"].lanes


async def test_a_model_that_changed_while_no_lane_was_left_is_the_new_one() -> None:
    world = await warm(2)
    world.edit(suspend=True)
    await world.live(20)
    assert world.endpoint().status.model_digest is None
    for mac in world.macs.values():
        mac.model = f"sha256:{'b' * 64}"
    world.edit(suspend=None)
    await world.live(LOADED)
    assert world.condition("Available") == "True LanesWarm"
    assert world.endpoint().status.model_digest == f"sha256:{'b' * 64}"


async def test_a_lane_whose_child_keeps_dying_is_told_and_goes_to_another_mac() -> None:
    world = await warm(2)
    world.macs["mac-a"].dies_with = FailureClass.MEMORY_EXCEEDED
    await world.live(10)
    assert world.states() == {"mac-a": "Loading"}
    assert world.condition("Degraded") == "True MemoryExceeded"
    assert world.message("Degraded") == "mac-a: MemoryExceeded: broken (it loads again)"
    writes = world.api.writes
    await world.live(120)
    assert world.api.writes == writes, "the same death is written once"
    await world.live(240)
    assert world.states()["mac-b"] == "Warm" and not world.macs["mac-a"].lanes


async def test_an_edit_of_the_contract_reaches_lanes_with_the_next_edit_of_the_endpoint() -> None:
    world = await warm()
    before = world.endpoint().status.contract
    old = world.api.objects[next(key for key in world.api.objects if key.kind == "VoiceContract")]
    spec = {"input": {**old["spec"]["input"], "sampleRatesHz": [8000]}}
    world.api._store({**old, "spec": spec})
    await world.live(70)
    assert world.endpoint().status.contract == before and len(world.macs["mac-a"].loads) == 1
    world.edit(billingKey="calls")
    await world.live(2 * LOADED)
    assert world.endpoint().status.contract != before and len(world.macs["mac-a"].loads) == 2


async def test_a_spec_that_cannot_be_accepted_leaves_lanes_as_they_are() -> None:
    world = await warm()
    world.edit(contractRef={"name": "other"}, transcription={"language": "de"})
    await world.live(2 * HOUR)
    assert world.condition("Accepted") == "False ContractNotFound" and world.condition("Stalled") != ""
    assert world.states() == {"mac-a": "Warm"} and world.condition("Available") == "True LanesWarm"
    assert len(world.macs["mac-a"].loads) == 1


async def test_a_contract_that_comes_later_is_waited_for() -> None:
    world = EndpointWorld(contractRef={"name": "late"})
    await world.live(5)
    assert world.condition("Reconciling") == "True ContractNotFound" and world.condition("Stalled") == ""
    await world.live(10)
    assert world.condition("Stalled") == "True ContractNotFound" and world.condition("Reconciling") == ""
    old = world.api.objects[next(key for key in world.api.objects if key.kind == "VoiceContract")]
    world.api.add({**old, "metadata": {"name": "late", "namespace": "team"}})
    await world.live(LOADED)
    assert world.condition("Available") == "True LanesWarm" and world.condition("Stalled") == ""


async def test_a_mac_that_is_cordoned_keeps_its_lane_and_one_that_drains_gives_it_up_for_a_warm_one() -> None:
    world = await warm(2)
    world.edit_mac("mac-a", unschedulable=True)
    await world.live(120)
    assert world.states() == {"mac-a": "Warm"}
    world.edit_mac("mac-a", drain={"mode": "Finish", "deadlineSeconds": 300})
    for _ in range(20):
        await world.live(1)
        assert world.condition("Available") == "True LanesWarm"
    assert world.states() == {"mac-b": "Warm"} and not world.macs["mac-a"].lanes


async def test_a_mac_that_closes_its_access_loses_the_lane_at_once() -> None:
    world = await warm()
    world.edit_mac("mac-a", access=[])
    await world.live(3)
    assert world.states() == {} and not world.macs["mac-a"].lanes
    assert "gives this namespace no access to the endpoint's model" in str(world.endpoint().status.pending_reason)


async def test_a_model_that_differs_on_another_mac_is_a_failure_there() -> None:
    world = await warm(2)
    world.macs["mac-b"].model = f"sha256:{'b' * 64}"
    world.edit(lanes={"min": 2, "max": 2})
    await world.live(2 * LOADED)
    assert world.states() == {"mac-a": "Warm", "mac-b": "Failed"}
    assert world.condition("Degraded") == "True ModelMismatch"


async def test_endpoints_that_are_decided_at_once_never_share_a_lane() -> None:
    for seed in range(20):
        world = EndpointWorld(2, seed=seed)
        for name in ("second", "third"):
            world.api.add(endpoint_body(name))
        world.start_operator()
        await world.live(2 * LOADED)
        held = [mac for name in ("captions", "second", "third") for mac in world.states(name)]
        assert sorted(held) == ["mac-a", "mac-b"], seed
        assert all(mac.most_held == 1 for mac in world.macs.values())
        assert not any(mac.puts.count(key) == 0 for mac in world.macs.values() for key in mac.loads)


async def test_a_lane_that_gets_free_goes_to_the_endpoint_that_waits() -> None:
    world = await warm(1)
    world.api.add(endpoint_body("second"))
    await world.live(3)
    assert world.endpoint("second").status.pending_reason == "0/1 Macs fit: 1 has no free interactive lane"
    world.edit(suspend=True)
    await world.live(LOADED + 2)
    assert world.states("second") == {"mac-a": "Warm"}


async def test_memory_decides_which_lane_is_big_enough() -> None:
    world = EndpointWorld({"mac-a": (1 * GIB, 8 * GIB), "mac-b": (2 * GIB,)}, memoryCap="6Gi")
    world.api.add(endpoint_body("small", memoryCap="1Gi", lanes={"min": 2, "max": 2}))
    await world.live(2 * LOADED)
    assert world.states() == {"mac-a": "Warm"} and world.states("small") == {"mac-a": "Warm", "mac-b": "Warm"}
    world.api.add(endpoint_body("huge", memoryCap="9Gi"))
    await world.live(3)
    assert world.endpoint("huge").status.pending_reason == (
        "0/2 Macs fit: 2 have interactive lanes too small (need 9Gi)"
    )


async def test_a_crowded_endpoint_gets_another_lane_and_gives_it_back_after_ten_minutes() -> None:
    world = await warm(2, lanes={"min": 1, "max": 2}, session={"maxPerLane": 4})
    uid = world.endpoint().metadata.uid
    world.macs["mac-a"].lanes[uid].sessions = 3
    await world.live(3 * LOADED)
    assert world.states() == {"mac-a": "Warm", "mac-b": "Warm"}
    world.macs["mac-a"].lanes[uid].sessions, world.macs["mac-b"].lanes[uid].sessions = 0, 1
    await world.live(9 * 60)
    assert len(world.states()) == 2
    await world.live(3 * 60)
    assert world.states() == {"mac-b": "Warm"}, "the one without a session goes"


async def test_deletion_takes_lanes_away_first() -> None:
    world = await warm(2, lanes={"min": 2, "max": 2})
    world.api.user_deletes(VoiceEndpoint, "team", "captions")
    await world.live(5)
    assert not world.exists() and not any(mac.lanes for mac in world.macs.values())
    assert EventReason.CLEANUP_INCOMPLETE not in {reason for _, reason, _ in world.journal.published}


@pytest.mark.parametrize("away", ["silent", "never ends"])
async def test_deletion_ends_after_a_quarter_of_an_hour_whatever_macs_do(away: str) -> None:
    world = EndpointWorld()
    world.edit_mac("mac-a", disconnect={"lostAfter": "24h"})
    await world.live(LOADED)
    world.macs["mac-a"].online = away != "silent"
    world.macs["mac-a"].deletes = away != "never ends"
    world.api.user_deletes(VoiceEndpoint, "team", "captions")
    await world.live(14 * 60)
    assert world.exists()
    await world.live(2 * 60)
    assert not world.exists()
    assert EventReason.CLEANUP_INCOMPLETE in {reason for _, reason, _ in world.journal.published}


async def test_an_endpoint_whose_finalizer_somebody_takes_leaves_no_lane_behind() -> None:
    world = await warm()
    key = next(key for key in world.api.objects if key.kind == KIND)
    world.api._drop(world.api.objects[key])
    await world.live(5)
    assert not world.macs["mac-a"].lanes


async def test_a_restored_api_server_takes_up_the_numbers_that_macs_remember() -> None:
    world = await warm()
    backup = world.api.back_up()
    for _ in range(3):
        world.edit(suspend=True)
        await world.live(5)
        world.edit(suspend=None)
        await world.live(LOADED)
    newest = world.endpoint().status.last_generation
    world.api.restore(backup)
    world.start_operator()
    await world.live(10 * 60)
    assert world.states() == {"mac-a": "Warm"} and world.endpoint().status.last_generation >= newest
