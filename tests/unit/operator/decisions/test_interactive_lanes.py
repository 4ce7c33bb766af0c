"""Which Macs may have a lane of an endpoint, and why the others may not: a table, and properties for random Macs."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.operator.decisions.endpoint_world import EndpointWorld

from voxfleet_api.endpoint_lanes import LaneState, LaneStatus
from voxfleet_api.kinds import VoiceEndpoint
from voxfleet_api.kinds.endpoint_status import VoiceEndpointStatus
from voxfleet_api.kinds.mac_agent import Access
from voxfleet_api.selectors import LabelSelector
from voxfleet_api.taints import Taint, Toleration
from voxfleet_operator.fleet.mac_view import MacView
from voxfleet_operator.placement.filters import (
    DELETED,
    DRAINING,
    OUTSIDE_WINDOW,
    UNACCEPTED,
    UNREACHABLE,
    UNSCHEDULABLE,
)
from voxfleet_operator.placement.interactive_lanes import (
    EndpointNeeds,
    InteractiveRoom,
    LaneRoomSnapshot,
    lane_places,
)
from voxfleet_operator.placement.snapshot import JobNeeds, MacSlot, MacTraits, Unavailable
from voxfleet_operator.reconcile.orphan_lanes import orphan_lanes

GIB = 2**30
NOW = 1000.0
MODEL = "sha256:" + "a" * 64
OPEN = Access(namespace_selector=LabelSelector(), uri_prefixes=("file:///models/",))
NEEDS = EndpointNeeds(JobNeeds(), ("file:///models/one/",), None, "4Gi", MODEL)


def a_mac(name: str = "mac-a", *, traits: dict[str, Any] | None = None, **fields: Any) -> MacSlot:
    return MacSlot(name, replace(MacTraits(access=(OPEN,)), **(traits or {})), **fields)


def a_snapshot(*macs: MacSlot, rooms: dict[str, InteractiveRoom] | None = None, **fields: Any) -> LaneRoomSnapshot:
    found = rooms if rooms is not None else {mac.name: InteractiveRoom((8 * GIB,)) for mac in macs}
    return LaneRoomSnapshot(**{"needs": NEEDS, "macs": macs, "rooms": found, **fields})


ROOM = InteractiveRoom((8 * GIB,))
CASES: dict[str, tuple[LaneRoomSnapshot, str]] = {
    "no Mac at all": (a_snapshot(), "0/0 Macs fit: there is no MacAgent; apply one"),
    "no Interactive pool": (a_snapshot(a_mac(), rooms={}), "1 has no Interactive pool"),
    "an old agent": (
        a_snapshot(a_mac(), rooms={"mac-a": replace(ROOM, knows_lanes=False)}),
        "1 has an agent too old to keep lanes warm; upgrade it",
    ),
    "lanes too small": (
        a_snapshot(a_mac(), rooms={"mac-a": InteractiveRoom((2 * GIB, 3 * GIB))}),
        "1 has interactive lanes too small (need 4Gi)",
    ),
    "all lanes taken": (
        a_snapshot(a_mac(), rooms={"mac-a": InteractiveRoom((8 * GIB,), (GIB,))}),
        "1 has no free interactive lane",
    ),
    "out of contact": (
        a_snapshot(a_mac(traits={"unavailable": UNREACHABLE}, detail="no route to host")),
        "1 unreachable (mac-a: no route to host)",
    ),
    "cordoned": (a_snapshot(a_mac(traits={"unavailable": UNSCHEDULABLE})), "1 is unschedulable"),
    "another room": (
        a_snapshot(a_mac(), needs=replace(NEEDS, needs=JobNeeds(LabelSelector(match_labels={"room": "a"})))),
        "1 does not match the endpoint's macSelector",
    ),
    "a taint": (
        a_snapshot(a_mac(traits={"taints": (Taint(key="rented"),)})),
        "1 has an untolerated taint {rented}",
    ),
    "no access": (
        a_snapshot(a_mac(traits={"access": ()})),
        "1 gives this namespace no access to the endpoint's model and recordings (spec.access of MacAgent)",
    ),
    "another billing key": (
        a_snapshot(a_mac(traits={"access": (OPEN.model_copy(update={"billing_keys": ("other",)}),)})),
        "1 does not take the endpoint's billing key (spec.access[].billingKeys of MacAgent)",
    ),
    "closes soon": (a_snapshot(a_mac(closes_seconds=NOW + 60)), "1 closes within ten minutes"),
    "pauses after a failure of a job": (a_snapshot(a_mac(not_before_seconds=NOW + 1)), "1 pauses after a failure"),
    "failed a lane of it": (a_snapshot(a_mac(), paused={"mac-a": 5.0}), "1 failed a lane of it and pauses"),
    "has a lane of it": (a_snapshot(a_mac(), holders={"mac-a"}), "1 has a lane of it already"),
}


@pytest.mark.parametrize("name", CASES)
def test_why_a_mac_takes_no_lane(name: str) -> None:
    snapshot, reason = CASES[name]
    places = lane_places(snapshot, NOW)
    assert places.candidates == () and places.pending_reason.endswith(reason)
    if snapshot.macs:
        assert places.pending_reason == f"0/1 Macs fit: {reason}"


def test_a_mac_that_fits_in_spite_of_a_taint_or_a_pause_that_is_over() -> None:
    tolerant = replace(NEEDS, needs=JobNeeds(tolerations=(Toleration(key="rented"),)))
    snapshot = a_snapshot(a_mac(traits={"taints": (Taint(key="rented"),)}), needs=tolerant, paused={"mac-a": 0.0})
    assert lane_places(snapshot, NOW).candidates == ("mac-a",)


def test_the_model_in_memory_comes_first_then_room_then_the_name() -> None:
    macs = [a_mac(f"mac-{letter}") for letter in "dcba"]
    macs[0] = replace(macs[0], loaded_models=frozenset({MODEL}))
    rooms = {mac.name: InteractiveRoom((8 * GIB,)) for mac in macs} | {"mac-c": InteractiveRoom((8 * GIB,) * 2)}
    assert lane_places(a_snapshot(*macs, rooms=rooms), NOW).candidates == ("mac-d", "mac-c", "mac-a", "mac-b")


GIVEN_UP: dict[str, tuple[MacSlot, dict[str, Any], bool | None]] = {
    "nothing is wrong": (a_mac(), {}, None),
    "cordoned": (a_mac(traits={"unavailable": UNSCHEDULABLE}), {}, None),
    "out of contact": (a_mac(traits={"unavailable": UNREACHABLE}), {}, None),
    "a taint that came later": (a_mac(traits={"taints": (Taint(key="rented"),)}), {}, None),
    "drains, and has time": (
        a_mac(traits={"unavailable": DRAINING, "drains": True}, closes_seconds=NOW + 3600),
        {},
        False,
    ),
    "drains, and its time is over": (
        a_mac(traits={"unavailable": DRAINING, "drains": True}, closes_seconds=NOW),
        {},
        True,
    ),
    "cordoned, drains, and has time": (
        a_mac(traits={"unavailable": UNSCHEDULABLE, "drains": True}, closes_seconds=NOW + 3600),
        {},
        False,
    ),
    "cordoned and drains": (
        a_mac(traits={"unavailable": UNSCHEDULABLE, "drains": True}, closes_seconds=NOW - 1),
        {},
        True,
    ),
    "nobody has seen its pools yet": (a_mac(traits={"unavailable": UNREACHABLE}), {"rooms": {}}, None),
    "closes in a while": (a_mac(closes_seconds=NOW + 3600), {}, None),
    "closes soon": (a_mac(closes_seconds=NOW + 599), {}, False),
    "is closed": (a_mac(traits={"unavailable": OUTSIDE_WINDOW}), {}, True),
    "is being deleted": (a_mac(traits={"unavailable": DELETED}), {}, True),
    "opens nothing any more": (a_mac(traits={"access": ()}), {}, True),
    "is not selected any more": (
        a_mac(),
        {"needs": replace(NEEDS, needs=JobNeeds(LabelSelector(match_labels={"room": "a"})))},
        False,
    ),
    "its lanes are too small by now": (a_mac(), {"needs": replace(NEEDS, memory_cap="9Gi")}, False),
    "it has no pool any more": (a_mac(), {"rooms": {"mac-a": InteractiveRoom()}}, False),
}


KEEPS_OFF: dict[str, dict[str, Any]] = {
    "cordoned": {"unavailable": UNSCHEDULABLE},
    "drains": {"unavailable": DRAINING, "drains": True},
    "out of contact": {"unavailable": UNREACHABLE},
    "tainted": {"taints": (Taint(key="rented"),)},
    "awaits acceptance": {"unaccepted": UNACCEPTED},
}
"""What keeps new lanes off a Mac, and hides no reason to leave it."""
OTHER_KEY = OPEN.model_copy(update={"billing_keys": ("other",)})
ELSEWHERE = replace(NEEDS, needs=JobNeeds(LabelSelector(match_labels={"room": "a"})))


@pytest.mark.parametrize("name", KEEPS_OFF)
def test_what_keeps_new_lanes_off_hides_no_reason_to_leave(name: str) -> None:
    def at_once(traits: dict[str, Any], **fields: Any) -> bool | None:
        mac = a_mac(traits={**KEEPS_OFF[name], **traits})
        found = lane_places(a_snapshot(mac, holders={"mac-a"}, **fields), NOW).given_up.get("mac-a")
        return None if found is None else found.at_once

    assert at_once({"access": ()}) is True and at_once({"access": (OTHER_KEY,)}) is True
    assert at_once({}, needs=ELSEWHERE) is False
    assert at_once({}, needs=replace(NEEDS, memory_cap="9Gi")) is False


@pytest.mark.parametrize("name", GIVEN_UP)
def test_when_a_lane_has_to_leave_its_mac(name: str) -> None:
    mac, fields, at_once = GIVEN_UP[name]
    found = lane_places(a_snapshot(mac, holders={"mac-a"}, **fields), NOW).given_up.get("mac-a")
    assert (None if found is None else found.at_once) is at_once


def test_it_is_looked_at_again_when_a_pause_or_a_closing_changes_the_answer() -> None:
    waits = lane_places(a_snapshot(a_mac(not_before_seconds=NOW + 7), a_mac("b", closes_seconds=NOW + 4000)), NOW)
    assert waits.wake_after_seconds == 7
    soon = lane_places(a_snapshot(a_mac(closes_seconds=NOW + 640)), NOW)
    assert soon.wake_after_seconds == 40
    assert lane_places(a_snapshot(a_mac()), NOW).wake_after_seconds is None


GIBS = st.integers(1, 16).map(lambda gib: gib * GIB)
UNAVAILABLE = st.sampled_from([None, None, UNREACHABLE, DRAINING, OUTSIDE_WINDOW, UNSCHEDULABLE])


@st.composite
def snapshots(draw: st.DrawFn) -> LaneRoomSnapshot:
    names = [f"mac-{place}" for place in range(draw(st.integers(0, 6)))]
    macs = [
        a_mac(
            name,
            traits={"unavailable": draw(UNAVAILABLE), "access": draw(st.sampled_from([(), (OPEN,)]))},
            closes_seconds=draw(st.sampled_from([None, NOW - 5, NOW + 300, NOW + 5000])),
            not_before_seconds=draw(st.sampled_from([0.0, NOW + 5])),
        )
        for name in names
    ]
    rooms = {
        name: InteractiveRoom(tuple(draw(st.lists(GIBS, max_size=3))), tuple(draw(st.lists(GIBS, max_size=3))))
        for name in names
    }
    holders = set(draw(st.lists(st.sampled_from(names), max_size=3))) if names else set()
    return a_snapshot(*macs, rooms=rooms, holders=holders)


@given(snapshots())
def test_what_is_offered_is_free_open_and_big_enough(snapshot: LaneRoomSnapshot) -> None:
    places = lane_places(snapshot, NOW)
    macs = {mac.name: mac for mac in snapshot.macs}
    assert len(set(places.candidates)) == len(places.candidates)
    assert not set(places.candidates) & set(snapshot.holders)
    for name in places.candidates:
        assert macs[name].traits.unavailable is None and macs[name].traits.access
        room = snapshot.rooms[name]
        assert room.free_for(snapshot.needs.memory_cap_bytes) >= 1
    assert set(places.given_up) <= set(snapshot.holders)
    left = len(snapshot.macs) - len(places.candidates)
    counted = sum(
        int(part.split()[0]) for part in places.pending_reason.partition(": ")[2].split(", ") if part[:1].isdigit()
    )
    assert not snapshot.macs or counted == left


@given(st.lists(GIBS, max_size=4), st.lists(GIBS, max_size=4), GIBS)
def test_a_holder_takes_one_lane_at_most_and_more_room_never_hurts(caps: list[int], held: list[int], need: int) -> None:
    free = InteractiveRoom(tuple(caps), tuple(held)).free_for(need)
    fitting = sum(cap >= need for cap in caps)
    assert max(0, fitting - len(held)) <= free <= fitting
    assert InteractiveRoom((*caps, need), tuple(held)).free_for(need) >= free


def test_texts_are_told_apart_by_their_number() -> None:
    two = lane_places(a_snapshot(a_mac(), a_mac("mac-b"), rooms={}), NOW)
    assert two.pending_reason == "0/2 Macs fit: 2 have no Interactive pool"
    assert Unavailable("a", "b") == Unavailable("a", "b")


def test_a_lane_that_no_endpoint_names_for_its_mac_is_an_orphan() -> None:
    world = EndpointWorld()
    endpoint = world.endpoint()
    mine = endpoint.metadata.uid
    view, machine = world.fleet.view("mac-a"), world.fleet.facts("mac-a")
    lanes = tuple(a_lane_status(uid, generation) for uid, generation in ((mine, 3), ("gone", 7)))
    held = replace(view, connected=True, machine=machine.model_copy(update={"endpoint_lanes": lanes}))
    named = endpoint.model_copy(update={"status": VoiceEndpointStatus.load({"macs": [STORED_LANE]})})

    def orphans(view: MacView, found: VoiceEndpoint) -> list[str]:
        return [str(lane.key) for lane in orphan_lanes(view, lambda uid: found if uid == mine else None)]

    assert orphans(held, endpoint) == [f"{mine}.3", "gone.7"]
    assert orphans(held, named) == ["gone.7"], "which of its lanes is there is the endpoint's own concern"
    assert orphans(replace(held, name="mac-b"), named) == [f"{mine}.3", "gone.7"]
    assert orphans(replace(held, connected=False), endpoint) == []


STORED_LANE = {"mac": "mac-a", "generation": 9, "specDigest": MODEL, "state": "Warm", "since": "2026-11-20T22:00:00Z"}


def a_lane_status(uid: str, generation: int) -> LaneStatus:
    return LaneStatus(
        endpoint_uid=uid,
        generation=generation,
        spec_digest=MODEL,
        namespace="team",
        endpoint="captions",
        state=LaneState.READY,
    )
