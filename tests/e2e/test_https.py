"""A fleet over HTTPS alone: an agent that dies, certificates that are renewed under work, and those that are wrong."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.e2e.conftest import making_fleets
from tests.e2e.fleet import EXPECTED, Fleet

from voxfleet_api.conditions import ConditionType, Reason, is_true
from voxfleet_dev.certificates import Authority
from voxfleet_dev.controlplane import ControlPlane
from voxfleet_dev.mac import CA_KEY, CA_SECRET, CLIENT_SECRET

CLIPS = [*EXPECTED][:4]
CRASH_EXIT_CODE = 70


@pytest.fixture(scope="module")
def fleet(served_kinds: ControlPlane, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    with making_fleets(served_kinds, tmp_path_factory.mktemp("https")) as make:
        fleet = make(macs=1, over_https=[0])
        fleet.start(mac_env={0: {"VOXFLEET_CRASH_AT": "row-recorded@2"}})
        yield fleet


def test_an_agent_that_dies_at_work_and_comes_back_with_another_certificate_finishes(fleet: Fleet) -> None:
    (mac,) = fleet.macs
    assert mac.tls is not None
    fleet.submit("job", CLIPS)
    fleet.wait_for("the agent crashed", lambda: not mac.agent.running)
    assert mac.agent.exit_code == CRASH_EXIT_CODE
    mac.certificate = mac.tls.authority.for_server("127.0.0.1")
    mac.write_files()
    mac.restart_agent()
    job = fleet.wait_for_end("job")
    assert is_true(job.status.conditions, ConditionType.COMPLETE), fleet.explain()
    fleet.assert_nothing_lost_or_doubled(job, len(CLIPS))
    assert {shard.status.attempt for shard in fleet.shards("job")} == {1}


@pytest.mark.parametrize(
    ("secret", "reason"),
    [(CA_SECRET, Reason.SERVER_CERTIFICATE_UNTRUSTED), (CLIENT_SECRET, Reason.CLIENT_CERTIFICATE_REFUSED)],
)
def test_a_secret_of_another_authority_is_named_and_what_heals_it_is_found(
    fleet: Fleet, secret: str, reason: Reason
) -> None:
    (mac,) = fleet.macs
    other = Authority()
    client = other.for_client("operator")
    data = {CA_SECRET: {CA_KEY: other.pem}, CLIENT_SECRET: {"tls.crt": client.pem, "tls.key": client.key_pem}}[secret]
    wrong = f"wrong-{secret}"
    fleet.control_plane.apply(
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": wrong, "namespace": fleet.operator_namespace},
            "stringData": data,
        }
    )
    https = mac.https()
    names = {CA_SECRET: "caBundleRef", CLIENT_SECRET: "clientCertificateSecretRef"}
    ref = https[names[secret]]
    assert isinstance(ref, dict)
    fleet.register(mac, {"https": {**https, names[secret]: {**ref, "name": wrong}}})
    message = fleet.wait_for_condition(lambda: fleet.mac_agent(mac), ConditionType.REACHABLE, "False", reason).message
    assert f"Secret {wrong}" in message
    fleet.register(mac)
    fleet.wait_for_condition(lambda: fleet.mac_agent(mac), ConditionType.REACHABLE, "True", Reason.CONNECTED)
