"""Every reconciler of the operator in this process, on a real API server, with Macs in memory.

The clock is moved by hand. It knows the objects of one namespace and some Macs, so that it may share the server.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime, timedelta
from random import Random

from tests.unit.operator.decisions.memory_api import Clock
from tests.unit.operator.decisions.memory_fleet import CONTROL_PLANE, Agent, MemoryFleet
from tests.unit.operator.decisions.world import Journal, Leader, Requeue

from voxfleet_api.kinds import KINDS, AudioBatchJob, MacAgent, MachineHourStatement, Resource
from voxfleet_operator.cache import Cache, key_of
from voxfleet_operator.kube import Kube
from voxfleet_operator.kube_errors import Conflict
from voxfleet_operator.queue import Key
from voxfleet_operator.reconcile.context import Context, ReconcileOptions
from voxfleet_operator.reconcile.job_life import has_ended
from voxfleet_operator.registry import reconcilers, triggers
from voxfleet_operator.triggers import all_keys

STEP_SECONDS = 2
STEPS = 300
LOOKS = 50


class ClockFrom(Clock):
    def __init__(self, start: datetime) -> None:
        super().__init__()
        self._start, self._begin_seconds = start, self.seconds

    def now(self) -> datetime:
        return self._start + timedelta(seconds=self.seconds - self._begin_seconds)


class ClockedOperator:
    def __init__(self, kube: Kube, namespace: str, macs: Collection[str], start: datetime) -> None:
        self.clock = ClockFrom(start)
        random = Random(0)  # noqa: S311 # a schedule that can be repeated, no secret
        self._kube, self._namespace = kube, namespace
        self._agents = {name: Agent(name, self.clock, random) for name in macs}
        self._fleet = MemoryFleet(self._agents, random, self.clock)
        self.cache = Cache()
        self.cache.put_namespace(namespace, {"kubernetes.io/metadata.name": namespace})
        self.journal = Journal()
        self._queue = Requeue(self.clock)
        context = Context(
            api=kube,
            cache=self.cache,
            fleet=self._fleet,
            leader=Leader(self.clock.seconds),
            queue=self._queue,
            triggers=triggers(),
            events=self.journal,
            options=ReconcileOptions(CONTROL_PLANE),
            clock=self.clock.monotonic,
            now=self.clock.now,
            synced=lambda: True,
        )
        self._reconcilers = reconcilers(context)

    async def look(self) -> None:
        """Reads everything anew, as a relist does."""
        for kind in KINDS:
            namespaced = kind.crd.scope == "Namespaced"
            there, _ = await self._kube.list(kind, self._namespace if namespaced else "")
            mine = [item for item in there if namespaced or self._is_ours(item)]
            gone = {key_of(item): item for item in self.cache.all(kind)}
            for item in mine:
                gone.pop(key_of(item), None)
                self._tell(item, self.cache.put(item))
            for item in gone.values():
                self._tell(item, self.cache.remove(item))

    async def work(self) -> None:
        """Lets time pass until no job of the namespace runs and nothing is left to do at once."""
        await self.look()
        for key in all_keys(self.cache):
            self._queue.add(key)
        for _ in range(STEPS):
            await self._reconcile_all()
            if all(has_ended(job) and job.status.usage.settled for job in self.cache.all(AudioBatchJob)):
                return
            self._pass(STEP_SECONDS)
        raise AssertionError(f"jobs are still at work: {[key_of(job).name for job in self.cache.all(AudioBatchJob)]}")

    def sleep_until(self, moment: datetime) -> None:
        """Sets the clock, at which what wanted to be looked at by then is."""
        assert moment > self.clock.now()
        self._pass((moment - self.clock.now()).total_seconds())

    def _pass(self, seconds: float) -> None:
        self.clock.seconds += seconds
        self._queue.tick()
        for name, agent in self._agents.items():
            agent.work()
            for key in triggers().keys_of_mac_change(name, self._fleet.refresh(name), self.cache):
                self._queue.add(key)

    async def _send(self) -> None:
        for mac, shard_uids in (await self._fleet.send()).items():
            if shard_uids:
                for key in triggers().keys_of_mac_change(mac, shard_uids, self.cache):
                    self._queue.add(key)

    async def _reconcile_all(self) -> None:
        """A key that wants another look at once gets it, a bounded number of times."""
        for _ in range(LOOKS):
            keys = sorted(self._queue.ready)
            self._queue.ready.clear()
            for key in keys:
                again = await self._reconcile(key)
                if again is not None:
                    self._queue.add_after(key, again)
            await self._send()
            self._queue.tick()
            if not self._queue.ready:
                return
        raise AssertionError(f"never content: {sorted(self._queue.ready)}")

    async def _reconcile(self, key: Key) -> float | None:
        try:
            return await self._reconcilers[key.kind].reconcile(key)
        except Conflict:
            await self.look()
            return 0.0

    def _tell(self, resource: Resource, changed: bool) -> None:
        if changed:
            for key in triggers().keys_of_change(resource, self.cache):
                self._queue.add(key)

    def _is_ours(self, resource: Resource) -> bool:
        if isinstance(resource, MachineHourStatement):
            return resource.spec.mac in self._agents
        return isinstance(resource, MacAgent) and resource.metadata.name in self._agents
