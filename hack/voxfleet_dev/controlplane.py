"""A real control plane on loopback ports: etcd and kube-apiserver, and kube-controller-manager when asked for."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

import yaml
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from voxfleet_dev import binaries
from voxfleet_dev.api_request import ApiRequests
from voxfleet_dev.kube_component import answers, start_component
from voxfleet_dev.processes import Child, ChildFailed, accepts_connections, free_port, stop_all

START_TIMEOUT_SECONDS = 120.0
CONTROLLERS = ("garbage-collector-controller", "namespace-controller")
AUDIT_LOG_MEBIBYTES = 4096
"""More than anything here writes: who counts requests wants all of them in one file."""
AUDIT_POLICY = {
    "apiVersion": "audit.k8s.io/v1",
    "kind": "Policy",
    "omitStages": ["RequestReceived"],
    "rules": [{"level": "Metadata"}],
}


class KubectlFailed(RuntimeError):
    """kubectl exited with an error; `stderr` is its error output."""

    def __init__(self, arguments: Sequence[str], exit_code: int, stdout: str, stderr: str) -> None:
        super().__init__(f"kubectl {' '.join(arguments)} exited with {exit_code}:\n{stderr}{stdout}")
        self.exit_code = exit_code
        self.stdout = stdout
        self.stderr = stderr


class ControlPlane:
    """etcd and kube-apiserver with everything they need in one folder.

    `controllers` adds kube-controller-manager, reduced to garbage collection and the deletion of namespaces.
    Use as a context manager, or `start` and `stop`. Raises ChildFailed when a server does not come up.
    """

    def __init__(self, directory: Path, *, controllers: bool = False) -> None:
        directory = directory.absolute()
        self.directory = directory
        self.kubeconfig = directory / "kubeconfig"
        self.audit_log = directory / "audit.log"
        self.ca_file = directory / "certs" / "apiserver.crt"
        self.token = secrets.token_urlsafe(24)
        self._controllers = controllers
        self._binaries: dict[str, Path] = {}
        self._etcd: Child | None = None
        self._apiserver: Child | None = None
        self._controller_manager: Child | None = None
        self._port = self._etcd_port = 0

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self._port}"

    @property
    def pids(self) -> dict[str, int]:
        """The running servers' process ids, by name."""
        return {child.name: child.pid for child in self._children() if child.running}

    @property
    def etcd_url(self) -> str:
        return f"http://127.0.0.1:{self._etcd_port}"

    @property
    def etcd(self) -> Child:
        """Raises ChildFailed before `start`. Killed and started again, it has its data and its ports."""
        return _started(self._etcd)

    @property
    def apiserver(self) -> Child:
        """Raises ChildFailed before `start`."""
        return _started(self._apiserver)

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Build what is missing, start the servers and wait until the API answers and its first namespaces exist."""
        names = [*binaries.SERVERS, *(["kube-controller-manager"] if self._controllers else [])]
        self._binaries = binaries.ensure(names)
        self.directory.mkdir(parents=True, exist_ok=True)
        self.directory.chmod(0o700)
        self._port = free_port()
        self._write_files()
        self._etcd_port = free_port()
        self._etcd = self._make_etcd(free_port())
        self._start_etcd()
        self._apiserver = self._make_apiserver()
        self.start_apiserver()
        if self._controllers:
            self._start_controller_manager()

    def stop(self) -> None:
        """Stop everything. kube-apiserver is killed, because it drains for a long time before it stops."""
        if self._apiserver is not None:
            self._apiserver.kill()
        stop_all(self._children())

    def kill_apiserver(self) -> None:
        """SIGKILL kube-apiserver; etcd keeps its data. `start_apiserver` brings it back on the same port."""
        self.apiserver.kill()

    def start_apiserver(self) -> None:
        """Start kube-apiserver on its port and wait until it serves."""
        self.apiserver.start()
        self.apiserver.wait_until(self.serves, START_TIMEOUT_SECONDS)

    def back_up(self, folder: Path) -> None:
        """Copy etcd's data into a new folder; etcd is killed for that moment, which kube-apiserver survives."""
        self.etcd.kill()
        shutil.copytree(self._etcd_data, folder)
        self._start_etcd()

    def restore(self, folder: Path) -> None:
        """Kill both servers and start them on the data of a backup: resource versions go back, too."""
        self.kill_apiserver()
        self.etcd.kill()
        shutil.rmtree(self._etcd_data)
        shutil.copytree(folder, self._etcd_data)
        self._start_etcd()
        self.start_apiserver()

    def lose_everything(self) -> None:
        """Kill both servers and start them on an empty etcd, as after its disk was lost."""
        self.kill_apiserver()
        self.etcd.kill()
        shutil.rmtree(self._etcd_data)
        self._start_etcd()
        self.start_apiserver()

    def kubectl(self, *arguments: str, input: str | None = None, timeout_seconds: float = 60.0) -> str:
        """Run kubectl against this server; returns its output. Raises KubectlFailed, subprocess.TimeoutExpired."""
        answer = subprocess.run(
            [self._binaries["kubectl"], *arguments],
            input=input,
            stdin=subprocess.DEVNULL if input is None else None,
            capture_output=True,
            text=True,
            check=False,
            timeout=timeout_seconds,
            env=self.environment(),
        )
        if answer.returncode:
            raise KubectlFailed(arguments, answer.returncode, answer.stdout, answer.stderr)
        return answer.stdout

    def environment(self) -> dict[str, str]:
        """This process's environment, with variables that point kubectl and clients at this server."""
        return {**os.environ, "KUBECONFIG": str(self.kubeconfig), "KUBECACHEDIR": str(self.directory / "kubectl-cache")}

    def admin(self) -> ApiRequests:
        """Single requests with all rights."""
        return ApiRequests(self.url, self.ca_file, self.token)

    @property
    def kubectl_path(self) -> Path:
        return self._binaries["kubectl"]

    def apply(self, *sources: Path | str | Mapping[str, object], namespace: str | None = None) -> str:
        """`kubectl apply` of files, folders (kustomization or plain), YAML texts or objects; returns its output."""
        where = ["--namespace", namespace] if namespace else []
        printed = []
        for source in sources:
            if isinstance(source, Path):
                flag = "-k" if (source / "kustomization.yaml").exists() else "-f"
                printed.append(self.kubectl("apply", *where, flag, str(source)))
            else:
                text = source if isinstance(source, str) else json.dumps(source)
                printed.append(self.kubectl("apply", *where, "-f", "-", input=text))
        return "".join(printed)

    def _children(self) -> list[Child]:
        every = (self._etcd, self._apiserver, self._controller_manager)
        return [child for child in every if child is not None]

    @property
    def _etcd_data(self) -> Path:
        return self.directory / "etcd"

    def _start_etcd(self) -> None:
        self.etcd.start()
        self.etcd.wait_until(lambda: accepts_connections(self._etcd_port), START_TIMEOUT_SECONDS)

    def _write_files(self) -> None:
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        _write_private(
            self.directory / "sa.key",
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
            ).decode(),
        )
        public = key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        (self.directory / "sa.pub").write_bytes(public)
        _write_private(self.directory / "tokens.csv", f'{self.token},admin,admin-uid,"system:masters"\n')
        (self.directory / "audit-policy.yaml").write_text(yaml.safe_dump(AUDIT_POLICY))
        _write_private(self.kubeconfig, yaml.safe_dump(self._kubeconfig()))

    def _kubeconfig(self) -> dict[str, object]:
        return {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [
                {"name": "dev", "cluster": {"server": self.url, "certificate-authority": str(self.ca_file)}},
            ],
            "users": [{"name": "admin", "user": {"token": self.token}}],
            "contexts": [{"name": "dev", "context": {"cluster": "dev", "user": "admin"}}],
            "current-context": "dev",
        }

    def _make_etcd(self, peer_port: int) -> Child:
        client, peer = self.etcd_url, f"http://127.0.0.1:{peer_port}"
        argv: list[str | Path] = [
            self._binaries["etcd"],
            f"--data-dir={self._etcd_data}",
            f"--listen-client-urls={client}",
            f"--advertise-client-urls={client}",
            f"--listen-peer-urls={peer}",
            f"--initial-advertise-peer-urls={peer}",
            f"--initial-cluster=default={peer}",
            "--unsafe-no-fsync",
        ]
        return Child("etcd", argv, self.directory / "etcd.log")

    def _make_apiserver(self) -> Child:
        folder = self.directory
        argv: list[str | Path] = [
            self._binaries["kube-apiserver"],
            f"--etcd-servers={self.etcd_url}",
            "--bind-address=127.0.0.1",
            "--advertise-address=127.0.0.1",
            "--endpoint-reconciler-type=none",  # no pod looks for the server
            f"--secure-port={self._port}",
            f"--cert-dir={folder / 'certs'}",
            f"--service-account-key-file={folder / 'sa.pub'}",
            f"--service-account-signing-key-file={folder / 'sa.key'}",
            "--service-account-issuer=https://voxfleet.local",
            "--authorization-mode=RBAC",
            f"--token-auth-file={folder / 'tokens.csv'}",
            "--service-cluster-ip-range=10.99.0.0/24",
            "--disable-admission-plugins=ServiceAccount",  # no controller creates the default account
            f"--audit-policy-file={folder / 'audit-policy.yaml'}",
            f"--audit-log-path={self.audit_log}",
            f"--audit-log-maxsize={AUDIT_LOG_MEBIBYTES}",
        ]
        return Child("kube-apiserver", argv, folder / "kube-apiserver.log")

    def _start_controller_manager(self) -> None:
        flags = [
            f"--controllers={','.join(CONTROLLERS)}",
            f"--service-account-private-key-file={self.directory / 'sa.key'}",
        ]
        program = self._binaries["kube-controller-manager"]
        self._controller_manager = start_component(program, self.directory, self.kubeconfig, flags)

    def serves(self) -> bool:
        """Whether the API answers and its first namespaces exist."""
        paths = ("/readyz", "/api/v1/namespaces/default", "/api/v1/namespaces/kube-system")
        return all(answers(self.url + path, self.ca_file, self.token) for path in paths)


def _started(child: Child | None) -> Child:
    if child is None:
        raise ChildFailed("the control plane was never started")
    return child


def _write_private(path: Path, text: str) -> None:
    path.touch(mode=0o600)
    path.write_text(text)
