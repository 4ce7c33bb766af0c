"""Two control planes for one Mac: the second is refused and told why; the first loses nothing.

`make soak` runs it: it starts a control plane of its own.
"""

from __future__ import annotations

from pathlib import Path

from tests.e2e.conftest import making_fleets, with_kinds
from tests.e2e.fleet import EXPECTED

from voxfleet_api.conditions import ConditionType, Reason, is_true
from voxfleet_dev.controlplane import ControlPlane
from voxfleet_dev.demo_report import gather

CLIPS = [*EXPECTED][:8]


def test_a_second_control_plane_gets_nothing_and_takes_nothing(control_plane: ControlPlane, tmp_path: Path) -> None:
    with (
        making_fleets(with_kinds(control_plane), tmp_path / "one") as make,
        ControlPlane(tmp_path / "second") as second,
        making_fleets(with_kinds(second), tmp_path / "other") as make_other,
    ):
        fleet, other = make(macs=1), make_other(macs=0)
        mac = fleet.macs[0]
        fleet.start(mac_env={0: {"VOXFLEET_CRASH_AT": "row-recorded@3"}})
        fleet.submit("job", CLIPS)
        fleet.wait_for("the agent crashed in mid-work", lambda: not mac.agent.running)
        other.register(mac)
        other.start()
        mac.restart_agent()
        condition = other.wait_for_condition(
            lambda: other.mac_agent(mac), ConditionType.REACHABLE, "False", Reason.OTHER_CONTROL_PLANE
        )
        assert uid_of(control_plane) in condition.message and "Delete this MacAgent" in condition.message
        other.wait_for("the event", lambda: ("MacAgent", mac.name, condition.message) in other.events(condition.reason))

        job = fleet.wait_for_end("job")
        assert is_true(job.status.conditions, ConditionType.COMPLETE), fleet.explain()
        fleet.assert_nothing_lost_or_doubled(job, len(CLIPS))
        assert {record.attempt for shard in fleet.shards("job") for record in shard.status.attempts} == {1}
        assert gather(control_plane, job, [mac]).ledger_verified
        assert second.kubectl("get", "mhs", "-o", "name") == "", "it bills nothing"


def uid_of(control_plane: ControlPlane) -> str:
    return control_plane.kubectl("get", "namespace", "kube-system", "-o", "jsonpath={.metadata.uid}")
