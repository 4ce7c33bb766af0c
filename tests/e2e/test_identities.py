"""Which machine a Mac is: reinstalled, with a new key, registered twice. Nothing is lost or billed twice."""

from __future__ import annotations

import json
import shlex
import shutil

import pytest
from tests.e2e.conftest import MakeFleet
from tests.e2e.fleet import EXPECTED, Fleet

from voxfleet_api.conditions import ConditionType, Reason, is_true
from voxfleet_api.kinds import AudioBatchJob, MachineHourStatement
from voxfleet_api.kinds.audio_shard import AttemptOutcome
from voxfleet_api.quantities import seconds_milliseconds
from voxfleet_dev.demo_report import gather
from voxfleet_dev.mac import Mac

CLIPS = [*EXPECTED][:8]


@pytest.fixture
def fleet(make_fleet: MakeFleet) -> Fleet:
    """One Mac."""
    return make_fleet(macs=1)


def assert_complete(fleet: Fleet, job: AudioBatchJob) -> None:
    assert is_true(job.status.conditions, ConditionType.COMPLETE), fleet.explain()
    fleet.assert_nothing_lost_or_doubled(job, len(CLIPS))


def lose_state(mac: Mac) -> None:
    """All but the id of the hardware, which on a Mac is not in the agent's folder."""
    state = mac.directory / "state"
    kept = (state / "hardware-id").read_bytes()
    shutil.rmtree(state)
    state.mkdir(mode=0o700)
    (state / "hardware-id").write_bytes(kept)
    (state / "hardware-id").chmod(0o600)


def told(fleet: Fleet, mac: str, reason: str) -> str:
    """The note of the Mac's event with this reason; waits for it."""
    notes: list[str] = []

    def published() -> bool:
        notes[:] = [note for kind, name, note in fleet.events(reason) if (kind, name) == ("MacAgent", mac)]
        return bool(notes)

    fleet.wait_for(f"the event {reason} of {mac}", published)
    return notes[0]


def test_an_agent_that_lost_its_state_goes_on_with_its_key(fleet: Fleet) -> None:
    fleet.start(mac_env={0: {"VOXFLEET_CRASH_AT": "row-recorded@3"}})
    mac = fleet.macs[0]
    fleet.submit("job", CLIPS)
    fleet.wait_for("the agent crashed in mid-work", lambda: not mac.agent.running)
    lose_state(mac)
    mac.restart_agent()

    job = fleet.wait_for_end("job")
    assert_complete(fleet, job)
    attempts = [record for shard in fleet.shards("job") for record in shard.status.attempts]
    assert {record.outcome for record in attempts} == {AttemptOutcome.SUCCEEDED}
    report = gather(fleet.control_plane, job, fleet.macs)
    signed = report.milliseconds_by_mac[mac.name]
    assert report.status_milliseconds >= signed > 0, "rows of the lost chain that were read before count, too"
    fleet.wait_for_condition(lambda: fleet.mac_agent(mac), ConditionType.LEDGER_VERIFIED, "True", Reason.VERIFIED)
    assert "it has lost its state" in told(fleet, mac.name, "LedgerBegunAnew")


def test_a_new_ledger_key_waits_for_an_admin_who_is_told_what_to_type(fleet: Fleet) -> None:
    fleet.start()
    mac = fleet.macs[0]
    fleet.wait_for_condition(lambda: fleet.mac_agent(mac), ConditionType.REACHABLE, "True", Reason.CONNECTED)
    mac.agent.stop()
    mac.renew_ledger_key()
    mac.restart_agent()
    condition = fleet.wait_for_condition(
        lambda: fleet.mac_agent(mac), ConditionType.REACHABLE, "False", Reason.IDENTITY_MISMATCH
    )
    assert told(fleet, mac.name, Reason.IDENTITY_MISMATCH) == condition.message

    fleet.submit("job", CLIPS)
    fleet.wait_for_condition(lambda: fleet.job("job"), ConditionType.COMPLETE, "False", Reason.WAITING_FOR_MAC)
    typed = condition.message.partition("type: ")[2].partition(". It then")[0]
    assert shlex.split(typed)[:4] == ["kubectl", "patch", "macagent", mac.name]
    fleet.control_plane.kubectl(*shlex.split(typed)[1:])
    assert_complete(fleet, fleet.wait_for_end("job"))


def test_two_macagents_for_one_machine_are_one_mac_and_one_bill(fleet: Fleet) -> None:
    fleet.start(mac_env={0: {"VOXFLEET_CRASH_AT": "row-recorded@3"}})
    mac, twin = fleet.macs[0], f"{fleet.macs[0].name}-twin"
    fleet.submit("first", CLIPS)
    fleet.wait_for("the agent crashed in mid-work", lambda: not mac.agent.running)
    manifest = mac.mac_agent_manifest()
    fleet.control_plane.apply({**manifest, "metadata": {"name": twin}})
    try:
        mac.restart_agent()
        note = told(fleet, twin, Reason.DUPLICATE_MACHINE)
        assert f"MacAgent {mac.name}, which is older," in note and "delete one of the two" in note
        first = fleet.wait_for_end("first")
        assert_complete(fleet, first)
        attempts = [record for shard in fleet.shards("first") for record in shard.status.attempts]
        assert {(record.attempt, record.mac) for record in attempts} == {(1, mac.name)}, "nothing was deleted"

        fleet.control_plane.kubectl("delete", "macagent", mac.name)
        fleet.submit("second", CLIPS)
        second = fleet.wait_for_end("second")
        assert_complete(fleet, second)
        assert second.status.macs == (twin,)
        signed = [billed_as_signed(fleet, job, mac) for job in (first, second)]
    finally:
        fleet.control_plane.kubectl("delete", "macagent", twin)
    fleet.wait_for("both names are settled", lambda: stated_milliseconds(fleet, mac.name, twin) >= sum(signed))
    assert stated_milliseconds(fleet, mac.name, twin) == sum(signed)


def billed_as_signed(fleet: Fleet, job: AudioBatchJob, mac: Mac) -> int:
    """What the agent signed for the job, which is what the job is billed."""
    report = gather(fleet.control_plane, job, [mac])
    assert report.status_milliseconds == report.milliseconds_by_mac[mac.name] > 0
    return report.status_milliseconds


def stated_milliseconds(fleet: Fleet, *macs: str) -> int:
    items = json.loads(fleet.control_plane.kubectl("get", "mhs", "-o", "json"))["items"]
    statements = [MachineHourStatement.load(item) for item in items]
    return sum(seconds_milliseconds(item.status.machine_seconds) for item in statements if item.spec.mac in macs)
