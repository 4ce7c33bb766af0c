"""The rest of the cluster around an object that is explained, as far as its user may see it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TypeVar

from voxfleet_api.kinds import AudioBatchJob, AudioShard, MacAgent, MachineHourStatement, Resource, VoiceEndpoint
from voxfleet_operator.kube import Kube
from voxfleet_operator.kube_errors import Forbidden, NotFound
from voxfleet_operator.kube_objects import Unreadable

R = TypeVar("R", bound=Resource)


@dataclass(frozen=True, slots=True)
class Surroundings:
    now: datetime
    jobs: tuple[AudioBatchJob, ...] = ()
    shards: tuple[AudioShard, ...] = ()
    macs: tuple[MacAgent, ...] | None = None
    """None if the user may not list them."""
    statements: tuple[MachineHourStatement, ...] = ()
    endpoints: tuple[VoiceEndpoint, ...] = ()
    """Those that the user may list."""
    namespace_labels: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    whole: bool = True
    """False: jobs and shards are those of the object's namespace, as the user may not list all."""


async def read_surroundings(kube: Kube, resource: Resource, now: datetime) -> Surroundings:
    jobs, shards = await _listed(kube, AudioBatchJob), await _listed(kube, AudioShard)
    whole = jobs is not None and shards is not None
    if jobs is None or shards is None:
        namespace = resource.metadata.namespace
        jobs = tuple((await kube.list(AudioBatchJob, namespace))[0])
        shards = tuple((await kube.list(AudioShard, namespace))[0])
    return Surroundings(
        now=now,
        jobs=jobs,
        shards=shards,
        macs=await _listed(kube, MacAgent),
        statements=await _listed(kube, MachineHourStatement) or (),
        endpoints=await _endpoints(kube, resource.metadata.namespace),
        namespace_labels=await _namespace_labels(kube),
        whole=whole,
    )


async def _listed(kube: Kube, kind: type[R]) -> tuple[R, ...] | None:
    """All objects of a kind; None if the user may not list them."""
    try:
        return tuple((await kube.list(kind))[0])
    except Forbidden:
        return None


async def _endpoints(kube: Kube, namespace: str) -> tuple[VoiceEndpoint, ...]:
    """All, or those of the namespace, as the user may list them. None where the cluster is older than the kind, or
    newer than this program: what they tell of a job is only an addition.
    """
    for place in ("", namespace):
        try:
            return tuple((await kube.list(VoiceEndpoint, place))[0])
        except Forbidden:
            continue
        except (NotFound, Unreadable):
            break
    return ()


async def _namespace_labels(kube: Kube) -> dict[str, Mapping[str, str]]:
    try:
        items, _ = await kube.list_objects("/api/v1/namespaces")
    except Forbidden:
        return {}
    return {item["metadata"]["name"]: item["metadata"].get("labels") or {} for item in items}
