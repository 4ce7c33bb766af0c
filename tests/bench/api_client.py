"""Small requests to kube-apiserver: a kubectl process each time would take processor time from what is measured."""

from __future__ import annotations

import json
import ssl
import urllib.request
from collections.abc import Mapping

from voxfleet_dev.controlplane import ControlPlane

TIMEOUT_SECONDS = 30.0


class ApiClient:
    """Of a control plane that has started. Its requests bear the benchmark's name in the audit log."""

    def __init__(self, control_plane: ControlPlane) -> None:
        self._url = control_plane.url
        self._headers = {
            "Authorization": f"Bearer {control_plane.token}",
            "User-Agent": "voxfleet-bench/1",
            "Content-Type": "application/json",
        }
        tls = urllib.request.HTTPSHandler(context=ssl.create_default_context(cafile=str(control_plane.ca_file)))
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), tls)

    def get(self, path: str) -> Mapping[str, object]:
        """Raises OSError."""
        return self._send(path, None)

    def create(self, path: str, body: Mapping[str, object]) -> Mapping[str, object]:
        """Raises OSError."""
        return self._send(path, json.dumps(body).encode())

    def _send(self, path: str, body: bytes | None) -> Mapping[str, object]:
        request = urllib.request.Request(self._url + path, body, self._headers)  # noqa: S310 - https on loopback
        with self._opener.open(request, timeout=TIMEOUT_SECONDS) as answer:
            told: Mapping[str, object] = json.load(answer)
        return told
