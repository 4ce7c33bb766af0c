"""Bytes that a promise stands on are flushed as far as the system can."""

from __future__ import annotations

import errno
import fcntl
import os
from pathlib import Path

import pytest

from voxfleet_agent import durable_files
from voxfleet_agent.durable_files import replace_file, sync_file_at

FULL_FSYNC = 51
"""The value of F_FULLFSYNC in macOS's <sys/fcntl.h>."""


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is asked of the system, which behaves like macOS."""
    made: list[str] = []

    def full(descriptor: int, command: int) -> int:
        assert command == FULL_FSYNC
        made.append("full")
        return 0

    monkeypatch.setattr(durable_files, "_FULL_FSYNC", FULL_FSYNC)
    monkeypatch.setattr(fcntl, "fcntl", full)
    monkeypatch.setattr(os, "fsync", lambda descriptor: made.append("fsync"))
    return made


def test_macos_flushes_the_drive_too(tmp_path: Path, calls: list[str]) -> None:
    replace_file(tmp_path / "x", b"content")
    assert calls == ["full", "full"], "of the file and of its folder"
    assert (tmp_path / "x").read_bytes() == b"content"


@pytest.mark.parametrize("number", [errno.ENOTSUP, errno.ENOTTY, errno.EINVAL])
def test_a_file_system_that_cannot_is_flushed_as_far_as_it_can(
    tmp_path: Path, calls: list[str], monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def unsupported(descriptor: int, command: int) -> int:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "fcntl", unsupported)
    sync_file_at(tmp_path)
    assert calls == ["fsync"]


def test_a_drive_that_fails_is_told(tmp_path: Path, calls: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(descriptor: int, command: int) -> int:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(fcntl, "fcntl", broken)
    with pytest.raises(OSError, match=os.strerror(errno.EIO)):
        replace_file(tmp_path / "x", b"content")
    assert list(tmp_path.iterdir()) == [] and calls == []


def test_only_one_module_syncs() -> None:
    """The journal syncs through SQLite's pragmas."""
    folder = Path(durable_files.__file__).parent
    syncing = {path.name for path in folder.rglob("*.py") if "os.fsync(" in path.read_text()}
    assert syncing == {"durable_files.py"}
