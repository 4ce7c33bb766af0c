"""The ended job whose clips a rerun takes: waited for, refused, or frozen into the rerun's status. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from voxfleet_api.conditions import Reason
from voxfleet_api.kinds import AudioBatchJob
from voxfleet_api.kinds.job_source import AcceptedSource
from voxfleet_api.results import job_folder
from voxfleet_operator.reconcile.job_findings import Blocker
from voxfleet_operator.reconcile.job_life import has_ended


@dataclass(frozen=True, slots=True)
class SourceRefusal:
    """Why a rerun cannot be accepted as things are."""

    blocker: Blocker
    waits: bool = False
    """The earlier job still runs: nothing is wrong, and its end is waited for."""
    for_good: bool = False
    """Nothing that may still happen would help: a job that has ended never changes again."""


def find_source(job: AudioBatchJob, source: AudioBatchJob | None) -> AcceptedSource | SourceRefusal | None:
    """`source`: the object that the job names now. None: the job names none."""
    asked = job.spec.source
    if asked is None:
        return None
    name = f"AudioBatchJob {asked.job_ref.name}, which spec.source names,"
    if source is None:
        return SourceRefusal(
            Blocker(
                Reason.SOURCE_NOT_FOUND,
                f"{name} does not exist in namespace {job.metadata.namespace}; correct the name, or apply a job with"
                " input",
            )
        )
    if not has_ended(source):
        message = f"waits for the end of job {asked.job_ref.name}, which spec.source names"
        return SourceRefusal(Blocker(Reason.SOURCE_NOT_ENDED, message), waits=True)
    plan, results = source.status.plan, source.status.results
    if plan is None or results is None:
        message = f"{name} ended without results, so nothing says what became of its clips; apply a job with input"
        return SourceRefusal(Blocker(Reason.SOURCE_WITHOUT_RESULTS, message), for_good=True)
    folder = job_folder(source.spec.output.uri, source.metadata.name, source.metadata.uid)
    if folder.startswith("s3:") and job.spec.credentials_secret_ref is None:
        message = f"{name} has its results in s3://; apply the rerun with credentialsSecretRef"
        return SourceRefusal(Blocker(Reason.INVALID_SPEC, message), for_good=True)
    return AcceptedSource(
        uid=source.metadata.uid, folder=folder, index_sha256=results.sha256, plan_attempt=plan.attempt
    )
