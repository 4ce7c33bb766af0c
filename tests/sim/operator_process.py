"""One replica of the operator: its real parts, composed as main.py composes them, in a process that can die."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import TypeVar

from tests.rig.memory_archive import MemoryArchive
from tests.sim.agent_http import SimDialer
from tests.sim.api_server import ApiServer
from tests.sim.kube_access import ApiLink, SimKube
from tests.sim.machine import START, Machine, Site
from tests.sim.network import Network
from tests.sim.virtual_loop import Process
from tests.sim.watching import SimWatch

from voxfleet_operator.cache import Cache
from voxfleet_operator.composition import OperatorEnvironment, compose, wake_by_change
from voxfleet_operator.events import EventRecorder
from voxfleet_operator.fleet.fleet_secrets import secret_reader
from voxfleet_operator.fleet.session_context import SessionTiming
from voxfleet_operator.heartbeat import STALL_SECONDS, Heartbeat
from voxfleet_operator.kube import Kube
from voxfleet_operator.leader import Leader
from voxfleet_operator.ledger_archive import LedgerArchive
from voxfleet_operator.main import WORKERS
from voxfleet_operator.metrics import OperatorMetrics
from voxfleet_operator.queue import PLACEMENT, WorkQueue
from voxfleet_operator.reconcile.context import ReconcileOptions
from voxfleet_operator.triggers import all_keys

NAMESPACE = "voxfleet-system"
CONTROL_PLANE = "kube-system-uid"
MARGIN_SECONDS = 60.0
READ_SECONDS = 1e-7

T = TypeVar("T")


async def at_once(work: Callable[[], T]) -> T:
    """As there are no threads here. A process dies before the call, or after it."""
    await asyncio.sleep(0)
    return work()


class SimHeartbeat(Heartbeat):
    """Beats whenever the process runs, without a timer of its own."""

    def __init__(self, process: Process, clock: SimClock) -> None:
        super().__init__(clock.monotonic)
        self._process = process
        self._frozen_at: float | None = None

    def freeze(self) -> None:
        self._frozen_at = self._clock()

    def thaw(self) -> None:
        """To be called by the process itself, some time after it goes on."""
        if self._frozen_at is not None:
            self._last, self._frozen_at = self._frozen_at, None
            self.beat()

    def age_seconds(self) -> float:
        return 0.0 if self._frozen_at is None else self._clock() - self._frozen_at


class SimClock:
    """The clocks of one replica. Reading takes a moment, or a wait of less than a clock's step would never end.

    That moment passes on both, or what one of them still waits for is due by the other for ever.
    """

    def __init__(self, offset_seconds: float, site: Site) -> None:
        self._offset_seconds = self._reading_seconds = offset_seconds
        self._site = site
        self._loop_seconds = asyncio.get_running_loop().time
        self.wall_offset = timedelta()

    def monotonic(self) -> float:
        self._reading_seconds += READ_SECONDS
        return self._loop_seconds() + self._reading_seconds

    def now(self) -> datetime:
        passed = timedelta(seconds=self.monotonic() - self._offset_seconds)
        return START + passed + self.wall_offset + self._site.wall_offset


class SimLeader(Leader):
    """Renews in the process's own loop, as there are no threads here."""

    process: Process
    took_at = 0.0
    """When it took the Lease."""
    missed_since = float("inf")
    """Since when it has seen no Lease at all, so that it knows nothing of one that was made later."""
    _sees_none = False
    """Whether its look at this moment has found no Lease."""

    async def _take_missing(self) -> None:
        now, self._sees_none = asyncio.get_running_loop().time(), True
        self.missed_since = 0.0 if self._record is None else min(now, self.missed_since)
        await super()._take_missing()

    async def _try_to_take(self) -> None:
        self._sees_none = False
        await super()._try_to_take()
        if not self._sees_none:
            self.missed_since = float("inf")

    def cannot_know(self, other: SimLeader) -> bool:
        """Whether this is the stated window: it took a missing Lease, and the other's was made since it last looked."""
        return other.took_at >= self.missed_since

    async def acquire(self) -> None:
        renewing = self.process.spawn(self._renew_until_lost())
        await asyncio.wrap_future(self._acquired)
        del renewing

    async def _renew_until_lost(self) -> None:
        try:
            await self._run()
        except asyncio.CancelledError:
            raise
        except Exception as error:  # noqa: BLE001 # as the real thread does
            self._lose(f"the renewer failed: {error!r}")


class OperatorProcess:
    def __init__(
        self,
        name: str,
        server: ApiServer,
        machines: Mapping[str, Machine],
        network: Network,
        site: Site,
        timing: SessionTiming,
        archive: MemoryArchive,
    ) -> None:
        random, history, edges = site.random, site.history, site.edges
        self.name = name
        self.process = Process(name)
        self.process.alive = False
        self.leads = False
        self._server = server
        self._machines = machines
        self._network = network
        self._random, self._event_random = random, site.event_random
        self._history = history
        self._edges = edges
        self._starts = 0
        self._timing = timing
        self._archive = archive
        self._leader: SimLeader | None = None
        self.others: tuple[OperatorProcess, ...] = ()
        """The other replicas."""
        self.clock = SimClock(random.uniform(1_000, 100_000), site)
        self.link = ApiLink(self.process, server, random, edges)
        self.watch: SimWatch | None = None
        self.tables: dict[str, object] = {}

    def start(self) -> None:
        if self.process.alive:
            return
        self._starts += 1
        self.tables = {}
        self.process = Process(self.name)
        old = self.link
        self.link = ApiLink(self.process, self._server, self._random, self._edges)
        self.link.loss, self.link.slowness = old.loss, old.slowness
        self.link.down_until, self.link.leases_down_until = old.down_until, old.leases_down_until
        self.link.status_down_until = old.status_down_until
        self.heartbeat = self.process.context.run(SimHeartbeat, self.process, self.clock)
        self.process.spawn(self._operate())

    def crash(self) -> None:
        if not self.process.alive:
            return
        self._history.note(f"{self.name} dies")
        self.leads, self._leader = False, None
        self.process.kill()
        if self.watch is not None:
            self.watch.stop()
            self.watch = None

    def freeze(self) -> None:
        if self.process.alive and not self.process.paused:
            self.heartbeat.freeze()
            self.process.pause()

    def thaw(self) -> None:
        if not self.process.paused:
            return
        stalled = self.heartbeat.age_seconds() > STALL_SECONDS
        self._edges["operator.thawed after a stall" if stalled else "operator.thawed"] += 1
        asyncio.get_running_loop().call_later(self._random.uniform(0, 0.5), self.heartbeat.thaw)
        self.process.resume()

    @property
    def acts(self) -> bool:
        return self.process.alive and self._leader is not None and self._leader.holds()

    def _took_the_lead(self, leader: SimLeader) -> None:
        self.leads, self._leader = True, leader
        leader.took_at = asyncio.get_running_loop().time()
        self._edges["operator.leads"] += 1
        self._history.note(f"{self.name} leads with epoch {leader.epoch}")
        for other in self.others:
            if other.acts and other._leader is not None and leader.cannot_know(other._leader):
                self._edges["operator.leads beside another in the stated window"] += 1
            elif other.acts:
                self._history.broken.append(f"{self.name} and {other.name} both lead")

    async def _connect(self) -> Kube:
        return SimKube(self.link)

    def _lost(self, message: str) -> None:
        self._edges["operator.leadership lost"] += 1
        self._history.note(f"{self.name} lost leadership: {message}")
        self.crash()

    async def _operate(self) -> None:
        kube, cache, queue = SimKube(self.link), Cache(), WorkQueue(self.clock.monotonic)
        self.watch = SimWatch(self.link, cache, wake_by_change(queue, cache), lambda: queue.add(PLACEMENT))
        self.watch.start()
        synced = self.watch.synced
        await synced.wait()
        leader = SimLeader(
            self._connect,
            NAMESPACE,
            self.heartbeat,
            identity=f"{self.name}-{self._starts}",
            on_lost=self._lost,
            clock=self.clock.monotonic,
            machine_clock=self.clock.monotonic,
            now=self.clock.now,
        )
        leader.process = self.process
        await leader.acquire()
        self._took_the_lead(leader)
        # One event more must not make a seed another run: telling people has chances, clock and turns of its own.
        telling = SimKube(self.link, self._event_random)
        recorder = EventRecorder(telling, leader.identity, asyncio.get_running_loop().time)
        self.process.beside().spawn(recorder.run())
        secrets = secret_reader(kube, NAMESPACE)
        operator = compose(
            OperatorEnvironment(
                kube=kube,
                cache=cache,
                queue=queue,
                leader=leader,
                events=recorder,
                metrics=OperatorMetrics(),
                secrets=secrets,
                dialer=SimDialer(self.process, self._machines, self._network, secrets),
                options=ReconcileOptions(control_plane=CONTROL_PLANE, lost_margin_seconds=MARGIN_SECONDS),
                synced=synced.is_set,
                run_errand=lambda work, _: self.process.spawn(work),
                clock=self.clock.monotonic,
                now=self.clock.now,
                timing=self._timing,
                archive=LedgerArchive(self._archive, clock=self.clock.monotonic, run=at_once),
            )
        )
        self.tables = {
            "cache": cache,
            "queue": queue,
            "fleet": operator.fleet,
            "reconcilers": operator.reconcilers,
            "leader": leader,
            "events": recorder,
        }
        for _ in range(WORKERS):
            self.process.spawn(operator.workers.run())
        queue.start(all_keys(cache))
