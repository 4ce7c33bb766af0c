"""Fixtures that start the real servers once per run, and one marker per test folder."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from tests.rig.real_model import whisper_folder as whisper_folder

from voxfleet_dev.controlplane import ControlPlane

TESTS = Path(__file__).parent
# How long an example takes tells of the machine's load alone.
settings.register_profile("tests", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("tests")


SLOWEST_FIRST = ("e2e", "sim", "cluster", "component")
"""One of several workers runs the slowest tests one by one, on one control plane; what is left to the end is short."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(TESTS):
            item.add_marker(folder_of(item))
    items.sort(key=lambda item: [*SLOWEST_FIRST, folder_of(item)].index(folder_of(item)))


def folder_of(item: pytest.Item) -> str:
    return item.path.relative_to(TESTS).parts[0]


@pytest.fixture(scope="session")
def control_plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """etcd and kube-apiserver, empty of our kinds (see `installed_crds`), shared by every test of the run."""
    with ControlPlane(tmp_path_factory.mktemp("control-plane")) as servers:
        yield servers
