"""One attempt in the modelled agent's memory, the lanes, and what the answer to a PUT depends on."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from voxfleet_agent.attempts.admission import KnownAttempt, PutFacts
from voxfleet_agent.attempts.lane_meter import LaneMeter
from voxfleet_agent.attempts.leases import Lease
from voxfleet_agent.attempts.slots import SlotGrant, SlotQueue
from voxfleet_agent.journal.attempt_table import JournaledAttempt
from voxfleet_api.attempt_spec import AttemptKey, AttemptSpec
from voxfleet_api.order_age import ClockReading
from voxfleet_api.protocol import AttemptRequest, Problem

if TYPE_CHECKING:
    from tests.sim.agent import Agent


@dataclass(slots=True, eq=False)
class Live:
    record: JournaledAttempt
    lease_seconds: int = 0
    renewed_at_seconds: float = 0.0
    task: asyncio.Task[None] | None = None
    claim: asyncio.Future[SlotGrant[str | None]] | None = None
    slots: SlotQueue[str | None] | None = None
    meter: LaneMeter | None = None
    metered_from: int = 0
    """On the metered clock: when the hold began that runs."""
    watch: asyncio.TimerHandle | None = None
    lapsed: bool = False
    """Its lease has expired, and it is being parked."""
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    @property
    def key(self) -> AttemptKey:
        return self.record.key

    def lease(self) -> Lease:
        return Lease(self.key, self.record.state, self.lease_seconds, self.renewed_at_seconds)


class NamedLanes:
    """The lanes of the one pool; a SlotSource."""

    def __init__(self, count: int) -> None:
        self._free = [f"offline/{number}" for number in range(count)]

    @property
    def free(self) -> int:
        return len(self._free)

    def acquire(self, model_digest: str | None) -> SlotGrant[str | None] | None:
        if not self._free:
            return None
        lane = self._free.pop(0)
        return SlotGrant(lane, lambda: self._free.append(lane))


def put_facts(
    agent: Agent,
    key: AttemptKey,
    request: AttemptRequest,
    spec: AttemptSpec | Problem,
    good_until: ClockReading | None,
) -> PutFacts:
    needs_lane = isinstance(spec, AttemptSpec) and spec.process is not None
    return PutFacts(
        attempt=key.attempt,
        spec_digest=request.spec_digest,
        outdated=agent.is_outdated(good_until),
        tombstone=agent.disk.tombstones.get(key.shard_uid),
        known_attempts=[
            KnownAttempt(live.key.attempt, live.record.spec_digest, live.record.state)
            for live in agent.live.values()
            if live.key.shard_uid == key.shard_uid
        ],
        spec_problem=spec if isinstance(spec, Problem) else None,
        draining=agent.draining or agent.closing.takes_nothing,
        scratch_shortage="scratch is full" if needs_lane and agent.machine.disk_full else None,
        slot_free=agent.has_lane() if needs_lane else agent.control.waiting < 64,
    )
