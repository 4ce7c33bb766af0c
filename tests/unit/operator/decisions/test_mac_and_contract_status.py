"""What the statuses of a Mac and of a contract say."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.unit.operator.decisions.bodies import mac_agent
from tests.unit.operator.decisions.job_objects import LATER, NOW, a_contract
from tests.unit.operator.decisions.memory_api import Clock
from tests.unit.operator.decisions.memory_fleet import Agent, facts
from tests.unit.operator.decisions.world import World

from voxfleet_api.conditions import ConditionType, Reason, find
from voxfleet_api.digest import digest_of
from voxfleet_api.kinds import MacAgent
from voxfleet_operator.fleet.mac_view import MacView
from voxfleet_operator.reconcile.contract.status import contract_status
from voxfleet_operator.reconcile.mac.status import contact_change, mac_status


def test_a_contract_publishes_its_digest() -> None:
    found = a_contract()
    status = contract_status(found, NOW)
    assert status.digest == digest_of(found.spec)
    assert contract_status(found.model_copy(update={"status": status}), LATER) == status


CONNECTED = MacView(
    "mac-a",
    connected=True,
    reason=Reason.CONNECTED,
    message="",
    machine=facts(Agent("mac-a", Clock(), World().random)),
)
SILENT = replace(CONNECTED, connected=False, machine=None)

MACS: dict[str, tuple[MacView, dict[str, object], dict[str, tuple[str, str]]]] = {
    "fine": (
        CONNECTED,
        {},
        {
            "Accepted": ("True", "Accepted"),
            "Reachable": ("True", "Connected"),
            "RuntimeCompatible": ("True", "Compatible"),
            "LedgerVerified": ("True", "Verified"),
            "Available": ("True", "Available"),
        },
    ),
    "not connected yet": (
        replace(SILENT, reason=Reason.CONNECTING, message="the first connection is under way"),
        {},
        {"Reachable": ("Unknown", "Connecting"), "Available": ("Unknown", "Connecting")},
    ),
    "wrong host key": (
        replace(SILENT, reason=Reason.HOST_KEY_MISMATCH, message="spec.ssh.hostKeys"),
        {},
        {"Reachable": ("False", "HostKeyMismatch"), "Available": ("False", "HostKeyMismatch")},
    ),
    "missing Secret": (
        replace(SILENT, reason=Reason.SECRET_NOT_FOUND, message="Secret voxfleet-system/mac-a"),
        {},
        {"Reachable": ("False", "SecretNotFound"), "LedgerVerified": ("Unknown", "Unknown")},
    ),
    "changed row": (
        replace(CONNECTED, ledger_error="ledger row c#0: was changed"),
        {},
        {"LedgerVerified": ("False", "RowRefused"), "Available": ("False", "RowRefused")},
    ),
    "unschedulable": (
        CONNECTED,
        {"unschedulable": True},
        {"Reachable": ("True", "Connected"), "Available": ("False", "Unschedulable")},
    ),
}


@pytest.mark.parametrize("name", MACS)
def test_mac_conditions(name: str) -> None:
    view, spec, want = MACS[name]
    mac = MacAgent.load(mac_agent("mac-a", **spec))
    status = mac_status(mac, view, NOW)
    found = {item.type: (item.status, item.reason) for item in status.conditions}
    assert {type_: found[type_] for type_ in want} == want
    reachable = find(status.conditions, ConditionType.REACHABLE)
    assert reachable is not None
    if not view.connected:
        assert reachable.message == view.message, "the fleet's own words tell what to do"


def test_facts_stay_when_contact_is_lost_and_nothing_moves_with_work() -> None:
    mac = MacAgent.load(mac_agent("mac-a"))
    status = mac_status(mac, CONNECTED, NOW)
    assert status.machine is not None and [(pool.name, pool.kind, pool.lanes) for pool in status.machine.pools] == [
        ("offline", "Offline", 1)
    ]
    known = mac.model_copy(update={"status": status})
    assert mac_status(known, replace(SILENT, reason=Reason.SSH_UNREACHABLE), LATER).machine == status.machine
    busy = facts(Agent("mac-a", Clock(), World().random, sequence=99))
    assert mac_status(known, replace(CONNECTED, machine=busy), LATER) == status


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        (None, CONNECTED, Reason.CONNECTED),
        (CONNECTED, CONNECTED, None),
        (CONNECTED, replace(SILENT, reason=Reason.EPOCH_NOT_BELIEVED), Reason.EPOCH_NOT_BELIEVED),
        (replace(SILENT, reason=Reason.SSH_UNREACHABLE), CONNECTED, Reason.CONNECTED),
        (replace(SILENT, reason=Reason.SSH_UNREACHABLE), replace(SILENT, reason=Reason.SSH_UNREACHABLE), None),
        (CONNECTED, replace(SILENT, reason=Reason.CONNECTING), None),
    ],
)
def test_people_are_told_when_contact_comes_goes_or_fails_anew(
    before: MacView | None, after: MacView, told: Reason | None
) -> None:
    mac = MacAgent.load(mac_agent("mac-a"))
    old = () if before is None else mac_status(mac, before, NOW).conditions
    change = contact_change(old, mac_status(mac, after, LATER).conditions)
    assert (None if change is None else change.reason) == told


async def test_a_mac_out_of_reach_is_an_event_with_its_reason() -> None:
    world = World(seed=1, macs=1)
    for reachable in ({"mac-a"}, set[str](), set[str]()):
        world.fleet.reachable = reachable
        for _ in range(2):  # the first makes the session
            while world.queue.ready:
                await world.reconcile()
            world.refresh("mac-a")
    assert [(reason, note) for name, reason, note in world.journal.published if name == "mac-a"] == [
        ("Connected", "the agent proved its identity and answers"),
        ("SshUnreachable", "no route to host"),
    ]
