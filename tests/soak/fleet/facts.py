"""Gathers what invariants are checked against, once the job has ended and once more when it is gone."""

from __future__ import annotations

from collections import defaultdict

from tests.sim.invariants import EndedJob, Left
from tests.soak.fleet.invariants import RunFacts
from tests.soak.fleet.job import SoakJob
from tests.soak.fleet.rig import FleetRig

from voxfleet_api.conditions import ConditionType, is_true
from voxfleet_api.quantities import seconds_milliseconds
from voxfleet_api.rows import ClipStatus
from voxfleet_dev.demo_report import read_rows, result_folder


def of_ended_job(rig: FleetRig, job: SoakJob) -> RunFacts:
    """Raises what rig.NoAnswer names, LedgerError, and OSError or ValueError for results that cannot be read."""
    latest = job.latest
    status = latest.status
    has_results = status.results is not None
    rows = read_rows(result_folder(latest)) if has_results else []
    by_index: defaultdict[int, list[str]] = defaultdict(list)
    for row in rows:
        by_index[row.index].append(row.status.value)
    signed = {
        mac.mac.name: [item.row for item in mac.ledger() if item.row.held_for.uid == latest.metadata.uid]
        for mac in rig.macs
    }
    ended = EndedJob(
        name="job",
        complete=is_true(status.conditions, ConditionType.COMPLETE),
        total=len(job.clips),
        counts={
            ClipStatus.SUCCEEDED: status.clips.succeeded,
            ClipStatus.FAILED: status.clips.failed,
            ClipStatus.QUARANTINED: status.clips.quarantined,
            ClipStatus.NOT_RUN: status.clips.not_run,
        },
        rows=by_index if has_results else None,
        usage_milliseconds=seconds_milliseconds(status.usage.machine_seconds),
        settled=status.usage.settled,
        signed_milliseconds=sum(row.monotonic_milliseconds for rows in signed.values() for row in rows),
    )
    return RunFacts(
        job=ended,
        clips=job.clips,
        rows=rows,
        signed=signed,
        unverified_attempts=status.usage.unverified_attempts,
        largest_status_bytes=job.largest_status_bytes,
    )


def of_what_is_left(rig: FleetRig, namespace: str) -> Left:
    """Raises what rig.NoAnswer names."""
    return Left(
        jobs=[item["metadata"]["name"] for item in rig.objects("audiobatchjobs", namespace)],
        shards=[item["metadata"]["name"] for item in rig.objects("audioshards", namespace)],
        attempts={
            mac.mac.name: [f"{one.shard_uid}.{one.attempt}" for one in mac.attempts().attempts] for mac in rig.macs
        },
    )
