"""AudioBatchJob, for the registry."""

from __future__ import annotations

from voxfleet_api.kinds import AudioBatchJob, AudioShard, Resource, VoiceContract
from voxfleet_operator.cache import Cache, key_of
from voxfleet_operator.queue import Key
from voxfleet_operator.reconcile.job.reconcile import JobReconciler
from voxfleet_operator.reconcile.job_life import has_ended
from voxfleet_operator.reconcile.registration import Registration


def woken_by(changed: Resource, cache: Cache) -> set[Key]:
    """A shard wakes its job, a contract the jobs that name it, and a job that comes, ends or goes the reruns of it."""
    match changed:
        case AudioShard():
            return {Key(AudioBatchJob.crd.kind, changed.metadata.namespace, changed.spec.job_ref.name)}
        case VoiceContract():
            return {
                key_of(job)
                for job in cache.all(AudioBatchJob, changed.metadata.namespace)
                if job.spec.contract_ref.name == changed.metadata.name
            }
        case AudioBatchJob() if _is_new(changed) or has_ended(changed) or _is_gone(changed, cache):
            return {
                key_of(job)
                for job in cache.all(AudioBatchJob, changed.metadata.namespace)
                if job.spec.source is not None
                and job.status.contract is None
                and job.spec.source.job_ref.name == changed.metadata.name
            }
    return set()


def _is_new(job: AudioBatchJob) -> bool:
    return job.status.observed_generation < 0


def _is_gone(job: AudioBatchJob, cache: Cache) -> bool:
    return cache.by_uid(AudioBatchJob, job.metadata.uid) is None


REGISTRATION = Registration(
    AudioBatchJob,
    lambda context, findings: JobReconciler(
        context, findings.blockers, findings.pending_reasons, findings.archived_estimates, findings.outlook
    ),
    woken_by,
)
