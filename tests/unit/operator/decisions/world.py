"""A small world in memory: an API server, agents, and a clock moved by hand.

It fails as the real one does: answers get lost, watches and views lag, Macs fall silent, the operator starts anew.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from random import Random
from typing import TypeVar

from tests.unit.operator.decisions.bodies import LEDGER_KEY, contract, mac_agent
from tests.unit.operator.decisions.memory_api import KINDS, Clock, MemoryApi
from tests.unit.operator.decisions.memory_fleet import CONTROL_PLANE, Agent, MemoryFleet

from voxfleet_api.kinds import AudioBatchJob, AudioShard, Resource
from voxfleet_billing.archive_access import ArchiveStore
from voxfleet_billing.price_book import PriceBook
from voxfleet_operator.cache import Cache
from voxfleet_operator.event_reasons import Announced
from voxfleet_operator.kube_errors import Invalid, KubeError
from voxfleet_operator.ledger_archive import LedgerArchive
from voxfleet_operator.metering.budget_accounts import BudgetAccounts
from voxfleet_operator.queue import Key
from voxfleet_operator.reconcile.context import Context, ReconcileOptions
from voxfleet_operator.reconcile.stored_statements import StoredStatements
from voxfleet_operator.registry import reconcilers, triggers
from voxfleet_operator.triggers import all_keys

MARGIN_SECONDS = 10


RENEW_SECONDS = 5

T = TypeVar("T")


async def at_once(work: Callable[[], T]) -> T:
    return work()


class Leader:
    def __init__(self, counts_from_seconds: float) -> None:
        self._counts_from_seconds = counts_from_seconds

    @property
    def counts_from_seconds(self) -> float:
        return self._counts_from_seconds

    unled = None

    def check(self) -> None:
        return


class Requeue:
    """Keys that want a reconcile, and those that want one later."""

    def __init__(self, clock: Clock) -> None:
        self.ready: dict[Key, None] = {}
        self.later: dict[Key, float] = {}
        self._clock = clock

    def add(self, key: Key) -> None:
        self.ready[key] = None

    def add_after(self, key: Key, seconds: float) -> None:
        due = self._clock.seconds + seconds
        self.later[key] = min(due, self.later.get(key, due))

    def tick(self) -> None:
        for key in [key for key, due in self.later.items() if due <= self._clock.seconds]:
            del self.later[key]
            self.add(key)


class Journal:
    """Events for people."""

    def __init__(self) -> None:
        self.published: list[tuple[str, str, str]] = []

    def publish(self, about: Resource, reason: Announced, note: str) -> None:
        self.published.append((about.metadata.name, reason, note))


class World:
    def __init__(self, seed: int = 0, macs: int = 2, lanes: int = 1, archive: ArchiveStore | None = None) -> None:
        self.random = Random(seed)  # noqa: S311 # a schedule that can be repeated, no secret
        self.clock = Clock()
        self.api = MemoryApi(self.random, self.clock)
        names = [f"mac-{letter}" for letter in "abcdef"[:macs]]
        self.agents = {name: Agent(name, self.clock, self.random, lanes) for name in names}
        for name in names:
            self.api.add(mac_agent(name))
        self.api.add(contract())
        self.fleet = MemoryFleet(self.agents, self.random, self.clock)
        self.journal = Journal()
        self.archive = archive
        self.options = ReconcileOptions(CONTROL_PLANE, MARGIN_SECONDS, progress_interval_seconds=15.0)
        self.price_book: PriceBook | None = None
        self.start_operator()

    def start_operator(self) -> None:
        """A new process: empty memory, full lists, and no silence counted before this moment."""
        reachable, lost_answers, started = self.fleet.reachable, self.fleet.lost_answers, self.fleet.started
        self.fleet = MemoryFleet(self.agents, self.random, self.clock)
        self.fleet.reachable, self.fleet.lost_answers, self.fleet.started = reachable, lost_answers, started
        self.cache = Cache()
        for kind in KINDS.values():
            for resource in self.api.all(kind):
                self.cache.put(resource)
        self.cache.put_namespace("team", {"team": "speech"})
        stored = StoredStatements(self.cache)
        self.fleet.stored_head = lambda mac: stored.head(LEDGER_KEY, mac)
        self.api.changes.clear()
        self.queue = Requeue(self.clock)
        self.context = Context(
            api=self.api,
            cache=self.cache,
            fleet=self.fleet,
            leader=Leader(self.clock.seconds),
            queue=self.queue,
            triggers=triggers(),
            events=self.journal,
            options=self.options,
            clock=self.clock.monotonic,
            now=self.clock.now,
            synced=lambda: True,
            archive=None
            if self.archive is None
            else LedgerArchive(self.archive, clock=self.clock.monotonic, run=at_once),
            budgets=BudgetAccounts(lambda: self.price_book),
        )
        self.reconcilers = reconcilers(self.context)
        for key in all_keys(self.cache):
            self.queue.add(key)

    # Steps.

    def deliver(self, count: int | None = None) -> None:
        """The watch delivers some changes, in their order."""
        batch = self.api.changes[:count]
        del self.api.changes[: len(batch)]
        for kind, resource in batch:
            changed = self.cache.remove(resource) if kind == "DELETED" else self.cache.put(resource)
            if changed:
                for key in triggers().keys_of_change(resource, self.cache):
                    self.queue.add(key)

    def refresh(self, mac: str) -> None:
        for key in triggers().keys_of_mac_change(mac, self.fleet.refresh(mac), self.cache):
            self.queue.add(key)

    async def reconcile(self, count: int = 1) -> None:
        """Some keys at the same time, never one key twice."""
        self.queue.tick()
        keys = self.random.sample(sorted(self.queue.ready), min(count, len(self.queue.ready)))
        for key in keys:
            del self.queue.ready[key]
        await asyncio.gather(*(self._reconcile(key) for key in keys), self.send())

    async def send(self) -> None:
        for mac, shard_uids in (await self.fleet.send()).items():
            if shard_uids:
                for key in triggers().keys_of_mac_change(mac, shard_uids, self.cache):
                    self.queue.add(key)

    async def _reconcile(self, key: Key) -> None:
        try:
            again = await self.reconcilers[key.kind].reconcile(key)
        except Invalid:
            raise
        except KubeError:
            again = 1.0
        if again is not None:
            self.queue.add_after(key, again)

    async def settle(self, rounds: int = 2000) -> None:
        """Lets everything that can happen happen; time passes when nothing else does."""
        for _ in range(rounds):
            self.api.collect_garbage()
            self.deliver()
            self.queue.tick()
            if self.queue.ready:
                await self.reconcile(3)
                continue
            await self.send()
            moved = self.clock.seconds
            self.clock.seconds += 1
            if moved % 2 < 1:
                for agent in self.agents.values():
                    agent.work()
            for name in self.agents:
                self.refresh(name)
            if self.quiet():
                return

    def quiet(self) -> bool:
        """Nothing is left to happen: jobs ended and are paid, and what belongs to none is gone."""
        if any(not job.status.usage.settled for job in self.api.all(AudioBatchJob)):
            return False
        shards = {shard.metadata.uid for shard in self.api.all(AudioShard)}
        return all(key.shard_uid in shards for agent in self.agents.values() for key in agent.runs)

    def job(self, name: str = "job") -> AudioBatchJob:
        return AudioBatchJob.load(self.api.objects[Key("AudioBatchJob", "team", name)])

    def shards(self, name: str = "job") -> list[AudioShard]:
        return [shard for shard in self.api.all(AudioShard) if shard.spec.job_ref.name == name]
