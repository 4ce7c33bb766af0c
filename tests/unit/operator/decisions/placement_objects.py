"""What placement decides on, with everything set that a case does not name."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

from voxfleet_api.kinds.audio_shard import Stage
from voxfleet_api.kinds.job_requirements import Requirements
from voxfleet_api.kinds.mac_agent import Access
from voxfleet_api.selectors import LabelSelector
from voxfleet_api.taints import Taint
from voxfleet_operator.placement.place import place
from voxfleet_operator.placement.snapshot import (
    JobNeeds,
    MacSlot,
    MacTraits,
    PendingShard,
    PlacementJob,
    PlacementPlan,
    PlacementSnapshot,
)

NOW = 100.0
MODEL = "sha256:" + "0" * 64
ACCESS = (Access(namespace_selector=LabelSelector(), uri_prefixes=("file:///data/",)),)


NEEDS, TRAITS = ({item.name for item in fields(kind)} for kind in (JobNeeds, MacTraits))


def a_job(name: str = "job", namespace: str = "team", **given: Any) -> PlacementJob:
    """`given`: fields of PlacementJob and JobNeeds."""
    job = PlacementJob(
        uid=f"{namespace}/{name}",
        namespace=namespace,
        name=name,
        created="2026-11-20T22:00:00Z",
        uris=("file:///data/in/", "file:///data/out/"),
        parallelism=10,
        model_digest=MODEL,
    )
    needs = {name: given.pop(name) for name in NEEDS & given.keys()}
    return replace(job, needs=JobNeeds(**needs), **given)


def a_shard(job: PlacementJob, ordinal: int = 0, **fields: object) -> PendingShard:
    uid = f"{job.uid}/{ordinal}"
    shard = PendingShard(uid=uid, name=uid, job=job, stage=Stage.PROCESS, ordinal=ordinal, next_attempt=1)
    return replace(shard, **fields)  # type: ignore[arg-type] # the fields of PendingShard


def a_mac(name: str = "mac-a", **given: Any) -> MacSlot:
    """`given`: fields of MacSlot and MacTraits."""
    traits = {name: given.pop(name) for name in TRAITS & given.keys()}
    return replace(MacSlot(name=name, traits=MacTraits(**{"access": ACCESS, **traits}), free_lanes=1), **given)


def placed(plan: PlacementPlan) -> dict[str, str]:
    return {assignment.shard_uid: assignment.mac for assignment in plan.assignments}


def run(shards: list[PendingShard], macs: list[MacSlot], **fields: object) -> PlacementPlan:
    snapshot = PlacementSnapshot(tuple(shards), tuple(macs))
    return place(replace(snapshot, **fields), NOW)  # type: ignore[arg-type] # the fields of PlacementSnapshot


NIGHT = (Taint(key="rented", value="night"),)
SAME_CHIP = Requirements(homogeneous=True)
