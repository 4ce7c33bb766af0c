"""The servers and tools of SOURCES, in the right version: Kubernetes, etcd, Helm, versitygw (S3), kwok and kstatus.

They come from $KUBEBUILDER_ASSETS or PATH when their versions fit. Otherwise they are built once into the cache, from
the Go modules below hack/.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from voxfleet_dev import go_build
from voxfleet_dev.locations import REPOSITORY, cache_directory
from voxfleet_dev.processes import exit_on_signals

SERVERS = ("etcd", "kube-apiserver", "kubectl")
FOR_EVERYTHING = (*SERVERS, "helm")
"""What `make setup` builds: the demo, and every operator in a test, gets its rights from the chart."""
MODULES = REPOSITORY / "hack"


@dataclass(frozen=True)
class Source:
    """One binary: the module that builds it, its package, and the arguments that print its version."""

    module: str
    """The module's folder below hack/."""
    required: str
    package: str
    version_arguments: tuple[str, ...] = ("--version",)

    @property
    def directory(self) -> Path:
        return MODULES / self.module

    @property
    def version(self) -> str:
        """Returns the version that go.mod requires, without the leading v."""
        return _required_version(self.directory / "go.mod", self.required)

    @property
    def linker_flags(self) -> str:
        if self.module == "helm":
            return f"-s -w -X helm.sh/helm/v4/internal/version.version=v{self.version}"
        if self.module in ("versitygw", "kstatus"):
            return f"-s -w -X main.Version=v{self.version}"
        if self.module != "controlplane/kubernetes":
            return "-s -w"
        major, minor, _ = self.version.split(".")
        stamp = "k8s.io/component-base/version"
        return f"-s -w -X {stamp}.gitVersion=v{self.version} -X {stamp}.gitMajor={major} -X {stamp}.gitMinor={minor}"


def _kubernetes(command: str, *version_arguments: str) -> Source:
    return Source(
        "controlplane/kubernetes",
        "k8s.io/kubernetes",
        f"k8s.io/kubernetes/cmd/{command}",
        version_arguments or ("--version",),
    )


SOURCES = {
    "etcd": Source("controlplane/etcd", "go.etcd.io/etcd/server/v3", "go.etcd.io/etcd/server/v3"),
    "kube-apiserver": _kubernetes("kube-apiserver"),
    "kubectl": _kubernetes("kubectl", "version", "--client"),
    "kube-controller-manager": _kubernetes("kube-controller-manager"),
    "kube-scheduler": _kubernetes("kube-scheduler"),
    "helm": Source("helm", "helm.sh/helm/v4", "helm.sh/helm/v4/cmd/helm", ("version", "--short")),
    "kwok": Source("kwok", "sigs.k8s.io/kwok", "sigs.k8s.io/kwok/cmd/kwok"),
    "kstatus": Source("kstatus", "sigs.k8s.io/cli-utils", "."),
    "versitygw": Source("versitygw", "github.com/versity/versitygw", "github.com/versity/versitygw/cmd/versitygw"),
}


def ensure(names: Sequence[str] = SERVERS) -> dict[str, Path]:
    """Returns the path of each binary; builds missing ones. Raises go_build.BuildFailed, KeyError: an unknown name."""
    found = {name: _locate(name) for name in names}
    missing = [name for name, path in found.items() if path is None]
    if missing:
        with _build_lock():
            for name in missing:
                found[name] = _locate(name) or _build(name)
    return {name: path for name, path in found.items() if path is not None}


def _locate(name: str) -> Path | None:
    source = SOURCES[name]
    cached = _cached(name)
    for candidate in (_from_assets(name), _from_path(name), cached):
        if candidate is None or not os.access(candidate, os.X_OK):
            continue
        version = _printed_version(candidate, source.version_arguments)
        if version == source.version or (candidate != cached and _minor(version) == _minor(source.version)):
            return candidate
    return None


def _cached(name: str) -> Path:
    source = SOURCES[name]
    return cache_directory() / "controlplane" / f"{source.directory.name}-{source.version}" / name


def _from_assets(name: str) -> Path | None:
    folder = os.environ.get("KUBEBUILDER_ASSETS")
    return Path(folder) / name if folder else None


def _from_path(name: str) -> Path | None:
    path = shutil.which(name)
    return Path(path) if path else None


@cache
def _printed_version(binary: Path, arguments: tuple[str, ...]) -> str:
    """Returns the version that the binary prints, such as "1.36.3"; empty when it prints none."""
    try:
        answer = subprocess.run([binary, *arguments], capture_output=True, text=True, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    match = re.search(r"[vV](?:ersion *: )?v?(\d+\.\d+\.\d+)\b", answer.stdout)
    return match.group(1) if match else ""


def _minor(version: str) -> tuple[str, ...]:
    return tuple(version.split(".")[:2])


@cache
def _required_version(go_mod: Path, module: str) -> str:
    match = re.search(rf"^\s*(?:require )?{re.escape(module)} v(\S+)", go_mod.read_text(), re.MULTILINE)
    if match is None:
        raise go_build.BuildFailed(f"{go_mod} requires no {module}")
    return match.group(1)


def _build(name: str) -> Path:
    source = SOURCES[name]
    target = _cached(name)
    target.parent.mkdir(parents=True, exist_ok=True)
    unfinished = target.with_name(f".{name}.unfinished")
    try:
        go_build.build(
            title=f"{name} {source.version}",
            module=source.directory,
            package=source.package,
            linker_flags=source.linker_flags,
            target=unfinished,
        )
        version = _printed_version(unfinished, source.version_arguments)
        if version != source.version:
            raise go_build.BuildFailed(f"the built {name} says it is version {version!r}, expected {source.version}")
        unfinished.rename(target)
    finally:
        unfinished.unlink(missing_ok=True)
    return target


@contextmanager
def _build_lock() -> Iterator[None]:
    """Allows one build at a time on this machine; a second process waits, then finds the binaries built."""
    folder = cache_directory() / "controlplane"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("another process builds servers: waiting for it", flush=True)
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def main() -> int:
    exit_on_signals()
    try:
        ensure(sys.argv[1:] or FOR_EVERYTHING)
    except go_build.BuildFailed as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
