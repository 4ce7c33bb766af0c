"""The other passes of an operator at scale, and what its cache holds: processor time and memory."""

from __future__ import annotations

import asyncio
import gc
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from statistics import median

import psutil
from tests.bench.failure import MeasurementFailed
from tests.bench.processor_time import milliseconds
from tests.bench.report import Figure
from tests.bench.stored_fleet import StoredFleet
from tests.bench.stored_objects import Shape, bodies, load, statement_body

from voxfleet_api.conditions import Reason
from voxfleet_api.kinds import AudioBatchJob, AudioShard, MacAgent, MachineHourStatement, Resource
from voxfleet_operator.cache import Cache, key_of
from voxfleet_operator.placement.gather import PlacementGatherer
from voxfleet_operator.placement.outlook import LaneOutlooks
from voxfleet_operator.queue import Key
from voxfleet_operator.reconcile.context import Context
from voxfleet_operator.reconcile.registration import Reconciler, SharedFindings
from voxfleet_operator.reconcile.stored_statements import StoredStatements
from voxfleet_operator.registry import reconcilers

ONE_JOB = Shape(jobs=1, shards_a_job=2000, macs=500, live=500, committed=1000)
CACHED = Shape(jobs=1000, shards_a_job=10, macs=500, committed=10)
REPEATS = 15
MIB = 2**20


def pass_figures(say: Callable[[str], None]) -> list[Figure]:
    say("passes over a job of 2,000 shards on 500 Macs")
    figures = asyncio.run(_passes())
    say("the cache of 1,000 jobs, 10,000 shards and 500 Macs")
    return [*figures, Figure("cache of 1,000 jobs, 10,000 done shards, 500 Macs", _cache_mib(), "MiB")]


async def _passes() -> list[Figure]:
    fleet = StoredFleet(ONE_JOB)
    for number in range(ONE_JOB.macs):
        fleet.cache.put(load(statement_body(number)))
    context = replace(fleet.context(), api=_EchoingApi(fleet))  # type: ignore[arg-type] # the part that passes use
    reconciling = reconcilers(context)
    job, shards = fleet.cache.all(AudioBatchJob)[0], fleet.cache.all(AudioShard)
    live = next(shard for shard in shards if shard.status.attempts and shard.status.commit is None)
    mac = fleet.cache.all(MacAgent)[0]
    statement = fleet.cache.all(MachineHourStatement)[0]
    named = Key(MachineHourStatement.crd.kind, "", mac.metadata.name)

    def lose_contact() -> None:
        view = fleet.by_name[mac.metadata.name]
        lost = {"connected": not view.connected, "reason": Reason.UNKNOWN, "message": "it comes and goes"}
        fleet.by_name[mac.metadata.name] = replace(view, **lost)  # type: ignore[arg-type] # of a MacView

    return [
        *[
            Figure(f"{title}, 2,000 shards, 500 Macs", await _pass(reconciling[key.kind], key, before, fleet), "ms")
            for title, key, before in (
                ("job pass after one shard changed", key_of(job), lambda: fleet.change(live)),
                ("shard pass", key_of(live), lambda: None),
                ("Mac pass as contact comes and goes", key_of(mac), lose_contact),
                ("statement pass after one statement changed", named, lambda: fleet.change(statement)),
            )
        ],
        *_estimates(context, job),
    ]


async def _pass(reconciler: Reconciler, key: Key, before: Callable[[], None], fleet: StoredFleet) -> float:
    """The median, the first pass left out."""
    times = []
    for _ in range(REPEATS + 1):
        before()
        fleet.clock_seconds += 1.0
        begin_seconds = time.process_time()
        await reconciler.reconcile(key)
        times.append((time.process_time() - begin_seconds) * 1000)
    return median(times[1:])


def _estimates(context: Context, job: AudioBatchJob) -> list[Figure]:
    digest = "" if job.status.plan is None else job.status.plan.model_digest
    gatherer = PlacementGatherer(context, SharedFindings.empty(context))
    gatherer.gather()
    outlooks = LaneOutlooks(context, gatherer)
    first = milliseconds(lambda: outlooks.of(job, digest))
    more = median(milliseconds(lambda: outlooks.of(job, digest)) for _ in range(REPEATS))
    statements = StoredStatements(context.cache)
    return [
        Figure("lanes a job may count on, 500 Macs: first job within 5 s", first, "ms"),
        Figure("lanes a job may count on, 500 Macs: each further job", more, "ms"),
        Figure(
            "recent use, 500 statements: first read", milliseconds(lambda: statements.use_seconds(context.now())), "ms"
        ),
    ]


class _EchoingApi:
    """Stores what it is given."""

    def __init__(self, fleet: StoredFleet) -> None:
        self._fleet = fleet

    async def apply_status(
        self, kind: type[Resource], namespace: str, name: str, status: Mapping[str, object], version: str | None = None
    ) -> Resource:
        known = self._fleet.cache.get(kind, namespace, name)
        if known is None:
            raise MeasurementFailed(f"{kind.crd.kind} {namespace}/{name} is written and does not exist")
        body = known.dump() | {"status": status}
        body["metadata"]["resourceVersion"] = str(next(self._fleet.versions))
        return kind.load(body)


def _cache_mib() -> float:
    """In a process of its own, whose memory nothing else has used before."""
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run(
        [sys.executable, "-m", "tests.bench.pass_figures"], cwd=root, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise MeasurementFailed(f"the cache was not measured: {done.stderr.strip()[-300:]}")
    return float(done.stdout)


def fill_cache() -> float:
    """How many MiB a cache takes, without what is only needed to fill it."""
    process, cache = psutil.Process(), Cache()
    gc.collect()
    before = process.memory_info().rss
    for body in bodies(CACHED):
        cache.put(load(body))
    gc.collect()
    return float(process.memory_info().rss - before) / MIB


if __name__ == "__main__":
    print(fill_cache())
