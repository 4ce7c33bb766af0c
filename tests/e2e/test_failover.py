"""Two operators on one Lease: one is killed in mid-work, the other goes on, and nothing starts twice."""

from __future__ import annotations

import json
import urllib.error
import urllib.request

import psutil
from tests.e2e.conftest import MakeFleet
from tests.e2e.fleet import EXPECTED, Fleet

from voxfleet_api.conditions import ConditionType, Reason, is_true
from voxfleet_api.protocol import CONTROL_PLANE_HEADER, EPOCH_HEADER
from voxfleet_dev.mac import Mac
from voxfleet_dev.processes import free_port
from voxfleet_operator.leader import LEASE_NAME

CLIPS = [*EXPECTED][:12]


def lease(fleet: Fleet) -> dict[str, object]:
    found = fleet.control_plane.kubectl(
        "get", "lease", LEASE_NAME, "-n", fleet.operator_namespace, "-o", "json", "--ignore-not-found"
    )
    spec: dict[str, object] = json.loads(found)["spec"] if found else {}
    return spec


def ports_of(pid: int) -> set[int]:
    """The ports that a process is connected to."""
    links = psutil.Process(pid).net_connections("tcp")
    return {link.raddr.port for link in links if link.status == psutil.CONN_ESTABLISHED}


def answers(url: str, **headers: str) -> int:
    """The status of a GET, or of a POST of {} if there are headers; 0 if nobody answers."""
    body = b"{}" if headers else None
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    request = urllib.request.Request(url, body, {"Content-Type": "application/json", **names})  # noqa: S310 # loopback
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=10) as answer:
            status: int = answer.status
            return status
    except urllib.error.HTTPError as error:
        with error:
            return error.code
    except OSError:
        return 0


def renewal_under(epoch: int, fleet: Fleet, mac: Mac) -> int:
    """The agent's answer to a renewal by the leader of this epoch."""
    uid = fleet.control_plane.kubectl("get", "namespace", "kube-system", "-o", "jsonpath={.metadata.uid}")
    headers = {"Authorization": f"Bearer {mac.token}", CONTROL_PLANE_HEADER: uid, EPOCH_HEADER: str(epoch)}
    return answers(f"{mac.url}/v1/renew", **headers)


def test_a_standby_goes_on_where_a_killed_leader_was_and_starts_nothing_twice(make_fleet: MakeFleet) -> None:
    fleet = make_fleet(macs=2)
    held = {"VOXFLEET_CRASH_AT": "row-recorded@3"}
    fleet.start(mac_env={0: held, 1: held})
    fleet.wait_for("the first leads", lambda: bool(lease(fleet)))
    epoch = lease(fleet)["leaseTransitions"]
    assert isinstance(epoch, int)
    standby = fleet.make_operator("standby", "--health-port", str(port := free_port()))
    with standby:
        url = f"http://127.0.0.1:{port}/readyz"
        fleet.wait_for("the standby has listed and watches all kinds", lambda: answers(url) == 200)
        for mac in fleet.macs:
            fleet.wait_for_condition(
                lambda mac=mac: fleet.mac_agent(mac),  # type: ignore[misc] # bound here
                ConditionType.REACHABLE,
                "True",
                Reason.CONNECTED,
            )
        ports = {mac.sshd.port for mac in fleet.macs}
        assert ports_of(fleet.operator.child.pid) & ports == ports
        assert not ports_of(standby.child.pid) & ports, "a standby has no tunnels"

        fleet.submit("job", CLIPS)
        fleet.wait_for("both agents crashed in mid-work", lambda: not any(mac.agent.running for mac in fleet.macs))
        fleet.operator.kill()
        for mac in fleet.macs:
            mac.restart_agent()
        job = fleet.wait_for_end("job")
        assert is_true(job.status.conditions, ConditionType.COMPLETE), fleet.explain()
        fleet.assert_nothing_lost_or_doubled(job, len(CLIPS))
        attempts = {record.attempt for shard in fleet.shards("job") for record in shard.status.attempts}
        assert attempts == {1}, "nothing was started twice"
        assert lease(fleet)["leaseTransitions"] == epoch + 1
        for mac in fleet.macs:
            assert renewal_under(epoch, fleet, mac) == 412
            assert renewal_under(epoch + 1, fleet, mac) == 200

        standby.kill()
    fleet.control_plane.kubectl("delete", "lease", LEASE_NAME, "-n", fleet.operator_namespace)
    fleet.operator.start()
    fleet.submit("next", CLIPS[:2])
    fleet.assert_nothing_lost_or_doubled(fleet.wait_for_end("next"), 2)
    assert ("Lease", LEASE_NAME) in [event[:2] for event in fleet.events("EpochRaised")]
    raised = lease(fleet)["leaseTransitions"]
    assert isinstance(raised, int) and raised > epoch + 1, "the agents remember what the Lease does not"
