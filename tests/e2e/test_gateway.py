"""Speech through a real gateway, real tunnels and real agents, as clients send it; and who dies meanwhile."""

from __future__ import annotations

import asyncio
import base64
import hashlib
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import pytest
from tests.e2e.fleet import CLIPS, EXPECTED, Fleet
from tests.rig.api_server import ApiServer
from tests.rig.rights import bound_to, requests_of, rights_of, unneeded

from voxfleet_api import API_VERSION
from voxfleet_api.kinds import VoiceEndpoint
from voxfleet_api.kinds.endpoint_status import EndpointLaneState
from voxfleet_dev.controlplane import ControlPlane
from voxfleet_dev.gateway_process import GatewayAccount, GatewayProcess

NAMESPACE = "gateway"
KEY = "vf-" + "k" * 40
URL = "https://speech.example"
PATIENCE_SECONDS = 60.0
CLIP = next(name for name in EXPECTED if (CLIPS / f"{name}.wav").exists())


@pytest.fixture
def fleet(served_kinds: ControlPlane, tmp_path: Path) -> Iterator[Fleet]:
    served_kinds.kubectl("create", "namespace", NAMESPACE)
    with Fleet(served_kinds, tmp_path, NAMESPACE, macs=2, interactive_lanes=1, over_https=[1]) as made:
        made.operator = made.make_operator("operator-with-url", f"--gateway-url={URL}")
        made.start()
        yield made


@pytest.fixture
def account(fleet: Fleet) -> GatewayAccount:
    """It may read what reaches Macs and opens sessions, and no agent's own token."""
    secrets = ["fleet-ssh", "fleet-ca", "fleet-client", *(mac.sessions_secret for mac in fleet.macs)]
    keys = [{"namespace": NAMESPACE, "secretNames": ["keys"]}]
    account = GatewayAccount(fleet.control_plane, NAMESPACE, {"fleetSecrets": secrets, "keySecrets": keys})
    account.grant()
    return account


@pytest.fixture
def gateway(account: GatewayAccount, tmp_path: Path) -> Iterator[GatewayProcess]:
    made = GatewayProcess(tmp_path, account, ["--drain-seconds", "1"])
    yield made
    made.stop()


def serve_endpoint(fleet: Fleet) -> None:
    digest = f"sha256:{hashlib.sha256(KEY.encode()).hexdigest()}\n"
    secret = {"team-a": base64.b64encode(digest.encode()).decode()}
    fleet.apply({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "keys"}, "data": secret})
    spec = {
        "contractRef": {"name": "contract"},
        "model": {"builtin": {"name": "commands"}},
        "memoryCap": "2Gi",
        "session": {"maxUploadBytes": 2**20},
        "lanes": {"min": 2, "max": 2},
        "auth": {"keysSecretRef": {"name": "keys"}, "serviceAccounts": ["robot"]},
    }
    fleet.apply({"apiVersion": API_VERSION, "kind": "VoiceEndpoint", "metadata": {"name": "captions"}, "spec": spec})
    fleet.wait_for("both lanes are warm", lambda: len(warm_macs(fleet)) == 2)


def endpoint(fleet: Fleet) -> VoiceEndpoint:
    with ApiServer(fleet.control_plane) as server:
        return server.get(VoiceEndpoint, "captions", NAMESPACE)


def warm_macs(fleet: Fleet) -> list[str]:
    return [lane.mac for lane in endpoint(fleet).status.macs if lane.state == EndpointLaneState.WARM]


async def transcribed(client: aiohttp.ClientSession, key: str) -> str:
    form = aiohttp.FormData()
    form.add_field("file", (CLIPS / f"{CLIP}.wav").read_bytes(), filename="clip.wav")
    form.add_field("model", "captions")
    headers = {"Authorization": f"Bearer {key}"}
    async with client.post(f"/{NAMESPACE}/captions/v1/audio/transcriptions", data=form, headers=headers) as answer:
        assert answer.status == 200, await answer.text()
        text: str = (await answer.json())["text"]
        return text


async def test_speech_goes_in_whoever_dies_and_the_gateway_stops_clean(
    fleet: Fleet, account: GatewayAccount, gateway: GatewayProcess
) -> None:
    await asyncio.to_thread(serve_endpoint, fleet)
    assert endpoint(fleet).status.url == f"{URL}/{NAMESPACE}/captions"
    await asyncio.to_thread(gateway.start)
    wanted = str(EXPECTED[CLIP]["text"])
    async with aiohttp.ClientSession(gateway.url) as client:
        assert await transcribed(client, KEY) == wanted
        assert await transcribed(client, robot_token(fleet)) == wanted

        path = f"/{NAMESPACE}/captions/v1/audio/transcriptions/realtime"
        async with client.ws_connect(path, headers={"Authorization": f"Bearer {KEY}"}) as socket:
            await socket.send_json({"model": "captions", "sample_rate": 16000})
            assert (await socket.receive_json(timeout=PATIENCE_SECONDS))["status"] == "ready"
            fleet.operator.kill()  # the leader's death ends no session
            await socket.send_bytes(bytes(32_000))
            await socket.send_json({"action": "stop"})
            while (message := await socket.receive(PATIENCE_SECONDS)).type is aiohttp.WSMsgType.TEXT:
                pass
            assert socket.close_code == aiohttp.WSCloseCode.OK, message

        fleet.macs[0].kill_agent()
        assert await transcribed(client, KEY) == wanted, "another Mac is warm"

        async with client.ws_connect(path, headers={"Authorization": f"Bearer {KEY}"}) as socket:
            await socket.send_json({"model": "captions", "sample_rate": 16000})
            assert (await socket.receive_json(timeout=PATIENCE_SECONDS))["status"] == "ready"
            stopping = asyncio.create_task(asyncio.to_thread(gateway.stop))
            while (message := await socket.receive(PATIENCE_SECONDS)).type is aiohttp.WSMsgType.TEXT:
                pass
            assert socket.close_code == aiohttp.WSCloseCode.GOING_AWAY, message
            await stopping
    assert gateway.child.exit_code == 0
    log = gateway.child.log.read_text()
    assert KEY not in log and wanted not in log
    assert [line for line in gateway.log_lines() if line["level"] in ("error", "critical")] == []

    requests = requests_of(fleet.control_plane.audit_log, account.user)
    assert [request.uri for request in requests if request.status == 403] == []
    granted = [right for role in bound_to(account.manifests(), account.name) for right in rights_of(role)]
    assert unneeded(granted, requests) == [], "it may do nothing that it does not do"


def robot_token(fleet: Fleet) -> str:
    """Of a ServiceAccount that the endpoint lists and RBAC lets use it."""
    kubectl = fleet.control_plane.kubectl
    kubectl("create", "serviceaccount", "robot", "-n", NAMESPACE)
    rule = ("--verb=use", "--resource=voiceendpoints.voxfleet.dev", "--resource-name=captions")
    kubectl("create", "role", "uses-captions", "-n", NAMESPACE, *rule)
    kubectl(
        "create",
        "rolebinding",
        "uses-captions",
        "-n",
        NAMESPACE,
        "--role=uses-captions",
        f"--serviceaccount={NAMESPACE}:robot",
    )
    request = {
        "apiVersion": "authentication.k8s.io/v1",
        "kind": "TokenRequest",
        "spec": {"audiences": ["voxfleet-gateway"]},
    }
    answer = fleet.control_plane.admin().call(
        "POST", f"/api/v1/namespaces/{NAMESPACE}/serviceaccounts/robot/token", request
    )
    token: str = answer["status"]["token"]
    return token
