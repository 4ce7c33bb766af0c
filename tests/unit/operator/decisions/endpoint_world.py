"""An endpoint, its reconciler, an API server and Macs with interactive lanes in memory, and a clock moved by hand."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from random import Random
from typing import Any

from tests.rig.measured_turns import a_turn
from tests.unit.operator.decisions.bodies import LEDGER_KEY, contract, mac_agent
from tests.unit.operator.decisions.memory_api import KINDS, Clock, MemoryApi, sha
from tests.unit.operator.decisions.memory_fleet import CONTROL_PLANE
from tests.unit.operator.decisions.world import Journal, Leader, Requeue

from voxfleet_agent.endpoint_lanes.latencies import LaneLatencies
from voxfleet_api.attempt_spec import AttemptKey
from voxfleet_api.conditions import Reason
from voxfleet_api.endpoint_lanes import EndpointLaneSpec, LaneKey, LaneRequest, LaneState, LaneStatus
from voxfleet_api.failures import FailureClass
from voxfleet_api.kinds import MacAgent, VoiceEndpoint
from voxfleet_api.kinds.audio_shard import AttemptRecord, MachineIdentity
from voxfleet_api.machine_messages import Capability, MachineFacts, PoolFacts
from voxfleet_api.protocol import AttemptFailure, AttemptRequest, Problem
from voxfleet_api.quantities import quantity_bytes
from voxfleet_api.session_protocol import TurnMeasured
from voxfleet_operator.cache import Cache, key_of
from voxfleet_operator.fleet.closing import Closing
from voxfleet_operator.fleet.lane_orders import LaneLetter, LaneNews, LaneOrders
from voxfleet_operator.fleet.mac_view import (
    AgentAnswer,
    AgentRefused,
    LaneAnswer,
    MacView,
    Order,
    Outcome,
)
from voxfleet_operator.kube_errors import KubeError
from voxfleet_operator.metrics import WorkMetrics
from voxfleet_operator.queue import Key
from voxfleet_operator.reconcile.context import Context, ReconcileOptions
from voxfleet_operator.reconcile.mac_closing import closing
from voxfleet_operator.registry import reconcilers, triggers
from voxfleet_operator.triggers import all_keys

GIB = 2**30
LOAD_SECONDS = 3
LOADED = LOAD_SECONDS + 3
"""Seconds after which a lane is warm, and its status written."""
HOUR = 3600
MODEL = f"sha256:{'a' * 64}"
KIND = VoiceEndpoint.crd.kind


def endpoint_body(name: str = "captions", **spec: Any) -> dict[str, Any]:
    body = {
        "contractRef": {"name": "contract"},
        "model": {"path": "/data/model"},
        "memoryCap": "2Gi",
        "lanes": {"min": 1, "max": 1},
        **spec,
    }
    return {"kind": KIND, "metadata": {"name": name, "namespace": "team"}, "spec": body}


@dataclass
class FakeLane:
    generation: int
    digest: str
    loaded_seconds: float
    lease_seconds: int
    renewed_seconds: float
    cap_bytes: int
    """Of the interactive lane that it has."""
    model: str
    """The path that its spec names."""
    latencies: LaneLatencies
    sessions: int = 0


@dataclass
class LaneMac:
    """A Mac's agent: its interactive lanes, their leases, and what it remembers of deleted ones.

    It refuses what a real one refuses, in the same order.
    """

    name: str
    clock: Clock
    caps: tuple[int, ...] = (4 * GIB,)
    online: bool = True
    lanes: dict[str, FakeLane] = field(default_factory=dict)
    tombstones: dict[str, int] = field(default_factory=dict)
    fails_with: FailureClass | None = None
    lacks: set[str] = field(default_factory=set)
    """Paths of models that fail here."""
    dies_with: FailureClass | None = None
    """The child of each lane has ended with it, and another one loads."""
    takes_nothing: bool = False
    refuses_with: int | None = None
    model: str = MODEL
    puts: list[LaneKey] = field(default_factory=list)
    loads: list[LaneKey] = field(default_factory=list)
    most_held: int = 0
    deletes: bool = True
    """False: a deletion never comes to its end."""

    @property
    def hardware_id(self) -> str:
        return f"hw-{self.name}"

    def expire(self) -> None:
        now = self.clock.seconds
        self.lanes = {uid: lane for uid, lane in self.lanes.items() if now < lane.renewed_seconds + lane.lease_seconds}

    def call(self, letter: LaneLetter) -> LaneAnswer:
        self.expire()
        now, (uid, generation) = self.clock.seconds, letter.key
        held = self.lanes.get(uid)
        if letter.drops:
            if not self.deletes:
                return LaneAnswer(Outcome.DELETING, now)
            if held is not None and held.generation <= generation:
                del self.lanes[uid]
            self.tombstones[uid] = max(generation, self.tombstones.get(uid, 0))
            return LaneAnswer(Outcome.GONE, now)
        if letter.request is not None:
            refusal = self._put(letter.key, letter.request)
            if refusal is not None:
                return LaneAnswer(Outcome.REFUSED, now, refusal=refusal)
        held = self.lanes.get(uid)
        if held is None or held.generation != generation:
            return LaneAnswer(Outcome.GONE, now)
        return LaneAnswer(Outcome.ACCEPTED, now, self._status(uid, held))

    def _put(self, key: LaneKey, request: LaneRequest) -> AgentRefused | None:
        self.puts.append(key)
        newest = self.tombstones.get(key.endpoint_uid, 0)
        if key.generation <= newest:
            return self._refused(410, newest)
        held = self.lanes.get(key.endpoint_uid)
        if held is not None and held.generation > key.generation:
            return self._refused(409, held.generation)
        if self.refuses_with is not None:
            return self._refused(self.refuses_with)
        if held is not None and held.generation == key.generation:
            assert held.digest == request.spec_digest, "one number stands for one spec"
            held.renewed_seconds = self.clock.seconds
            return None
        spec = EndpointLaneSpec.load(request.spec)
        need_bytes = quantity_bytes(spec.memory_cap)
        if need_bytes > max(self.caps):
            return self._refused(422)
        if self.takes_nothing:
            return self._refused(503)
        free = sorted(self.caps)
        for uid, other in self.lanes.items():
            if uid != key.endpoint_uid:
                free.remove(other.cap_bytes)
        fitting = [cap for cap in free if cap >= need_bytes]
        if not fitting:
            return self._refused(429)
        self.loads.append(key)
        lane = FakeLane(
            key.generation,
            request.spec_digest,
            loaded_seconds=self.clock.seconds + LOAD_SECONDS,
            lease_seconds=request.lease_seconds,
            renewed_seconds=self.clock.seconds,
            cap_bytes=fitting[0],
            model=str(spec.model.path),
            latencies=LaneLatencies(spec.contract, self.clock.now(), self.clock.monotonic),
        )
        self.lanes[key.endpoint_uid] = lane
        self.most_held = max(self.most_held, len(self.lanes))
        return None

    def _refused(self, status: int, held: int | None = None) -> AgentRefused:
        return AgentRefused(status, Problem(message="no", held_generation=held))

    def _status(self, uid: str, lane: FakeLane) -> LaneStatus:
        loading = self.clock.seconds < lane.loaded_seconds or self.dies_with is not None
        fails_with = self.fails_with or (FailureClass.MODEL_UNAVAILABLE if lane.model in self.lacks else None)
        told = self.dies_with or fails_with
        failure = None if told is None else AttemptFailure(failure_class=told, message="broken")
        state = LaneState.LOADING if loading else LaneState.READY
        return LaneStatus(
            endpoint_uid=uid,
            namespace="team",
            endpoint="captions",
            generation=lane.generation,
            spec_digest=lane.digest,
            state=LaneState.FAILED if fails_with is not None and not loading else state,
            failure=None if loading and self.dies_with is None else failure,
            model_digest=None if loading else self.model,
            sessions=0 if loading else lane.sessions,
            latency=lane.latencies.told(),
        )


class LaneFleet:
    """What the operator's process knows of the Macs. It has no attempts."""

    def __init__(self, macs: Mapping[str, LaneMac], clock: Clock) -> None:
        self.macs = macs
        self.clock = clock
        self.orders = {name: LaneOrders() for name in macs}
        self.known = dict.fromkeys(macs, False)
        """Whether a session is in contact."""
        self.proven: set[str] = set()

    def view(self, mac: str) -> MacView:
        fake = self.macs.get(mac)
        if fake is None:
            return MacView(mac, connected=False, reason=Reason.UNKNOWN, message="none")
        connected = self.known[mac]
        if connected:
            self.proven.add(mac)
        proven = mac in self.proven
        facts = self.facts(mac)
        return MacView(
            mac,
            connected=connected,
            reason=Reason.CONNECTED if connected else Reason.SSH_UNREACHABLE,
            message="answers" if connected else "no route to host",
            identity=MachineIdentity(hardware_id=fake.hardware_id, ledger_key=LEDGER_KEY) if proven else None,
            machine=facts if proven else None,
            lanes=self.orders[mac].answers(),
        )

    def facts(self, mac: str) -> MachineFacts:
        fake = self.macs[mac]
        pools = (
            PoolFacts(name="offline", kind="Offline", lanes=1, free_lanes=1, memory_cap_bytes=8 * GIB),
            *(
                PoolFacts(name=f"live-{place}", kind="Interactive", lanes=1, free_lanes=1, memory_cap_bytes=cap)
                for place, cap in enumerate(fake.caps)
            ),
        )
        return MachineFacts(
            hardware_id=fake.hardware_id,
            boot_id="boot",
            chip="Apple M4",
            memory_bytes=32 * GIB,
            os="macOS 26",
            versions={},
            runtime_compatible=True,
            runtime_message="fits",
            pools=pools,
            ledger_chain_id="chain",
            ledger_sequence=-1,
            capabilities=(Capability.ENDPOINT_LANES,),
        )

    def views(self) -> Mapping[str, MacView]:
        return {name: self.view(name) for name in self.macs}

    def hold_lane(self, mac: MacView, key: LaneKey, request: LaneRequest | None) -> None:
        if mac.connected:
            self.orders[mac.name].hold(key, request)

    def drop_lane(self, mac: MacView, key: LaneKey) -> None:
        self.orders[mac.name].drop(key)

    def lease_granted_seconds(self, record: AttemptRecord) -> float | None:
        return None

    def ensure(self, mac: MacAgent) -> None:
        return

    def close_at(self, mac: str, closing: Closing) -> None:
        return

    def forget(self, mac: str) -> None:
        return

    def put(self, mac: MacView, key: AttemptKey, request: AttemptRequest, *, renews: bool = False) -> None:
        raise AssertionError("there is no attempt")

    def delete(self, mac: MacView, key: AttemptKey) -> AgentAnswer | None:
        return None

    def answer(self, mac: MacView, order: Order, key: AttemptKey) -> AgentAnswer | None:
        return None


class EndpointWorld:
    def __init__(
        self,
        macs: Mapping[str, tuple[int, ...]] | int = 1,
        seed: int = 0,
        target: str | None = None,
        **spec: Any,
    ) -> None:
        """`macs`: how many, or the memory caps of the interactive lanes of each. `target`: the contract's
        slo.interactiveP95. `spec`: of the endpoint `captions`.
        """
        self.random = Random(seed)  # noqa: S311 # a life that can be repeated, no secret
        self.clock = Clock()
        self.api = MemoryApi(self.random, self.clock)
        caps = {f"mac-{'abcdef'[n]}": (4 * GIB,) for n in range(macs)} if isinstance(macs, int) else macs
        self.macs = {name: LaneMac(name, self.clock, found) for name, found in caps.items()}
        for name in self.macs:
            self.api.add(mac_agent(name, ledgerPublicKey=sha(name)[:43] + "="))
        self.api.add(contract() if target is None else contract(slo={"interactiveP95": target}))
        self.api.add(endpoint_body(**spec))
        self.journal = Journal()
        self.start_operator()

    def start_operator(self) -> None:
        """A new process: empty memory, full lists, no contact yet."""
        self.cache, self.queue = Cache(), Requeue(self.clock)
        self.fleet = LaneFleet(self.macs, self.clock)
        self.metrics = WorkMetrics()
        for kind in KINDS.values():
            for resource in self.api.all(kind):
                self.cache.put(resource)
        self.cache.put_namespace("team", {"team": "speech"})
        self.api.changes.clear()
        self.reconcilers = reconcilers(
            Context(
                api=self.api,
                cache=self.cache,
                fleet=self.fleet,
                leader=Leader(self.clock.seconds),
                queue=self.queue,
                triggers=triggers(),
                events=self.journal,
                options=ReconcileOptions(CONTROL_PLANE),
                clock=self.clock.monotonic,
                now=self.clock.now,
                synced=lambda: True,
                metrics=self.metrics,
            )
        )
        for key in all_keys(self.cache):
            self.queue.add(key)

    def endpoint(self, name: str = "captions") -> VoiceEndpoint:
        return VoiceEndpoint.load(self.api.objects[Key(KIND, "team", name)])

    def exists(self, name: str = "captions") -> bool:
        return Key(KIND, "team", name) in self.api.objects

    def delete(self, name: str = "captions") -> None:
        self.api.user_deletes(VoiceEndpoint, "team", name)

    def edit(self, name: str = "captions", **spec: Any) -> None:
        self._edit(Key(KIND, "team", name), **spec)

    def edit_mac(self, name: str, **spec: Any) -> None:
        self._edit(Key("MacAgent", "", name), **spec)

    def _edit(self, key: Key, **spec: Any) -> None:
        old = self.api.objects[key]
        kept = {name: value for name, value in {**old["spec"], **spec}.items() if value is not None}
        generation = old["metadata"]["generation"] + 1
        self.api._store({**old, "spec": kept, "metadata": {**old["metadata"], "generation": generation}})

    def speak(self, mac: str, *turns: TurnMeasured | int) -> None:
        """An int: a turn of so many milliseconds, of which nothing else is known."""
        lane = self.macs[mac].lanes[self.endpoint().metadata.uid]
        for turn in turns:
            lane.latencies.measured(a_turn(turn) if isinstance(turn, int) else turn)

    def states(self, name: str = "captions") -> dict[str, str]:
        """By Mac."""
        return {lane.mac: str(lane.state) for lane in self.endpoint(name).status.macs}

    def condition(self, type_: str, name: str = "captions") -> str:
        found = next((item for item in self.endpoint(name).status.conditions if item.type == type_), None)
        return "" if found is None else f"{found.status} {found.reason}"

    def message(self, type_: str, name: str = "captions") -> str:
        return next(item.message for item in self.endpoint(name).status.conditions if item.type == type_)

    async def live(self, seconds: float) -> None:
        """Time passes, and everything happens that can."""
        end = self.clock.seconds + seconds
        while True:
            await self._settle()
            if self.clock.seconds >= end:
                return
            self.clock.seconds += 1.0

    async def _settle(self) -> None:
        for _ in range(200):
            self._contact()
            self._call()
            self._deliver()
            self.queue.tick()
            keys = [key for key in self.queue.ready if key.kind == KIND]
            self.queue.ready.clear()
            if not keys:
                return
            await asyncio.gather(*map(self._reconcile, keys))
        raise AssertionError("the endpoints never come to rest")

    def _contact(self) -> None:
        for name, mac in self.macs.items():
            found = self.cache.get(MacAgent, "", name)
            if found is not None and mac.online:  # each renewal tells it
                mac.takes_nothing = closing(found, self.clock.now()).renewal(self.clock.now()).takes_nothing
            if self.fleet.known[name] != mac.online:
                self.fleet.known[name] = mac.online
                if not mac.online:
                    self.fleet.orders[name].connection_lost()
                self._wake(name)

    def _call(self) -> None:
        for name, mac in self.macs.items():
            mac.expire()
            while self.fleet.known[name] and (letter := self.fleet.orders[name].next(self.clock.seconds)) is not None:
                news = self.fleet.orders[name].answered(letter, mac.call(letter))
                endpoint = self.cache.by_uid(VoiceEndpoint, letter.key.endpoint_uid)
                if news is LaneNews.SESSIONS and endpoint is not None:
                    self.queue.add(key_of(endpoint))
                elif news is LaneNews.STATE:
                    self._wake(name)

    def _wake(self, mac: str) -> None:
        for key in triggers().keys_of_mac_change(mac, (), self.cache):
            self.queue.add(key)

    def _deliver(self) -> None:
        for kind, resource in self.api.changes:
            changed = self.cache.remove(resource) if kind == "DELETED" else self.cache.put(resource)
            if changed:
                for key in triggers().keys_of_change(resource, self.cache):
                    self.queue.add(key)
        self.api.changes.clear()

    async def _reconcile(self, key: Key) -> None:
        try:
            again_seconds = await self.reconcilers[key.kind].reconcile(key)
        except KubeError:
            again_seconds = 1.0
        if again_seconds is not None:
            self.queue.add_after(key, again_seconds) if again_seconds else self.queue.add(key)


async def warm(macs: int = 1, target: str | None = None, **spec: Any) -> EndpointWorld:
    """A world whose endpoint has as many warm lanes as it wants."""
    world = EndpointWorld(macs, target=target, **spec)
    await world.live(LOADED)
    assert world.condition("Available") == "True LanesWarm"
    return world
