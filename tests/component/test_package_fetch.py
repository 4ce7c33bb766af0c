"""Archives are fetched once, by the registry's client, and are checked whenever they are used."""

from __future__ import annotations

import hashlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from voxfleet_packages.fetch import PackageUnavailable, fetched
from voxfleet_packages.pinned import PinnedPackage, Registry

CONTENT = b"an archive\n"
PACKAGE = PinnedPackage(Registry.NPM, "speech", "1.0", "speech-1.0.tgz", hashlib.sha256(CONTENT).hexdigest())


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
    assert calls.read_text().splitlines() == ["pack --silent --ignore-scripts speech@1.0"]
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
        (Registry.DEBIAN_BINARY, "apt-get is missing: it is part of Debian"),
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


def test_what_a_client_says_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    programs = tmp_path / "programs"
    programs.mkdir()
    (programs / "npm").write_text('#!/bin/sh\necho "first" >&2\necho "404 not found" >&2\nexit 1\n')
    (programs / "npm").chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:/usr/bin:/bin")
    with pytest.raises(PackageUnavailable, match="npm says: 404 not found"):
        fetched(PACKAGE, tmp_path / "cache")
