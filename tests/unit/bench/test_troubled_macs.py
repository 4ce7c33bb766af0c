"""Jobs are measured beside Macs with troubles only while these Macs have them."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain, repeat
from pathlib import Path

import pytest
from tests.bench.failure import MeasurementFailed
from tests.bench.neighbour_figures import SHOWS, TroubledState, wait_until_shown
from tests.rig.fake_fleet.troubles import Trouble

from voxfleet_dev.processes import Child

WAIT_SECONDS = 30.0
DISK_IS_FULL = TroubledState(Trouble.FULL_DISK, "Connected", "WaitingForMac")
HAS_ROOM = TroubledState(Trouble.FULL_DISK, "Connected", "Running")
CUT_OFF = TroubledState(Trouble.HANGS, "AgentUnreachable", "Planning")
ANSWERS = TroubledState(Trouble.HANGS, "Connected", "Running")


@pytest.fixture
def macs(tmp_path: Path) -> Iterator[Child]:
    child = Child("troubled Macs", ["/bin/sleep", "60"], tmp_path / "macs.log")
    child.start()
    yield child
    child.stop()


def test_every_trouble_shows() -> None:
    assert SHOWS.keys() == set(Trouble)


def test_each_trouble_is_waited_for_and_need_not_last(macs: Child) -> None:
    seen = chain([(ANSWERS, DISK_IS_FULL)], repeat((CUT_OFF, HAS_ROOM)))
    wait_until_shown(lambda: next(seen), macs, WAIT_SECONDS)


def test_macs_without_their_trouble_are_no_measurement(macs: Child) -> None:
    with pytest.raises(MeasurementFailed, match="hangs Connected, Running"):
        wait_until_shown(lambda: [ANSWERS, DISK_IS_FULL], macs, 0.0)


def test_macs_that_are_gone_are_no_measurement(macs: Child) -> None:
    macs.kill()
    with pytest.raises(MeasurementFailed, match="the troubled Macs ended"):
        wait_until_shown(lambda: [CUT_OFF], macs, WAIT_SECONDS)
