"""A ledger archive in a folder: a volume of the operator's pod, or a copy on a laptop.

An object is there with all its bytes or not at all, also after the power went off: the folder may be all that is left.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from uuid import uuid4

from voxfleet_billing.archive_access import MAX_OBJECT_BYTES, ArchiveError, ObjectMissing

_UNFINISHED = ".unfinished-"


class ArchiveFolder:
    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @property
    def uri(self) -> str:
        return self._folder.as_uri()

    def get(self, path: str) -> bytes:
        file = self._file(path)
        try:
            with file.open("rb") as opened:
                content = opened.read(MAX_OBJECT_BYTES + 1)
        except FileNotFoundError as error:
            raise ObjectMissing(f"{file.as_uri()}: there is no such file") from error
        except OSError as error:
            raise self._error(file, error) from error
        if len(content) > MAX_OBJECT_BYTES:
            raise ArchiveError(f"{file.as_uri()}: has more than {MAX_OBJECT_BYTES} bytes; VoxFleet wrote no such file")
        return content

    def create(self, path: str, content: bytes) -> bool:
        file = self._file(path)
        unfinished = file.parent / f"{_UNFINISHED}{uuid4().hex}"
        try:
            if file.exists():
                return False
            _make_folders(file.parent, self._folder)
            with unfinished.open("xb") as opened:
                opened.write(content)
                opened.flush()
                os.fsync(opened.fileno())
            try:
                os.link(unfinished, file)  # fails if it exists, as a rename does not
            except FileExistsError:
                return False
            finally:
                unfinished.unlink()
            _sync_folder(file.parent)
        except OSError as error:
            with suppress(OSError):
                unfinished.unlink(missing_ok=True)
            raise self._error(file, error) from error
        return True

    def names(self, path: str) -> list[str]:
        folder = self._file(path) if path else self._folder
        try:
            return sorted(entry.name for entry in folder.iterdir() if not entry.name.startswith(_UNFINISHED))
        except (FileNotFoundError, NotADirectoryError):
            return []
        except OSError as error:
            raise self._error(folder, error) from error

    def delete(self, path: str) -> None:
        file = self._file(path)
        try:
            file.unlink(missing_ok=True)
        except OSError as error:
            raise self._error(file, error) from error

    def _file(self, path: str) -> Path:
        if any(part in ("", ".", "..") for part in path.split("/")):
            raise ArchiveError(f"{self.uri}: {path!r} is no path of an archive")
        return self._folder / path

    def _error(self, file: Path, error: OSError) -> ArchiveError:
        return ArchiveError(
            f"{file.as_uri()}: {error.strerror or error}; mount the volume of the archive {self.uri}, and let this user"
            " write there"
        )


def _make_folders(folder: Path, root: Path) -> None:
    """The root itself is the volume, which somebody has to mount: without it nothing is archived."""
    missing = []
    while folder != root and not folder.is_dir():
        missing.append(folder)
        folder = folder.parent
    for item in reversed(missing):
        item.mkdir(exist_ok=True)
        _sync_folder(item.parent)


def _sync_folder(folder: Path) -> None:
    opened = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)
