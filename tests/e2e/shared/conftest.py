"""A fleet that the tests of this folder share: none of them ends its Macs or its operator."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest
from tests.e2e.conftest import making_fleets
from tests.e2e.fleet import Fleet

from voxfleet_dev.controlplane import ControlPlane

_numbers = itertools.count(1)


@pytest.fixture(scope="package")
def running_fleet(served_kinds: ControlPlane, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """Two Macs, one of them over HTTPS. It is stopped before the tests of other folders begin, as an operator works for the whole cluster."""
    with making_fleets(served_kinds, tmp_path_factory.mktemp("shared")) as make:
        fleet = make(over_https=[1])
        fleet.start()
        yield fleet


@pytest.fixture
def fleet(running_fleet: Fleet) -> Iterator[Fleet]:
    """The running fleet, in a new namespace. What a test changes of its MacAgents is undone."""
    running_fleet.enter_namespace(f"team-{next(_numbers)}")
    yield running_fleet
    for mac in running_fleet.macs:
        running_fleet.register(mac)
