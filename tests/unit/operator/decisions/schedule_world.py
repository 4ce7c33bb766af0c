"""A schedule, its reconciler and an API server in memory; two clocks, one of which people set."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from random import Random
from typing import Any, Literal

from prometheus_client import CollectorRegistry
from tests.unit.operator.decisions.memory_api import Clock, MemoryApi
from tests.unit.operator.decisions.memory_fleet import MemoryFleet
from tests.unit.operator.decisions.schedule_objects import schedule_body
from tests.unit.operator.decisions.world import Journal, Leader, Requeue

from voxfleet_api.kinds import AudioBatchJob, AudioBatchSchedule
from voxfleet_operator.cache import Cache, key_of
from voxfleet_operator.kube_errors import KubeError
from voxfleet_operator.metrics import WorkMetrics
from voxfleet_operator.queue import Key
from voxfleet_operator.reconcile.context import Context, ReconcileOptions
from voxfleet_operator.reconcile.schedule.reconcile import ScheduleReconciler
from voxfleet_operator.reconcile.schedule.slot_job import slot_of
from voxfleet_operator.reconcile.stored_statements import StoredStatements
from voxfleet_operator.registry import triggers

KEY = Key("AudioBatchSchedule", "team", "nightly")
MOST_PASSES = 60
"""After any change a schedule comes to rest within so many, also when every third answer is lost."""


class WallClock(Clock):
    ahead_seconds = 0.0
    """How far people have set the clock on the wall."""

    def now(self) -> datetime:
        return super().now() + timedelta(seconds=self.ahead_seconds)


class RecordingApi(MemoryApi):
    """Remembers every job that was ever made, for its slot."""

    def __init__(self, random: Random, clock: Clock) -> None:
        super().__init__(random, clock)
        self.made: list[tuple[str, datetime]] = []

    def add(self, resource: Mapping[str, Any]) -> dict[str, Any]:
        stored = super().add(resource)
        if resource["kind"] == "AudioBatchJob":
            slot = slot_of(AudioBatchJob.load(stored))
            assert slot is not None
            self.made.append((stored["metadata"]["name"], slot))
        return stored


class ScheduleWorld:
    def __init__(self, seed: int, **spec: object) -> None:
        self.random = Random(seed)  # noqa: S311 # a life that can be repeated, no secret
        self.clock = WallClock()
        self.api = RecordingApi(self.random, self.clock)
        self.journal = Journal()
        self.registry = CollectorRegistry()
        self.metrics = WorkMetrics(self.registry)
        self.passes = 0
        self.synced = True
        self.api.add(schedule_body(**spec))
        self.start_operator()

    def start_operator(self) -> None:
        """A new process: empty memory, full lists."""
        self.cache, self.queue = Cache(), Requeue(self.clock)
        for kind in (AudioBatchSchedule, AudioBatchJob):
            for resource in self.api.all(kind):
                self.cache.put(resource)
        self.api.changes.clear()
        self.reconciler = ScheduleReconciler(
            Context(
                api=self.api,
                cache=self.cache,
                fleet=MemoryFleet({}, self.random, self.clock),
                leader=Leader(0.0),
                queue=self.queue,
                triggers=triggers(),
                events=self.journal,
                options=ReconcileOptions("uid"),
                clock=self.clock.monotonic,
                now=self.clock.now,
                synced=lambda: self.synced,
                metrics=self.metrics,
            ),
            StoredStatements(self.cache),
        )
        self.queue.add(KEY)

    @property
    def schedule(self) -> AudioBatchSchedule:
        return next(iter(self.api.all(AudioBatchSchedule)))

    @property
    def jobs(self) -> list[AudioBatchJob]:
        return self.api.all(AudioBatchJob)

    async def settle(self) -> None:
        """Passes until nothing is left to do now."""
        for _ in range(MOST_PASSES):
            self._deliver()
            self.queue.tick()
            if KEY not in self.queue.ready:
                return
            self.queue.ready.clear()
            self.passes += 1
            try:
                again_seconds = await self.reconciler.reconcile(KEY)
            except KubeError:
                self.queue.add(KEY)
                continue
            if again_seconds is not None:
                self.queue.add_after(KEY, again_seconds) if again_seconds else self.queue.add(KEY)
        raise AssertionError("the schedule never comes to rest")

    async def wait_until(self, end: datetime) -> None:
        """The operator works, and is woken by its own timers alone."""
        await self.settle()
        while (left := (end - self.clock.now()).total_seconds()) > 0:
            due = min(self.queue.later.values(), default=float("inf")) - self.clock.seconds
            self.clock.seconds += max(0.0, min(left, due))
            await self.settle()

    def edit(self, **spec: object) -> None:
        old = self.api.objects[KEY]
        kept = {name: value for name, value in {**old["spec"], **spec}.items() if value is not None}
        generation = old["metadata"]["generation"] + 1
        self.api._store({**old, "spec": kept, "metadata": {**old["metadata"], "generation": generation}})

    def end(self, job: AudioBatchJob, how: Literal["Complete", "Failed"], *, settled: bool = True) -> None:
        at = self.clock.now().strftime("%Y-%m-%dT%H:%M:%SZ")
        ended = {"type": how, "status": "True", "reason": "Finished", "lastTransitionTime": at}
        status = {"observedGeneration": 1, "conditions": [ended], "completionTime": at, "usage": {"settled": settled}}
        self.api._store({**self.api.objects[key_of(job)], "status": status})

    def _deliver(self) -> None:
        for kind, resource in self.api.changes:
            changed = self.cache.remove(resource) if kind == "DELETED" else self.cache.put(resource)
            if changed:
                for key in triggers().keys_of_change(resource, self.cache):
                    self.queue.add(key)
        self.api.changes.clear()
