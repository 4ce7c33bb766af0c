"""A private OpenSSH server on a loopback port that lets one key reach one local port and nothing else."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from voxfleet_dev.processes import Child, ChildFailed
from voxfleet_dev.server import Server

SEARCH_PATH = os.pathsep.join((os.defpath, "/usr/sbin", "/usr/local/sbin", "/opt/homebrew/sbin"))


class Sshd(Server):
    """sshd with a host key, configuration and authorized key of its own, run by the current user.

    A client logs in as `user` with `identity_pem` and may open direct-tcpip channels to 127.0.0.1:`forward_port` only.
    """

    start_timeout_seconds = 20.0

    def __init__(self, directory: Path, *, forward_port: int, identity_pem: str | None = None) -> None:
        super().__init__()
        self.directory = directory.absolute()
        self.user = pwd.getpwuid(os.getuid()).pw_name
        self.identity_pem = identity_pem or generate_identity()
        self._host_key = Ed25519PrivateKey.generate()
        self._forward_port = forward_port

    @property
    def host_key_line(self) -> str:
        """The public host key: "ssh-ed25519 AAAA…"."""
        return _public_line(self._host_key)

    @property
    def log(self) -> Path:
        return self.directory / "sshd.log"

    @property
    def pid(self) -> int:
        return self._started().pid

    def _started(self) -> Child:
        if self._child is None:
            raise ChildFailed("sshd was never started")
        return self._child

    def _configure(self) -> Child:
        program = shutil.which("sshd") or shutil.which("sshd", path=SEARCH_PATH)
        if program is None:
            raise ChildFailed("no sshd found: install OpenSSH's server (Debian: openssh-server)")
        if os.getuid() == 0 and os.uname().sysname == "Linux":
            Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # sshd run as root insists on it
        self.directory.mkdir(parents=True, exist_ok=True)
        self.directory.chmod(0o700)
        host_key, authorized_keys = self.directory / "host_key", self.directory / "authorized_keys"
        host_key.touch(mode=0o600)
        host_key.write_bytes(_private_pem(self._host_key))
        options = f'restrict,port-forwarding,permitopen="127.0.0.1:{self._forward_port}",command="/bin/false"'
        authorized_keys.write_text(f"{options} {_public_line(_load(self.identity_pem))}\n")
        configuration = self.directory / "sshd_config"
        settings = {
            "ListenAddress": f"127.0.0.1:{self.port}",
            "HostKey": host_key,
            "AuthorizedKeysFile": authorized_keys,
            "PidFile": "none",
            "StrictModes": "no",  # the folder may be below a world-writable /tmp
            "UsePAM": "no",
            "PasswordAuthentication": "no",
            "KbdInteractiveAuthentication": "no",
            "PermitRootLogin": "prohibit-password",
            "AllowUsers": self.user,
            "AllowTcpForwarding": "local",
            "X11Forwarding": "no",
            "LogLevel": "VERBOSE",
        }
        # OpenSSH 9.8 and newer block an address after a few failures, which tests cause on purpose.
        for extra in ({"PerSourcePenalties": "no"}, {}):
            text = "".join(f"{name} {value}\n" for name, value in {**settings, **extra}.items())
            configuration.write_text(text)
            check = subprocess.run([program, "-t", "-f", configuration], capture_output=True, text=True, check=False)
            if check.returncode == 0:
                return Child("sshd", [program, "-D", "-e", "-f", configuration], self.log)
        raise ChildFailed(f"sshd refuses {configuration}:\n{check.stderr}")


def generate_identity() -> str:
    """A new Ed25519 client key in OpenSSH's PEM form."""
    return _private_pem(Ed25519PrivateKey.generate()).decode()


def _private_pem(key: Ed25519PrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption()
    )


def _public_line(key: Ed25519PrivateKey) -> str:
    return key.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH).decode()


def _load(pem: str) -> Ed25519PrivateKey:
    key = serialization.load_ssh_private_key(pem.encode(), password=None)
    if not isinstance(key, Ed25519PrivateKey):
        raise ValueError("the client identity must be an Ed25519 key")
    return key
