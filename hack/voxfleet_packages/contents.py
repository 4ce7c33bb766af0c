"""The files inside an archive, read without unpacking: tar (and npm's tgz), zip (and wheels), Debian's deb."""

from __future__ import annotations

import io
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

_AR_MAGIC = b"!<arch>\n"
_AR_HEADER_BYTES = 60


class UnreadableArchive(Exception):
    """The archive is of no known form; the text names it."""


def files(archive: Path, wanted: Callable[[str], bool] = lambda _name: True) -> Iterator[tuple[str, bytes]]:
    """Yields (name, content) of each regular file whose name is `wanted`, by name.

    Names are as the archive has them, without a leading "./". Raises UnreadableArchive.
    """
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as zipped:
            for name in sorted(name for name in zipped.namelist() if not name.endswith("/") and wanted(name)):
                yield name, zipped.read(name)
        return
    with _tar_stream(archive) as stream:
        try:
            tar = tarfile.open(fileobj=stream)  # noqa: SIM115 - closed below
        except tarfile.TarError as error:
            raise UnreadableArchive(f"{archive} is no tar, zip or deb that can be read: {error}") from error
        with tar:
            members = {member.name.removeprefix("./"): member for member in tar if member.isfile()}
            for name in sorted(filter(wanted, members)):
                content = tar.extractfile(members[name])
                if content is not None:
                    yield name, content.read()


def file(archive: Path, name: str) -> bytes:
    """Returns the content of one file. Raises UnreadableArchive, also when the archive has no such file."""
    for _, content in files(archive, lambda candidate: candidate == name):
        return content
    raise UnreadableArchive(f"{archive} has no file {name}")


def _tar_stream(archive: Path) -> IO[bytes]:
    with archive.open("rb") as opened:
        if opened.read(len(_AR_MAGIC)) != _AR_MAGIC:
            return archive.open("rb")
        while len(header := opened.read(_AR_HEADER_BYTES)) == _AR_HEADER_BYTES:
            name, size = header[:16].decode("ascii").rstrip(" /"), int(header[48:58])
            if name.startswith("data.tar"):
                return io.BytesIO(opened.read(size))
            opened.seek(size + size % 2, io.SEEK_CUR)
    raise UnreadableArchive(f"{archive} is a deb without data.tar")
