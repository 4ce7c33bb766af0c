"""Where a ledger archive lies. Here only file:///, until the real one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote, urlsplit


class ArchiveError(Exception):
    """The archive cannot be read; the message names the address and says what to do."""


class ArchiveStore:
    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def get(self, path: str) -> bytes:
        try:
            return (self.folder / path).read_bytes()
        except OSError as error:
            raise ArchiveError(f"file://{self.folder / path}: {error.strerror}") from error

    def names(self, path: str) -> Iterator[str]:
        folder = self.folder / path
        if folder.is_dir():
            yield from sorted(entry.name for entry in folder.iterdir())


def open_archive(uri: str) -> ArchiveStore:
    """Raises ArchiveError."""
    parts = urlsplit(uri)
    if parts.scheme != "file":
        raise ArchiveError(f"{uri}: write file:///folder or s3://bucket/prefix")
    return ArchiveStore(Path(unquote(parts.path)))
