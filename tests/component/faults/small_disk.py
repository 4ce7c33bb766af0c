"""A real file system with an end, in memory."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest


class SmallDisk:
    def __init__(self, path: Path) -> None:
        self.path = path

    @contextlib.contextmanager
    def full(self, free_bytes: int = 0) -> Iterator[None]:
        """Takes all but some bytes for as long as it lasts."""
        filler = self.path / "filler"
        with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
            while True:
                file.write(bytes(4096))
        os.truncate(filler, max(0, filler.stat().st_size - free_bytes))
        try:
            yield
        finally:
            filler.unlink()

    @contextlib.contextmanager
    def out_of_files(self, spare_files: int = 0) -> Iterator[None]:
        """Leaves bytes free, and room for some more files (inodes) alone."""
        facts = os.statvfs(self.path)
        used = facts.f_files - facts.f_ffree
        _run("mount", "-o", f"remount,nr_inodes={used + spare_files}", str(self.path))
        try:
            yield
        finally:
            _run("mount", "-o", f"remount,nr_inodes={facts.f_files}", str(self.path))

    @contextlib.contextmanager
    def read_only(self) -> Iterator[None]:
        _run("mount", "-o", "remount,ro", str(self.path))
        try:
            yield
        finally:
            _run("mount", "-o", "remount,rw", str(self.path))


@contextlib.contextmanager
def small_disk(path: Path, size: str) -> Iterator[SmallDisk]:
    """Mounts a file system of `size` (for example `1m`) at `path`. Skips the test where nobody may mount."""
    if sys.platform != "linux" or os.geteuid() != 0:
        pytest.skip("only root on Linux can mount a small disk")
    path.mkdir(parents=True, exist_ok=True)
    try:
        _run("mount", "-t", "tmpfs", "-o", f"size={size},mode=0700", "tmpfs", str(path))
    except subprocess.CalledProcessError as error:
        pytest.skip(f"mounting is not allowed here: {error.stderr.strip()}")
    try:
        yield SmallDisk(path)
    finally:
        _run("umount", "--lazy", str(path))


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True, text=True)
