"""A real S3 server (versitygw) on a loopback port; a bucket is a folder."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from voxfleet_dev import binaries
from voxfleet_dev.processes import Child
from voxfleet_dev.server import Server


class S3Server(Server):
    """versitygw with keys of its own. Repeat `start` after `stop`: same port, keys and objects."""

    start_timeout_seconds = 30.0

    def __init__(self, directory: Path, *, certificate: Path | None = None) -> None:
        """`certificate`: a PEM file with key and certificate, for https."""
        super().__init__()
        self.directory = directory.absolute()
        self._certificate = certificate
        self.access_key_id = f"AK{secrets.token_hex(8).upper()}"
        self.secret_access_key = secrets.token_hex(20)

    @property
    def endpoint(self) -> str:
        return f"{'http' if self._certificate is None else 'https'}://127.0.0.1:{self.port}"

    @property
    def log(self) -> Path:
        return self.directory / "versitygw.log"

    def bucket(self, name: str) -> Path:
        """Returns the bucket's folder, made when it is missing. Objects put into it as plain files have no ETag."""
        folder = self.directory / "buckets" / name
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def _configure(self) -> Child:
        program = binaries.ensure(["versitygw"])["versitygw"]
        buckets, metadata = self.directory / "buckets", self.directory / "metadata"
        for folder in (buckets, metadata):
            folder.mkdir(parents=True, exist_ok=True)
        # The keys are in the environment, because every process of the machine can read arguments. ETags and the like
        # go into a folder of their own, because not every file system has extended attributes.
        keys = {"ROOT_ACCESS_KEY": self.access_key_id, "ROOT_SECRET_KEY": self.secret_access_key}
        listen = ["--port", f"127.0.0.1:{self.port}", "--keep-alive"]
        tls: list[str | Path] = (
            [] if self._certificate is None else ["--cert", self._certificate, "--key", self._certificate]
        )
        return Child(
            "versitygw",
            [program, *listen, *tls, "posix", "--sidecar", metadata, buckets],
            self.log,
            env={**os.environ, **keys},
        )
