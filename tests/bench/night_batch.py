"""The night's batch beside sessions: it never runs dry meanwhile, and is held against the same batch alone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.bench.clips import Pool
from tests.bench.failure import MeasurementFailed
from tests.bench.live_rig import LiveRig

from voxfleet_api.kinds import AudioBatchJob
from voxfleet_api.ledger import Activity
from voxfleet_api.quantities import seconds_milliseconds
from voxfleet_api.results import job_folder
from voxfleet_api.rows import ResultRow

CLIPS = 1000
JOBS_AHEAD = 2
"""Unfinished ones: while the last clips of one are collected, the next has the lane."""
LOOK_SECONDS = 1.0
WORKS_SECONDS = 120.0


@dataclass(frozen=True, slots=True)
class NightFindings:
    """Of all jobs that ran beside sessions."""

    jobs: int
    unlike_rows: int
    """Clips whose result is another one than alone."""
    retries: int
    """Of shards and of clips."""
    unaccounted_milliseconds: int
    """By how much the jobs' machine time and the Mac's signed rows differ."""
    paused_milliseconds: int
    """Signed for the endpoints: what the batches' lane stood still for them."""


class NightBatch:
    """Job after job over the same clips. Measures are of jobs that ran to their end. Raises MeasurementFailed."""

    def __init__(self, rig: LiveRig, pool: Pool) -> None:
        self._rig = rig
        self._manifest = pool.manifest("night", CLIPS)
        self._jobs: list[str] = []
        self._alone: Mapping[str, object] = {}

    def run_alone(self) -> None:
        """What the results have to be."""
        self._rig.submit("night-alone", self._manifest)
        self._rig.completed("night-alone", CLIPS)
        self._alone = _heard(self._rows("night-alone"))

    @asynccontextmanager
    async def beside(self, name: str) -> AsyncIterator[None]:
        """From the first clip of the first job on, until all jobs are complete and settled."""
        first = await self._submit(name)
        await asyncio.to_thread(self._rig.wait_for, f"job {first} works", lambda: self._works(first), WORKS_SECONDS)
        keeps_on = asyncio.create_task(self._keep_on(name, first))
        try:
            yield
        finally:
            keeps_on.cancel()
            await asyncio.wait([keeps_on])
        if not keeps_on.cancelled():
            await keeps_on
        for job in self._jobs:
            await asyncio.to_thread(self._rig.completed, job, CLIPS)

    def findings(self) -> NightFindings:
        rows = self._rig.signed_rows()
        unlike = retries = unaccounted = 0
        for name in self._jobs:
            job, done = self._rig.job(name), self._rows(name)
            heard = _heard(done)
            unlike += sum(heard.get(clip) != result for clip, result in self._alone.items())
            attempts = [attempt for shard in self._rig.shards(name) for attempt in shard.status.attempts]
            retries += sum(attempt.costs_retry for attempt in attempts) + sum(row.retries or 0 for row in done)
            signed = sum(row.monotonic_milliseconds for row in rows if row.held_for.uid == job.metadata.uid)
            unaccounted = max(unaccounted, abs(signed - seconds_milliseconds(job.status.usage.machine_seconds)))
        paused = sum(row.monotonic_milliseconds for row in rows if row.activity == Activity.PAUSED)
        return NightFindings(len(self._jobs), unlike, retries, unaccounted, paused)

    def _works(self, job: str) -> bool:
        return self._rig.job(job).status.clips.succeeded > 0

    async def _submit(self, name: str) -> str:
        job = f"{name}-{len(self._jobs)}"
        await asyncio.to_thread(self._rig.submit, job, self._manifest)
        self._jobs.append(job)
        return job

    async def _keep_on(self, name: str, first: str) -> None:
        unfinished = [first]
        while True:
            statuses = [await asyncio.to_thread(self._rig.job, job) for job in unfinished]
            unfinished = [job.metadata.name for job in statuses if _has_clips_left(job)]
            while len(unfinished) < JOBS_AHEAD:
                unfinished.append(await self._submit(name))
            await asyncio.sleep(LOOK_SECONDS)

    def _rows(self, name: str) -> list[ResultRow]:
        folder = job_folder(str(self._rig.directory / "results"), name, self._rig.job(name).metadata.uid or "")
        lines = (Path(folder) / "results.jsonl").read_bytes().splitlines()
        if len(lines) != CLIPS:
            raise MeasurementFailed(f"job {name} has {len(lines)} results of {CLIPS} clips")
        return [ResultRow.model_validate_json(line) for line in lines]


def _heard(rows: Iterable[ResultRow]) -> Mapping[str, object]:
    """By clip, without times and places."""
    return {row.custom_id: (row.status, row.text, row.segments, row.error) for row in rows}


def _has_clips_left(job: AudioBatchJob) -> bool:
    return job.status.clips.succeeded < CLIPS
