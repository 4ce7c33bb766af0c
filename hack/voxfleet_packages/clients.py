"""Downloads one package with the client of its registry."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from voxfleet_packages.pinned import PinnedPackage, Registry

_LIMIT_SECONDS = 900.0
_DEBIAN_SOURCES = """\
Types: deb deb-src
URIs: http://deb.debian.org/debian
Suites: bookworm
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg
"""
_DEBIAN_ARCHITECTURE = "amd64"
"""Of every machine's downloads: the checksums are of these files, and only data is read from them."""
_MISSING = {
    "apt-get": "it is part of Debian",
    "npm": "install it (Debian: apt-get install npm; macOS: brew install node)",
}


class DownloadFailed(Exception):
    """The client is missing or gave up; the text says which, and what it said."""


def download(package: PinnedPackage, folder: Path, lists: Path) -> None:
    """Leaves the package's archive in `folder`, which is empty before; `lists` keeps what apt-get knows.

    Raises DownloadFailed.
    """
    _CLIENTS[package.registry](package, folder, lists)


def _pip(*options: str) -> Callable[[PinnedPackage, Path, Path], None]:
    def fetch(package: PinnedPackage, folder: Path, _lists: Path) -> None:
        requirement = f"{package.name}=={package.version}"
        _run([sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", *options, requirement], folder)

    return fetch


def _npm(package: PinnedPackage, folder: Path, _lists: Path) -> None:
    _run(["npm", "pack", "--silent", "--ignore-scripts", f"{package.name}@{package.version}"], folder)


def _debian(*command: str) -> Callable[[PinnedPackage, Path, Path], None]:
    def fetch(package: PinnedPackage, folder: Path, lists: Path) -> None:
        options = _own_lists(lists)
        download = ["apt-get", *options, "--quiet", *command, f"{package.name}={package.version}"]
        try:
            _run(download, folder)
        except DownloadFailed:
            _run(["apt-get", *options, "--quiet", "update"], folder)
            _run(download, folder)

    return fetch


def _own_lists(lists: Path) -> list[str]:
    """Options that leave alone what the machine's own apt-get knows: its sources need neither bookworm nor deb-src."""
    for name in ("state/lists/partial", "cache/archives/partial", "sources"):
        (lists / name).mkdir(parents=True, exist_ok=True)
    (lists / "sources" / "bookworm.sources").write_text(_DEBIAN_SOURCES, encoding="utf-8")
    (lists / "status").touch()
    settings = {
        "Dir::Etc::sourcelist": "/dev/null",
        "Dir::Etc::sourceparts": lists / "sources",
        "Dir::State": lists / "state",
        "Dir::State::status": lists / "status",
        "Dir::Cache": lists / "cache",
        "APT::Architecture": _DEBIAN_ARCHITECTURE,
        "APT::Architectures": _DEBIAN_ARCHITECTURE,
        "APT::Sandbox::User": "root",
        "Acquire::Languages": "none",
    }
    return [part for name, value in settings.items() for part in ("-o", f"{name}={value}")]


_CLIENTS: Mapping[Registry, Callable[[PinnedPackage, Path, Path], None]] = {
    Registry.PYPI_SOURCE: _pip("--no-binary", ":all:"),
    Registry.PYPI_WHEEL: _pip("--only-binary", ":all:"),
    Registry.DEBIAN_SOURCE: _debian("--download-only", "--tar-only", "source"),
    Registry.DEBIAN_BINARY: _debian("download"),
    Registry.NPM: _npm,
}


def _run(command: list[str], folder: Path) -> None:
    try:
        ended = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=_LIMIT_SECONDS)
    except FileNotFoundError as error:
        raise DownloadFailed(f"{command[0]} is missing: {_MISSING.get(command[0], 'install it')}") from error
    except OSError as error:
        raise DownloadFailed(f"{command[0]} does not start: {error.strerror}") from error
    except subprocess.TimeoutExpired as error:
        raise DownloadFailed(f"{command[0]} did not end within {_LIMIT_SECONDS:g} s: try again") from error
    if ended.returncode != 0:
        lines = (ended.stderr or ended.stdout).strip().splitlines()
        raise DownloadFailed(f"{command[0]} says: {lines[-1] if lines else 'nothing'}")
