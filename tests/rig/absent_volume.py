"""A volume that /etc/fstab names and nobody has mounted."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from voxfleet_agent import volumes


@contextmanager
def absent_volume(folder: Path) -> Iterator[Path]:
    """Yields its mount point, an empty folder on the start disk."""
    mount_point = folder / "volume"
    mount_point.mkdir()
    fstab = folder / "fstab"
    fstab.write_text(f"UUID=1 / ext4 defaults 0 1\nUUID=2 {mount_point} ext4 defaults 0 1\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(volumes, "_FSTAB", fstab)
        yield mount_point
