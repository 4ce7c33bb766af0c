"""Files come out of every form of archive without unpacking."""

from __future__ import annotations

import io
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from voxfleet_packages.contents import UnreadableArchive, file, files

FILES = {"data/b.wav": b"two", "data/a.wav": b"one", "data/notes.txt": b"text"}


def tar_bytes(prefix: str, compression: str) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode=f"w:{compression}") as tar:  # type: ignore[call-overload]
        folder = tarfile.TarInfo(f"{prefix}data")
        folder.type = tarfile.DIRTYPE
        tar.addfile(folder)
        for name, content in FILES.items():
            member = tarfile.TarInfo(f"{prefix}{name}")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return stream.getvalue()


def zip_bytes() -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as zipped:
        zipped.mkdir("data")
        for name, content in FILES.items():
            zipped.writestr(name, content)
    return stream.getvalue()


def deb_bytes() -> bytes:
    """Members of odd length are padded to even offsets."""
    members = {"debian-binary": b"2.0\n", "control.tar.xz": b"odd", "data.tar.xz": tar_bytes("./", "xz")}
    return b"!<arch>\n" + b"".join(
        f"{name:<16}{0:<12}{0:<6}{0:<6}{100644:<8}{len(content):<10}`\n".encode() + content + b"\n" * (len(content) % 2)
        for name, content in members.items()
    )


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("package-1.0.tar.gz", lambda: tar_bytes("", "gz")),
        ("package_1.0.orig.tar.xz", lambda: tar_bytes("", "xz")),
        ("package-1.0.tgz", lambda: tar_bytes("", "gz")),
        ("package-1.0-py3-none-any.whl", zip_bytes),
        ("package_1.0-1_all.deb", deb_bytes),
    ],
)
def test_wanted_files_come_by_name(tmp_path: Path, name: str, content: Callable[[], bytes]) -> None:
    archive = tmp_path / name
    archive.write_bytes(content())
    assert list(files(archive, lambda name: name.endswith(".wav"))) == [("data/a.wav", b"one"), ("data/b.wav", b"two")]
    assert file(archive, "data/notes.txt") == b"text"
    with pytest.raises(UnreadableArchive, match=f"{name} has no file data/c.wav"):
        file(archive, "data/c.wav")


@pytest.mark.parametrize("content", [b"no archive", b"!<arch>\n"])
def test_another_file_is_refused_by_name(tmp_path: Path, content: bytes) -> None:
    archive = tmp_path / "package.deb"
    archive.write_bytes(content)
    with pytest.raises(UnreadableArchive, match=r"package\.deb is"):
        list(files(archive))
