"""What people tell jobs, in the words of the command line."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from tests.sim.machine import JobWork

from voxfleet_api.kinds import AudioBatchJob
from voxfleet_api.kinds.job_source import SourceSelect
from voxfleet_cli.command_line import Refused
from voxfleet_cli.job_verbs import Verb, change_of
from voxfleet_cli.reruns import NOT_COPIED, rerun_of
from voxfleet_operator.kube_errors import AlreadyExists, NotFound
from voxfleet_operator.queue import Key

if TYPE_CHECKING:
    from tests.sim.world import World

POLL_SECONDS = 3.0
AT_ONCE_SHARE = 0.3


def says(world: World, key: Key, verb: Verb) -> bool:
    """Returns whether the command would have done it."""
    try:
        change = change_of(AudioBatchJob.load(world.server.get(key)), verb)
    except Refused:
        world.edges[f"people.{verb} refused"] += 1
        return False
    world.edges[f"people.{verb}"] += 1
    world.server.change_spec(key, dict(change.spec))
    return True


async def runs_again(world: World, key: Key, longest_seconds: float) -> None:
    """Applies a job with the clips that another one leaves, once that has ended or, as GitOps does, at once."""
    if world.random.random() < AT_ONCE_SHARE:
        _apply_at_once(world, key)
        return
    until = world.loop.time() + longest_seconds
    while world.loop.time() < until:
        await asyncio.sleep(POLL_SECONDS)
        try:
            job = AudioBatchJob.load(world.server.get(key))
        except NotFound:
            return
        for select in (SourceSelect.QUARANTINED, SourceSelect.NOT_RUN, SourceSelect.FAILED):
            try:
                body = rerun_of(job, (), select, None, f"{key.name}-again-{select.value.lower()}")
            except Refused:
                continue
            _apply(world, job, body, select)
            return


def _apply_at_once(world: World, key: Key) -> None:
    job, select = AudioBatchJob.load(world.server.get(key)), SourceSelect.QUARANTINED
    document = {name: value for name, value in world.server.get(key)["spec"].items() if name not in NOT_COPIED}
    spec = {**document, "source": {"jobRef": {"name": key.name}, "select": select.value}}
    metadata = {"name": f"{key.name}-later", "namespace": key.namespace}
    _apply(world, job, {"kind": key.kind, "metadata": metadata, "spec": spec}, select)


def _apply(world: World, job: AudioBatchJob, body: dict[str, object], select: SourceSelect) -> None:
    try:
        created = world.server.create(body)
    except AlreadyExists:  # somebody else was faster
        return
    world.edges[f"people.rerun {select}"] += 1
    work = world.site.work[job.metadata.uid]
    world.site.work[created["metadata"]["uid"]] = JobWork((), work.clip_seconds, poison=frozenset())
