"""Common mistakes of a first day: a condition says what to do, and other jobs go on."""

from __future__ import annotations

import itertools
import json
import shutil

from tests.e2e.fleet import EXPECTED, Fleet

from voxfleet_api.conditions import ConditionType, is_true
from voxfleet_api.failures import FailureClass
from voxfleet_api.rows import ClipStatus
from voxfleet_dev.mac import Mac
from voxfleet_dev.sshd import Sshd

CLIPS = [*EXPECTED][:4]
_numbers = itertools.count(1)


def assert_other_work_goes_on(fleet: Fleet) -> None:
    name = f"healthy-{next(_numbers)}"
    fleet.submit(name, CLIPS)
    job = fleet.wait_for_end(name)
    assert is_true(job.status.conditions, ConditionType.COMPLETE)


def reachable(fleet: Fleet, mac: Mac, reason: str) -> str:
    return fleet.wait_for_condition(lambda: fleet.mac_agent(mac), ConditionType.REACHABLE, "False", reason).message


def test_a_wrong_host_key(fleet: Fleet) -> None:
    mac = fleet.macs[0]
    other = Sshd(fleet.directory / "other-sshd", forward_port=mac.agent_port)
    spec = mac.mac_agent_manifest()["spec"]
    assert isinstance(spec, dict)
    fleet.register(mac, {"ssh": {**spec["ssh"], "hostKeys": [other.host_key_line]}})
    message = reachable(fleet, mac, "HostKeyMismatch")
    assert "spec.ssh.hostKeys" in message
    assert_other_work_goes_on(fleet)


def test_a_wrong_agent_token(fleet: Fleet) -> None:
    mac = fleet.macs[1]
    fleet.control_plane.apply(
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": "wrong", "namespace": fleet.operator_namespace},
            "stringData": {"token": "not-the-token"},
        }
    )
    fleet.register(mac, {"tokenSecretRef": {"name": "wrong", "key": "token"}})
    message = reachable(fleet, mac, "AgentTokenRefused")
    assert "Secret wrong" in message and "tokenFile" in message
    assert_other_work_goes_on(fleet)


def test_a_missing_secret(fleet: Fleet) -> None:
    mac = fleet.macs[1]
    fleet.register(mac, {"tokenSecretRef": {"name": "nowhere", "key": "token"}})
    message = reachable(fleet, mac, "SecretNotFound")
    assert "nowhere" in message and fleet.operator_namespace in message
    assert_other_work_goes_on(fleet)
    fleet.register(mac)
    fleet.wait_for_condition(lambda: fleet.mac_agent(mac), ConditionType.REACHABLE, "True", "Connected")


def test_an_unknown_contract(fleet: Fleet) -> None:
    fleet.submit("uncontracted", CLIPS, contractRef={"name": "late"})
    message = fleet.wait_for_condition(
        lambda: fleet.job("uncontracted"), ConditionType.ACCEPTED, "False", "ContractNotFound"
    ).message
    assert "late" in message
    assert_other_work_goes_on(fleet)
    assert not is_true(fleet.job("uncontracted").status.conditions, ConditionType.FAILED)


def test_a_model_path_that_does_not_exist(fleet: Fleet) -> None:
    nowhere = f"{fleet.shared}/nowhere"
    fleet.submit("modelless", CLIPS, model={"path": nowhere})
    message = fleet.wait_for_condition(
        lambda: fleet.job("modelless"), ConditionType.FAILED, "True", "ModelUnavailable"
    ).message
    assert nowhere in message
    assert_other_work_goes_on(fleet)


def test_a_manifest_that_names_another_teams_files(fleet: Fleet) -> None:
    """The agents may touch all that is shared; this namespace may not, whether by address or through a link."""
    theirs = fleet.shared / "theirs" / "private.wav"
    theirs.parent.mkdir()
    shutil.copy(fleet.shared / "clips" / "wav-16000-01.wav", theirs)
    (fleet.shared / "clips" / "link.wav").symlink_to(theirs)
    mine = [f"file://{fleet.shared}/{folder}/" for folder in ("clips", "results")]
    rules = [
        {"namespaceSelector": {}, "uriPrefixes": mine},
        {"namespaceSelector": {"matchLabels": {"team": "theirs"}}, "uriPrefixes": [f"file://{theirs.parent}/"]},
    ]
    for mac in fleet.macs:
        fleet.register(mac, {"access": rules})
    lines = {name: f"{name}.wav" for name in ("wav-16000-01", "link")} | {"theirs": f"file://{theirs}"}
    manifest = fleet.shared / "clips" / "some-are-theirs.jsonl"
    manifest.write_text("".join(json.dumps({"id": name, "uri": uri}) + "\n" for name, uri in lines.items()))
    fleet.submit("nosy", input={"manifest": {"uri": f"file://{manifest}"}})
    fleet.submit("nosy-output", CLIPS, output={"uri": f"file://{theirs.parent}/"})
    job = fleet.wait_for_end("nosy")
    assert (job.status.clips.succeeded, job.status.clips.failed) == (1, 2)
    fleet.assert_nothing_lost_or_doubled(job, len(lines))
    rows = {row.custom_id: row for row in fleet.rows(job)}
    for error in (rows["theirs"].error, rows["link"].error):
        assert error is not None and error.failure_class is FailureClass.ACCESS_DENIED
        assert "spec.access of the MacAgent" in error.reason
    assert rows["theirs"].status is rows["link"].status is ClipStatus.FAILED
    assert rows["wav-16000-01"].status is ClipStatus.SUCCEEDED
    waits = "no access to the job's addresses"
    fleet.wait_for(waits, lambda: waits in (fleet.job("nosy-output").status.pending_reason or ""))
    assert [path.name for path in theirs.parent.iterdir()] == [theirs.name]
