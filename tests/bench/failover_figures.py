"""How long nobody acts after the leader of two operators is killed."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from tests.bench.clips import Pool
from tests.bench.failure import MeasurementFailed
from tests.bench.report import Figure, Goal
from tests.bench.rig import OPERATOR_NAMESPACE, Rig

from voxfleet_dev.operator_process import OperatorProcess

ROUNDS = 5
CLIPS = 4
TIMEOUT_SECONDS = 60.0
POLL_SECONDS = 0.05
WAITS = "waiting for the lease"

Say = Callable[[str], None]


def failover_figures(directory: Path, pool: Pool, say: Say, rounds: int = ROUNDS) -> list[Figure]:
    """Raises MeasurementFailed, also if anything was started twice."""
    with Rig(directory, macs=1, readable=pool.folder) as rig, ExitStack() as stack:
        seconds = [_fail_over(rig, pool, f"failover-{number}", stack) for number in range(rounds)]
    for number, each in enumerate(seconds):
        say(f"round {number}: an attempt is assigned {each:.1f} s after the leader was killed")
    what = f"s from kill -9 of the leader to the first assignment by the other, the slowest of {rounds}"
    return [Figure("failover", max(seconds), what, Goal("<=", 20))]


def _fail_over(rig: Rig, pool: Pool, job: str, stack: ExitStack) -> float:
    """A job that is applied at the moment of the kill waits for whoever leads next."""
    leader = rig.operator
    standby = _start_standby(rig, job)
    stack.callback(standby.stop)
    killed = time.monotonic()
    leader.kill()
    rig.operator = standby
    rig.submit(job, pool.manifest(job, CLIPS))
    seconds = _until_assigned(rig, job) - killed
    rig.completed(job, CLIPS)
    attempts = {shard.status.attempt for shard in rig.shards(job)}
    if attempts != {1}:
        raise MeasurementFailed(f"{job}: shards have attempts {attempts}, so something was started twice")
    return seconds


def _start_standby(rig: Rig, name: str) -> OperatorProcess:
    """Returns once it waits for the Lease, which it does with all objects listed."""
    standby = OperatorProcess(rig.directory / name, kubeconfig=rig.account.kubeconfig, namespace=OPERATOR_NAMESPACE)
    standby.start()
    standby.child.wait_until(lambda: WAITS in standby.log.read_text(), TIMEOUT_SECONDS, "waiting for the Lease")
    return standby


def _until_assigned(rig: Rig, job: str) -> float:
    deadline = time.monotonic() + TIMEOUT_SECONDS
    while not any(shard.status.attempt for shard in rig.shards(job)):
        if time.monotonic() > deadline:
            raise MeasurementFailed(f"{job}: nobody acts {TIMEOUT_SECONDS:g} s after the leader was killed")
        time.sleep(POLL_SECONDS)
    return time.monotonic()
