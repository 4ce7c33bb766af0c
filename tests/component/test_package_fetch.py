"""Archives are fetched once, by the registry's client, and are checked whenever they are used."""

from __future__ import annotations

import hashlib
import shutil
import socket
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from voxfleet_packages import clients
from voxfleet_packages.fetch import PackageUnavailable, fetched
from voxfleet_packages.pinned import PinnedPackage, Registry

CONTENT = b"an archive\n"
PACKAGE = PinnedPackage(Registry.NPM, "speech", "1.0", "speech-1.0.tgz", hashlib.sha256(CONTENT).hexdigest())


def needs(client: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(shutil.which(client) is None, reason=f"{client} is not installed here")


@pytest.fixture
def calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file with a line for each call of an `npm` that is found instead of the machine's own."""
    programs, log = tmp_path / "programs", tmp_path / "calls"
    programs.mkdir()
    npm = programs / "npm"
    npm.write_text(f'#!/bin/sh\necho "$@" >> {log}\necho "an archive" > speech-1.0.tgz\n')
    npm.chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:/usr/bin:/bin")
    return log


def test_an_archive_is_fetched_once_however_many_ask(tmp_path: Path, calls: Path) -> None:
    folder = tmp_path / "cache"
    with ThreadPoolExecutor(4) as threads:
        paths = list(threads.map(lambda _: fetched(PACKAGE, folder), range(4)))
    assert {path.read_bytes() for path in paths} == {CONTENT}
    assert calls.read_text().splitlines() == ["pack --loglevel=error --ignore-scripts speech@1.0"]
    assert sorted(path.name for path in folder.iterdir()) == [".lock", "speech-1.0.tgz"]


def test_a_download_with_another_checksum_is_not_kept(tmp_path: Path, calls: Path) -> None:
    with pytest.raises(PackageUnavailable, match=r"npm package speech 1\.0: .* has sha256 .*, not 0000"):
        fetched(replace(PACKAGE, sha256="0" * 64), tmp_path / "cache")
    assert not (tmp_path / "cache" / PACKAGE.archive).exists()


def test_a_damaged_archive_in_the_cache_is_refused_on_use(tmp_path: Path, calls: Path) -> None:
    path = fetched(PACKAGE, tmp_path / "cache")
    path.write_bytes(CONTENT[:-1])
    with pytest.raises(PackageUnavailable, match=r"speech-1\.0\.tgz has sha256 .* remove the file and try again"):
        fetched(PACKAGE, tmp_path / "cache")


def test_another_archive_than_the_expected_one_is_told(tmp_path: Path, calls: Path) -> None:
    with pytest.raises(PackageUnavailable, match=r"other\.tgz was expected, speech-1\.0\.tgz came"):
        fetched(replace(PACKAGE, archive="other.tgz"), tmp_path / "cache")


@pytest.mark.parametrize(
    ("registry", "said"),
    [
        (Registry.NPM, r"npm is missing: install it \(Debian: apt-get install npm; macOS: brew install node\)"),
        (Registry.DEBIAN_BINARY, "apt-get is missing: only Debian and what descends from it have it"),
        (Registry.DEBIAN_SOURCE, "apt-get is missing"),
    ],
)
def test_a_missing_client_is_named_with_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, registry: Registry, said: str
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    folder = tmp_path / "cache"
    with pytest.raises(PackageUnavailable, match=rf"speech 1\.0 cannot be fetched: {said}.* put its speech-1.0.tgz"):
        fetched(replace(PACKAGE, registry=registry), folder)


@pytest.fixture
def closed(monkeypatch: pytest.MonkeyPatch) -> str:
    """Every client's registry, on a port where nobody listens."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{listener.getsockname()[1]}"
    monkeypatch.setenv("PIP_INDEX_URL", f"{address}/simple")
    monkeypatch.setenv("PIP_RETRIES", "1")
    monkeypatch.setenv("npm_config_registry", f"{address}/")
    monkeypatch.setenv("npm_config_fetch_retries", "0")
    monkeypatch.setattr(clients, "_DEBIAN_ARCHIVE", f"{address}/debian")
    return address


@pytest.mark.parametrize(
    ("client", "registry", "reason"),
    [
        ("pip", Registry.PYPI_WHEEL, "refused.*No matching distribution"),
        pytest.param("npm", Registry.NPM, "ECONNREFUSED", marks=needs("npm")),
        pytest.param("apt-get", Registry.DEBIAN_BINARY, "Could not connect|Connection refused", marks=needs("apt-get")),
    ],
)
def test_a_registry_that_cannot_be_reached_is_told_as_that(
    tmp_path: Path, closed: str, capfd: pytest.CaptureFixture[str], client: str, registry: Registry, reason: str
) -> None:
    package = replace(PACKAGE, registry=registry, name="codec2-examples")
    told = f"{client}'s registry cannot be reached, or has no such version; {client} says: .*({reason})"
    with pytest.raises(PackageUnavailable, match=told) as raised:
        fetched(package, tmp_path / "cache")
    assert sys.executable not in str(raised.value)
    assert capfd.readouterr().err == f"fetching {package} into {tmp_path / 'cache'}, once\n"


def test_without_the_keys_of_debian_the_package_that_has_them_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    programs = tmp_path / "programs"
    programs.mkdir()
    (programs / "apt-get").symlink_to("/bin/true")
    monkeypatch.setenv("PATH", str(programs))
    monkeypatch.setattr(clients, "_DEBIAN_KEYS", tmp_path / "none.gpg")
    with pytest.raises(PackageUnavailable, match=r"keys of Debian's archive are missing: .* debian-archive-keyring"):
        fetched(replace(PACKAGE, registry=Registry.DEBIAN_BINARY), tmp_path / "cache")


def test_what_a_client_says_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    programs = tmp_path / "programs"
    programs.mkdir()
    (programs / "npm").write_text('#!/bin/sh\necho "first" >&2\necho "404 not found" >&2\nexit 1\n')
    (programs / "npm").chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:/usr/bin:/bin")
    with pytest.raises(PackageUnavailable, match="npm says: 404 not found"):
        fetched(PACKAGE, tmp_path / "cache")
