"""Whether the volume that a path should lie on is mounted.

A folder of that name on the start disk would otherwise be filled, or looked into and found empty. Links above the path
are resolved, so what asks about a job's path does so in the threads of its mount.
"""

from __future__ import annotations

import os
import sys
import unicodedata
from collections.abc import Collection
from pathlib import Path, PurePath

import psutil

_FSTAB = Path("/etc/fstab")
_NO_MOUNT_POINT = frozenset({"none", "swap", "/"})
"""What fstab(5) has in place of a mount point, and what is always mounted."""


def unmounted_volume(path: PurePath, platform: str = sys.platform) -> PurePath | None:
    """The mount point above `path` where no volume is mounted; None when all is well, or when nothing is expected.

    Raises OSError.
    """
    real = PurePath(os.path.realpath(path))
    expected = _expected_on_macos(real) if platform == "darwin" else _expected_on_linux(path, real)
    if not expected:
        return None
    # The kernel answers from memory, on Linux (/proc/self/mounts) as on macOS (getfsstat with MNT_NOWAIT).
    mounted = {part.mountpoint for part in psutil.disk_partitions(all=True)}
    return missing_mount(real, expected, mounted, same_case=platform != "darwin")


def missing_mount(
    path: PurePath, expected: Collection[str], mounted: Collection[str], *, same_case: bool = True
) -> PurePath | None:
    """The first of the `expected` mount points with no `mounted` volume at it, or between it and `path`. Pure.

    A share may be mounted in a plain folder of the place where another is expected. `same_case`: False where names
    that differ in case, or in how accents are encoded, are one.
    """

    def compared(name: str | PurePath) -> PurePath:
        return PurePath(name if same_case else unicodedata.normalize("NFC", str(name)).casefold())

    wanted = compared(path)
    above = [compared(point) for point in mounted if wanted.is_relative_to(compared(point))]
    deepest = max(above, key=lambda point: len(point.parts), default=None)
    for name in sorted(expected):
        point = compared(name)
        if wanted.is_relative_to(point) and (deepest is None or not deepest.is_relative_to(point)):
            return PurePath(name)
    return None


def _expected_on_macos(real: PurePath) -> list[str]:
    """Volumes are mounted at /Volumes/<name>; there, the start volume is a link to /."""
    return [str(PurePath(*real.parts[:3]))] if real.parts[:2] == ("/", "Volumes") and len(real.parts) > 2 else []


def _expected_on_linux(path: PurePath, real: PurePath) -> list[str]:
    """What /etc/fstab mounts above the path as it is written or above its real one, by real names."""
    try:
        points = mount_points_of(_FSTAB.read_text(errors="surrogateescape"))
    except OSError:  # there is none, as in containers, or this account may not read it: nothing is known
        return []
    written = [os.path.realpath(point) for point in points if path.is_relative_to(point)]
    return [*written, *(point for point in points if real.is_relative_to(point))]


def mount_points_of(fstab: str) -> list[str]:
    """The mount points that an fstab(5) names, but for `/`. Pure."""
    lines = (line.split() for line in fstab.splitlines() if not line.lstrip().startswith("#"))
    points = (fields[1].replace("\\040", " ") for fields in lines if len(fields) > 1)
    return [point for point in points if point not in _NO_MOUNT_POINT]
