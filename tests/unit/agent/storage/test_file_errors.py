"""What an errno means: of an object's file system, and of this Mac's own scratch."""

from __future__ import annotations

import errno
import os
import re
import sys
from pathlib import Path

import pytest

from voxfleet_agent.access_advice import denial
from voxfleet_agent.scratch_errors import scratch_errors
from voxfleet_agent.storage import local_paths
from voxfleet_api.failures import RULES, FailureClass, Remedy, VoxFleetError


@pytest.mark.parametrize(
    ("number", "platform", "words"),
    [
        (errno.EPERM, "darwin", "privacy protection denies access; .* Full Disk Access, .* Files and Folders"),
        (errno.EPERM, "linux", "whatever the owner is"),
        (errno.EACCES, "darwin", "check the owner and the permissions"),
        (errno.EACCES, "linux", "check the owner and the permissions"),
        (errno.EROFS, "linux", "read-only; mount it for writing"),
        (errno.ELOOP, "linux", "links in a circle"),
    ],
)
def test_the_reason_fits_the_errno(number: int, platform: str, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert re.search(words, denial(number, platform))
    monkeypatch.setattr(sys, "platform", platform)
    error = local_paths.file_error(OSError(number, ""))
    assert (error.failure_class, error.message) == (FailureClass.ACCESS_DENIED, denial(number, platform))


@pytest.mark.parametrize(
    ("number", "expected", "words"),
    [
        (errno.ENOENT, FailureClass.INPUT_NOT_FOUND, "does not exist"),
        (errno.ENOTDIR, FailureClass.INPUT_NOT_FOUND, "does not exist"),
        (errno.EISDIR, FailureClass.INVALID_INPUT, "not a regular file"),
        (errno.ENXIO, FailureClass.INVALID_INPUT, "not a regular file"),  # a socket, or a pipe without a reader
        (errno.ENAMETOOLONG, FailureClass.INVALID_INPUT, "too long for a file"),
        (errno.EINVAL, FailureClass.INVALID_INPUT, "no file can have it"),
        (errno.ENOSPC, FailureClass.TRANSPORT, "disk is full"),
        (errno.EDQUOT, FailureClass.TRANSPORT, "disk is full"),
        (errno.EIO, FailureClass.TRANSPORT, os.strerror(errno.EIO)),
        (errno.ESTALE, FailureClass.TRANSPORT, os.strerror(errno.ESTALE)),
        (errno.EMFILE, FailureClass.TRANSPORT, os.strerror(errno.EMFILE)),
        (None, FailureClass.TRANSPORT, "OSError"),
    ],
)
def test_what_is_no_denial_has_its_own_class(number: int | None, expected: FailureClass, words: str) -> None:
    error = local_paths.file_error(OSError() if number is None else OSError(number, ""))
    assert error.failure_class is expected and words in error.message


def test_an_address_that_no_file_can_have_is_the_clip_s_own_fault() -> None:
    with pytest.raises(VoxFleetError, match="no file can have it") as caught, local_paths.file_errors():
        Path("a\0b").stat()
    assert caught.value.failure_class is FailureClass.INVALID_INPUT


@pytest.mark.parametrize(
    ("number", "expected", "words"),
    [
        (errno.ENOSPC, FailureClass.SCRATCH_EXHAUSTED, "free its volume or mount it for writing"),
        (errno.EDQUOT, FailureClass.SCRATCH_EXHAUSTED, "free its volume or mount it for writing"),
        (errno.EROFS, FailureClass.SCRATCH_EXHAUSTED, "free its volume or mount it for writing"),
        (errno.EIO, FailureClass.SCRATCH_EXHAUSTED, "look at its volume"),
        (errno.ENOENT, FailureClass.SCRATCH_EXHAUSTED, "look at its volume"),
        (errno.EACCES, FailureClass.RUNTIME_MISMATCH, "scratch.path: the file system denies access"),
        (errno.EPERM, FailureClass.RUNTIME_MISMATCH, "Full Disk Access"),
        (errno.ELOOP, FailureClass.SCRATCH_EXHAUSTED, "look at its volume"),  # a planted link, which nobody follows
        (None, FailureClass.SCRATCH_EXHAUSTED, "OSError"),
    ],
)
def test_an_error_of_scratch_is_this_mac_s(
    number: int | None, expected: FailureClass, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    with pytest.raises(VoxFleetError) as caught, scratch_errors():
        raise OSError() if number is None else OSError(number, "as the system says it", "/private/name")
    error = caught.value
    assert error.failure_class is expected and words in error.message and "private" not in error.message
    assert RULES[expected].remedy is Remedy.OTHER_MAC
