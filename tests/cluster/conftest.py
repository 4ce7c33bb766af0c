"""Fixtures for tests against the real kube-apiserver."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.rig.api_server import ApiServer

from voxfleet_dev.controlplane import ControlPlane
from voxfleet_dev.locations import REPOSITORY

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def crds_directory() -> Path:
    return REPOSITORY / "crds"


@pytest.fixture(scope="session")
def installed_crds(control_plane: ControlPlane, crds_directory: Path) -> ControlPlane:
    """The control plane with our kinds installed and served."""
    control_plane.apply(crds_directory)
    control_plane.kubectl("wait", "--for=condition=Established", "crd", "--all", "--timeout=60s")
    return control_plane


@pytest.fixture(scope="session")
def server(installed_crds: ControlPlane) -> Iterator[ApiServer]:
    with ApiServer(installed_crds) as server:
        yield server


@pytest.fixture
def namespace(control_plane: ControlPlane) -> str:
    """A namespace of the test's own. Nothing deletes it: the server ends with the run."""
    name = f"test-{next(_numbers)}"
    control_plane.kubectl("create", "namespace", name)
    return name
