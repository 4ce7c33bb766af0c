"""Where a ledger archive lies. Stands in until the real one is merged: file:// only."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote, urlsplit


class ArchiveError(Exception):
    """The archive cannot be read or written; the message names the address and says what to do."""


class ArchiveStore:
    def __init__(self, uri: str) -> None:
        self.uri = uri.rstrip("/")
        self._root = Path(unquote(urlsplit(uri).path))
        if not self._root.is_dir():
            raise ArchiveError(f"{uri}: there is no such folder")

    def get(self, path: str) -> bytes | None:
        """None if there is no such object. Raises ArchiveError."""
        try:
            return (self._root / path).read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise ArchiveError(f"{self.uri}/{path}: {error}") from error

    def list(self, prefix: str) -> Iterator[str]:
        """Names of all objects whose names begin so, sorted."""
        folder = self._root / prefix
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                yield path.relative_to(self._root).as_posix()


def open_archive(uri: str) -> ArchiveStore:
    """Raises ArchiveError."""
    if not uri.startswith("file:///"):
        raise ArchiveError(f"{uri} is no address of an archive; write file:///folder")
    return ArchiveStore(uri)
