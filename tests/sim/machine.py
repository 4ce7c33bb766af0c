"""A Mac: hardware, disk, clocks, and the agent's process on it, which dies, sleeps, and is replaced."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from random import Random

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from tests.sim.agent import Agent
from tests.sim.agent_disk import AgentDisk
from tests.sim.history import History
from tests.sim.object_store import ObjectStore
from tests.sim.virtual_loop import Process

from voxfleet_agent.attempts.state_machine import AttemptEvent, Transition, transition
from voxfleet_agent.machine import LocalMachine
from voxfleet_api.attempt_spec import AttemptKey
from voxfleet_api.machine_messages import Capability
from voxfleet_api.order_age import ClockReading
from voxfleet_api.protocol import AttemptState

WRITE_SECONDS = 0.01
"""The longest that a sound disk takes for one write of the journal."""
BUSY_WRITE_SECONDS, BUSY_BEGIN_SECONDS = 2.0, 20.0
START = datetime(2026, 11, 20, 22, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class JobWork:
    """What a job's input is like."""

    boundaries: tuple[int, ...]
    clip_seconds: float
    poison: frozenset[int]
    deadly: frozenset[int] = frozenset()
    """Clips that bring down the attempt that gets to them, on any Mac."""
    job_failure_rate: float = 0.0


@dataclass
class Site:
    """What all Macs share."""

    random: Random
    event_random: Random
    history: History
    store: ObjectStore
    edges: Counter[str]
    work: dict[str, JobWork] = field(default_factory=dict)
    """By job UID."""
    beat_seconds: float = 20.0
    """Between heartbeats of an event stream: longer than the real ones, to cost less."""
    lists_chains: bool = True
    """Whether the agents list their ledger chains; those of the version before do not."""
    busy_agents: bool = False
    """Whether agents have so much else to do that they write slowly and begin late. Calls meet those moments."""
    wall_offset: timedelta = timedelta()
    """By which all wall clocks are ahead of the time that has passed, because nights follow each other at once."""
    jobs_at_fault: bool = False
    """Whether whatever Process needs of the jobs themselves has gone, such as a model."""


class Machine:
    """`host` is its address. Implements the agent's Clock."""

    def __init__(self, host: str, lanes: int, site: Site) -> None:
        self.host = host
        self.random = site.random
        self.history = site.history
        self.store = site.store
        self.failure_rate = 0.0
        self.disk_full = False
        self.longest_write_seconds = WRITE_SECONDS
        self.runtime_compatible = True
        self.returns_work = False
        """Whether its attempts end as MachineReturned although nobody asked."""
        self.gone = False
        self.lanes_taken_until = 0.0
        self.wall_offset = timedelta()
        self.boots = 0
        self.boot_id = f"{host}-boot-0"
        self.process = Process(f"agent {host}")
        self.process.alive = False
        self.agent: Agent | None = None
        self._site = site
        self.write_as_usual()
        self.lanes = lanes
        self.capabilities = [item for item in Capability if item is not Capability.LEDGER_CHAINS or site.lists_chains]
        self._slept_seconds = 0.0
        self._asleep_since: float | None = None
        self._worked_on: list[AttemptKey] = []
        self.disk = self._new_disk(f"hardware-{host}", Ed25519PrivateKey.from_private_bytes(site.random.randbytes(32)))

    def write_as_usual(self) -> None:
        self.longest_write_seconds = BUSY_WRITE_SECONDS if self._site.busy_agents else WRITE_SECONDS

    async def wait_to_begin(self) -> None:
        if self._site.busy_agents:
            await asyncio.sleep(self._site.event_random.uniform(0, BUSY_BEGIN_SECONDS))

    # Clocks

    def metered_milliseconds(self) -> int:
        return int((asyncio.get_running_loop().time() - self._slept_seconds) * 1000)

    def lease_seconds(self) -> float:
        return asyncio.get_running_loop().time()

    def reading(self) -> ClockReading:
        return ClockReading(self.boot_id, int(self.lease_seconds() * 1000))

    def wall(self) -> datetime:
        passed = timedelta(seconds=asyncio.get_running_loop().time())
        return START + passed + self.wall_offset + self._site.wall_offset

    # What happens to it

    def start(self) -> None:
        """Starts the agent, unless it runs or the machine is gone."""
        if self.gone or self.process.alive:
            return
        self.process = Process(f"agent {self.host}")
        self.agent = self.process.context.copy().run(Agent, self, self.lanes)

    def crash(self, *, reboot: bool = False) -> None:
        if not self.process.alive:
            return
        self.wake()
        self.history.machine_stopped(self.disk.hardware_id)
        self.process.kill()
        self.agent = None
        if reboot:
            self.boots += 1
            self.boot_id = f"{self.host}-boot-{self.boots}"

    def die(self) -> None:
        """It never comes back."""
        self.crash()
        self.gone = True

    def sleep(self) -> None:
        if self.process.alive and self._asleep_since is None:
            self._asleep_since = asyncio.get_running_loop().time()
            self._worked_on = self.history.machine_stopped(self.disk.hardware_id)
            self.process.pause()

    def wake(self) -> None:
        if self._asleep_since is None:
            return
        self._slept_seconds += asyncio.get_running_loop().time() - self._asleep_since
        self._asleep_since = None
        self.process.paused = False
        # The agent looks at its leases before anything else goes on: whatever was due meanwhile comes afterwards.
        lapsed = set() if self.agent is None else self.agent.look_at_leases()
        for key in self._worked_on:
            if key not in lapsed:
                self.history.work_began(self.disk.hardware_id, key, continued=True)
        self.process.resume()

    def reinstall(self) -> None:
        """The disk is lost but for the ledger key."""
        self.crash()
        self.disk = self._new_disk(self.disk.hardware_id, self.disk.key)

    @property
    def lanes_are_taken(self) -> bool:
        """By work that is none of the operator's."""
        return self.lease_seconds() < self.lanes_taken_until

    @property
    def answers(self) -> bool:
        return self.process.alive

    # For the agent

    def local_machine(self) -> LocalMachine:
        return LocalMachine(
            hardware_id=self.disk.hardware_id,
            boot_id=self.boot_id,
            chip="M4",
            memory_bytes=2**34,
            os="macOS 26",
            versions={"mlx": "0.32.4"},
            runtime_compatible=self.runtime_compatible,
            runtime_message="" if self.runtime_compatible else "mlx is too old",
        )

    def work_of(self, job_uid: str) -> JobWork:
        return self._site.work[job_uid]

    @property
    def beat_seconds(self) -> float:
        return self._site.beat_seconds

    @property
    def jobs_at_fault(self) -> bool:
        return self._site.jobs_at_fault

    def count(self, edge: str) -> None:
        self._site.edges[edge] += 1

    def transition(self, state: AttemptState, event: AttemptEvent) -> Transition:
        self.count(f"agent.state {state.value} x {event.value}")
        return transition(state, event)

    def _new_disk(self, hardware_id: str, key: Ed25519PrivateKey) -> AgentDisk:
        return AgentDisk(hardware_id, key, f"chain-{self._site.random.randbytes(4).hex()}", self.history)
