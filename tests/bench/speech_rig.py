"""A fleet with warm endpoints behind a gateway, whose figures are taken from the clients' side."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import psutil
from tests.bench.rig import NAMESPACE, OPERATOR_NAMESPACE, Rig

from voxfleet_api import API_VERSION
from voxfleet_api.conditions import ConditionType, is_true
from voxfleet_api.kinds import VoiceEndpoint
from voxfleet_api.kinds.endpoint_status import EndpointLaneState
from voxfleet_dev.client_key import KEYS_SECRET, ClientKey
from voxfleet_dev.gateway_process import GatewayAccount, GatewayProcess
from voxfleet_dev.mac import Mac
from voxfleet_models.families import make_model

ENDPOINT, SPEAKER = "captions", "announcements"
LANE_PREFIX, WORKER = "live-", "voxfleet_agent.worker.main"
WARM_TIMEOUT_SECONDS = 180.0
GATEWAY_TIMEOUT_SECONDS = 30.0


class SpeechRig(Rig):
    """`spec` of the endpoint: what differs from the small model on one lane a Mac. `speaks`: with a second endpoint,
    whose tiny voice model speaks noise."""

    def __init__(
        self,
        directory: Path,
        *,
        readable: Path,
        contract: dict[str, object],
        spec: dict[str, object] | None = None,
        macs: int = 1,
        speaks: bool = False,
    ) -> None:
        super().__init__(
            directory, macs=macs, readable=readable, contract=contract, interactive_lanes=2 if speaks else 1
        )
        self.key = ClientKey()
        secrets = ["fleet-ssh", *(mac.session_secret for mac in self.macs)]
        keys = [{"namespace": NAMESPACE, "secretNames": [KEYS_SECRET]}]
        self._gateways = GatewayAccount(
            self.control_plane, OPERATOR_NAMESPACE, {"fleetSecrets": secrets, "keySecrets": keys}
        )
        self.gateway = GatewayProcess(directory / "gateway", self._gateways.kubeconfig, OPERATOR_NAMESPACE)
        self.url = f"{self.gateway.url}/{NAMESPACE}/{ENDPOINT}"
        self.speaker_url = f"{self.gateway.url}/{NAMESPACE}/{SPEAKER}"
        self._spec = {"lanes": {"min": macs, "max": macs}, **(spec or {})}
        self._speaks = speaks

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.key.text}"}

    def endpoint(self, name: str = ENDPOINT) -> VoiceEndpoint:
        return VoiceEndpoint.load(self._get(f"/apis/{API_VERSION}/namespaces/{NAMESPACE}/voiceendpoints/{name}"))

    def warm_lanes(self) -> int:
        """Of the endpoint that hears."""
        return sum(lane.state is EndpointLaneState.WARM for lane in self.endpoint().status.macs)

    def restart_lane_children(self) -> None:
        """Kills the processes of all warm lanes; each comes back by itself."""
        for mac in self.macs:
            for child in lane_children(mac):
                child.kill()

    def _start(self) -> None:
        super()._start()
        self.control_plane.apply(self.key.secret_manifest(NAMESPACE), self._manifest(ENDPOINT, self._hearing_spec()))
        if self._speaks:
            self._apply_speaker()
        self._gateways.grant()
        self._stack.callback(self.gateway.stop)
        self.gateway.start()
        self.wait_for(
            "the endpoint available",
            self._is_warm,
            WARM_TIMEOUT_SECONDS,
        )
        self.wait_for("the gateway at its Macs", self.reaches_all_macs, GATEWAY_TIMEOUT_SECONDS)

    def reaches_all_macs(self) -> bool:
        return f'voxfleet_gateway_links{{state="up"}} {len(self.macs)}.0' in self.gateway.health.answer("/metrics")

    def _is_warm(self) -> bool:
        names = (ENDPOINT, SPEAKER) if self._speaks else (ENDPOINT,)
        available = [is_true(self.endpoint(name).status.conditions, ConditionType.AVAILABLE) for name in names]
        return all(available) and self.warm_lanes() == len(self.macs)

    def _hearing_spec(self) -> dict[str, object]:
        return {
            "contractRef": {"name": "bench"},
            "model": {"builtin": {"name": "commands"}},
            **self._spec,
        }

    def _apply_speaker(self) -> None:
        audio = {"containers": ["wav"], "sampleRatesHz": [24000], "channels": [1], "maxClip": "1m"}
        contract = {
            "apiVersion": API_VERSION,
            "kind": "VoiceContract",
            "metadata": {"name": SPEAKER, "namespace": NAMESPACE},
            "spec": {"input": audio, "output": {"audio": {"sampleRateHz": 24000, "clipping": "Limit"}}},
        }
        voice = make_model("pocket_tts", self.directory / "results" / "tiny-voice")
        spec = {
            "contractRef": {"name": SPEAKER},
            "task": "Synthesize",
            "model": {"path": str(voice)},
            "synthesis": {"voice": "anna"},
            "streaming": {"interval": "200ms"},
            "session": self._spec.get("session", {}),
        }
        self.control_plane.apply(contract, self._manifest(SPEAKER, spec))

    def _manifest(self, name: str, spec: dict[str, object]) -> dict[str, object]:
        return {
            "apiVersion": API_VERSION,
            "kind": "VoiceEndpoint",
            "metadata": {"name": name, "namespace": NAMESPACE},
            "spec": {"memoryCap": "1Gi", "auth": {"keysSecretRef": {"name": KEYS_SECRET}}, **spec},
        }


def lane_children(mac: Mac) -> list[psutil.Process]:
    """The processes of its warm lanes, by the names of the lanes."""
    found: dict[str, psutil.Process] = {}
    for child in mac.agent.descendants():
        with suppress(psutil.NoSuchProcess):
            words = child.cmdline()
            lanes = [Path(word).name for word in words if Path(word).name.startswith(LANE_PREFIX)]
            if lanes and WORKER in words:
                found[lanes[0]] = child
    return [found[name] for name in sorted(found)]
