"""The fleet as one of two sides: fake Macs, whose results' files tell when clips began."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

from tests.bench.api_client import ApiClient
from tests.bench.control_plane_load import ControlPlaneLoad, LoadMeter
from tests.bench.failure import MeasurementFailed
from tests.rig.fake_fleet.fleet import NAMESPACE, FakeFleet, NotInTime

from voxfleet_api import API_VERSION
from voxfleet_api.conditions import ConditionType, is_true

JOBS = f"/apis/{API_VERSION}/namespaces/{NAMESPACE}/audiobatchjobs"
POLL_SECONDS = 0.1
SETTLE_SECONDS = 60.0


class FleetSide:
    """A context manager."""

    def __init__(self, directory: Path, *, macs: int) -> None:
        self._fleet = FakeFleet(directory, macs=macs)
        self._manifests: dict[str, Path] = {}

    def __enter__(self) -> Self:
        with _measured():
            self._fleet.__enter__()
        control_plane = self._fleet.control_plane
        pids = {**control_plane.pids, "operator": self._fleet.operator.pid}
        machine_pids = {"fake Macs": self._fleet.macs.child.pid}
        self.meter = LoadMeter(control_plane.audit_log, control_plane.etcd_url, pids, machine_pids)
        self._api = ApiClient(control_plane)
        return self

    def __exit__(self, *exit_: object) -> None:
        self._fleet.__exit__(*exit_)

    def prepare(self, name: str, items: int) -> None:
        self._manifests[name] = self._fleet.write_input(name, items)

    def submit(self, name: str, items: int) -> None:
        self._api.create(JOBS, self._fleet.job_manifest(name, self._manifests[name]))

    def wait_complete(self, name: str, items: int, timeout_seconds: float) -> None:
        deadline = time.monotonic() + timeout_seconds
        while not is_true((status := self._fleet.job(name).status).conditions, ConditionType.COMPLETE):
            if is_true(status.conditions, ConditionType.FAILED) or time.monotonic() > deadline:
                raise MeasurementFailed(f"job {name}: failed, or not done in {timeout_seconds:g} s: {status.dump()}")
            time.sleep(POLL_SECONDS)
        if status.clips.succeeded != items:
            raise MeasurementFailed(f"job {name}: {status.clips.dump()}, expected {items} succeeded clips")

    def settle(self, name: str) -> None:
        with _measured():
            self._fleet.ended(name, SETTLE_SECONDS)

    def starts(self, name: str, load: ControlPlaneLoad) -> Sequence[datetime]:
        folders = (self._fleet.folder / "shared" / "results").glob(f"{name}-????????/parts/*/*")
        return [start for folder in folders for start in clip_starts(folder)]


@contextmanager
def _measured() -> Iterator[None]:
    try:
        yield
    except NotInTime as error:
        raise MeasurementFailed(str(error)) from error


def clip_starts(folder: Path) -> list[datetime]:
    """Of an attempt's clips: those of a part began when the one before it was written, the first ones after base.json.

    Raises OSError.
    """
    began, starts = _written(folder / "base.json"), []
    for part in sorted(folder.glob("part-*.jsonl"), key=_written):
        starts += [began] * part.read_bytes().count(b"\n")
        began = _written(part)
    return starts


def _written(file: Path) -> datetime:
    return datetime.fromtimestamp(file.stat().st_mtime, UTC)
