"""What placement decides on, with everything set that a case does not name."""

from __future__ import annotations

from dataclasses import replace

from voxfleet_api.kinds.audio_shard import Stage
from voxfleet_api.kinds.job_requirements import Requirements
from voxfleet_api.kinds.mac_agent import Access
from voxfleet_api.selectors import LabelSelector
from voxfleet_api.taints import Taint
from voxfleet_operator.placement.place import place
from voxfleet_operator.placement.snapshot import (
    MacSlot,
    PendingShard,
    PlacementJob,
    PlacementPlan,
    PlacementSnapshot,
)

NOW = 100.0
MODEL = "sha256:" + "0" * 64
ACCESS = (Access(namespace_selector=LabelSelector(), uri_prefixes=("file:///data/",)),)


def a_job(name: str = "job", namespace: str = "team", **fields: object) -> PlacementJob:
    job = PlacementJob(
        uid=f"{namespace}/{name}",
        namespace=namespace,
        name=name,
        created="2026-11-20T22:00:00Z",
        uris=("file:///data/in/", "file:///data/out/"),
        parallelism=10,
        model_digest=MODEL,
    )
    return replace(job, **fields)  # type: ignore[arg-type] # the fields of PlacementJob


def a_shard(job: PlacementJob, ordinal: int = 0, **fields: object) -> PendingShard:
    uid = f"{job.uid}/{ordinal}"
    shard = PendingShard(uid=uid, name=uid, job=job, stage=Stage.PROCESS, ordinal=ordinal, next_attempt=1)
    return replace(shard, **fields)  # type: ignore[arg-type] # the fields of PendingShard


def a_mac(name: str = "mac-a", **fields: object) -> MacSlot:
    return replace(MacSlot(name=name, access=ACCESS, free_lanes=1), **fields)  # type: ignore[arg-type] # of MacSlot


def placed(plan: PlacementPlan) -> dict[str, str]:
    return {assignment.shard_uid: assignment.mac for assignment in plan.assignments}


def run(shards: list[PendingShard], macs: list[MacSlot], **fields: object) -> PlacementPlan:
    snapshot = PlacementSnapshot(tuple(shards), tuple(macs))
    return place(replace(snapshot, **fields), NOW)  # type: ignore[arg-type] # the fields of PlacementSnapshot


NIGHT = (Taint(key="rented", value="night"),)
SAME_CHIP = Requirements(homogeneous=True)
