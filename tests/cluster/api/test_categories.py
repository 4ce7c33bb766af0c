"""`kubectl get audio` means every kind."""

from __future__ import annotations

import pytest

from voxfleet_api import GROUP
from voxfleet_api.kinds import KINDS
from voxfleet_dev.controlplane import ControlPlane
from voxfleet_generate.crds import CATEGORIES


@pytest.mark.parametrize("category", CATEGORIES)
def test_a_category_has_every_kind(installed_crds: ControlPlane, category: str) -> None:
    listed = installed_crds.kubectl("api-resources", f"--categories={category}", "-o", "name").split()
    assert sorted(listed) == sorted(f"{kind.crd.plural}.{GROUP}" for kind in KINDS)
