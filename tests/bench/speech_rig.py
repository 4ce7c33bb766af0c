"""A fleet with a warm endpoint behind a gateway, whose figures are taken from the clients' side."""

from __future__ import annotations

from pathlib import Path

from tests.bench.rig import NAMESPACE, OPERATOR_NAMESPACE, Rig

from voxfleet_api import API_VERSION
from voxfleet_api.conditions import ConditionType, is_true
from voxfleet_api.kinds import VoiceEndpoint
from voxfleet_dev.client_key import KEYS_SECRET, ClientKey
from voxfleet_dev.gateway_process import GatewayAccount, GatewayProcess

ENDPOINT = "captions"
WARM_TIMEOUT_SECONDS = 180.0
GATEWAY_TIMEOUT_SECONDS = 30.0


class SpeechRig(Rig):
    """`spec` of the endpoint: what differs from the small model on one lane."""

    def __init__(
        self, directory: Path, *, readable: Path, contract: dict[str, object], spec: dict[str, object] | None = None
    ) -> None:
        super().__init__(directory, macs=1, readable=readable, contract=contract, interactive_lanes=1)
        self.key = ClientKey()
        secrets = ["fleet-ssh", *(mac.session_secret for mac in self.macs)]
        keys = [{"namespace": NAMESPACE, "secretNames": [KEYS_SECRET]}]
        self._gateways = GatewayAccount(
            self.control_plane, OPERATOR_NAMESPACE, {"fleetSecrets": secrets, "keySecrets": keys}
        )
        self.gateway = GatewayProcess(directory / "gateway", self._gateways.kubeconfig, OPERATOR_NAMESPACE)
        self.url = f"{self.gateway.url}/{NAMESPACE}/{ENDPOINT}"
        self._spec = spec or {}

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.key.text}"}

    def endpoint(self) -> VoiceEndpoint:
        return VoiceEndpoint.load(self._get(f"/apis/{API_VERSION}/namespaces/{NAMESPACE}/voiceendpoints/{ENDPOINT}"))

    def _start(self) -> None:
        super()._start()
        self.control_plane.apply(self.key.secret_manifest(NAMESPACE), self._endpoint_manifest())
        self._gateways.grant()
        self._stack.callback(self.gateway.stop)
        self.gateway.start()
        self.wait_for(
            "the endpoint available",
            lambda: is_true(self.endpoint().status.conditions, ConditionType.AVAILABLE),
            WARM_TIMEOUT_SECONDS,
        )
        self.wait_for("the gateway at its Mac", self._reaches_the_mac, GATEWAY_TIMEOUT_SECONDS)

    def _reaches_the_mac(self) -> bool:
        return 'voxfleet_gateway_links{state="up"} 1.0' in self.gateway.answer("/metrics")

    def _endpoint_manifest(self) -> dict[str, object]:
        spec: dict[str, object] = {
            "contractRef": {"name": "bench"},
            "model": {"builtin": {"name": "commands"}},
            "memoryCap": "1Gi",
            "auth": {"keysSecretRef": {"name": KEYS_SECRET}},
        }
        metadata = {"name": ENDPOINT, "namespace": NAMESPACE}
        return {
            "apiVersion": API_VERSION,
            "kind": "VoiceEndpoint",
            "metadata": metadata,
            "spec": spec | self._spec,
        }
