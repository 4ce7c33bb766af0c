"""One "Mac" on this machine: an agent with its own state, scratch and keys, behind an sshd or TLS of its own."""

from __future__ import annotations

import base64
import json
import os
import secrets
import ssl
import sys
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import psutil
import yaml
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from voxfleet_agent import blas
from voxfleet_dev.certificates import Authority, Issued
from voxfleet_dev.processes import Child, free_port, stop_all
from voxfleet_dev.sshd import Sshd

START_TIMEOUT_SECONDS = 60.0
IDENTITY_SECRET, IDENTITY_KEY = "fleet-ssh", "id_ed25519"
TOKEN_KEY = "token"
CLIENT_SECRET, CA_SECRET, CA_KEY = "fleet-client", "fleet-ca", "ca.crt"
HOST = "127.0.0.1"
TLS_FILES = ("tls.crt", "tls.key", "client-ca.crt")
"""Beside the agent's configuration: its certificate and key, and the authority of its clients."""


@dataclass(frozen=True)
class FleetTls:
    """One for a fleet that is reached over HTTPS: the authority of its Macs, and the operator's certificate."""

    authority: Authority
    client: Issued

    @classmethod
    def made(cls) -> Self:
        authority = Authority()
        return cls(authority, authority.for_client("operator"))


class Mac:
    """A Mac that the operator can reach. Several Macs share one `identity_pem`, as in a fleet.

    `allow`: the URI prefixes, each ending in a slash, that the agent may use and the MacAgent grants.
    `tls`: reaches it over HTTPS, and starts no sshd; Macs share one, as in a fleet.
    """

    def __init__(
        self,
        name: str,
        directory: Path,
        *,
        allow: Sequence[str],
        identity_pem: str | None = None,
        tls: FleetTls | None = None,
        lanes: int = 1,
        interactive_lanes: int = 0,
        scratch_quota: str = "2Gi",
        lost_after: str = "10m",
        batch_size: int = 4,
        batches_yield: bool = True,
        python: Path = Path(sys.executable),
    ) -> None:
        directory = directory.absolute()  # the agent accepts no other paths
        self.name = name
        self.directory = directory
        self.agent_port = free_port()
        self.sshd = Sshd(directory / "ssh", forward_port=self.agent_port, identity_pem=identity_pem)
        self.tls = tls
        self.certificate = None if tls is None else tls.authority.for_server(HOST)
        self.scratch = directory / "scratch"
        self.token = secrets.token_urlsafe(24)
        self.session_token = secrets.token_urlsafe(24)
        self.lost_after = lost_after
        self._allow = list(allow)
        self._lanes = lanes
        self._interactive_lanes = interactive_lanes
        self._scratch_quota = scratch_quota
        self._batch_size = batch_size
        self.batches_yield = batches_yield
        """Whether batches give way to sessions; another value counts once the agent starts again."""
        self._ledger_key = Ed25519PrivateKey.generate()
        self.config_file = directory / "agent.yaml"
        argv: list[str | Path] = [python, "-m", "voxfleet_agent", "serve", "--config", self.config_file]
        self.agent = Child(f"agent {name}", argv, directory / "agent.log", env=agent_environment())

    @property
    def url(self) -> str:
        """The agent's own address, without SSH."""
        return f"{'http' if self.tls is None else 'https'}://{HOST}:{self.agent_port}"

    @property
    def session_secret(self) -> str:
        """The Secret with the gateway's token: another one than the operator's."""
        return f"{self.name}-sessions"

    @property
    def ledger_public_key(self) -> str:
        """The value of MacAgent.spec.ledgerPublicKey: 32 bytes in base64."""
        return base64.b64encode(self._ledger_key.public_key().public_bytes_raw()).decode()

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self, env: Mapping[str, str] | None = None) -> None:
        """Write the files, start sshd (unless over HTTPS) and the agent, wait until they answer. Raises ChildFailed."""
        self.write_files()
        if self.tls is None:
            self.sshd.start()
        self.restart_agent(env)

    def restart_agent(self, env: Mapping[str, str] | None = None) -> None:
        """Start the agent after it has ended, with `env` added to its environment, and wait until it answers."""
        self.agent.start(env)
        self.agent.wait_until(self._agent_lives, START_TIMEOUT_SECONDS)

    def kill_agent(self) -> list[psutil.Process]:
        """SIGKILL only the agent. Returns its children, so that a test can watch them end."""
        return self.agent.kill()

    def renew_ledger_key(self) -> None:
        """Give the agent, which must not run, another ledger key."""
        self._ledger_key = Ed25519PrivateKey.generate()
        self.write_files()

    def stop(self) -> None:
        """End the agent, its children, sshd and its sessions. Safe to repeat."""
        stop_all([self.agent])
        self.sshd.stop()

    def get_json(self, path: str) -> object:
        """The agent's answer to an authenticated GET, without SSH. Raises urllib.error.URLError."""
        request = urllib.request.Request(self.url + path, headers={"Authorization": f"Bearer {self.token}"})
        with self._opener().open(request, timeout=10) as answer:
            content: object = json.loads(answer.read())
            return content

    def secret_manifests(self, namespace: str) -> list[dict[str, object]]:
        """The Secrets that `mac_agent_manifest` refers to: what the fleet shares for its transport, and the tokens."""
        tokens = [
            _secret(namespace, self.name, {TOKEN_KEY: self.token}),
            _secret(namespace, self.session_secret, {TOKEN_KEY: self.session_token}),
        ]
        if self.tls is None:
            return [_secret(namespace, IDENTITY_SECRET, {IDENTITY_KEY: self.sshd.identity_pem}), *tokens]
        pair = {"tls.crt": self.tls.client.pem, "tls.key": self.tls.client.key_pem}
        return [
            _secret(namespace, CA_SECRET, {CA_KEY: self.tls.authority.pem}),
            {**_secret(namespace, CLIENT_SECRET, pair), "type": "kubernetes.io/tls"},
            *tokens,
        ]

    def mac_agent_manifest(self) -> dict[str, object]:
        """The MacAgent for `kubectl apply`."""
        return {
            "apiVersion": "voxfleet.dev/v1alpha1",
            "kind": "MacAgent",
            "metadata": {"name": self.name},
            "spec": self.mac_agent_spec(),
        }

    def mac_agent_spec(self) -> dict[str, object]:
        return {
            **self._transport(),
            "tokenSecretRef": {"name": self.name, "key": TOKEN_KEY},
            "sessionTokenSecretRef": {"name": self.session_secret, "key": TOKEN_KEY},
            "ledgerPublicKey": self.ledger_public_key,
            "access": [{"namespaceSelector": {}, "uriPrefixes": self._allow}],
            "disconnect": {"lostAfter": self.lost_after},
        }

    def https(self) -> dict[str, object]:
        """The value of MacAgent.spec.https, of a Mac that has `tls`."""
        return {
            "url": self.url,
            "caBundleRef": {"name": CA_SECRET, "key": CA_KEY},
            "clientCertificateSecretRef": {"name": CLIENT_SECRET},
        }

    def _transport(self) -> dict[str, object]:
        if self.tls is not None:
            return {"https": self.https()}
        ssh = {
            "host": HOST,
            "port": self.sshd.port,
            "user": self.sshd.user,
            "hostKeys": [self.sshd.host_key_line],
            "identitySecretRef": {"name": IDENTITY_SECRET, "key": IDENTITY_KEY},
            "agentPort": self.agent_port,
        }
        return {"ssh": ssh}

    def write_files(self) -> None:
        """The agent's configuration, token and ledger key; `start` does it too."""
        self.directory.mkdir(parents=True, exist_ok=True)
        self.directory.chmod(0o700)
        token_file, session_token_file = self.directory / "token", self.directory / "session-token"
        ledger_key_file = self.directory / "ledger.pem"
        for private in (token_file, session_token_file, ledger_key_file):
            private.touch(mode=0o600)
        token_file.write_text(self.token + "\n")
        session_token_file.write_text(self.session_token + "\n")
        ledger_key_file.write_bytes(
            self._ledger_key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        config: dict[str, object] = {
            "stateDir": str(self.directory / "state"),
            "listen": {"host": HOST, "port": self.agent_port, **self._listen_tls()},
            "tokenFile": str(token_file),
            "sessionTokenFile": str(session_token_file),
            "ledgerKeyFile": str(ledger_key_file),
            "scratch": {"path": str(self.scratch), "quota": self._scratch_quota},
            "pools": self._pools(),
            "allow": self._allow,
            **({} if self.batches_yield else {"batchesYield": False}),
        }
        self.config_file.write_text(yaml.safe_dump(config, sort_keys=False))

    def _pools(self) -> list[dict[str, object]]:
        offline: dict[str, object] = {"name": "offline", "kind": "Offline", "lanes": self._lanes}
        live = {"name": "live", "kind": "Interactive", "lanes": self._interactive_lanes, "memoryCap": "2Gi"}
        return [{**offline, "batchSize": self._batch_size}, *([live] if self._interactive_lanes else [])]

    def _listen_tls(self) -> dict[str, object]:
        if self.tls is None or self.certificate is None:
            return {}
        certificate_file, key_file, client_ca_file = (self.directory / name for name in TLS_FILES)
        key_file.touch(mode=0o600)
        key_file.write_text(self.certificate.key_pem)
        certificate_file.write_text(self.certificate.pem)
        client_ca_file.write_text(self.tls.authority.pem)
        files = {"certificateFile": certificate_file, "keyFile": key_file, "clientCaFile": client_ca_file}
        return {"tls": {field: str(file) for field, file in files.items()}}

    def _opener(self) -> urllib.request.OpenerDirector:
        """Without a proxy, and with the operator's certificate."""
        handlers: list[urllib.request.BaseHandler] = [urllib.request.ProxyHandler({})]
        if self.tls is not None:
            client_file = self.directory / "client.pem"
            client_file.touch(mode=0o600)
            client_file.write_text(self.tls.client.pem + self.tls.client.key_pem)
            context = ssl.create_default_context(cadata=self.tls.authority.pem)
            context.load_cert_chain(client_file)
            handlers.append(urllib.request.HTTPSHandler(context=context))
        return urllib.request.build_opener(*handlers)

    def _agent_lives(self) -> bool:
        try:
            with self._opener().open(f"{self.url}/livez", timeout=2) as answer:
                status: int = answer.status
                return status == 200
        except OSError:
            return False


def agent_environment() -> dict[str, str]:
    """This process's environment; on Linux it preloads OpenBLAS, because MLX's own BLAS is several times slower."""
    environment = dict(os.environ)
    if sys.platform == "linux":
        library, preloaded = blas.installed_openblas(), environment.get("LD_PRELOAD", "")
        if library is not None and "openblas" not in preloaded:
            environment["LD_PRELOAD"] = " ".join([library, preloaded]).strip()
    return environment


def _secret(namespace: str, name: str, data: Mapping[str, str]) -> dict[str, object]:
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name, "namespace": namespace},
        "stringData": dict(data),
    }
