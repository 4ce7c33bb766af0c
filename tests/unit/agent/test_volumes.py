"""Whether the volume that a path should lie on is mounted."""

from __future__ import annotations

from pathlib import Path, PurePath
from types import SimpleNamespace

import psutil
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


@pytest.mark.parametrize(
    ("path", "expected", "mounted", "missing"),
    [
        ("/mnt/nas/calls", ["/mnt", "/mnt/nas"], {"/", "/mnt/nas"}, None),
        ("/mnt/nas/calls", ["/mnt", "/mnt/nas"], {"/", "/mnt"}, "/mnt/nas"),
        ("/mnt/other", ["/mnt"], {"/", "/mnt/nas"}, "/mnt"),
        ("/mnt/nas/calls", ["/mnt/nas"], {"/", "/mnt/nas/calls"}, None),
        ("/mnt/nas", ["/mnt/nas"], {"/", "/mnt/nas/calls"}, "/mnt/nas"),
        ("/mnt/nas", ["/mnt/nas"], set(), "/mnt/nas"),
        ("/mnt/nas", ["/mnt/nas"], {"/mnt/NAS"}, "/mnt/nas"),
    ],
)
def test_a_volume_mounted_deeper_is_the_one_that_counts(
    path: str, expected: list[str], mounted: set[str], missing: str | None
) -> None:
    assert missing_mount(PurePath(path), expected, mounted) == (None if missing is None else PurePath(missing))


@pytest.mark.parametrize(
    ("path", "mounted", "missing"),
    [
        ("/Volumes/shares/calls/a.wav", "/Volumes/shares/calls", None),
        ("/Volumes/shares/other/a.wav", "/Volumes/shares/calls", "/Volumes/shares"),
        ("/Volumes/calls/a.wav", "/Volumes/Calls", None),
        ("/Volumes/Gespra\u0308che/a.wav", "/Volumes/gespr\u00e4che", None),
        ("/Volumes/calls-2/a.wav", "/Volumes/calls", "/Volumes/calls-2"),
    ],
)
def test_on_macos_a_volume_is_found_however_its_name_is_written(
    path: str, mounted: str, missing: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = [SimpleNamespace(mountpoint=point) for point in ("/", mounted)]
    monkeypatch.setattr(psutil, "disk_partitions", lambda **_: table)
    assert unmounted_volume(PurePath(path), "darwin") == (None if missing is None else PurePath(missing))


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
