"""A Mac's Contended condition turns with its agent's verdict, and nothing of it moves with work."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.unit.operator.decisions.bodies import mac_agent
from tests.unit.operator.decisions.job_objects import LATER, NOW
from tests.unit.operator.golden.mac_states import CONNECTED, FACTS

from voxfleet_api.conditions import MESSAGE_LIMIT, Condition, ConditionType, find
from voxfleet_api.kinds import MacAgent
from voxfleet_api.kinds.mac_agent import MacAgentStatus
from voxfleet_api.machine_messages import LaneContention, MachineFacts, ReservedFacts
from voxfleet_cli.explainers.mac import EXPLAINER
from voxfleet_operator.event_reasons import EventReason
from voxfleet_operator.fleet.mac_view import MacView
from voxfleet_operator.reconcile.mac.changes import changes
from voxfleet_operator.reconcile.mac.contention import contended
from voxfleet_operator.reconcile.mac.status import mac_status

SLOW = LaneContention(lane="offline-0", slowdown_percent=250)


def view(*lanes: LaneContention, **facts: object) -> MacView:
    return replace(CONNECTED, machine=FACTS.model_copy(update={"contended_lanes": lanes, **facts}))


def reserved(*names: str) -> tuple[ReservedFacts, ...]:
    return tuple(ReservedFacts(name=name, memory_bytes=2**30) for name in names)


def after(mac: MacAgent, seen: MacView, now: str = NOW) -> MacAgent:
    return mac.model_copy(update={"status": mac_status(mac, seen, now)})


def shown(mac: MacAgent) -> Condition | None:
    return find(mac.status.conditions, ConditionType.CONTENDED)


@pytest.fixture
def mac() -> MacAgent:
    return MacAgent.load(mac_agent("mac-a"))


def test_it_is_there_only_while_lanes_are_slowed_down_and_the_mac_takes_attempts(mac: MacAgent) -> None:
    assert shown(after(mac, view())) is None
    slow = after(mac, view(SLOW))
    found = shown(slow)
    assert found is not None and found.status == "True" and "offline-0 2.5." in found.message
    available = find(slow.status.conditions, ConditionType.AVAILABLE)
    assert available is not None and available.status == "True"
    assert shown(after(slow, view(), LATER)) is None


def test_an_agent_that_does_not_say_has_none(mac: MacAgent) -> None:
    assert FACTS.contended_lanes is None and shown(after(mac, CONNECTED)) is None


def test_nothing_is_written_while_the_verdict_stands(mac: MacAgent) -> None:
    slow = after(mac, view(SLOW))
    assert after(slow, view(SLOW), LATER).status == slow.status


def test_what_was_found_stands_without_contact_and_after_a_restart_of_the_operator(mac: MacAgent) -> None:
    slow = after(mac, view(SLOW))
    for seen in (replace(view(SLOW), connected=False), replace(CONNECTED, connected=False, machine=None)):
        assert shown(after(slow, seen, LATER)) == shown(slow)
        assert shown(after(mac, seen)) is None


def test_its_end_is_told(mac: MacAgent) -> None:
    slow = after(mac, view(SLOW))
    assert changes(mac.status, slow.status) == ()
    (told,) = changes(slow.status, after(slow, view(), LATER).status)
    assert told.reason is EventReason.CONTENTION_ENDED
    assert changes(MacAgentStatus(), mac.status) == ()


def test_those_whom_memory_is_reserved_for_are_named_as_the_agent_says() -> None:
    mac = MacAgent.load(mac_agent("mac-a", reserved=[{"name": "llm", "memory": "1Gi"}]))
    for facts, named in ((reserved("vision", "search"), "vision, search"), (None, "llm")):
        verdict = contended(mac, view(SLOW, reserved=facts))
        assert verdict is not None and f"memory is reserved there for {named}." in verdict.message
    verdict = contended(mac, view(SLOW, reserved=()))
    assert verdict is not None and "reserved" not in verdict.message


@pytest.mark.parametrize("percent", [-1, 0, 10**18])
def test_what_an_agent_says_is_bounded(mac: MacAgent, percent: int) -> None:
    lanes = [LaneContention(lane="x" * 5000, slowdown_percent=percent) for _ in range(1000)]
    verdict = contended(mac, view(*lanes, reserved=reserved(*["y" * 5000] * 1000)))
    assert verdict is not None and len(verdict.message) < MESSAGE_LIMIT


def test_why_says_what_slows_it_down(mac: MacAgent) -> None:
    slow = after(mac, view(SLOW))
    found = EXPLAINER.next(slow)
    assert found.startswith("it takes attempts; ") and "offline-0 2.5" in found
    assert EXPLAINER.next(after(mac, view())) == "nothing: it takes attempts"


def test_facts_of_another_version_can_be_read() -> None:
    told = FACTS.model_copy(update={"contended_lanes": (SLOW,)}).dump()
    assert MachineFacts.load(told).contended_lanes == (SLOW,)
    del told["contendedLanes"]
    assert MachineFacts.load(told).contended_lanes is None
