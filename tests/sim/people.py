"""What people tell jobs, in the words of the command line."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from tests.sim.machine import JobWork

from voxfleet_api.kinds import AudioBatchJob
from voxfleet_api.kinds.job_source import SourceSelect
from voxfleet_cli.command_line import Refused
from voxfleet_cli.job_verbs import Verb, change_of
from voxfleet_cli.reruns import rerun_of
from voxfleet_operator.kube import NotFound
from voxfleet_operator.queue import Key

if TYPE_CHECKING:
    from tests.sim.world import World

POLL_SECONDS = 3.0


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
    """Waits for the job's end, and applies a job with the clips that it left."""
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


def _apply(world: World, job: AudioBatchJob, body: dict[str, object], select: SourceSelect) -> None:
    world.edges[f"people.rerun {select}"] += 1
    created = world.server.create(body)
    work = world.site.work[job.metadata.uid]
    world.site.work[created["metadata"]["uid"]] = JobWork((), work.clip_seconds, poison=frozenset())
