"""Clients of the control plane."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import yaml

from voxfleet_dev.controlplane import ControlPlane
from voxfleet_operator.kube import Kube

_numbers = itertools.count(1)


@pytest.fixture
async def kube(installed_crds: ControlPlane) -> AsyncIterator[Kube]:
    async with await Kube.connect(installed_crds.kubeconfig) as connected:
        yield connected


@pytest.fixture
async def stranger(installed_crds: ControlPlane, tmp_path: Path) -> AsyncIterator[Kube]:
    """A client that is known but may do nothing."""
    name = f"stranger-{next(_numbers)}"
    installed_crds.kubectl("create", "serviceaccount", name, "-n", "default")
    token = installed_crds.kubectl("create", "token", name, "-n", "default").strip()
    config = yaml.safe_load(installed_crds.kubeconfig.read_text())
    config["users"][0]["user"] = {"token": token}
    file = tmp_path / "kubeconfig"
    file.write_text(yaml.safe_dump(config))
    async with await Kube.connect(file) as connected:
        yield connected
