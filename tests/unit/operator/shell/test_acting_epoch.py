"""Calls to agents carry the epoch, and none is made without the Lease."""

from __future__ import annotations

from pathlib import Path

import pytest

from voxfleet_operator.composition import acting_epoch
from voxfleet_operator.fleet.mac_view import AgentUnreachable
from voxfleet_operator.heartbeat import Heartbeat
from voxfleet_operator.kube import Kube
from voxfleet_operator.leader import Leader


def test_a_process_without_the_lease_sends_nothing() -> None:
    leader = Leader(lambda: Kube.connect(Path("/nowhere")), "voxfleet-system", Heartbeat(), identity="process-1")
    with pytest.raises(AgentUnreachable, match="process-1 does not hold the Lease voxfleet-system/"):
        acting_epoch(leader)
