"""The gateway as a child process, and a key that an endpoint's clients may use."""

from __future__ import annotations

import hashlib
import os
import secrets
import sys
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Self

from voxfleet_dev.processes import Child, free_port

START_TIMEOUT_SECONDS = 60.0
HOST = "127.0.0.1"
KEYS_SECRET = "speech-keys"


class ClientKey:
    """One key, whose hash is what the cluster gets to see."""

    def __init__(self, client: str = "demo") -> None:
        self.client = client
        self.text = secrets.token_urlsafe(32)

    def secret_manifest(self, namespace: str) -> dict[str, object]:
        """The Secret that `spec.auth.keysSecretRef` of the namespace's endpoints names: KEYS_SECRET."""
        digest = hashlib.sha256(self.text.encode()).hexdigest()
        return {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": KEYS_SECRET, "namespace": namespace},
            "stringData": {self.client: f"sha256:{digest}"},
        }


class Gateway:
    """`voxfleet-operator gateway` with a kubeconfig. `namespace`: of the MacAgents' Secrets."""

    def __init__(
        self, directory: Path, *, kubeconfig: Path, namespace: str, flags: Sequence[str] = (), name: str = "gateway"
    ) -> None:
        self.port, self.health_port = free_port(), free_port()
        argv = [sys.executable, "-m", "voxfleet_gateway", "gateway", "--namespace", namespace]
        argv += ["--port", str(self.port), "--health-port", str(self.health_port), *flags]
        environment = {**os.environ, "KUBECONFIG": str(kubeconfig)}
        self.child = Child(name, argv, directory / f"{name}.log", env=environment)
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Starts it, or starts it again, and waits until it takes calls. Raises ChildFailed."""
        self.child.start()
        self.child.wait_until(self._is_ready, START_TIMEOUT_SECONDS)

    def url(self, namespace: str, endpoint: str) -> str:
        return f"http://{HOST}:{self.port}/{namespace}/{endpoint}"

    def kill(self) -> None:
        """SIGKILL, as when a node is lost."""
        self.child.kill()

    def stop(self) -> None:
        """SIGTERM, then SIGKILL. Safe to repeat."""
        self.child.stop()

    def _is_ready(self) -> bool:
        try:
            with self._opener.open(f"http://{HOST}:{self.health_port}/readyz", timeout=2) as answer:
                status: int = answer.status
                return status == 200 and self._listens()
        except OSError:
            return False

    def _listens(self) -> bool:
        try:
            self._opener.open(f"http://{HOST}:{self.port}/", timeout=2).close()
        except urllib.error.HTTPError:
            return True  # it answers, if only that there is no such thing
        return True
