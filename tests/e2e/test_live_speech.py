"""Speech through a gateway, an operator, agents and a real model, beside the batch.

Whoever dies or drains: only its own sessions end, and what is warm stays or moves.
"""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import psutil
import pytest
from tests.e2e.fleet import CLIPS, EXPECTED, Fleet
from tests.rig.api_server import ApiServer
from tests.rig.live_client import Heard, LiveClient, pcm
from tests.rig.rights import bound_to, requests_of, rights_of, unneeded
from typer.testing import CliRunner

from voxfleet_api import API_VERSION, GROUP
from voxfleet_api.conditions import ConditionType, is_true
from voxfleet_api.endpoint_lanes import LaneList, LaneState, LaneStatus
from voxfleet_api.kinds import MachineHourStatement, VoiceEndpoint
from voxfleet_api.kinds.endpoint_status import EndpointLaneState
from voxfleet_api.ledger import LedgerRow
from voxfleet_api.protocol import LedgerPage
from voxfleet_api.quantities import seconds_milliseconds, seconds_text
from voxfleet_cli.main import app
from voxfleet_dev.client_key import KEYS_SECRET, ClientKey
from voxfleet_dev.controlplane import ControlPlane
from voxfleet_dev.gateway_process import GatewayAccount, GatewayProcess
from voxfleet_dev.mac import Mac

NAMESPACE = "live-speech"
NIGHT = [*EXPECTED][:4]
SPOKEN = {name: CLIPS / f"{name}.wav" for name in ("wav-16000-01", "wav-22050-05", "wav-44100-09", "wav-48000-13")}
ONE = "wav-16000-01"


class Speech:
    """A fleet with a gateway before it, and who calls its endpoint."""

    def __init__(self, fleet: Fleet) -> None:
        self.key = ClientKey()
        fleet.control_plane.apply(self.key.secret_manifest(NAMESPACE))
        secrets = ["fleet-ssh", "fleet-ca", "fleet-client", *(mac.session_secret for mac in fleet.macs)]
        keys = [{"namespace": NAMESPACE, "secretNames": [KEYS_SECRET]}]
        self.account = GatewayAccount(fleet.control_plane, NAMESPACE, {"fleetSecrets": secrets, "keySecrets": keys})
        self.account.grant()
        flags = ["--drain-seconds", "60"]
        self.gateway = GatewayProcess(fleet.directory, self.account.kubeconfig, NAMESPACE, flags)
        self.url = f"{self.gateway.url}/{NAMESPACE}/captions"

    def session(self, clip: str = ONE) -> LiveClient:
        return LiveClient(self.url, self.key.text, pcm(SPOKEN[clip])[1])

    def transcript(self, clip: Path) -> httpx.Response:
        return httpx.post(
            f"{self.url}/v1/audio/transcriptions",
            headers={"Authorization": f"Bearer {self.key.text}"},
            files={"file": (f"audio{clip.suffix}", clip.read_bytes())},
            data={"model": "captions"},
            timeout=60.0,
            trust_env=False,
        )

    def reaches(self, macs: int) -> bool:
        return f'voxfleet_gateway_links{{state="up"}} {macs}.0' in self.gateway.health.answer("/metrics")


@pytest.fixture
def fleet(served_kinds: ControlPlane, tmp_path: Path) -> Iterator[Fleet]:
    """Two Macs, one over SSH and one over HTTPS, each with a lane of either kind; started by `speech`."""
    served_kinds.kubectl("create", "namespace", NAMESPACE)
    with Fleet(served_kinds, tmp_path, NAMESPACE, macs=2, interactive_lanes=1, over_https=[1]) as made:
        yield made


@pytest.fixture
def speech(fleet: Fleet) -> Iterator[Speech]:
    made = Speech(fleet)
    fleet.operator = fleet.make_operator("operator-with-url", f"--gateway-url={made.gateway.url}")
    fleet.start()
    yield made
    made.gateway.stop()


def test_who_dies_ends_its_own_sessions_alone(fleet: Fleet, speech: Speech) -> None:
    fleet.apply(captions(fleet, lanes=1))
    speech.gateway.start()
    fleet.wait_for("a lane is warm", lambda: warm_lanes(fleet) == 1)
    first = holders(fleet)[0]
    (lane,) = lanes_of(first)
    assert lane.state is LaneState.READY and lane.model_digest == endpoint(fleet).status.model_digest

    fleet.submit("night", NIGHT)
    assert_texts_are_the_batchs(speech)
    assert_a_service_account_gets_in(fleet)
    assert is_true(fleet.wait_for_end("night").status.conditions, ConditionType.COMPLETE), fleet.explain()
    (after,) = lanes_of(first)
    assert (after.generation, after.model_digest) == (lane.generation, lane.model_digest), "the batch took nothing"

    heard = said_through(speech, fleet.operator.kill)
    assert (heard.text, heard.close_code) == (EXPECTED[ONE]["text"], 1000), "the leader's death ends none"
    fleet.restart_operator()

    with speech.session() as session:
        session.send(pcm(SPOKEN[ONE])[0])
        first.kill_agent()
        assert_lost(session.until_closed())
    fleet.wait_for("the endpoint has seen its Mac go", lambda: warm_lanes(fleet) == 0)
    first.restart_agent()
    fleet.wait_for("the agent loads it again", lambda: warm_lanes(fleet) == 1)
    assert [item.generation for item in lanes_of(first)] == [lane.generation]
    assert rows_of(first), "what the killed process held it for was signed"

    drain(fleet, first, {"mode": "ReturnAtNextClip", "deadlineSeconds": 0})
    fleet.wait_for("the other Mac has it", lambda: warm_lanes(fleet) == 1 and holders(fleet) != [first])
    fleet.wait_for("the first one has it no more", lambda: not lanes_of(first))
    fleet.wait_for("a statement counts all that it signed", lambda: counted(fleet, first) == signed_seconds(first))
    drain(fleet, first, None)
    fleet.apply(captions(fleet, lanes=2))
    fleet.wait_for("each Mac has a lane", lambda: warm_lanes(fleet) == 2)

    assert_a_lanes_end_is_its_own(fleet, speech)
    assert_a_gateways_end_is_its_own(speech)
    assert_the_gateway_told_and_did_no_more_than_it_may(fleet, speech)

    fleet.control_plane.kubectl("delete", "ve", "captions", "-n", NAMESPACE, "--timeout=60s")
    assert not any(lanes_of(mac) for mac in fleet.macs)


def assert_texts_are_the_batchs(speech: Speech) -> None:
    """Of every example clip as a file, and of some over a socket, as fast as possible, in frames of odd sizes."""
    for clip in sorted(path for path in CLIPS.iterdir() if path.stem in EXPECTED):
        answer, wanted = speech.transcript(clip), EXPECTED[clip.stem]
        if "text" in wanted:
            assert (answer.status_code, answer.json()) == (200, {"text": wanted["text"]}), (clip.stem, answer.text)
        elif wanted["class"] != "ChecksumMismatch":  # an upload names no checksum
            assert answer.status_code in (400, 422), (clip.stem, answer.text)
            assert wanted["class"] in answer.json()["error"]["message"]
    for name, path in SPOKEN.items():
        with speech.session(name) as session:
            session.send(pcm(path)[0])
            heard = session.stop()
        assert (heard.text, heard.close_code) == (EXPECTED[name]["text"], 1000), heard
        assert "".join(heard.deltas) == "".join(heard.turns)


def assert_a_service_account_gets_in(fleet: Fleet) -> None:
    """By the command line, which finds address and token in the cluster."""
    kubectl = fleet.control_plane.kubectl
    for manifest in (
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "robot"}},
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "Role",
            "metadata": {"name": "uses-captions"},
            "rules": [
                {
                    "apiGroups": [GROUP],
                    "resources": [VoiceEndpoint.crd.plural],
                    "resourceNames": ["captions"],
                    "verbs": ["use"],
                }
            ],
        },
    ):
        fleet.apply(manifest)
    where = ("-n", NAMESPACE, "--role=uses-captions", f"--serviceaccount={NAMESPACE}:robot")
    kubectl("create", "rolebinding", "uses-captions", *where)
    words = ["transcribe", str(SPOKEN[ONE]), "--endpoint", "captions", "-n", NAMESPACE, "--service-account", "robot"]
    told = CliRunner().invoke(app, [*words, "--kubeconfig", str(fleet.control_plane.kubeconfig)])
    assert (told.exit_code, told.stdout) == (0, f"{EXPECTED[ONE]['text']}\n"), told.output


def assert_the_gateway_told_and_did_no_more_than_it_may(fleet: Fleet, speech: Speech) -> None:
    log = speech.gateway.child.log.read_text()
    assert speech.key.text not in log and str(EXPECTED[ONE]["text"]) not in log
    assert [line for line in speech.gateway.log_lines() if line["level"] in ("error", "critical")] == []
    requests = requests_of(fleet.control_plane.audit_log, speech.account.user)
    assert [request.uri for request in requests if request.status == 403] == []
    granted = [right for role in bound_to(speech.account.manifests(), speech.account.name) for right in rights_of(role)]
    assert unneeded(granted, requests) == [], "it may do nothing that it does not do"


def assert_a_lanes_end_is_its_own(fleet: Fleet, speech: Speech) -> None:
    """kill -9 of a lane's process, with a session on either Mac."""
    assert speech.transcript(SPOKEN[ONE]).status_code == 200
    fleet.wait_for("the gateway reaches both Macs", lambda: speech.reaches(2))
    with speech.session() as one, speech.session() as other:
        for session in (one, other):
            session.send(pcm(SPOKEN[ONE])[0][:16_000])
        assert [lanes_of(mac)[0].sessions for mac in fleet.macs] == [1, 1], "the least busy lane takes a session"
        kill_lane(fleet.macs[0])
        with speech.session() as third:
            third.send(pcm(SPOKEN[ONE])[0])
            assert third.stop().text == EXPECTED[ONE]["text"], "the other Mac's lane takes it at once"
        ends = [session.stop() for session in (one, other)]
    assert sorted(heard.close_code == 1000 for heard in ends) == [False, True]
    assert_lost(next(heard for heard in ends if heard.close_code != 1000))


def assert_a_gateways_end_is_its_own(speech: Speech) -> None:
    """kill -9, and then a drain."""
    with speech.session() as session:
        session.send(pcm(SPOKEN[ONE])[0][:16_000])
        speech.gateway.child.kill()
        assert session.until_closed().close_code == 1006
    speech.gateway.start()

    def drains() -> None:
        os.kill(speech.gateway.child.pid, signal.SIGTERM)

    heard = said_through(speech, drains)
    assert (heard.text, heard.close_code) == (EXPECTED[ONE]["text"], 1000)
    assert speech.gateway.child.wait_exit(30) == 0


def said_through(speech: Speech, happens: Callable[[], object]) -> Heard:
    """A session in whose middle something happens."""
    samples = pcm(SPOKEN[ONE])[0]
    with speech.session() as session:
        session.send(samples[:24_001])
        happens()
        session.send(samples[24_001:])
        return session.stop()


def assert_lost(heard: Heard) -> None:
    """Its caller is told that it may open another one."""
    assert heard.close_code not in (1000, 1006), heard
    assert [json.loads(error)["retryable"] for error in heard.errors] == [True], heard


def kill_lane(mac: Mac) -> None:
    (child,) = (
        child
        for child in psutil.Process(mac.agent.pid).children(recursive=True)
        if any("live-0" in word for word in child.cmdline()) and "voxfleet_agent.worker.main" in child.cmdline()
    )
    child.kill()


def captions(fleet: Fleet, *, lanes: int) -> dict[str, object]:
    spec = {
        "contractRef": {"name": "contract"},
        "model": {"builtin": {"name": "commands"}},
        "memoryCap": "1Gi",
        "lanes": {"min": lanes, "max": lanes},
        "auth": {"keysSecretRef": {"name": KEYS_SECRET}, "serviceAccounts": ["robot"]},
    }
    metadata = {"name": "captions", "namespace": fleet.namespace}
    return {"apiVersion": API_VERSION, "kind": "VoiceEndpoint", "metadata": metadata, "spec": spec}


def drain(fleet: Fleet, mac: Mac, wanted: dict[str, object] | None) -> None:
    change = json.dumps({"spec": {"drain": wanted}})
    fleet.control_plane.kubectl("patch", "mac", mac.name, "--type=merge", "-p", change)


def endpoint(fleet: Fleet) -> VoiceEndpoint:
    with ApiServer(fleet.control_plane) as server:
        return server.get(VoiceEndpoint, "captions", NAMESPACE)


def warm_lanes(fleet: Fleet) -> int:
    """How many, if it has no others and counts as available; else 0."""
    found = endpoint(fleet)
    states = [lane.state for lane in found.status.macs]
    available = is_true(found.status.conditions, ConditionType.AVAILABLE)
    return len(states) if available and set(states) == {EndpointLaneState.WARM} else 0


def holders(fleet: Fleet) -> list[Mac]:
    named = {lane.mac for lane in endpoint(fleet).status.macs}
    return [mac for mac in fleet.macs if mac.name in named]


def rows_of(mac: Mac) -> list[LedgerRow]:
    """Of endpoints."""
    rows = [signed.row for signed in LedgerPage.load(mac.get_json("/v1/ledger")).rows]
    return [row for row in rows if row.held_for.kind == VoiceEndpoint.crd.kind]


def signed_seconds(mac: Mac) -> str:
    rows = [signed.row for signed in LedgerPage.load(mac.get_json("/v1/ledger")).rows]
    return seconds_text(sum(row.monotonic_milliseconds for row in rows))


def counted(fleet: Fleet, mac: Mac) -> str:
    """Machine time of all months, for the test may run over a month's end."""
    with ApiServer(fleet.control_plane) as server:
        statements = [item for item in server.list(MachineHourStatement) if item.spec.mac == mac.name]
    return seconds_text(sum(seconds_milliseconds(item.status.machine_seconds) for item in statements))


def lanes_of(mac: Mac) -> list[LaneStatus]:
    return list(LaneList.load(mac.get_json("/v1/lanes")).lanes)
