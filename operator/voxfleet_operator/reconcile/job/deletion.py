"""What is left to do for a job that is being deleted. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import dataclass
from datetime import datetime

from voxfleet_api.attempt_spec import AttemptKey
from voxfleet_api.kinds import AudioBatchJob
from voxfleet_operator.fleet.mac_view import MacView, attempt_view
from voxfleet_operator.reconcile.deletion_deadline import FORCE_ANNOTATION, deadline, no_answer_from
from voxfleet_operator.reconcile.job.shards import JobShards

PlacedAttempt = tuple[str, AttemptKey]
"""A Mac, and an attempt that it may hold."""


@dataclass(frozen=True, slots=True)
class Deletion:
    deletes: tuple[PlacedAttempt, ...] = ()
    """The attempts to delete now."""
    unreachable: tuple[str, ...] = ()
    """Macs that the deletion waits for."""
    finish: bool = False
    """Whether to delete the shards and then drop the finalizer."""
    gave_up: str | None = None
    """Why the deletion finishes although some attempts may still exist; None if all are known to be gone."""


def plan_deletion(
    job: AudioBatchJob,
    shards: JobShards,
    macs: Set[str],
    views: Mapping[str, MacView],
    confirmed: Set[PlacedAttempt],
    now: datetime,
) -> Deletion:
    """`confirmed` holds the attempts that agents have confirmed to be gone, `macs` the names of all MacAgents: one
    without a view was not dialled yet by this process, and may hold anything.

    A machine without a MacAgent is not waited for: what it holds is an orphan when it returns.
    """
    left = sorted(_placed_attempts(job, shards, views) - confirmed)
    if FORCE_ANNOTATION in job.metadata.annotations:
        return Deletion(finish=True, gave_up=f"annotation {FORCE_ANNOTATION}" if left else None)
    undialled = macs - views.keys()
    unreachable = tuple(sorted({mac for mac, _ in left if not views[mac].connected} | undialled))
    if not left and not undialled:
        return Deletion(finish=True)
    if now >= deadline(job):
        names = ", ".join(unreachable or sorted({mac for mac, _ in left}))
        return Deletion(finish=True, gave_up=no_answer_from(names))
    return Deletion(deletes=tuple(item for item in left if views[item[0]].connected), unreachable=unreachable)


def _placed_attempts(job: AudioBatchJob, shards: JobShards, views: Mapping[str, MacView]) -> set[PlacedAttempt]:
    """Attempts that a shard records, since a PUT may be under way, and attempts that an agent reports."""
    recorded = {
        (view.name, AttemptKey(shard.metadata.uid, record.attempt))
        for shard in shards.all
        for record in shard.status.attempts
        if (view := attempt_view(record, views)) is not None
    }
    reported = {
        (name, key)
        for name, view in views.items()
        for key, report in view.attempts.items()
        if report.job.uid == job.metadata.uid
    }
    return recorded | reported
