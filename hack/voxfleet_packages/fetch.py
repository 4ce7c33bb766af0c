"""The archive of a pinned package, out of the cache or fetched into it."""

from __future__ import annotations

import fcntl
import hashlib
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from voxfleet_dev.locations import cache_directory
from voxfleet_packages.clients import DownloadFailed, download
from voxfleet_packages.pinned import PinnedPackage


class PackageUnavailable(Exception):
    """A package cannot be had here, or is another than was pinned; the text names it and says what to do."""


def packages_folder() -> Path:
    """The folder of the cache that keeps archives."""
    return cache_directory() / "packages"


def fetched(package: PinnedPackage, folder: Path | None = None) -> Path:
    """Returns the archive's path in `folder` (default: `packages_folder()`), with the pinned checksum on every call.

    Downloads it once, however many processes ask, and says so on stderr before. Raises PackageUnavailable.
    """
    folder = packages_folder() if folder is None else folder
    path = folder / package.archive
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        with one_at_a_time(folder):
            if not path.exists():
                _fetch(package, path)
    _check(package, path)
    return path


def _fetch(package: PinnedPackage, path: Path) -> None:
    print(f"fetching {package} into {path.parent}, once", file=sys.stderr, flush=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix="fetch-") as name:
        try:
            download(package, Path(name), path.parent / "apt")
        except DownloadFailed as error:
            raise PackageUnavailable(
                f"{package} cannot be fetched: {error}. Or put its {package.archive} into {path.parent}"
            ) from error
        downloaded = Path(name) / package.archive
        if not downloaded.exists():
            came = ", ".join(sorted(file.name for file in Path(name).iterdir())) or "nothing"
            raise PackageUnavailable(f"{package}: {package.archive} was expected, {came} came: pin what came")
        _check(package, downloaded)
        downloaded.rename(path)


def _check(package: PinnedPackage, path: Path) -> None:
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != package.sha256:
        raise PackageUnavailable(
            f"{package}: {path} has sha256 {found}, not {package.sha256}: remove the file and try again"
        )


@contextmanager
def one_at_a_time(folder: Path) -> Iterator[None]:
    """Other processes that ask for the same folder wait until this one leaves."""
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
