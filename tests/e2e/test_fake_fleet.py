"""The fake fleet that the benchmarks measure with does what a fleet does."""

from __future__ import annotations

from pathlib import Path

from tests.rig.fake_fleet.fleet import FakeFleet

from voxfleet_api.conditions import ConditionType, is_true
from voxfleet_api.rows import ClipStatus
from voxfleet_dev.controlplane import ControlPlane
from voxfleet_dev.demo_report import read_rows, result_folder

CLIPS = 200


def test_a_job_on_fake_macs_ends_with_one_row_a_clip(served_kinds: ControlPlane, tmp_path: Path) -> None:
    with FakeFleet(tmp_path, macs=2, control_plane=served_kinds, quarantine_every=10) as fleet:
        fleet.submit("job", CLIPS, sharding={"targetAudio": "10m"})
        job = fleet.ended("job")
        assert is_true(job.status.conditions, ConditionType.COMPLETE)
        assert (job.status.clips.succeeded, job.status.clips.quarantined) == (180, 20)
        assert job.status.shards.total > 1 and job.status.usage.rows == 3 * job.status.shards.total
        assert job.status.usage.audio_seconds == f"{CLIPS * 10}.000"
        rows = read_rows(result_folder(job))
        assert [row.index for row in rows] == list(range(CLIPS))
        assert {row.index for row in rows if row.status is ClipStatus.QUARANTINED} == set(range(0, CLIPS, 10))
