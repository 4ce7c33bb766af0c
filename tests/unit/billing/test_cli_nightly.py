"""`voxfleet bill nightly` over an archive on disk."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from tests.rig.nights import NightlyWorld, attempts, hours
from tests.rig.signed_mac import SignedMac
from typer.testing import CliRunner, Result

from voxfleet_api.digest import canonical_json, sha256_hex
from voxfleet_billing.archive_format import MonthIndex
from voxfleet_cli.main import app

NIGHT = "2026-11-20"


@pytest.fixture
async def folder(tmp_path: Path) -> Path:
    """Two nights, of which the second has a late row of the first."""
    world, mac = NightlyWorld(now=datetime(2026, 11, 21, 1, tzinfo=UTC)), SignedMac()
    attempts(mac, hours(20, 22, 30))
    world.archive(mac, 5)
    writer = world.writer()
    await writer.step()
    world.archive(mac)
    world.now = datetime(2026, 11, 22, 1, tzinfo=UTC)
    await writer.step()
    for path, content in world.store.objects.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_bytes(content)
    return tmp_path


def run(folder: Path, *arguments: str) -> Result:
    return CliRunner().invoke(app, ["bill", "nightly", "--archive", folder.as_uri(), *arguments])


def test_a_csv_that_is_as_it_was_written_is_told(folder: Path) -> None:
    told = run(folder, "--night", NIGHT)
    assert told.exit_code == 0, told.output
    assert "5 rows, 0.3347 machine-hours" in told.output
    assert "nightly/2026-11-20.csv: byte for byte what the archived rows give" in told.output
    newest = json.loads(run(folder, "-o", "json").output)
    assert (newest["night"], newest["rows"], newest["lateRows"], newest["problems"]) == ("2026-11-21", 4, 1, [])


def test_a_csv_that_was_changed_or_lost_is_named_and_made_again(folder: Path) -> None:
    path, out = folder / f"nightly/{NIGHT}.csv", folder / "night.csv"
    written = path.read_bytes()
    path.write_bytes(written.replace(b"602.000", b"902.000", 1).replace(b"600.000", b"900.000", 1))
    told = run(folder, "--night", NIGHT, "--out", str(out))
    assert told.exit_code == 1 and "was changed since it was written" in told.output
    assert out.read_bytes() == written
    path.unlink()
    told = run(folder, "--night", NIGHT, "--out", "-")
    assert told.exit_code == 1 and "is missing in the archive" in told.stderr
    assert told.stdout_bytes == written


def test_rows_that_cannot_be_read_are_named_and_leave_an_earlier_file(folder: Path) -> None:
    for segment in folder.glob("2026-11/mac-01/rows/2026-11-20-*"):
        segment.write_bytes(segment.read_bytes().replace(b"speech", b"spoken"))
    out = folder / "night.csv"
    out.write_text("earlier")
    told = run(folder, "--night", NIGHT, "--out", str(out))
    assert told.exit_code == 1 and "rows/2026-11-20-chain-1-0000000000-0000000005-" in told.output
    assert out.read_text() == "earlier" and not list(folder.glob("*.unfinished"))


def test_content_that_voxfleet_did_not_write_is_named(folder: Path) -> None:
    """The index was edited with the segment, so that the digest fits."""
    index = max(folder.glob("2026-11/mac-01/index/*"))
    known = MonthIndex.load_json(index.read_bytes())
    changed = []
    for entry in known.segments:
        segment = folder / "2026-11/mac-01" / entry.name
        segment.write_bytes(segment.read_bytes().replace(b'"wallStart"', b'"wallBegin"'))
        changed.append(entry.model_copy(update={"sha256": sha256_hex(segment.read_bytes())}))
    index.write_bytes(canonical_json(known.model_copy(update={"segments": tuple(changed)}).dump()))
    told = run(folder, "--night", NIGHT)
    assert told.exit_code == 1 and "2026-11/mac-01: cannot be read, KeyError('wallStart')" in told.output


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [(("--night", "2026-11-19"), 3, "has no closed night 2026-11-19"), (("--night", "20.11."), 2, "write the date")],
)
def test_a_night_that_is_not_there(folder: Path, arguments: tuple[str, ...], code: int, message: str) -> None:
    told = run(folder, *arguments)
    assert told.exit_code == code and message in told.output
