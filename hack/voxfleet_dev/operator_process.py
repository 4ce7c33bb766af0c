"""The operator as a child process."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Self

from voxfleet_dev.processes import Child

START_TIMEOUT_SECONDS = 60.0


class OperatorProcess:
    """`python -m voxfleet_operator` with a kubeconfig, in `namespace`. `ready`: whether it works."""

    def __init__(
        self,
        directory: Path,
        *,
        kubeconfig: Path,
        namespace: str,
        flags: Sequence[str] = (),
        ready: Callable[[], bool] | None = None,
    ) -> None:
        environment = {**os.environ, "KUBECONFIG": str(kubeconfig)}
        argv = [sys.executable, "-m", "voxfleet_operator", "--namespace", namespace, *flags]
        self.child = Child("operator", argv, directory / "operator.log", env=environment)
        self._ready = ready

    @property
    def log(self) -> Path:
        return self.child.log

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self, env: Mapping[str, str] | None = None) -> None:
        """Start the process, or start it again, with `env` added; wait until it is ready. Raises ChildFailed."""
        self.child.start(env)
        if self._ready is not None:
            self.child.wait_until(self._ready, START_TIMEOUT_SECONDS)

    def wait_exit(self, timeout_seconds: float) -> int:
        """Wait until the process ends by itself; returns its exit code. Raises ChildFailed after the timeout."""
        return self.child.wait_exit(timeout_seconds)

    def kill(self) -> None:
        """SIGKILL, as when a node is lost."""
        self.child.kill()

    def stop(self) -> None:
        """SIGTERM, then SIGKILL. Safe to repeat."""
        self.child.stop()
