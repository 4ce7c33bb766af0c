"""The stages as the modelled agent runs them: clips take time, rows are durable one by one, results go to the store."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from tests.sim.object_store import ResultsRefused

from voxfleet_agent.attempts.lane_meter import LaneMeter
from voxfleet_agent.attempts.work_permit import LeasedPermit
from voxfleet_agent.journal.attempt_table import JournaledAttempt
from voxfleet_api.digest import sha256_hex
from voxfleet_api.failures import FailureClass
from voxfleet_api.protocol import ShardResult
from voxfleet_api.ranges import decode
from voxfleet_api.results import Counts, PlanResult

if TYPE_CHECKING:
    from tests.sim.agent import Agent

MAC_FAILURES = (
    FailureClass.GPU_ABORT_TIMEOUT,
    FailureClass.SCRATCH_EXHAUSTED,
    FailureClass.TRANSPORT,
    FailureClass.RUNTIME_MISMATCH,
)
RERUN_SHARD_CLIPS = 2
JOB_FAILURES = (FailureClass.MODEL_MISMATCH, FailureClass.INPUT_NOT_SHARED)


class StageFailed(Exception):
    def __init__(self, failure_class: FailureClass) -> None:
        super().__init__(f"the stage failed: {failure_class}")
        self.failure_class = failure_class


async def run_stage(
    agent: Agent,
    record: JournaledAttempt,
    meter: LaneMeter | None,
    permit: LeasedPermit,
    working: Callable[[], Awaitable[None]],
    progressed: Callable[[int, int], None],
) -> ShardResult:
    """Raises StageFailed."""
    spec, random = record.spec, agent.random
    work = agent.machine.work_of(spec.job.uid)
    await asyncio.sleep(random.uniform(0.1, 2.0))
    if spec.process is not None:
        _fail_at_random(agent, 1.0 if agent.machine.jobs_at_fault else work.job_failure_rate)
    else:
        _fail_at_random(agent, 0.0)
    if spec.plan is not None:
        boundaries = work.boundaries
        if spec.plan.source is not None:
            clips = agent.machine.store.left_by(spec.plan.source)
            if not clips:
                raise StageFailed(FailureClass.INVALID_INPUT)
            boundaries = (*range(0, clips, RERUN_SHARD_CLIPS), clips)
        plan = PlanResult(
            manifest_sha256=sha256_hex(f"{spec.job.uid}/{spec.attempt}".encode()),
            model_digest=f"sha256:{sha256_hex(b'model')}",
            boundaries=boundaries,
            audio_seconds=f"{boundaries[-1]}.000",
        )
        return ShardResult(commit_sha256=sha256_hex(f"plan/{spec.attempt}".encode()), plan=plan)
    if spec.finalize is not None:
        try:
            sha256, counts = agent.machine.store.finalize(spec.job.uid, spec.finalize)
        except ResultsRefused as error:
            agent.machine.history.broken.append(f"finalize of {spec.job.name}: {error}")
            raise StageFailed(FailureClass.PLAN_MISMATCH) from error
        return ShardResult(commit_sha256=sha256, counts=counts)
    assert spec.process is not None
    await working()
    indexes = decode(spec.process.indexes)
    store, key = agent.machine.store, record.key
    if key not in agent.disk.bases:
        agent.disk.bases[key], agent.disk.recorded[key] = store.inherited(key, spec.process.inherits, set(indexes))
    base, rows = agent.disk.bases[key], agent.disk.recorded[key]
    store.parts[key] = dict(rows)
    store.bases[key] = base
    returned = False
    for index in indexes:
        if index in base or index in rows:
            continue
        await permit.check()
        if permit.called_back or agent.machine.returns_work:
            returned = True
            break
        if index in work.deadly:
            raise StageFailed(FailureClass.GPU_ABORT_TIMEOUT)
        await asyncio.sleep(work.clip_seconds * random.uniform(0.5, 1.5))
        rows[index] = "quarantined" if index in work.poison else "succeeded"
        if meter is not None:
            meter.add(audio_milliseconds=1000, clips=1)
        if random.random() < 0.3:
            progressed(len(rows), len(indexes))
        if random.random() < 0.5:
            await asyncio.sleep(random.uniform(0.01, 0.1))
            agent.machine.process.check_alive()
            store.parts[key] = dict(rows)
    _fail_at_random(agent, 0.0)
    await asyncio.sleep(random.uniform(0.01, 0.1))
    agent.machine.process.check_alive()
    store.parts[key] = dict(rows)
    if returned:
        agent.machine.count("agent.stage returned" if permit.called_back else "agent.stage returned unasked")
        raise StageFailed(FailureClass.MACHINE_RETURNED)
    await permit.check()
    delivered = {index: base[index] if index in base else rows[index] for index in indexes}
    sha256 = store.commit(key, delivered)
    outcomes = list(delivered.values())
    counts = Counts(succeeded=outcomes.count("succeeded"), quarantined=outcomes.count("quarantined"))
    return ShardResult(commit_sha256=sha256, counts=counts)


def _fail_at_random(agent: Agent, job_failure_rate: float) -> None:
    draw = agent.random.random()
    if draw < agent.machine.failure_rate:
        agent.machine.count("agent.stage failed")
        raise StageFailed(agent.random.choice(MAC_FAILURES))
    if draw > 1 - job_failure_rate:
        agent.machine.count("agent.stage failed for the job's fault")
        raise StageFailed(agent.random.choice(JOB_FAILURES))
