"""Whether the volume that a path should lie on is mounted.

A folder of that name on the start disk would otherwise be filled, or looked into and found empty. Nothing here asks the
file system of the volume, which may not answer.
"""

from __future__ import annotations

import sys
from collections.abc import Collection
from pathlib import Path, PurePath

import psutil

_FSTAB = Path("/etc/fstab")
_NO_MOUNT_POINT = frozenset({"none", "swap"})


def unmounted_volume(path: PurePath, platform: str = sys.platform) -> PurePath | None:
    """The mount point above `path` where no volume is mounted; None when all is well, or when nothing is expected."""
    # The kernel answers from memory, on Linux (/proc/self/mounts) as on macOS (getfsstat with MNT_NOWAIT).
    mounted = {part.mountpoint for part in psutil.disk_partitions(all=True)}
    missing = missing_mount(path, _expected_mounts(path, platform), mounted)
    # /Volumes holds the start volume as a link to /
    return None if missing is None or Path(missing).is_symlink() else missing


def missing_mount(path: PurePath, expected: Collection[str], mounted: Collection[str]) -> PurePath | None:
    """The first of the `expected` mount points above `path` that is not `mounted`. Pure."""
    above = [PurePath(point) for point in sorted(expected) if path.is_relative_to(point)]
    return next((point for point in above if str(point) not in mounted), None)


def _expected_mounts(path: PurePath, platform: str) -> list[str]:
    if platform == "darwin":  # volumes are mounted at /Volumes/<name>, whatever /etc/fstab says
        return [str(PurePath(*path.parts[:3]))] if path.parts[:2] == ("/", "Volumes") and len(path.parts) > 2 else []
    return mount_points_of(_FSTAB.read_text()) if _FSTAB.exists() else []


def mount_points_of(fstab: str) -> list[str]:
    """The mount points that an fstab(5) names. Pure."""
    lines = (line.split() for line in fstab.splitlines() if not line.lstrip().startswith("#"))
    points = (fields[1].replace("\\040", " ") for fields in lines if len(fields) > 1)
    return [point for point in points if point not in _NO_MOUNT_POINT]
