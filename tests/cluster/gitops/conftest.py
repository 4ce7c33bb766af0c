"""A client with an admin's rights; the operator has its own, `operator_kube`."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from voxfleet_dev.controlplane import ControlPlane
from voxfleet_operator.kube import Kube


@pytest.fixture
async def kube(installed_crds: ControlPlane) -> AsyncIterator[Kube]:
    async with await Kube.connect(installed_crds.kubeconfig) as connected:
        yield connected
