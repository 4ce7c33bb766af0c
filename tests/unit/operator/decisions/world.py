"""A small world in memory: an API server with the rules that decisions rely on, agents, and a clock moved by hand.

It fails as the real one does: answers get lost, watches and views lag, Macs fall silent, the operator starts anew.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any, TypeVar

from voxfleet_api import API_VERSION
from voxfleet_api.conditions import Reason
from voxfleet_api.failures import FailureClass
from voxfleet_api.kinds import AudioBatchJob, AudioShard, MacAgent, Resource, VoiceContract
from voxfleet_api.kinds.audio_shard import AttemptUsage, Stage
from voxfleet_api.protocol import (
    TERMINAL_STATES,
    AttemptFailure,
    AttemptRequest,
    AttemptSpec,
    AttemptState,
    AttemptStatus,
    LedgerSpan,
    MachineFacts,
    PoolFacts,
    Problem,
    ShardResult,
)
from voxfleet_api.ranges import decode
from voxfleet_api.results import Counts, PlanResult
from voxfleet_operator.cache import Cache
from voxfleet_operator.fleet.view import AgentRefused, AgentUnreachable, AttemptKey, MacView
from voxfleet_operator.kube import AlreadyExists, ApiUnavailable, Conflict, Invalid, KubeError, NotFound, SecretNotFound
from voxfleet_operator.queue import Key
from voxfleet_operator.reconcile.context import Context, Options
from voxfleet_operator.reconcile.reconcilers import reconcilers
from voxfleet_operator.triggers import all_keys, keys_of_change, keys_of_mac_change

R = TypeVar("R", bound=Resource)

CONTROL_PLANE = "control-plane-uid"
START = datetime(2026, 11, 20, 22, tzinfo=UTC)
LEASE_SECONDS = 30
MARGIN_SECONDS = 10
RENEW_SECONDS = 5
KINDS: dict[str, type[Resource]] = {
    kind.crd.kind: kind for kind in (VoiceContract, AudioBatchJob, AudioShard, MacAgent)
}


def sha(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


class Clock:
    def __init__(self) -> None:
        self.seconds = 1000.0

    def monotonic(self) -> float:
        return self.seconds

    def now(self) -> datetime:
        return START + timedelta(seconds=self.seconds)


class MemoryApi:
    """Objects, resource versions, conditional writes, and the transition rules of the AudioShard's CRD."""

    def __init__(self, random: Random, clock: Clock) -> None:
        self.objects: dict[Key, dict[str, Any]] = {}
        self.changes: list[tuple[str, Resource]] = []
        self.secrets: dict[tuple[str, str], dict[str, bytes]] = {}
        self.lost_answers = 0.0
        self.writes = 0
        self._random = random
        self._clock = clock
        self._version = 0

    async def get(self, kind: type[R], namespace: str, name: str) -> R | None:
        await self._hop()
        found = self.objects.get(Key(kind.crd.kind, namespace, name))
        return None if found is None else kind.load(found)

    async def create(self, resource: Mapping[str, object]) -> dict[str, Any]:
        await self._hop(before=True)
        stored = self.add(resource)
        await self._hop(after=True)
        return stored

    async def apply_status(
        self,
        kind: type[R],
        namespace: str,
        name: str,
        status: Mapping[str, object],
        resource_version: str | None = None,
    ) -> R:
        await self._hop(before=True)
        old = self._conditional(Key(kind.crd.kind, namespace, name), resource_version)
        kind.load({**old, "status": dict(status)})
        if kind is AudioShard:
            check_transition(old.get("status", {}), status)
        new = self._store({**old, "status": dict(status)})
        await self._hop(after=True)
        return kind.load(new)

    async def set_finalizers(
        self, kind: type[R], namespace: str, name: str, finalizers: list[str], resource_version: str
    ) -> R:
        await self._hop(before=True)
        old = self._conditional(Key(kind.crd.kind, namespace, name), resource_version)
        new = {**old, "metadata": {**old["metadata"], "finalizers": finalizers}}
        if not finalizers and old["metadata"].get("deletionTimestamp"):
            self._drop(new)
        else:
            new = self._store(new)
        await self._hop(after=True)
        return kind.load(new)

    async def delete(self, kind: type[Resource], namespace: str, name: str, uid: str) -> None:
        await self._hop(before=True)
        found = self.objects.get(Key(kind.crd.kind, namespace, name))
        if found is not None and found["metadata"]["uid"] == uid:
            self.user_deletes(kind, namespace, name)
        await self._hop(after=True)

    async def secret(self, namespace: str, name: str) -> dict[str, bytes]:
        await self._hop()
        if (namespace, name) not in self.secrets:
            raise SecretNotFound(namespace, name)
        return self.secrets[namespace, name]

    # What people do.

    def add(self, resource: Mapping[str, Any]) -> dict[str, Any]:
        metadata = resource["metadata"]
        key = Key(resource["kind"], metadata.get("namespace", ""), metadata["name"])
        if key in self.objects:
            raise AlreadyExists(str(key))
        uid = sha(f"{key}/{self._version}")[:8] + "-uid"
        created = self._clock.now().strftime("%Y-%m-%dT%H:%M:%SZ")
        return self._store(
            {
                **resource,
                "apiVersion": API_VERSION,
                "metadata": {**metadata, "uid": uid, "generation": 1, "creationTimestamp": created},
                "status": {"observedGeneration": -1},
            }
        )

    def user_deletes(self, kind: type[Resource], namespace: str, name: str) -> None:
        old = self.objects[Key(kind.crd.kind, namespace, name)]
        if old["metadata"].get("finalizers"):
            stamp = self._clock.now().strftime("%Y-%m-%dT%H:%M:%SZ")
            self._store({**old, "metadata": {**old["metadata"], "deletionTimestamp": stamp}})
        else:
            self._drop(old)

    def collect_garbage(self) -> None:
        """As kube-controller-manager does by owner references."""
        jobs = {job.metadata.uid for job in self.all(AudioBatchJob)}
        for shard in self.all(AudioShard):
            if shard.spec.job_ref.uid not in jobs:
                self.user_deletes(AudioShard, shard.metadata.namespace, shard.metadata.name)

    def all(self, kind: type[R]) -> list[R]:
        return [kind.load(item) for key, item in sorted(self.objects.items()) if key.kind == kind.crd.kind]

    def _conditional(self, key: Key, resource_version: str | None) -> dict[str, Any]:
        old = self.objects.get(key)
        if old is None:
            raise NotFound(str(key))
        if resource_version is not None and old["metadata"]["resourceVersion"] != resource_version:
            raise Conflict(str(key))
        return old

    def _store(self, item: dict[str, Any]) -> dict[str, Any]:
        self.writes += 1
        self._version += 1
        stored = {**item, "metadata": {**item["metadata"], "resourceVersion": str(self._version)}}
        metadata = stored["metadata"]
        self.objects[Key(item["kind"], metadata.get("namespace", ""), metadata["name"])] = stored
        self.changes.append(("MODIFIED", KINDS[item["kind"]].load(stored)))
        return stored

    def _drop(self, item: dict[str, Any]) -> None:
        metadata = item["metadata"]
        del self.objects[Key(item["kind"], metadata.get("namespace", ""), metadata["name"])]
        self.changes.append(("DELETED", KINDS[item["kind"]].load(item)))

    async def _hop(self, *, before: bool = False, after: bool = False) -> None:
        await hop(self._random)
        if (before or after) and self._random.random() < self.lost_answers:
            raise ApiUnavailable("request lost" if before else "answer lost")


def check_transition(old: Mapping[str, Any], new: Mapping[str, Any]) -> None:
    """The CEL rules of AudioShardStatus."""
    if "attempt" in old:
        if new.get("attempt", 0) < old["attempt"]:
            raise Invalid("attempt is a fencing token and never falls")
        same = new["attempt"] == old["attempt"]
        if same and (new["mac"], new["specDigest"]) != (old["mac"], old["specDigest"]):
            raise Invalid("an attempt belongs to one Mac for ever")
    if "commit" in old and new.get("commit") != old["commit"]:
        raise Invalid("a commit does not change")
    assigned = [record for record in new.get("attempts", []) if record["outcome"] == "Assigned"]
    assert len(assigned) <= 1, "two attempts of a shard are assigned"
    assert all(record["attempt"] == new["attempt"] for record in assigned)


async def hop(random: Random) -> None:
    for _ in range(random.randrange(3)):
        await asyncio.sleep(0)


@dataclass
class Run:
    spec: AttemptSpec
    digest: str
    state: AttemptState
    lease_seconds: int
    left: int
    """Steps of work."""
    laned: bool = False
    failure: FailureClass | None = None


@dataclass
class Agent:
    """One Mac: lanes, leases, tombstones and rows."""

    name: str
    clock: Clock
    random: Random
    lanes: int = 1
    runs: dict[AttemptKey, Run] = field(default_factory=dict)
    tombstones: dict[str, int] = field(default_factory=dict)
    usage: dict[AttemptKey, AttemptUsage] = field(default_factory=dict)
    renewed_seconds: float = 0.0
    failures: tuple[FailureClass, ...] = ()
    failure_rate: float = 0.0
    sequence: int = 0

    def put(self, key: AttemptKey, request: AttemptRequest) -> AttemptStatus:
        spec = AttemptSpec.load(request.spec)
        if self.tombstones.get(key.shard_uid, 0) >= key.attempt:
            raise AgentRefused(410, Problem(message="deleted before"))
        held = max((other.attempt for other in self.runs if other.shard_uid == key.shard_uid), default=0)
        known = self.runs.get(key)
        if held > key.attempt or (known is not None and known.digest != request.spec_digest):
            raise AgentRefused(409, Problem(message="newer attempt or other digest"))
        if known is None:
            if spec.stage is Stage.PROCESS and self.free_lanes() < 1:
                raise AgentRefused(429, Problem(message="no lane"), retry_after_seconds=1)
            known = Run(spec, request.spec_digest, AttemptState.RUNNING, request.lease_seconds, 2)
            self.runs[key] = known
        elif known.state is AttemptState.PARKED:
            known.state = AttemptState.RUNNING
        self.renewed_seconds = self.clock.seconds
        return self.status(key)

    def delete(self, key: AttemptKey) -> bool:
        run = self.runs.pop(key, None)
        self.tombstones[key.shard_uid] = max(self.tombstones.get(key.shard_uid, 0), key.attempt)
        if run is not None and run.laned and run.state not in TERMINAL_STATES:
            self._seal(key, work=0)
        return True

    def free_lanes(self) -> int:
        return self.lanes - sum(
            run.spec.stage is Stage.PROCESS and run.state not in TERMINAL_STATES | {AttemptState.PARKED}
            for run in self.runs.values()
        )

    def park_expired(self) -> None:
        for run in self.runs.values():
            expired = self.clock.seconds - self.renewed_seconds >= run.lease_seconds
            if expired and run.state is AttemptState.RUNNING:
                run.state = AttemptState.PARKED

    def restart(self) -> None:
        for run in self.runs.values():
            if run.state is AttemptState.RUNNING:
                run.state = AttemptState.PARKED

    def work(self) -> None:
        self.park_expired()
        for key, run in self.runs.items():
            if run.state is not AttemptState.RUNNING:
                continue
            run.laned = run.laned or run.spec.stage is Stage.PROCESS
            run.left -= 1
            if run.left:
                continue
            failed = self.failures and self.random.random() < self.failure_rate
            run.failure = self.random.choice(self.failures) if failed else None
            run.state = AttemptState.FAILED if failed else AttemptState.SUCCEEDED
            if run.laned:
                self._seal(key, work=1000)

    def _seal(self, key: AttemptKey, work: int) -> None:
        self.usage[key] = AttemptUsage(
            chain_id=self.name,
            first_sequence=self.sequence,
            last_sequence=self.sequence + 2,
            rows=3,
            setup_milliseconds=100,
            work_milliseconds=work,
            cleanup_milliseconds=10,
        )
        self.sequence += 3

    def status(self, key: AttemptKey) -> AttemptStatus:
        run = self.runs[key]
        usage = self.usage.get(key)
        ended = run.state in TERMINAL_STATES
        return AttemptStatus(
            shard_uid=key.shard_uid,
            attempt=key.attempt,
            spec_digest=run.digest,
            control_plane=CONTROL_PLANE,
            namespace=run.spec.namespace,
            job=run.spec.job,
            shard_name=run.spec.shard_name,
            stage=run.spec.stage,
            state=run.state,
            lane="offline/0" if run.laned and not ended and run.state is not AttemptState.PARKED else None,
            failure=None if run.failure is None else AttemptFailure(failure_class=run.failure, message="it failed"),
            result=result_of(run.spec) if run.state is AttemptState.SUCCEEDED else None,
            ledger=None
            if usage is None or not ended
            else LedgerSpan(
                chain_id=usage.chain_id, first_sequence=usage.first_sequence, last_sequence=usage.last_sequence
            ),
        )


def result_of(spec: AttemptSpec) -> ShardResult:
    """Ten clips in five shards; every clip succeeds."""
    commit = sha(f"{spec.shard_uid}/{spec.attempt}")
    if spec.plan is not None:
        plan = PlanResult(
            manifest_sha256=sha(f"manifest/{spec.attempt}"),
            model_digest=f"sha256:{sha('model')}",
            boundaries=(0, 2, 4, 6, 8, 10),
            audio_seconds="20.000",
        )
        return ShardResult(commit_sha256=commit, plan=plan)
    if spec.process is not None:
        return ShardResult(commit_sha256=commit, counts=Counts(succeeded=len(decode(spec.process.indexes))))
    assert spec.finalize is not None
    not_run = len(decode(spec.finalize.not_run))
    covered = not_run + 2 * len(spec.finalize.commits)
    assert covered == spec.finalize.total, "Finalize has to account for every clip exactly once"
    return ShardResult(commit_sha256=commit, counts=Counts(succeeded=spec.finalize.total - not_run, not_run=not_run))


class MemoryFleet:
    """Views lag until `refresh`; a call may act and lose its answer."""

    def __init__(self, agents: Mapping[str, Agent], random: Random, clock: Clock) -> None:
        self.agents = agents
        self.reachable = set(agents)
        self.ensured: set[str] = set()
        self.lost_answers = 0.0
        self.started: list[tuple[AttemptKey, str]] = []
        self._views: dict[str, MacView] = {}
        self._random = random
        self._clock = clock

    def view(self, mac: str) -> MacView:
        unknown = MacView(mac, connected=False, reason=Reason.CONNECTING, message="connecting")
        return self._views.get(mac, unknown)

    def views(self) -> Mapping[str, MacView]:
        return {name: self.view(name) for name in self.ensured}

    def ensure(self, mac: MacAgent) -> None:
        self.ensured.add(mac.metadata.name)

    def forget(self, mac: str) -> None:
        self.ensured.discard(mac)
        self._views.pop(mac, None)

    def refresh(self, mac: str) -> set[str]:
        """Renews leases and reads what the agent says; returns the shards that look different now."""
        if mac not in self.ensured:
            return set()
        agent, old = self.agents[mac], self.view(mac)
        if mac not in self.reachable:
            self._views[mac] = MacView(
                mac,
                connected=False,
                reason=Reason.SSH_UNREACHABLE,
                message="no route to host",
                machine=old.machine,
                attempts=old.attempts,
                usage=old.usage,
                last_renewal_seconds=old.last_renewal_seconds,
            )
        else:
            agent.park_expired()
            agent.renewed_seconds = self._clock.seconds
            self._views[mac] = MacView(
                mac,
                connected=True,
                reason=Reason.CONNECTED,
                message="connected",
                machine=facts(agent),
                attempts={key: agent.status(key) for key in agent.runs},
                usage=dict(agent.usage),
                last_renewal_seconds=self._clock.seconds,
            )
        return {key.shard_uid for key in {*old.attempts, *self._views[mac].attempts}}

    async def put(self, mac: str, shard_uid: str, attempt: int, request: AttemptRequest) -> AttemptStatus:
        await self._hop(mac, before=True)
        key = AttemptKey(shard_uid, attempt)
        if key not in self.agents[mac].runs:
            self.started.append((key, mac))
        status = self.agents[mac].put(key, request)
        await self._hop(mac)
        return status

    async def delete(self, mac: str, shard_uid: str, attempt: int) -> bool:
        await self._hop(mac, before=True)
        gone = self.agents[mac].delete(AttemptKey(shard_uid, attempt))
        await self._hop(mac)
        return gone

    async def _hop(self, mac: str, *, before: bool = False) -> None:
        await hop(self._random)
        if (before and mac not in self.reachable) or self._random.random() < self.lost_answers:
            raise AgentUnreachable(f"no answer from {mac}")


def facts(agent: Agent) -> MachineFacts:
    return MachineFacts(
        hardware_id=f"hardware-{agent.name}",
        boot_id="boot",
        chip="M4",
        memory_bytes=2**34,
        os="macOS 26",
        versions={"mlx": "0.32.4"},
        runtime_compatible=True,
        runtime_message="",
        pools=(PoolFacts(name="offline", kind="Offline", lanes=agent.lanes, free_lanes=agent.free_lanes()),),
        ledger_chain_id=agent.name,
        ledger_sequence=agent.sequence,
    )


class Leader:
    def __init__(self, counts_from_seconds: float) -> None:
        self._counts_from_seconds = counts_from_seconds

    @property
    def counts_from_seconds(self) -> float:
        return self._counts_from_seconds

    def check(self) -> None:
        return


class Wishes:
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

    def publish(self, about: Resource, reason: str, note: str, *, warning: bool = False) -> None:
        self.published.append((about.metadata.name, reason, note))


class World:
    def __init__(self, seed: int = 0, macs: int = 2, lanes: int = 1) -> None:
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
        self.api.changes.clear()
        self.queue = Wishes(self.clock)
        self.context = Context(
            api=self.api,
            cache=self.cache,
            fleet=self.fleet,
            leader=Leader(self.clock.seconds),
            queue=self.queue,
            events=self.journal,
            options=Options(CONTROL_PLANE, MARGIN_SECONDS, progress_interval_seconds=15.0),
            clock=self.clock.monotonic,
            now=self.clock.now,
            synced=lambda: True,
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
                for key in keys_of_change(resource, self.cache):
                    self.queue.add(key)

    def refresh(self, mac: str) -> None:
        for key in keys_of_mac_change(mac, self.fleet.refresh(mac), self.cache):
            self.queue.add(key)

    async def reconcile(self, count: int = 1) -> None:
        """Some keys at the same time, never one key twice."""
        self.queue.tick()
        keys = self.random.sample(sorted(self.queue.ready), min(count, len(self.queue.ready)))
        for key in keys:
            del self.queue.ready[key]
        await asyncio.gather(*(self._reconcile(key) for key in keys))

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


def contract(**spec: object) -> dict[str, Any]:
    sound = {"containers": ["wav"], "sampleRatesHz": [16000], "channels": [1]}
    return {
        "kind": "VoiceContract",
        "metadata": {"name": "contract", "namespace": "team"},
        "spec": {"input": sound, **spec},
    }


def job_body(name: str = "job", **spec: object) -> dict[str, Any]:
    body = {
        "contractRef": {"name": "contract"},
        "input": {"prefix": {"uri": "file:///data/in/"}},
        "output": {"uri": "file:///data/out/"},
        **spec,
    }
    return {"kind": "AudioBatchJob", "metadata": {"name": name, "namespace": "team"}, "spec": body}


def mac_agent(name: str, **spec: object) -> dict[str, Any]:
    body = {
        "ssh": {
            "host": "127.0.0.1",
            "user": "voxfleet",
            "hostKeys": ["ssh-ed25519 " + "A" * 68],
            "identityRef": {"name": "fleet", "key": "id"},
        },
        "tokenRef": {"name": name, "key": "token"},
        "ledgerPublicKey": "A" * 43 + "=",
        "access": [{"uriPrefixes": ["file:///data/"]}],
        "disconnect": {"lostAfter": f"{LEASE_SECONDS}s"},
        **spec,
    }
    return {"kind": "MacAgent", "metadata": {"name": name}, "spec": body}
