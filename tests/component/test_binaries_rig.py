"""Which etcd and kube-apiserver are taken: the given ones when their version fits, else the cache's."""

from __future__ import annotations

from pathlib import Path

import pytest

from voxfleet_dev import binaries, go_build


def program(folder: Path, name: str, says: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_text(f"#!/bin/sh\necho '{says}'\n")
    path.chmod(0o755)
    return path


@pytest.fixture(autouse=True)
def bare_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No binaries anywhere, and a build that only says that it was asked for."""

    def refuse(*, title: str, **_: object) -> None:
        raise go_build.BuildFailed(f"would build {title}")

    monkeypatch.setenv("VOXFLEET_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", f"{tmp_path / 'path'}:/usr/bin:/bin")
    monkeypatch.delenv("KUBEBUILDER_ASSETS", raising=False)
    monkeypatch.setattr(go_build, "build", refuse)


def test_required_versions_come_from_the_go_modules() -> None:
    versions = {source.version for source in binaries.SOURCES.values()}
    assert versions == {"1.36.3", "3.6.16", "4.3.1", "1.8.0", "0.37.2", "0.8.0"}


def test_assets_come_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBEBUILDER_ASSETS", str(tmp_path / "assets"))
    program(tmp_path / "path", "kube-apiserver", "Kubernetes v1.36.3")
    given = program(tmp_path / "assets", "kube-apiserver", "Kubernetes v1.36.0")
    assert binaries.ensure(["kube-apiserver"]) == {"kube-apiserver": given}


def test_path_is_used_when_the_minor_version_fits(tmp_path: Path) -> None:
    found = program(tmp_path / "path", "etcd", "etcd Version: 3.6.2")
    assert binaries.ensure(["etcd"]) == {"etcd": found}


@pytest.mark.parametrize("says", ["Client Version: v1.32.4-dispatcher", "Kubernetes v1.37.0", "hello"])
def test_another_version_is_not_used(tmp_path: Path, says: str) -> None:
    program(tmp_path / "path", "kubectl", says)
    with pytest.raises(go_build.BuildFailed, match=r"would build kubectl 1\.36\.3"):
        binaries.ensure(["kubectl"])


def test_cache_must_hold_the_exact_version(tmp_path: Path) -> None:
    cached = tmp_path / "cache" / "controlplane" / "etcd-3.6.16"
    program(cached, "etcd", "etcd Version: 3.6.15")
    with pytest.raises(go_build.BuildFailed, match=r"would build etcd 3\.6\.16"):
        binaries.ensure(["etcd"])
    binaries._printed_version.cache_clear()
    fitting = program(cached, "etcd", "etcd Version: 3.6.16")
    assert binaries.ensure(["etcd"]) == {"etcd": fitting}
