"""The report on a finished job, compared from its status, its result files and the agents' own ledgers."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from voxfleet_api import ledger
from voxfleet_api.kinds import AudioBatchJob
from voxfleet_api.protocol import LedgerPage
from voxfleet_api.quantities import seconds_milliseconds, seconds_text
from voxfleet_api.results import ResultIndex
from voxfleet_api.rows import ClipStatus, ResultRow
from voxfleet_dev.controlplane import ControlPlane
from voxfleet_dev.mac import Mac


@dataclass(frozen=True)
class Report:
    rows: tuple[ResultRow, ...]
    milliseconds_by_mac: dict[str, int]
    """The sum of the signed rows that each agent holds, verified here again."""
    status_milliseconds: int
    machine_hours: str
    ledger_verified: bool
    scratch_residue_bytes: int
    results: str

    def count(self, *statuses: ClipStatus) -> int:
        return sum(row.status in statuses for row in self.rows)

    def summary(self) -> dict[str, object]:
        return {
            "clips": {
                "total": len(self.rows),
                "succeeded": self.count(ClipStatus.SUCCEEDED),
                "failed": self.count(ClipStatus.FAILED, ClipStatus.NOT_RUN),
                "quarantined": self.count(ClipStatus.QUARANTINED),
            },
            "machineSeconds": self.status_milliseconds / 1000,
            "ledgerVerified": self.ledger_verified,
            "scratchResidueBytes": self.scratch_residue_bytes,
            "results": self.results,
        }

    def print(self, console: Console) -> None:
        clips = Table("Clip", "Result", "Transcript, or why not", title="Clips")
        for row in self.rows:
            if row.error is None:
                clips.add_row(row.custom_id, row.status, row.text)
            else:
                clips.add_row(row.custom_id, f"{row.status} ({row.error.failure_class})", row.error.reason)
        console.print(clips)
        macs = Table("Mac", "Seconds held", title="Machine time")
        for name, milliseconds in sorted(self.milliseconds_by_mac.items()):
            macs.add_row(name, seconds_text(milliseconds))
        console.print(macs)
        verdict = "verified: status equals the signed rows" if self.ledger_verified else "NOT VERIFIED"
        console.print(
            f"{len(self.rows)} clips: {self.count(ClipStatus.SUCCEEDED)} succeeded, "
            f"{self.count(ClipStatus.QUARANTINED)} quarantined, "
            f"{self.count(ClipStatus.FAILED, ClipStatus.NOT_RUN)} failed. "
            f"{self.machine_hours} machine-hours, {verdict}. Scratch residue {self.scratch_residue_bytes} bytes."
        )
        console.print(f"Results: {self.results}")


def gather(control_plane: ControlPlane, job: AudioBatchJob, macs: Sequence[Mac]) -> Report:
    """Reads status, result files and ledgers. Raises LedgerError for a row that does not verify."""
    milliseconds_by_mac = {mac.name: _signed_milliseconds(mac, job.metadata.uid) for mac in macs}
    usage = job.status.usage
    status_milliseconds = seconds_milliseconds(usage.machine_seconds)
    mac_list = json.loads(control_plane.kubectl("get", "macagents", "-o", "json"))["items"]
    trusted = all(
        any(item["type"] == "LedgerVerified" and item["status"] == "True" for item in mac["status"]["conditions"])
        for mac in mac_list
    )
    folder = result_folder(job)
    return Report(
        rows=tuple(read_rows(folder)),
        milliseconds_by_mac=milliseconds_by_mac,
        status_milliseconds=status_milliseconds,
        machine_hours=usage.machine_hours,
        ledger_verified=trusted and usage.settled and status_milliseconds == sum(milliseconds_by_mac.values()),
        scratch_residue_bytes=sum(_bytes_below(mac.scratch) for mac in macs),
        results=str(folder),
    )


def result_folder(job: AudioBatchJob) -> Path:
    """Returns the local folder of a finished job's results. Raises ValueError when it has none."""
    if job.status.results is None:
        raise ValueError(f"job {job.metadata.name} has no results")
    return Path(job.status.results.uri.removeprefix("file://")).parent


def read_rows(folder: Path) -> list[ResultRow]:
    """Returns all rows of the files that index.json names, by index."""
    index = ResultIndex.model_validate_json((folder / "index.json").read_text())
    rows = [
        ResultRow.model_validate_json(line)
        for file in index.files
        if file.path in ("results.jsonl", "errors.jsonl")
        for line in (folder / file.path).read_text().splitlines()
    ]
    return sorted(rows, key=lambda row: row.index)


def _signed_milliseconds(mac: Mac, job_uid: str) -> int:
    """Returns the job's time on this Mac, from the agent's own rows, verified with its public key."""
    head: ledger.ChainHead | None = None
    by_job: dict[str, int] = defaultdict(int)
    while True:
        page = LedgerPage.load(mac.get_json(f"/v1/ledger?after={head.sequence if head else -1}"))
        if not page.rows:
            return by_job[job_uid]
        head = ledger.verify(page.rows, ledger.public_key(mac.ledger_public_key), head)
        for signed in page.rows:
            by_job[signed.row.held_for.uid] += signed.row.monotonic_milliseconds


def _bytes_below(folder: Path) -> int:
    return sum(path.lstat().st_size for path in folder.rglob("*") if not path.is_dir())
