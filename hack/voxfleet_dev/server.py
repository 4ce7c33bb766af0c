"""A server in a child process on a loopback port of its own."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar, Self

from voxfleet_dev.processes import Child, accepts_connections, free_port


class Server(ABC):
    """A context manager. `start` may be repeated after `stop`; it keeps the port and the files of `_configure`."""

    start_timeout_seconds: ClassVar[float]

    def __init__(self) -> None:
        self.port = free_port()
        self._child: Child | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Start and wait until the port answers. Raises ChildFailed, and what `_configure` raises."""
        if self._child is None:
            self._child = self._configure()
        try:
            self._child.start()
            self._child.wait_until(lambda: accepts_connections(self.port), self.start_timeout_seconds)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """End the server and its descendants, including those in process groups of their own."""
        if self._child is not None:
            self._child.stop()

    @abstractmethod
    def _configure(self) -> Child:
        """Makes the server's files; called once."""
