"""Why a file system denies access, by errno and platform."""

from __future__ import annotations

import errno
import re
import sys

import pytest

from voxfleet_agent.storage import local_paths
from voxfleet_agent.storage.access_advice import denial
from voxfleet_api.failures import FailureClass


@pytest.mark.parametrize(
    ("number", "platform", "words"),
    [
        (errno.EPERM, "darwin", "privacy protection denies access; .* Full Disk Access, .* Files and Folders"),
        (errno.EPERM, "linux", "whatever the owner is"),
        (errno.EACCES, "darwin", "check the owner and the permissions"),
        (errno.EACCES, "linux", "check the owner and the permissions"),
        (errno.EROFS, "linux", "read-only; mount it for writing"),
        (errno.ELOOP, "linux", "links in a circle"),
        (errno.ENXIO, "linux", "check the owner and the permissions"),
    ],
)
def test_the_reason_fits_the_errno(number: int, platform: str, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert re.search(words, denial(number, platform))
    monkeypatch.setattr(sys, "platform", platform)
    error = local_paths.file_error(OSError(number, ""))
    assert (error.failure_class, error.message) == (FailureClass.ACCESS_DENIED, denial(number, platform))
