"""A client with an admin's rights; the operator has its own, `operator_kube`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest

from voxfleet_dev.controlplane import ControlPlane
from voxfleet_operator.kube import Kube


@pytest.fixture
async def kube(installed_crds: ControlPlane) -> AsyncIterator[Kube]:
    async with await Kube.connect(installed_crds.kubeconfig) as connected:
        yield connected


@pytest.fixture(autouse=True)
def fleet_left_as_it_was(installed_crds: ControlPlane) -> Iterator[None]:
    """Other tests on this API server count the Macs; no operator is left that would end their finalizers."""
    kinds = "macagents,machinehourstatements"
    before = installed_crds.kubectl("get", kinds, "-o", "name").split()
    yield
    for name in set(installed_crds.kubectl("get", kinds, "-o", "name").split()) - {*before}:
        installed_crds.kubectl("patch", name, "--type=merge", "-p", '{"metadata": {"finalizers": []}}')
        installed_crds.kubectl("delete", name)
