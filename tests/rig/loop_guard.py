"""Notices when the agent's event loop asks a file system that belongs to jobs, which may be dead."""

from __future__ import annotations

import asyncio
import functools
import io
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import pytest

import voxfleet_agent

_CALLS = [
    "access", "chmod", "close", "fstat", "fstatvfs", "fsync", "ftruncate", "link", "listdir", "lseek", "lstat", "mkdir",
    "open", "pread", "read", "readlink", "remove", "rename", "replace", "rmdir", "scandir", "stat", "statvfs", "unlink",
    "write",
]  # fmt: skip
_AGENT = str(Path(voxfleet_agent.__file__).parent)


@contextmanager
def files_off_the_loop(folder: Path) -> Iterator[None]:
    """Fails when code of the agent calls the file system below `folder` in a thread that runs an event loop."""
    met: list[str] = []

    def watched(name: str, call: Callable[..., object]) -> Callable[..., object]:
        @functools.wraps(call)
        def checked(*arguments: object, **options: object) -> object:
            if asyncio._get_running_loop() is not None and _by_agent() and _touches(folder, arguments, options):
                met.append(f"{name} in {_by_agent()}")
            return call(*arguments, **options)

        return checked

    with pytest.MonkeyPatch.context() as patch:
        for name in _CALLS:
            patch.setattr(os, name, watched(name, getattr(os, name)))
        patch.setattr(io, "open", watched("open", io.open))
        yield
    assert met == [], f"on the event loop: {met}"


def _by_agent() -> str | None:
    """The function of the agent for which the call is made, if any: not that of a test or of asyncio."""
    frame: FrameType | None = sys._getframe(2)
    while frame is not None:
        code = frame.f_code
        if code.co_filename.startswith(_AGENT):
            return f"{Path(code.co_filename).name}:{frame.f_lineno} {code.co_name}"
        if "/tests/" in code.co_filename and not code.co_filename.endswith("loop_guard.py"):
            return None
        frame = frame.f_back
    return None


def _touches(folder: Path, arguments: tuple[object, ...], options: dict[str, object]) -> bool:
    for value in (*arguments[:2], *(options[name] for name in options if name.endswith("dir_fd"))):
        path = _path_of(value) if isinstance(value, int) else value
        if isinstance(path, str | Path) and Path(path).is_relative_to(folder):
            return True
    return False


def _path_of(descriptor: int) -> str:
    """The file behind a descriptor, as Linux tells it; empty elsewhere."""
    try:
        return _readlink(f"/proc/self/fd/{descriptor}")
    except OSError:
        return ""


_readlink = os.readlink
