"""Whether the volume that a path should lie on is mounted."""

from __future__ import annotations

from pathlib import Path, PurePath

import pytest

from voxfleet_agent import volumes
from voxfleet_agent.volumes import missing_mount, mount_points_of, unmounted_volume

FSTAB = """
# <file system> <mount point> <type>
UUID=1 / ext4 defaults 0 1
UUID=2 none swap sw 0 0
nas:/calls\t/srv/my\\040calls nfs ro 0 0
broken
"""


def test_mount_points_of_fstab_are_read_with_their_blanks() -> None:
    assert mount_points_of(FSTAB) == ["/srv/my calls"]


@pytest.mark.parametrize(
    ("path", "missing"),
    [
        ("/srv/my calls/2026/a.wav", "/srv/my calls"),
        ("/srv/my calls", "/srv/my calls"),
        ("/srv/my callsigns/a.wav", None),
        ("/srv/other/a.wav", None),
        ("/data/a.wav", None),
    ],
)
def test_only_an_expected_volume_is_missed(path: str, missing: str | None) -> None:
    found = missing_mount(PurePath(path), mount_points_of(FSTAB), {"/", "/srv/other"})
    assert found == (None if missing is None else PurePath(missing))


def test_on_macos_each_folder_below_volumes_is_expected_to_be_mounted() -> None:
    assert unmounted_volume(PurePath("/Volumes/absent/voxfleet"), "darwin") == PurePath("/Volumes/absent")
    assert unmounted_volume(PurePath("/Volumes"), "darwin") is None
    assert unmounted_volume(PurePath("/Users/voxfleet/scratch"), "darwin") is None


def test_what_is_mounted_is_not_missed(tmp_path: Path) -> None:
    assert unmounted_volume(tmp_path) is None


@pytest.mark.parametrize(
    ("written", "in_fstab"),
    [
        ("volume/calls", "real/volume"),
        ("link", "real/volume"),
        ("above/volume/calls", "real/volume"),
        ("above/volume/calls", "above/volume"),
    ],
)
def test_a_volume_is_missed_through_links(
    written: str, in_fstab: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "real" / "volume" / "calls").mkdir(parents=True)
    (tmp_path / "above").symlink_to("real")
    (tmp_path / "volume").symlink_to("real/volume")
    (tmp_path / "link").symlink_to("real/volume/calls")
    (tmp_path / "fstab").write_text(f"nas:/calls {tmp_path / in_fstab} nfs ro 0 0\n")
    monkeypatch.setattr(volumes, "_FSTAB", tmp_path / "fstab")
    assert unmounted_volume(tmp_path / written, "linux") == tmp_path / "real/volume"


def test_a_mounted_volume_is_found_through_a_link(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "proc").symlink_to("/proc")
    (tmp_path / "fstab").write_text(f"proc {tmp_path / 'proc'} proc defaults 0 0\n")
    monkeypatch.setattr(volumes, "_FSTAB", tmp_path / "fstab")
    assert unmounted_volume(tmp_path / "proc" / "sys", "linux") is None
