"""kube-controller-manager and kube-scheduler as child processes: both take the same flags and answer /healthz."""

from __future__ import annotations

import http.client
import ssl
import urllib.request
from collections.abc import Sequence
from pathlib import Path

from voxfleet_dev.processes import Child, free_port

START_TIMEOUT_SECONDS = 120.0


def start_component(program: Path, directory: Path, kubeconfig: Path, flags: Sequence[str]) -> Child:
    """Start `program` on a loopback port, with its log and certificates in `directory`; wait until it answers.

    Raises ChildFailed.
    """
    name, port = program.name, free_port()
    certificates = directory / f"{name}-certs"
    argv: list[str | Path] = [
        program,
        f"--kubeconfig={kubeconfig}",
        "--leader-elect=false",
        "--bind-address=127.0.0.1",
        f"--secure-port={port}",
        f"--cert-dir={certificates}",
        *flags,
    ]
    child = Child(name, argv, directory / f"{name}.log")
    child.start()
    try:
        url, certificate = f"https://127.0.0.1:{port}/healthz", certificates / f"{name}.crt"
        child.wait_until(lambda: answers(url, certificate), START_TIMEOUT_SECONDS)
    except BaseException:
        child.stop()
        raise
    return child


def answers(url: str, ca_file: Path, token: str = "") -> bool:
    """Whether an HTTPS GET on loopback returns 200."""
    if not ca_file.exists():
        return False
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {token}"} if token else {})
    try:
        tls = urllib.request.HTTPSHandler(context=ssl.create_default_context(cafile=str(ca_file)))
        with urllib.request.build_opener(urllib.request.ProxyHandler({}), tls).open(request, timeout=5) as answer:
            status: int = answer.status
            return status == 200
    except (OSError, http.client.HTTPException):  # URLError and SSLError are OSErrors
        return False
