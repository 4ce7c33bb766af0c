"""Fixtures for tests against the real kube-apiserver."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from tests.rig.api_server import ApiServer

from voxfleet_dev.controlplane import ControlPlane
from voxfleet_dev.locations import REPOSITORY
from voxfleet_dev.operator_account import OperatorAccount
from voxfleet_operator.kube import Kube

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


@pytest.fixture(scope="session")
def operator_account(installed_crds: ControlPlane) -> OperatorAccount:
    """An operator's account with the chart's rights, for tests that need no Lease of their own."""
    account = OperatorAccount(installed_crds, "voxfleet-system")
    account.grant()
    return account


@pytest.fixture
async def operator_kube(operator_account: OperatorAccount) -> AsyncIterator[Kube]:
    """The operator's client, with the chart's rights."""
    async with await Kube.connect(operator_account.kubeconfig) as connected:
        yield connected


@pytest.fixture
def account_here(installed_crds: ControlPlane, namespace: str) -> OperatorAccount:
    """The account of an operator whose Lease and Secrets are in the test's own namespace, with the chart's rights."""
    account = OperatorAccount(installed_crds, namespace)
    account.grant()
    return account


@pytest.fixture
def namespace(control_plane: ControlPlane) -> str:
    """A namespace of the test's own. Nothing deletes it: the server ends with the run."""
    name = f"test-{next(_numbers)}"
    control_plane.kubectl("create", "namespace", name)
    return name
