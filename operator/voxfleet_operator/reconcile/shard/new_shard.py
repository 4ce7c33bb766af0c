"""An AudioShard as the operator makes it for a job: its name, its owner, its body. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from voxfleet_api import API_VERSION
from voxfleet_api.kinds import AudioBatchJob, AudioShard
from voxfleet_api.kinds.audio_shard import ShardPiece, Stage
from voxfleet_api.machine_time import MachineTime
from voxfleet_api.ranges import encode
from voxfleet_operator.reconcile.shard.pieces import piece_range

JOB_LABEL = "voxfleet.dev/job"
STAGE_LABEL = "voxfleet.dev/stage"


def shard_name(job_name: str, stage: Stage, ordinal: int | None = None, piece: str = "") -> str:
    """Deterministic, so that creating a shard again finds the one that exists. `piece`: the path of a part."""
    if ordinal is not None:
        return f"{job_name}-{ordinal:05d}-p{piece}" if piece else f"{job_name}-{ordinal:05d}"
    return f"{job_name}-{stage.value.lower()}"


@dataclass(frozen=True, slots=True)
class NewShard:
    stage: Stage
    ordinal: int | None = None
    piece: ShardPiece | None = None
    machine_time: MachineTime | None = None
    """Of Finalize."""

    @property
    def path(self) -> str:
        return "" if self.piece is None else self.piece.path


def shard_body(job: AudioBatchJob, new: NewShard) -> dict[str, object]:
    spec: dict[str, object] = {
        "jobRef": {"name": job.metadata.name, "uid": job.metadata.uid},
        "stage": new.stage.value,
    }
    if new.ordinal is not None and job.status.plan is not None:
        first, end = job.status.plan.boundaries[new.ordinal : new.ordinal + 2]
        spec |= {"ordinal": new.ordinal, "indexes": encode(piece_range(range(first, end), new.path))}
        if new.piece is not None:
            spec["piece"] = new.piece.dump()
    if new.machine_time is not None:
        spec["machineTime"] = new.machine_time.dump()
    owner = {
        "apiVersion": API_VERSION,
        "kind": job.crd.kind,
        "name": job.metadata.name,
        "uid": job.metadata.uid,
        "controller": True,
    }
    return {
        "apiVersion": API_VERSION,
        "kind": AudioShard.crd.kind,
        "metadata": {
            "name": shard_name(job.metadata.name, new.stage, new.ordinal, new.path),
            "namespace": job.metadata.namespace,
            "labels": {JOB_LABEL: job.metadata.name, STAGE_LABEL: new.stage.value},
            "ownerReferences": [owner],
        },
        "spec": spec,
    }


def belongs(shard: AudioShard, job: AudioBatchJob) -> bool:
    """Whether the operator made this shard for this job. Shards that others made are ignored."""
    return made_for(shard) == (job.metadata.uid, job.metadata.name)


def made_for(shard: AudioShard) -> tuple[str, str] | None:
    """UID and name of the job for which the operator made the shard; None of one that others made."""
    ref, spec = shard.spec.job_ref, shard.spec
    path = "" if spec.piece is None else spec.piece.path
    if shard.metadata.name != shard_name(ref.name, spec.stage, spec.ordinal, path):
        return None
    controlled = any(owner.controller and owner.uid == ref.uid for owner in shard.metadata.owner_references)
    return (ref.uid, ref.name) if controlled else None
