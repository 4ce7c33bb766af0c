"""A process of fake Macs, and the objects with which an operator finds them."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from tests.rig.fake_fleet.agent import ledger_key
from tests.rig.fake_fleet.settings import PORTS_NAME, SETTINGS_NAME, TOKEN, FleetPorts, FleetSettings

from voxfleet_agent.ledger import public_key_text
from voxfleet_api import API_VERSION
from voxfleet_dev.locations import REPOSITORY
from voxfleet_dev.processes import Child

SECRET, TOKEN_KEY = "fake-macs", "token"
_HOST_KEY = f"ssh-ed25519 {'A' * 68}"
START_SECONDS = 120.0
MAC_LABEL, SOUND_LABEL = "mac", "sound"


class FakeMacs:
    def __init__(self, settings: FleetSettings) -> None:
        self.settings = settings
        file = settings.folder / SETTINGS_NAME
        self.child = Child(
            "fake Macs",
            [sys.executable, "-m", "tests.rig.fake_fleet", file],
            settings.folder / "macs.log",
            cwd=REPOSITORY,
        )
        self._ports: dict[str, int] = {}

    def start(self) -> None:
        """Returns once all of them listen. Raises ChildFailed."""
        folder = self.settings.folder
        folder.mkdir(parents=True, exist_ok=True)
        (folder / PORTS_NAME).unlink(missing_ok=True)
        (folder / SETTINGS_NAME).write_text(self.settings.model_dump_json())
        self.child.start()
        self.child.wait_until((folder / PORTS_NAME).exists, START_SECONDS)
        self._ports = FleetPorts.model_validate_json((folder / PORTS_NAME).read_text()).ports

    def stop(self) -> None:
        self.child.stop()

    def url(self, name: str) -> str:
        return f"http://127.0.0.1:{self._ports[name]}"

    def manifests(self, operator_namespace: str) -> dict[str, object]:
        """All MacAgents and the Secret of their token, as one List for `kubectl apply`."""
        secret: dict[str, object] = {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": SECRET, "namespace": operator_namespace},
            "stringData": {TOKEN_KEY: TOKEN},
        }
        macs = [self._mac_agent(name) for name in self.settings.names]
        return {"apiVersion": "v1", "kind": "List", "items": [secret, *macs]}

    def _mac_agent(self, name: str) -> dict[str, object]:
        sound = "false" if name in self.settings.troubles else "true"
        return {
            "apiVersion": API_VERSION,
            "kind": "MacAgent",
            "metadata": {"name": name, "labels": {MAC_LABEL: name, SOUND_LABEL: sound}},
            "spec": {
                "ssh": {
                    "host": "127.0.0.1",
                    "user": "nobody",
                    "hostKeys": [_HOST_KEY],
                    "identitySecretRef": {"name": SECRET, "key": TOKEN_KEY},
                    "agentPort": self._ports[name],
                },
                "tokenSecretRef": {"name": SECRET, "key": TOKEN_KEY},
                "ledgerPublicKey": public_key_text(ledger_key(name)),
                "access": [{"namespaceSelector": {}, "uriPrefixes": list(self.settings.allow)}],
                "disconnect": {"lostAfter": self.settings.lost_after},
            },
        }


def operator_of_fake_macs(
    folder: Path,
    kubeconfig: Path,
    namespace: str,
    progress_interval_seconds: float | None = None,
    archive: str | None = None,
) -> Child:
    """The product's operator with a dialer that needs no SSH; see `operator_program`."""
    argv = [sys.executable, "-m", "tests.rig.fake_fleet.operator_program", namespace]
    if progress_interval_seconds is not None:
        argv += ["--progress-interval-seconds", str(progress_interval_seconds)]
    if archive is not None:
        argv += ["--archive", archive]
    environment = {**os.environ, "KUBECONFIG": str(kubeconfig)}
    return Child("operator", argv, folder / "operator.log", env=environment, cwd=REPOSITORY)
