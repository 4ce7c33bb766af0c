"""Downloads one package with the client of its registry."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from voxfleet_packages.pinned import PinnedPackage, Registry

_LIMIT_SECONDS = 900.0
_DEBIAN_ARCHIVE = "http://deb.debian.org/debian"
_DEBIAN_KEYS = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
_DEBIAN_ARCHITECTURE = "amd64"
"""Of every machine's downloads: the checksums are of these files, and only data is read from them."""
_MISSING = {
    "apt-get": "only Debian and what descends from it have it",
    "npm": "install it (Debian: apt-get install npm; macOS: brew install node)",
}
_TOLD_LINES = 3
_REASON = re.compile(
    r"fail|refused|could not|cannot|unable|no matching|not found|no such"
    r"|timeout|timed out|certificate|denied|E: |\b[45]\d\d\b",
    re.IGNORECASE,
)
"""Lines of a client that say what failed or why."""
_RETRY = re.compile(r"Retry\([^)]*\)|<[^<>]* object at 0x[0-9a-f]+>: ")
"""What pip repeats for each attempt, with other numbers."""


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
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", *options, requirement]
        _run("pip", command, folder)

    return fetch


def _npm(package: PinnedPackage, folder: Path, _lists: Path) -> None:
    # At a lower level it would not say why it failed.
    command = ["npm", "pack", "--loglevel=error", "--ignore-scripts", f"{package.name}@{package.version}"]
    _run("npm", command, folder)


def _debian(*command: str) -> Callable[[PinnedPackage, Path, Path], None]:
    def fetch(package: PinnedPackage, folder: Path, lists: Path) -> None:
        if shutil.which("apt-get") and not _DEBIAN_KEYS.exists():
            raise DownloadFailed("the keys of Debian's archive are missing: apt-get install debian-archive-keyring")
        options = _own_lists(lists)
        download = ["apt-get", *options, "--quiet", *command, f"{package.name}={package.version}"]
        try:
            _run("apt-get", download, folder)
        except DownloadFailed:
            # Otherwise an update that reaches nothing counts as one.
            update = ["apt-get", *options, "--quiet", "-o", "APT::Update::Error-Mode=any", "update"]
            _run("apt-get", update, folder)
            _run("apt-get", download, folder)

    return fetch


def _own_lists(lists: Path) -> list[str]:
    """Options that leave alone what the machine's own apt-get knows: its sources need neither bookworm nor deb-src."""
    for name in ("state/lists/partial", "cache/archives/partial", "sources"):
        (lists / name).mkdir(parents=True, exist_ok=True)
    source = (
        f"Types: deb deb-src\nURIs: {_DEBIAN_ARCHIVE}\nSuites: bookworm\nComponents: main\nSigned-By: {_DEBIAN_KEYS}\n"
    )
    (lists / "sources" / "bookworm.sources").write_text(source, encoding="utf-8")
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


def _run(client: str, command: list[str], folder: Path) -> None:
    """`client`: its name for people."""
    try:
        ended = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=_LIMIT_SECONDS)
    except FileNotFoundError as error:
        raise DownloadFailed(f"{client} is missing: {_MISSING.get(client, 'install it')}") from error
    except OSError as error:
        raise DownloadFailed(f"{client} does not start: {error.strerror}") from error
    except subprocess.TimeoutExpired as error:
        raise DownloadFailed(f"{client} did not end within {_LIMIT_SECONDS:g} s: try again") from error
    if ended.returncode != 0:
        # A client tells a registry that it cannot reach like a version that the registry lacks.
        said = _last_told(ended.stderr) or _last_told(ended.stdout) or "nothing"
        raise DownloadFailed(f"{client}'s registry cannot be reached, or has no such version; {client} says: {said}")


def _last_told(output: str) -> str:
    """The last lines that tell a reason, or the last lines when none does; each once."""
    lines = list(dict.fromkeys(_RETRY.sub("", line).strip() for line in output.splitlines() if line.strip()))
    return "; ".join(([line for line in lines if _REASON.search(line)] or lines)[-_TOLD_LINES:])
