"""The whole process against a real API server, through a real sshd: who is let in, what it may do, and how it stops."""

from __future__ import annotations

import asyncio
import base64
import hashlib
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack
from pathlib import Path

import aiohttp
import pytest
from tests.rig.rights import bound_to, requests_of, rights_of, unneeded
from tests.rig.session_agent import TOKEN, SessionAgent

from voxfleet_api import API_VERSION
from voxfleet_api.endpoint_lanes import LaneKey
from voxfleet_api.kinds.voice_contract import VoiceContractSpec
from voxfleet_dev.controlplane import ControlPlane
from voxfleet_dev.gateway_process import GatewayAccount, GatewayProcess
from voxfleet_dev.sshd import Sshd
from voxfleet_gateway.gateway_metric_list import METRICS
from voxfleet_operator.metric_list import API_REQUEST_SECONDS, API_REQUESTS

KEY = "vf-" + "k" * 40
DIGEST = "sha256:" + "0" * 64
PATIENCE_SECONDS = 30.0


class Site:
    """A Mac behind sshd, an endpoint with a warm lane on it, and a gateway with the chart's rights."""

    def __init__(self, control_plane: ControlPlane, namespace: str, folder: Path) -> None:
        self.control_plane = control_plane
        self.namespace = namespace
        self.agent = SessionAgent()
        fleet, keys = ["ssh", "sessions"], [{"namespace": namespace, "secretNames": ["keys"]}]
        self.account = GatewayAccount(control_plane, namespace, {"fleetSecrets": fleet, "keySecrets": keys})
        self.gateway = GatewayProcess(folder, self.account.kubeconfig, namespace, ["--drain-seconds", "0.5"])
        self._folder = folder
        self._documents: list[Mapping[str, object]] = []

    async def start(self, stack: AsyncExitStack) -> None:
        port = await stack.enter_async_context(self.agent.on_port())
        sshd = stack.enter_context(Sshd(self._folder / "sshd", forward_port=port))
        stack.push_async_callback(asyncio.to_thread, self.gateway.stop)
        stack.push_async_callback(asyncio.to_thread, self._delete_mac)
        await asyncio.to_thread(self._apply, sshd, port)
        await asyncio.to_thread(self.gateway.start)

    @property
    def mac(self) -> str:
        return f"mac-{self.namespace}"

    def _delete_mac(self) -> None:
        """MacAgents are in no namespace: other tests on this control plane would meet it."""
        self.control_plane.admin().call("DELETE", f"/apis/{API_VERSION}/macagents/{self.mac}")

    def _apply(self, sshd: Sshd, agent_port: int) -> None:
        self._add_secret("ssh", {"id": sshd.identity_pem})
        self._add_secret("sessions", {"token": TOKEN})
        self._add_secret("keys", {"team-a": f"sha256:{hashlib.sha256(KEY.encode()).hexdigest()}\n"})
        mac = self.mac
        ssh = {
            "host": "127.0.0.1",
            "port": sshd.port,
            "user": sshd.user,
            "hostKeys": [sshd.host_key_line],
            "identitySecretRef": {"name": "ssh", "key": "id"},
            "agentPort": agent_port,
        }
        spec = {
            "ssh": ssh,
            "tokenSecretRef": {"name": "the-operators", "key": "token"},
            "sessionTokenSecretRef": {"name": "sessions", "key": "token"},
            "ledgerPublicKey": self.agent.public_key,
        }
        self._add_object("MacAgent", mac, spec)
        spec = {
            "contractRef": {"name": "contract"},
            "model": {"builtin": {"name": "commands"}},
            "memoryCap": "1Gi",
            "auth": {"keysSecretRef": {"name": "keys"}, "serviceAccounts": ["robot", "stranger"]},
        }
        self._add_object("VoiceEndpoint", "captions", spec)
        rule = {"apiGroups": ["voxfleet.dev"], "resources": ["voiceendpoints"], "verbs": ["use"]}
        rbac, robot = "rbac.authorization.k8s.io", {"kind": "ServiceAccount", "name": "robot"}
        role = {"apiGroup": rbac, "kind": "Role", "name": "uses-captions"}
        for document in (
            {"apiVersion": f"{rbac}/v1", "kind": "Role", "rules": [{**rule, "resourceNames": ["captions"]}]},
            {"apiVersion": f"{rbac}/v1", "kind": "RoleBinding", "roleRef": role, "subjects": [robot]},
        ):
            self._add({**document, "metadata": {"name": "uses-captions"}})
        for name in ("robot", "stranger"):
            self._add({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name}})
        self._applied()
        clips = {"minClip": "100ms", "maxClip": "10m", "maxClipBytes": "200Mi"}
        wanted = {"input": {"containers": ["wav"], "sampleRatesHz": [16000], "channels": [1], **clips}}
        contract = VoiceContractSpec.load(wanted).model_dump(mode="json", by_alias=True, exclude_none=True)
        lane = {"mac": mac, "generation": 1, "specDigest": DIGEST, "state": "Warm", "since": "2026-11-30T10:00:00Z"}
        status = {
            "observedGeneration": 1,
            "contract": {"digest": DIGEST, "spec": contract, "generation": 1},
            "macs": [lane],
        }
        admin = self.control_plane.admin()
        path = f"/apis/{API_VERSION}/namespaces/{self.namespace}/voiceendpoints/captions"
        stored = admin.call("GET", path)
        admin.call("PUT", f"{path}/status", {**stored, "status": status})
        self.agent.lanes.add(LaneKey(stored["metadata"]["uid"], 1))
        self.account.grant()

    def token(self, account: str, *audiences: str) -> str:
        request = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"audiences": audiences}}
        path = f"/api/v1/namespaces/{self.namespace}/serviceaccounts/{account}/token"
        token: str = self.control_plane.admin().call("POST", path, request)["status"]["token"]
        return token

    def _add_secret(self, name: str, data: Mapping[str, str]) -> None:
        encoded = {key: base64.b64encode(value.encode()).decode() for key, value in data.items()}
        self._add({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "data": encoded})

    def _add_object(self, kind: str, name: str, spec: Mapping[str, object]) -> None:
        self._add({"apiVersion": API_VERSION, "kind": kind, "metadata": {"name": name}, "spec": spec})

    def _add(self, document: Mapping[str, object]) -> None:
        self._documents.append(document)

    def _applied(self) -> None:
        """All at once: each kubectl takes its time."""
        listed = {"apiVersion": "v1", "kind": "List", "items": self._documents}
        self.control_plane.apply(listed, namespace=self.namespace)


@pytest.fixture
async def site(installed_crds: ControlPlane, namespace: str, tmp_path: Path) -> AsyncIterator[Site]:
    async with AsyncExitStack() as stack:
        site = Site(installed_crds, namespace, tmp_path)
        await site.start(stack)
        yield site


async def test_clients_are_let_in_reach_a_lane_and_the_gateway_stops_clean(site: Site) -> None:
    base = f"/{site.namespace}/captions/v1"
    async with aiohttp.ClientSession(site.gateway.url) as client:

        async def transcribed(credential: str, status: int = 200) -> str:
            form = aiohttp.FormData()
            form.add_field("file", bytes(12_345), filename="clip.wav")
            headers = {"Authorization": f"Bearer {credential}"}
            async with client.post(f"{base}/audio/transcriptions", data=form, headers=headers) as answer:
                assert answer.status == status, await answer.text()
                return await answer.text()

        assert "12345 bytes" in await transcribed(KEY)
        assert "12345 bytes" in await transcribed(site.token("robot", "voxfleet-gateway"))
        await transcribed("another-key", 401)
        await transcribed(site.token("robot"), 401)  # for the API server, not for the gateway
        await transcribed(site.token("stranger", "voxfleet-gateway"), 404)  # listed, but RBAC does not let it

        headers = {"Authorization": f"Bearer {KEY}"}
        async with client.ws_connect(f"{base}/audio/transcriptions/realtime", headers=headers) as socket:
            await socket.send_json({"model": "captions", "sample_rate": 16000})
            assert (await socket.receive_json(timeout=PATIENCE_SECONDS))["status"] == "ready"
            metrics = await asyncio.to_thread(site.gateway.health.answer, "/metrics")
            assert "voxfleet_gateway_open_sessions 1.0" in metrics
            typed = {line.split()[2] for line in metrics.splitlines() if line.startswith("# TYPE voxfleet_")}
            assert typed == {spec.name for spec in (*METRICS, API_REQUESTS, API_REQUEST_SECONDS)}
            stopping = asyncio.create_task(asyncio.to_thread(site.gateway.stop))
            while (message := await socket.receive(PATIENCE_SECONDS)).type is aiohttp.WSMsgType.TEXT:
                pass
            assert socket.close_code == aiohttp.WSCloseCode.GOING_AWAY, message
            await stopping
    assert site.gateway.child.exit_code == 0

    log = site.gateway.child.log.read_text()
    assert KEY not in log and TOKEN not in log and "12345 bytes" not in log and "clip.wav" not in log
    levels = {line["level"] for line in site.gateway.log_lines()}
    assert levels == {"info"}, log

    requests = requests_of(site.control_plane.audit_log, site.account.user)
    assert [request.uri for request in requests if request.status == 403] == []
    assert {request.method for request in requests} == {"GET", "POST"}
    granted = [right for role in bound_to(site.account.manifests(), site.account.name) for right in rights_of(role)]
    assert unneeded(granted, requests) == [], "it may do nothing that it does not do"
