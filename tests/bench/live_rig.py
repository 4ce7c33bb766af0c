"""A Mac with a lane for batches, a warm one that hears and a warm one that speaks, behind an operator and a gateway."""

from __future__ import annotations

import json
from functools import cached_property
from pathlib import Path

from tests.bench.failure import MeasurementFailed
from tests.bench.rig import CONTRACT, NAMESPACE, OPERATOR_NAMESPACE, Rig

from voxfleet_api.endpoint_lanes import LaneKey, LaneList
from voxfleet_api.ledger import LedgerRow
from voxfleet_api.machine_messages import Identity
from voxfleet_api.protocol import LedgerPage
from voxfleet_dev.client_key import KEYS_SECRET
from voxfleet_dev.demo_speech import ANNOUNCEMENTS, CAPTIONS, DemoSpeech
from voxfleet_dev.gateway_process import GatewayAccount, GatewayProcess
from voxfleet_dev.mac import Mac

LINK_SECONDS = 60.0
LIVE_CONTRACT: dict[str, object] = {
    **CONTRACT,
    "metadata": {"name": "live"},
    "spec": {
        "input": {"containers": ["wav"], "sampleRatesHz": [16000], "channels": [1], "maxClip": "30s"},
        "slo": {"interactiveP95": "1s"},
    },
}


class LiveRig(Rig):
    """Everything below `directory`; `readable` is the folder of the batch's clips. A context manager."""

    def __init__(self, directory: Path, readable: Path) -> None:
        super().__init__(directory, macs=1, readable=readable, interactive_lanes=2)
        values = {
            "fleetSecrets": ["fleet-ssh", self.mac.session_secret],
            "keySecrets": [{"namespace": NAMESPACE, "secretNames": [KEYS_SECRET]}],
        }
        self._gateways = GatewayAccount(self.control_plane, OPERATOR_NAMESPACE, values)
        self.gateway = GatewayProcess(directory / "gateway", self._gateways.kubeconfig, OPERATOR_NAMESPACE)

    @cached_property
    def _speech(self) -> DemoSpeech:
        return DemoSpeech(self.control_plane, self.directory / "results", NAMESPACE, "live")

    @property
    def mac(self) -> Mac:
        (mac,) = self.macs
        return mac

    @property
    def headers(self) -> dict[str, str]:
        """Of those who may call the endpoints."""
        return {"Authorization": f"Bearer {self._speech.key.text}"}

    @property
    def hearing_url(self) -> str:
        return f"{self.gateway.url}/{NAMESPACE}/{CAPTIONS}"

    @property
    def speaking_url(self) -> str:
        return f"{self.gateway.url}/{NAMESPACE}/{ANNOUNCEMENTS}"

    def hearing_lane(self) -> LaneKey:
        lanes = LaneList.load(self.mac.get_json("/v1/lanes")).lanes
        (found,) = (lane.key for lane in lanes if lane.endpoint == CAPTIONS)
        return found

    def bound_to(self) -> str:
        """The control plane that the Mac serves, as callers must name it."""
        identity = Identity.load(self.mac.get_json("/v1/identity?nonce=bench"))
        if identity.control_plane is None:
            raise MeasurementFailed("the Mac serves no control plane, though its endpoints are available")
        return identity.control_plane

    def signed_rows(self) -> list[LedgerRow]:
        """All that the Mac signed, from the Mac itself."""
        rows: list[LedgerRow] = []
        while True:
            page = LedgerPage.load(self.mac.get_json(f"/v1/ledger?after={rows[-1].sequence if rows else -1}"))
            if not page.rows:
                return rows
            rows += [signed.row for signed in page.rows]

    def forget_how_to_yield(self) -> None:
        """Starts the agent anew, with batches that never give way. Returns once both endpoints are warm again."""
        self.mac.agent.stop()
        self.mac.batches_yield = False
        self.mac.write_files()
        self.mac.restart_agent()
        self._speech.apply()
        self._wait_until_linked()

    def reach_the_mac_by(self, port: int) -> None:
        """Over another SSH port. Returns once the gateway has its link."""
        change = json.dumps({"spec": {"ssh": {"port": port}}})
        self.control_plane.kubectl("patch", "mac", self.mac.name, "--type=merge", "-p", change)
        self.gateway.stop()  # with its link of before
        self.gateway.start()
        self._wait_until_linked()

    def _start(self) -> None:
        super()._start()
        self._gateways.grant()
        self.control_plane.apply(LIVE_CONTRACT, namespace=NAMESPACE)
        self._speech.apply()
        self._stack.callback(self.gateway.stop)
        self.gateway.start()
        self._wait_until_linked()

    def _wait_until_linked(self) -> None:
        linked = 'voxfleet_gateway_links{state="up"} 1.0'
        self.wait_for(
            "the gateway linked to the Mac", lambda: linked in self.gateway.health.answer("/metrics"), LINK_SECONDS
        )
