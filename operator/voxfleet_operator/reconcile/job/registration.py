"""AudioBatchJob, for the registry."""

from __future__ import annotations

from voxfleet_api.kinds import AudioBatchJob, AudioShard, Resource, VoiceContract
from voxfleet_operator.cache import Cache, key_of
from voxfleet_operator.queue import Key
from voxfleet_operator.reconcile.job.reconcile import JobReconciler
from voxfleet_operator.reconcile.registration import Registration


def woken_by(changed: Resource, cache: Cache) -> set[Key]:
    """A shard wakes its job, a contract the jobs that name it."""
    match changed:
        case AudioShard():
            return {Key(AudioBatchJob.crd.kind, changed.metadata.namespace, changed.spec.job_ref.name)}
        case VoiceContract():
            return {
                key_of(job)
                for job in cache.all(AudioBatchJob, changed.metadata.namespace)
                if job.spec.contract_ref.name == changed.metadata.name
            }
    return set()


REGISTRATION = Registration(
    AudioBatchJob,
    lambda context, findings: JobReconciler(context, findings.blockers, findings.pending_reasons, findings.outlook),
    woken_by,
)
