"""What a MacAgent declares of pools and co-tenants, against what its agent has and what its machine can hold."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.operator.decisions.bodies import mac_agent
from tests.unit.operator.decisions.job_objects import NOW
from tests.unit.operator.golden.mac_states import CONNECTED, FACTS, SILENT

from voxfleet_api.conditions import Condition, ConditionType, Reason, find
from voxfleet_api.kinds import MacAgent
from voxfleet_api.machine_messages import MachineFacts, PoolFacts, ReservedFacts
from voxfleet_api.pools import PoolKind
from voxfleet_operator.fleet.mac_view import MacView
from voxfleet_operator.reconcile.mac.availability import Obstacle, availability
from voxfleet_operator.reconcile.mac.pools import pools_match
from voxfleet_operator.reconcile.mac.reported_machine import offline_lanes, shown_machine
from voxfleet_operator.reconcile.mac.status import mac_status

GIB = 2**30
NIGHT: dict[str, object] = {"name": "night", "kind": "Offline", "lanes": 2, "memoryCap": "4Gi"}
LIVE: dict[str, object] = {"name": "live", "kind": "Interactive", "lanes": 1, "memoryCap": "2Gi"}
LLM: dict[str, object] = {"name": "text-llm", "memory": "3Gi"}
USABLE_BYTES = 13 * GIB


def pool(name: str, kind: PoolKind, lanes: int, cap_gib: int | None, free_lanes: int = 0) -> PoolFacts:
    cap_bytes = None if cap_gib is None else cap_gib * GIB
    return PoolFacts(name=name, kind=kind, lanes=lanes, free_lanes=free_lanes, memory_cap_bytes=cap_bytes)


THERE = FACTS.model_copy(
    update={
        "pools": (pool("night", PoolKind.OFFLINE, 2, 4), pool("live", PoolKind.INTERACTIVE, 1, 2)),
        "reserved": (ReservedFacts(name="text-llm", memory_bytes=3 * GIB),),
        "usable_memory_bytes": USABLE_BYTES,
    }
)


def view_of(**changes: object) -> MacView:
    return replace(CONNECTED, machine=THERE.model_copy(update=changes))


def conditions(view: MacView, spec: dict[str, object], stored: MacAgent | None = None) -> Sequence[Condition]:
    mac = MacAgent.load(mac_agent("mac-a", **spec))
    if stored is not None:
        mac = mac.model_copy(update={"status": stored.status})
    return mac_status(mac, view, NOW).conditions


MATCHES: dict[str, tuple[dict[str, object], MacView, bool | None, str]] = {
    "the same in another order": ({"pools": [LIVE, NIGHT], "reserved": [LLM]}, view_of(), True, "has the pools"),
    "what is left out is not compared": ({"reserved": [LLM]}, view_of(pools=()), True, "has the pools"),
    "sizes in other units": ({"pools": [{**NIGHT, "memoryCap": "4096Mi"}, LIVE]}, view_of(), True, "has the pools"),
    "another number of lanes": (
        {"pools": [{**NIGHT, "lanes": 1}, LIVE]},
        view_of(),
        False,
        "pools[night].lanes is 1 in the spec, 2 in the agent's file. The agent's file wins",
    ),
    "another kind and cap": (
        {"pools": [NIGHT, {**LIVE, "kind": "Offline", "memoryCap": "1Gi"}]},
        view_of(),
        False,
        "pools[live].kind is Offline in the spec, Interactive in the agent's file;"
        " pools[live].memoryCap is 1Gi in the spec, 2Gi in the agent's file",
    ),
    "a pool on either side alone": (
        {"pools": [NIGHT, {**LIVE, "name": "day"}]},
        view_of(),
        False,
        "pools[day] is in the spec alone; pools[live] is in the agent's file alone",
    ),
    "another reservation": (
        {"reserved": [{**LLM, "memory": "2Gi"}, {"name": "db", "memory": "1Gi"}]},
        view_of(),
        False,
        "reserved[db] is in the spec alone; reserved[text-llm].memory is 2Gi in the spec, 3Gi in the agent's file",
    ),
    "a co-tenant in the agent's file alone": (
        {"reserved": [{"name": "db", "memory": "1Gi"}]},
        view_of(),
        False,
        "reserved[text-llm] is in the agent's file alone",
    ),
    "an old agent that matches as far as it says": (
        {"pools": [NIGHT], "reserved": [LLM]},
        view_of(pools=(pool("night", PoolKind.OFFLINE, 2, None),), reserved=None),
        None,
        "pools[].memoryCap and reserved: the agent does not say; upgrade it",
    ),
    "an old agent that differs": (
        {"pools": [NIGHT], "reserved": [LLM]},
        view_of(pools=(pool("night", PoolKind.OFFLINE, 1, None),), reserved=None),
        False,
        "pools[night].lanes is 2 in the spec, 1",
    ),
    "never reached": ({"pools": [NIGHT]}, SILENT, None, "the agent was not reached yet"),
}


@pytest.mark.parametrize("name", MATCHES)
def test_a_difference_is_named_by_pool_and_field(name: str) -> None:
    spec, view, status, message = MATCHES[name]
    mac = MacAgent.load(mac_agent("mac-a", **spec))
    found = pools_match(mac, shown_machine(mac, view))
    assert found is not None and found.status is status and message in found.message
    reasons = {True: Reason.POOLS_MATCH, False: Reason.POOLS_DIFFER, None: Reason.UNKNOWN}
    assert found.reason is reasons[status]


def test_a_mac_that_declares_nothing_has_no_such_condition() -> None:
    assert find(conditions(view_of(), {}), ConditionType.POOLS_MATCH) is None


OVERCOMMITTED: dict[str, tuple[dict[str, object], MacView, str | None]] = {
    "exactly all of it": ({"pools": [NIGHT, LIVE], "reserved": [LLM]}, view_of(), None),
    "more, by its pools": (
        {"pools": [NIGHT, {**LIVE, "lanes": 2}], "reserved": [LLM]},
        view_of(),
        "2 x 4Gi (night) + 2 x 2Gi (live) + 3Gi (reserved: text-llm) = 15360 MiB, and this Mac has 13312 MiB for both",
    ),
    "more, by what is reserved beside the agent's own pools": (
        {"reserved": [{**LLM, "memory": "4Gi"}]},
        view_of(),
        "2 x 4Gi (night) + 1 x 2Gi (live) + 4Gi (reserved: text-llm) = 14336 MiB",
    ),
    "more, by pools beside what the agent reserves": (
        {"pools": [{**NIGHT, "lanes": 3}]},
        view_of(),
        "3 x 4Gi (night) + 3Gi (reserved: text-llm) = 15360 MiB",
    ),
    "an old agent's Mac, by the same rule": (
        {"pools": [{**NIGHT, "memoryCap": "7Gi"}]},
        view_of(usable_memory_bytes=None, reserved=None),  # 85 % of 16 GiB
        "2 x 7Gi (night) = 14336 MiB, and this Mac has 13926 MiB for both",
    ),
    "never reached": ({"pools": [{**NIGHT, "memoryCap": "900Ti"}]}, SILENT, None),
    "a spec that declares nothing": ({}, view_of(usable_memory_bytes=GIB), None),
}


@pytest.mark.parametrize("name", OVERCOMMITTED)
def test_more_than_the_machine_has_is_refused_with_the_sum(name: str) -> None:
    spec, view, message = OVERCOMMITTED[name]
    found = conditions(view, spec)
    accepted, stalled = find(found, ConditionType.ACCEPTED), find(found, ConditionType.STALLED)
    available = find(found, ConditionType.AVAILABLE)
    assert accepted is not None and available is not None
    if message is None:
        assert accepted.status == "True" and stalled is None
        assert available.reason != Reason.MEMORY_OVERCOMMITTED
        return
    assert (accepted.status, accepted.reason) == ("False", Reason.MEMORY_OVERCOMMITTED)
    assert message in accepted.message and "lower lanes, memoryCap or reserved" in accepted.message
    assert stalled is not None and stalled.message == accepted.message
    assert (available.status, available.reason) == ("False", Reason.MEMORY_OVERCOMMITTED)
    told = availability(MacAgent.load(mac_agent("mac-a", **spec)), view, datetime.fromisoformat(NOW))
    assert told.obstacle is Obstacle.OVERCOMMITTED and message in told.detail, "a job's pending reason has the sum"


@pytest.mark.parametrize("reachable", [SILENT, replace(SILENT, reason=Reason.CONNECTING, message="dialling")])
def test_a_restarted_operator_judges_by_what_was_reported_last(reachable: MacView) -> None:
    """Otherwise every restart would flip both conditions of every Mac that has them."""
    spec: dict[str, object] = {"pools": [{**NIGHT, "lanes": 4}]}
    mac = MacAgent.load(mac_agent("mac-a", **spec))
    before = mac.model_copy(update={"status": mac_status(mac, view_of(), NOW)})
    after = conditions(reachable, spec, before)
    for type_ in (ConditionType.ACCEPTED, ConditionType.STALLED, ConditionType.POOLS_MATCH):
        assert find(after, type_) == find(before.status.conditions, type_) is not None


@given(st.lists(st.integers(0, 2), min_size=2, max_size=2), st.booleans(), st.integers(0, 10**12))
def test_nothing_of_a_status_moves_with_work(free: list[int], short: bool, reserved_bytes: int) -> None:
    spec: dict[str, object] = {"pools": [NIGHT, LIVE], "reserved": [LLM]}
    mac = MacAgent.load(mac_agent("mac-a", **spec))
    busy = tuple(facts.model_copy(update={"free_lanes": count}) for facts, count in zip(THERE.pools, free, strict=True))
    view = view_of(pools=busy, lacks_scratch=short, scratch_reserved_bytes=reserved_bytes)
    assert mac_status(mac, view, NOW) == mac_status(mac, view_of(), NOW)


def test_only_lanes_of_offline_pools_are_for_shards() -> None:
    assert offline_lanes(THERE) == 2
    machine = shown_machine(MacAgent.load(mac_agent("mac-a")), view_of())
    assert machine is not None and offline_lanes(machine) == 2
    assert [shown.memory_cap_bytes for shown in machine.pools] == [4 * GIB, 2 * GIB]
    assert machine.reserved is not None and machine.reserved[0].memory_bytes == 3 * GIB


def test_a_pool_of_a_kind_that_is_not_known_yet_is_read_and_gets_no_shard() -> None:
    body = THERE.dump()
    body["pools"][1]["kind"] = "Streaming"
    facts = MachineFacts.load(body)
    assert facts.pools[1].kind == "Streaming" and offline_lanes(facts) == 2
