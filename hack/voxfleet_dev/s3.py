"""A real S3 server (versitygw) on a loopback port; a bucket is a folder."""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from typing import Self

from voxfleet_dev import binaries
from voxfleet_dev.processes import Child, accepts_connections, free_port

START_TIMEOUT_SECONDS = 30.0


class S3Server:
    """versitygw with keys of its own. Repeat `start` after `stop`: same port, keys and objects."""

    def __init__(self, directory: Path, *, certificate: Path | None = None) -> None:
        """`certificate`: a PEM file with key and certificate, for https."""
        self.directory = directory.absolute()
        self._certificate = certificate
        self.port = free_port()
        self.access_key_id = f"AK{secrets.token_hex(8).upper()}"
        self.secret_access_key = secrets.token_hex(20)
        self._child: Child | None = None

    @property
    def endpoint(self) -> str:
        return f"{'http' if self._certificate is None else 'https'}://127.0.0.1:{self.port}"

    @property
    def log(self) -> Path:
        return self.directory / "versitygw.log"

    def bucket(self, name: str) -> Path:
        """The bucket's folder, made when it is not there. Objects put in it as plain files have no ETag."""
        folder = self.directory / "buckets" / name
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Start and wait until the port answers. Raises ChildFailed, go_build.BuildFailed."""
        if self._child is None:
            self._child = self._configure()
        try:
            self._child.start()
            self._child.wait_until(lambda: accepts_connections(self.port), START_TIMEOUT_SECONDS)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        if self._child is not None:
            self._child.stop()

    def _configure(self) -> Child:
        program = binaries.ensure(["versitygw"])["versitygw"]
        buckets, metadata = self.directory / "buckets", self.directory / "metadata"
        for folder in (buckets, metadata):
            folder.mkdir(parents=True, exist_ok=True)
        # Keys by environment: arguments are for every process of the machine to read. ETags and the like go into a
        # folder of their own, for not every file system has extended attributes.
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
