"""Fleets on the shared control plane: one of its own for a test that kills, one for the tests that only break a Mac."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

import pytest
from tests.e2e.fleet import Fleet

from voxfleet_dev.controlplane import ControlPlane
from voxfleet_dev.locations import REPOSITORY

_numbers = itertools.count(1)


class MakeFleet(Protocol):
    def __call__(
        self,
        *,
        macs: int = 2,
        lost_after: str = "10m",
        operator_namespace: str | None = None,
        over_https: Collection[int] = (),
    ) -> Fleet: ...


def with_kinds(control_plane: ControlPlane) -> ControlPlane:
    control_plane.apply(REPOSITORY / "crds")
    control_plane.kubectl("wait", "--for=condition=Established", "crd", "--all", "--timeout=60s")
    return control_plane


@pytest.fixture(scope="session")
def served_kinds(control_plane: ControlPlane) -> ControlPlane:
    return with_kinds(control_plane)


@contextmanager
def making_fleets(control_plane: ControlPlane, folder: Path) -> Iterator[MakeFleet]:
    """Builds fleets without starting them; stops whatever was started at the end."""
    fleets: list[Fleet] = []

    def make(
        *,
        macs: int = 2,
        lost_after: str = "10m",
        operator_namespace: str | None = None,
        over_https: Collection[int] = (),
    ) -> Fleet:
        namespace = f"e2e-{next(_numbers)}"
        control_plane.kubectl("create", "namespace", namespace)
        fleet = Fleet(
            control_plane,
            folder / namespace,
            namespace,
            macs=macs,
            lost_after=lost_after,
            operator_namespace=operator_namespace,
            over_https=over_https,
        )
        fleets.append(fleet)
        return fleet.__enter__()

    try:
        yield make
    finally:
        for fleet in reversed(fleets):
            fleet.__exit__()


@pytest.fixture
def make_fleet(served_kinds: ControlPlane, tmp_path: Path) -> Iterator[MakeFleet]:
    with making_fleets(served_kinds, tmp_path) as make:
        yield make
