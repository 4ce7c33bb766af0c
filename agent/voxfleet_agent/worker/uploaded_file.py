"""The bytes of an upload, as a file that a decoder can open and that nothing outlives.

Where the system has memory files it never has a name. Elsewhere (macOS) it lies in the lane's folder until its decoder
has opened it, and what a killed child leaves there, the next one removes.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

from voxfleet_agent.audio.header_facts import SCRATCH_PREFIX


class UploadedFile:
    """Written by one thread, and then decoded by another. Its methods raise OSError."""

    def __init__(self, descriptor: int, path: Path, *, named: bool) -> None:
        """`named`: the path is a name that must go. Otherwise it leads to the descriptor."""
        self.path = path
        self.size_bytes = 0
        self._descriptor = descriptor
        self._named = named

    def append(self, content: bytes) -> None:
        rest = memoryview(content)
        while rest:
            written = os.write(self._descriptor, rest)
            self.size_bytes += written
            rest = rest[written:]

    def opened(self) -> None:
        """Its decoder has it open, and needs its name no more. Does nothing the second time."""
        if self._named:
            self._named = False
            self.path.unlink(missing_ok=True)

    def close(self) -> None:
        """Gives its memory back, unless its decoder still has it open. Does nothing the second time."""
        self.opened()
        if self._descriptor >= 0:
            descriptor, self._descriptor = self._descriptor, -1
            os.close(descriptor)


def open_uploaded_file() -> UploadedFile:
    """Raises OSError."""
    return in_memory() if sys.platform == "linux" else in_folder(Path(tempfile.gettempdir()))


def in_memory() -> UploadedFile:
    descriptor = os.memfd_create("upload", os.MFD_CLOEXEC)
    return UploadedFile(descriptor, Path(f"/dev/fd/{descriptor}"), named=False)


def in_folder(folder: Path) -> UploadedFile:
    descriptor, name = tempfile.mkstemp(prefix=SCRATCH_PREFIX, dir=folder)
    return UploadedFile(descriptor, Path(name), named=True)
