"""A month's total, by `voxfleet bill show`: nothing that is deleted, restarted or lost changes it."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from tests.rig.fake_fleet.fleet import NAMESPACE, FakeFleet
from typer.testing import CliRunner

from voxfleet_api.quantities import seconds_milliseconds
from voxfleet_cli.main import app

CLIPS = 120
WAIT_SECONDS = 60.0


def test_the_total_of_a_month_survives_everything_but_the_archive(tmp_path: Path) -> None:
    """A job, a MacAgent, the operator and then all of etcd, one after the other. Statements come back from the archive
    alone: the Macs keep to the cluster that is gone, and say no word to the new one.
    """
    archive = tmp_path / "ledger"
    archive.mkdir()
    month = f"{datetime.now(UTC):%Y-%m}"

    with FakeFleet(tmp_path, macs=2, archive=archive.as_uri(), clip_seconds=0.01) as fleet:

        def totals() -> tuple[int, int]:
            return shown(month, "--archive", archive.as_uri()), shown(
                month, "--kubeconfig", fleet.control_plane.kubeconfig
            )

        fleet.submit("job", CLIPS, sharding={"targetAudio": "5m"})
        used = seconds_milliseconds(fleet.ended("job").status.usage.machine_seconds)
        assert used > 0
        for mac in fleet.macs.settings.names:  # which settles its rows at once, and not within the hour
            fleet.control_plane.kubectl("patch", "macagent", mac, "--type=merge", "-p", '{"spec":{"drain":{}}}')
        fleet.wait_for("all rows are in statements", lambda: totals() == (used, used), WAIT_SECONDS)

        fleet.control_plane.kubectl("delete", "audiobatchjob", "job", "-n", NAMESPACE)
        first, _ = fleet.macs.settings.names
        fleet.control_plane.kubectl("delete", "macagent", first)
        fleet.wait_for("the archive says that it is gone", lambda: says_gone(archive / month / first), WAIT_SECONDS)
        fleet.operator.stop()
        fleet.operator.start()
        fleet.wait_for("a new leader has looked", has_restored(fleet, 2), WAIT_SECONDS)
        assert totals() == (used, used)

        fleet.operator.stop()
        fleet.control_plane.lose_everything()
        fleet.install()
        assert totals() == (used, 0)
        fleet.operator.start()
        fleet.wait_for("a new leader has looked", has_restored(fleet, 3), WAIT_SECONDS)
        assert totals() == (used, used)
        assert shown(month, "--archive", archive.as_uri(), "--by", "class") == used


def shown(month: str, *arguments: str | Path) -> int:
    """The milliseconds of all machine-hours."""
    told = CliRunner().invoke(app, ["bill", "show", "--period", month, "-o", "json", *map(str, arguments)])
    assert told.exit_code == 0, told.output
    total = json.loads(told.stdout)["total"]["machineMilliseconds"]
    assert isinstance(total, int)
    return total


def says_gone(folder: Path) -> bool:
    newest = max((folder / "index").iterdir())
    return "until" in json.loads(newest.read_bytes())["facts"][-1]


def has_restored(fleet: FakeFleet, times: int) -> Callable[[], bool]:
    """Of all leaders so far, so many have compared archive and statements."""
    log = fleet.folder / "operator.log"
    return lambda: log.read_text().count("all months of the archive were looked at") == times
