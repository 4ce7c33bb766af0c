"""The statements and jobs of a generated month: as the operator's own code makes them, and by arithmetic."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from tests.rig.generated_month import NAMESPACES, Size, job_sums, job_uid, mac_name

from voxfleet_api.conditions import ConditionType, Reason
from voxfleet_api.kinds import AudioBatchJob, MachineHourStatement
from voxfleet_api.kinds.machine_hour_statement import NamespaceUse
from voxfleet_api.quantities import seconds_text
from voxfleet_billing.archive_reader import newest_index
from voxfleet_billing.archive_store import open_archive
from voxfleet_operator.reconcile.statement.archiving import archived_month
from voxfleet_operator.reconcile.statement.status import from_archive, with_condition

NOW = "2026-12-03T00:00:00Z"


def statements(archive: Path, size: Size) -> Iterator[MachineHourStatement]:
    """One a Mac, as the operator writes it: out of the archive, and final."""
    store = open_archive(archive.as_uri())
    for number in range(size.macs):
        mac = mac_name(number)
        known = newest_index(store, size.month, mac)
        assert known is not None, f"{archive} has nothing of {mac}"
        found = archived_month(store, known)
        empty = MachineHourStatement.load(
            {
                "metadata": {"name": f"{mac}-{size.month}", "uid": f"{mac}-statement", "creationTimestamp": NOW},
                "spec": {"mac": mac, "month": size.month},
            }
        )
        chains = frozenset(head.chain_id for head in found.index.heads)
        rows = (row for _, row in found.rows)
        status = from_archive(empty, known, rows, chains, NOW)
        used = tuple(NamespaceUse(namespace=name, machine_seconds="123456.789") for name in NAMESPACES)
        counted = empty.model_copy(update={"status": status.model_copy(update={"recent_use": used})})
        final = with_condition(counted, ConditionType.FINAL, True, Reason.FINAL, "", NOW)
        yield counted.model_copy(update={"status": final})


def jobs(size: Size) -> Iterator[AudioBatchJob]:
    """One a night and namespace."""
    for night in range(size.nights):
        for place, namespace in enumerate(NAMESPACES):
            sums = job_sums(size, place)
            times = {name: seconds_text(milliseconds) for name, milliseconds in sums.seconds.items()}
            day = f"{size.month}-{night + 1:02d}"
            yield AudioBatchJob.load(
                {
                    "metadata": {
                        "name": f"nightly-{night + 1:02d}",
                        "namespace": namespace,
                        "uid": job_uid(night, place),
                        "creationTimestamp": f"{day}T07:00:00Z",
                    },
                    "spec": {
                        "contractRef": {"name": "calls"},
                        "model": {"builtin": {"name": "commands"}},
                        "input": {"prefix": {"uri": "file:///in/"}},
                        "output": {"uri": "file:///out/"},
                    },
                    "status": {
                        "startTime": f"{day}T08:00:00Z",
                        "completionTime": f"{day}T12:00:00Z",
                        "usage": {**times, "rows": sums.rows, "settled": True},
                    },
                }
            )
