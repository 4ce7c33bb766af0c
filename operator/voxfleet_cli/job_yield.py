"""To which endpoints the lanes of a job give way now. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from voxfleet_api.kinds import AudioBatchJob, AudioShard, VoiceEndpoint
from voxfleet_api.kinds.audio_shard import Stage
from voxfleet_api.kinds.endpoint_status import EndpointLaneState
from voxfleet_operator.reconcile.shard.status import is_live


def yields_of(job: AudioBatchJob, shards: Iterable[AudioShard], endpoints: Iterable[VoiceEndpoint]) -> list[str]:
    """A sentence for each endpoint with sessions that has a warm lane on a Mac where shards of the job run.

    An endpoint's status does not say on which of its Macs somebody speaks.
    """
    macs = {
        shard.status.mac
        for shard in shards
        if shard.spec.job_ref.uid == job.metadata.uid and shard.spec.stage is Stage.PROCESS and is_live(shard)
    }
    told: list[str] = []
    for endpoint in sorted(endpoints, key=lambda one: (one.metadata.namespace, one.metadata.name)):
        lanes, metadata = endpoint.status.lanes, endpoint.metadata
        shared = sorted(
            lane.mac for lane in endpoint.status.macs if lane.state == EndpointLaneState.WARM and lane.mac in macs
        )
        if shared and lanes is not None and lanes.busy:
            told.append(
                f"{', '.join(shared)}: its lanes work in quanta or stand still for VoiceEndpoint"
                f" {metadata.namespace}/{metadata.name}, of which {lanes.busy} of {lanes.warm} lanes have sessions; the"
                " endpoint pays for what is paused"
            )
    return told
