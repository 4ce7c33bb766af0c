"""etcd is restored from an old copy: resource versions and attempts go back, and everything ends all the same.

`make soak` runs it: it starts, and turns back, a control plane of its own.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.e2e.conftest import making_fleets, with_kinds
from tests.e2e.fleet import EXPECTED, Fleet

from voxfleet_api.conditions import ConditionType, is_true
from voxfleet_api.kinds.audio_shard import AttemptOutcome, Stage
from voxfleet_dev.controlplane import ControlPlane
from voxfleet_operator.event_reasons import EventReason
from voxfleet_operator.leader import LEASE_NAME, LOST_EXIT_CODE

CLIPS = [*EXPECTED][:12]
WAITS = "waiting for the lease"


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    """On a control plane of its own, whose etcd a test may turn back."""
    with (
        ControlPlane(tmp_path / "control-plane") as control_plane,
        making_fleets(with_kinds(control_plane), tmp_path) as make,
    ):
        yield make()


def suspend(fleet: Fleet, job: str, *, suspended: bool) -> None:
    patch = json.dumps({"spec": {"suspend": suspended}})
    fleet.control_plane.kubectl("patch", "abj", job, "-n", fleet.namespace, "--type=merge", "-p", patch)


def process_attempts(fleet: Fleet, job: str) -> dict[str, int | None]:
    return {
        shard.metadata.uid: shard.status.attempt for shard in fleet.shards(job) if shard.spec.stage is Stage.PROCESS
    }


def test_what_an_old_copy_of_etcd_has_forgotten_is_done_again_and_nothing_twice(fleet: Fleet, tmp_path: Path) -> None:
    fleet.start(mac_env={0: {"VOXFLEET_CRASH_AT": "row-recorded@3"}, 1: {"VOXFLEET_CRASH_AT": "row-recorded@3"}})
    fleet.submit("before", CLIPS)
    fleet.wait_for("both agents crashed in mid-work", lambda: not any(mac.agent.running for mac in fleet.macs))
    known = process_attempts(fleet, "before")
    assert 1 in known.values() and set(known.values()) <= {1, None}
    fleet.control_plane.back_up(tmp_path / "backup")

    # What follows is forgotten later: attempts that were called back and came again, a result, and another job.
    suspend(fleet, "before", suspended=True)
    for mac in fleet.macs:
        mac.restart_agent()
    fleet.wait_for(
        "all attempts are called back",
        lambda: all(
            record.outcome is not AttemptOutcome.ASSIGNED
            for shard in fleet.shards("before")
            for record in shard.status.attempts
        ),
    )
    suspend(fleet, "before", suspended=False)
    fleet.submit("after", CLIPS[:2])
    for name in ("before", "after"):
        fleet.wait_for_end(name)
    assert max(number or 0 for number in process_attempts(fleet, "before").values()) >= 2

    with fleet.make_operator("standby") as standby:
        fleet.wait_for("the standby has listed all kinds", lambda: WAITS in standby.log.read_text())
        fleet.control_plane.restore(tmp_path / "backup")
        assert process_attempts(fleet, "before") == known
        for operator in (fleet.operator, standby):
            assert operator.wait_exit(60) == LOST_EXIT_CODE, "it must not act on what it remembers"
    assert ("Lease", LEASE_NAME) in [event[:2] for event in fleet.events(EventReason.API_SERVER_RESTORED)]
    fleet.operator.start()

    job = fleet.wait_for_end("before")
    assert is_true(job.status.conditions, ConditionType.COMPLETE), fleet.explain()
    fleet.assert_nothing_lost_or_doubled(job, len(CLIPS))
    attempts = [record for shard in fleet.shards("before") for record in shard.status.attempts]
    assert {record.outcome for record in attempts} <= {AttemptOutcome.SUCCEEDED, AttemptOutcome.RETURNED}
    assert ("AudioBatchJob", "before") in [event[:2] for event in fleet.events(EventReason.API_SERVER_RESTORED)]
    fleet.wait_until_empty(*fleet.macs)
