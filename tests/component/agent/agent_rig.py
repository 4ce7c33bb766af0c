"""A real agent (journal, scratch, ledger, HTTP on loopback) whose stages, lanes and clock a test controls."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from voxfleet_agent.agent_tokens import AgentTokens
from voxfleet_agent.attempts.lane_yields import LaneYields
from voxfleet_agent.attempts.services import AttemptServices
from voxfleet_agent.attempts.slots import LaneSlots
from voxfleet_agent.attempts.supervisor import Supervisor
from voxfleet_agent.config import Listen
from voxfleet_agent.daemon import yield_reading
from voxfleet_agent.endpoint_lanes.endpoint_lanes import EndpointLanes
from voxfleet_agent.engine.compute_dtype import FLOAT32
from voxfleet_agent.journal.journal import Journal
from voxfleet_agent.ladder.ladder_book import MacLadderBook
from voxfleet_agent.ladder.pace_watch import PaceWatch
from voxfleet_agent.ladder.shared_ladders import SharedLadders
from voxfleet_agent.lanes.giving_way import GivingWay
from voxfleet_agent.lanes.interactive_pools import InteractivePools
from voxfleet_agent.lanes.lane_types import ClipTask, ClipVerdict, Lane, LaneSpec, LoadedModel, StepDown
from voxfleet_agent.ledger import Ledger, open_chain, public_key_text
from voxfleet_agent.machine import LocalMachine
from voxfleet_agent.metrics import AgentMetrics, AgentReading
from voxfleet_agent.models.resolved_model import ModelResolver, ResolvedModel
from voxfleet_agent.quarantine import QuarantineStore
from voxfleet_agent.scratch import Scratch
from voxfleet_agent.server.app import build_app, build_server, listen_on
from voxfleet_agent.server.auth import Authenticator
from voxfleet_agent.server.routes import Routes
from voxfleet_agent.stages.stage_context import StageContext
from voxfleet_agent.storage import Storage
from voxfleet_agent.yielding.batch_yield import BatchYield
from voxfleet_api.attempt_spec import AttemptSpec, FinalizeSpec, PlanSpec, ProcessSpec
from voxfleet_api.digest import digest_of
from voxfleet_api.failures import FailureClass
from voxfleet_api.kinds.audio_shard import JobRef, Stage
from voxfleet_api.kinds.contract_input import Container, ContractInput
from voxfleet_api.kinds.job_input import JobInput, PrefixInput
from voxfleet_api.kinds.job_model import BuiltinModel, BuiltinName, ModelSource
from voxfleet_api.kinds.job_task import Task
from voxfleet_api.kinds.voice_contract import VoiceContractSpec
from voxfleet_api.ladder_table import LadderTable
from voxfleet_api.machine_messages import PoolFacts
from voxfleet_api.protocol import (
    CONTROL_PLANE_HEADER,
    EPOCH_HEADER,
    AttemptRequest,
    AttemptStatus,
    Event,
    LedgerPage,
    S3Credentials,
    ShardResult,
)
from voxfleet_api.results import SpentBudget
from voxfleet_api.run_record import LaneReadings

TIMEOUT_SECONDS = 30.0
"""Makes a test fail, instead of hanging, when an event never comes."""
TOKEN = "a-token-of-some-length"
SESSION_TOKEN = "another-token-for-sessions"
CONTROL_PLANE = "control-plane-1"
CONTRACT = VoiceContractSpec(input=ContractInput(containers=(Container.WAV,), sample_rates_hz=(16000,), channels=(1,)))
MODEL = ResolvedModel(Path("/nowhere"), "sha256:" + "0" * 64)
COMMIT = ShardResult(commit_sha256="a" * 64)
MACHINE = LocalMachine("hw-1", "boot-1", "Apple M4", 2**34, "macOS 26", {"mlx": "0.32.4"}, True, "fits")


class ManualClock:
    """A clock that moves only when a test moves it."""

    def __init__(self) -> None:
        self.milliseconds = 1_000_000

    def advance(self, seconds: float) -> None:
        self.milliseconds += round(seconds * 1000)

    def metered_milliseconds(self) -> int:
        return self.milliseconds

    def lease_seconds(self) -> float:
        return self.milliseconds / 1000

    def wall(self) -> datetime:
        return datetime(2026, 11, 20, tzinfo=UTC) + timedelta(milliseconds=self.milliseconds)


class StubLane:
    """A lane that can be acquired and killed, but never works."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.batch_size = 1
        self.stepped_down: StepDown | None = None
        self.kills = 0
        self.giving_way = GivingWay()

    async def load(self, model: ResolvedModel, spec: LaneSpec) -> LoadedModel:
        raise AssertionError("the stand-in stages load nothing")

    def work(self, batches: AsyncIterator[Sequence[ClipTask]]) -> AsyncGenerator[ClipVerdict]:
        raise AssertionError("the stand-in stages give no clips")

    async def unload(self) -> None:
        raise AssertionError("the stand-in stages measure no ladder")

    def readings(self) -> LaneReadings:
        return LaneReadings()

    async def kill(self) -> None:
        self.kills += 1


class StubPools:
    """A pool of each kind that has lanes, the interactive one first."""

    def __init__(self, lanes: int, interactive: int = 0) -> None:
        counts = {"live": ("Interactive", interactive), "offline": ("Offline", lanes)}
        self._kinds = {name: kind for name, (kind, count) in counts.items() if count}
        self._lanes = {
            name: [StubLane(f"{name}-{slot}") for slot in range(count)] for name, (_, count) in counts.items()
        }
        self._free = {name: list(lanes) for name, lanes in self._lanes.items()}

    @property
    def lanes(self) -> list[StubLane]:
        return [lane for lanes in self._lanes.values() for lane in lanes]

    def facts(self) -> list[PoolFacts]:
        return [
            PoolFacts(name=name, kind=kind, lanes=len(self._lanes[name]), free_lanes=len(self._free[name]))
            for name, kind in self._kinds.items()
        ]

    def loaded_models(self) -> list[str]:
        return []

    def readings(self) -> dict[str, LaneReadings]:
        resets, restarts = {"DecodeError": 2}, {"Recycled": 1}
        readings = LaneReadings(
            ring_underruns=3, ring_underruns_by_cause={"Disk": 3}, ring_resets=resets, restarts=restarts
        )
        return {lane.name: readings for lane in self.lanes}

    async def unload_idle(self, after_seconds: float) -> int:
        return 0

    def acquire(self, pool: str, digest: str | None = None) -> StubLane | None:
        return self._free[pool].pop(0) if self._free[pool] else None

    def release(self, lane: StubLane) -> None:
        free = self._free[lane.name.rpartition("-")[0]]
        if lane not in free:
            free.append(lane)


@dataclass
class ControlledStage:
    """A stage that reserves scratch, then runs until the test gives its outcome."""

    entered: asyncio.Queue[StageContext] = field(default_factory=asyncio.Queue)
    answers: asyncio.Queue[ShardResult | Exception] = field(default_factory=asyncio.Queue)

    async def __call__(self, context: StageContext) -> ShardResult:
        if context.lane is not None:
            await context.working()
        path = await context.scratch.reserve("clip", 100)
        path.write_bytes(b"x" * 100)
        self.entered.put_nowait(context)
        answer = await self.answers.get()
        if isinstance(answer, Exception):
            raise answer
        return answer


@dataclass
class Agent:
    folder: Path
    clock: ManualClock
    stage: ControlledStage
    pools: StubPools
    supervisor: Supervisor
    journal: Journal
    scratch: Scratch
    key: Ed25519PrivateKey
    http: httpx.AsyncClient
    lanes: EndpointLanes
    routes: Routes
    yields: LaneYields

    def headers(self, control_plane: str = CONTROL_PLANE, epoch: int = 1, token: str = TOKEN) -> dict[str, str]:
        return {"Authorization": f"Bearer {token}", CONTROL_PLANE_HEADER: control_plane, EPOCH_HEADER: str(epoch)}

    def key_pem(self) -> bytes:
        return self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())

    async def stage_entered(self) -> StageContext:
        """Waits for the next stage to run; returns its context."""
        async with asyncio.timeout(TIMEOUT_SECONDS):
            return await self.stage.entered.get()

    async def put(self, request: AttemptRequest, **headers: str | int) -> httpx.Response:
        path = f"/v1/attempts/{request.spec['shardUid']}/{request.spec['attempt']}"
        return await self.http.put(path, json=request.dump(), headers=self.headers(**headers))  # type: ignore[arg-type] # by name

    async def status(self, request: AttemptRequest) -> AttemptStatus:
        answer = await self.http.get(f"/v1/attempts/{request.spec['shardUid']}/{request.spec['attempt']}")
        return AttemptStatus.load(answer.json())

    async def ledger(self) -> LedgerPage:
        return LedgerPage.load((await self.http.get("/v1/ledger")).json())

    async def events(self, cursor: str) -> AsyncIterator[Event]:
        async with self.http.stream("GET", "/v1/events", params={"after": cursor}) as response:
            response.raise_for_status()
            async for line in response.aiter_lines():
                yield Event.model_validate_json(line)

    async def until(self, request: AttemptRequest, state: str) -> AttemptStatus:
        """Waits until the attempt is in this state, in the list or the event stream; returns its status."""
        listing = (await self.http.get("/v1/attempts")).json()
        for content in listing["attempts"]:
            status = AttemptStatus.load(content)
            if status.spec_digest == request.spec_digest and status.state == state:
                return status
        async with asyncio.timeout(TIMEOUT_SECONDS):
            async for event in self.events(listing["cursor"]):
                seen = event.attempt
                if seen is not None and seen.spec_digest == request.spec_digest and seen.state == state:
                    return seen
        raise AssertionError("the stream ended")


def process_spec(shard: str = "shard-1", attempt: int = 1, **changes: object) -> AttemptSpec:
    stage_spec = ProcessSpec(
        plan_attempt=1,
        manifest_sha256="b" * 64,
        model=ModelSource(builtin=BuiltinModel(name=BuiltinName.COMMANDS)),
        model_digest=MODEL.digest,
        boundaries_digest="sha256:" + "c" * 64,
        ordinal=0,
        indexes="0-3",
    )
    return _spec(Stage.PROCESS, shard, attempt, process=stage_spec, **changes)


def plan_spec(shard: str = "plan-1", attempt: int = 1, uri: str = "file:///data/in/") -> AttemptSpec:
    stage_spec = PlanSpec(
        input=JobInput(prefix=PrefixInput(uri=uri)),
        model=ModelSource(builtin=BuiltinModel(name=BuiltinName.COMMANDS)),
        shard_audio_milliseconds=60_000,
        max_shards=10,
    )
    return _spec(Stage.PLAN, shard, attempt, plan=stage_spec)


def finalize_spec(shard: str = "finalize-1", attempt: int = 1) -> AttemptSpec:
    stage_spec = FinalizeSpec(plan_attempt=1, manifest_sha256="b" * 64, total=0, commits=())
    return _spec(Stage.FINALIZE, shard, attempt, finalize=stage_spec)


def _spec(stage: Stage, shard: str, attempt: int, **changes: object) -> AttemptSpec:
    content: dict[str, object] = {
        "namespace": "speech",
        "job": JobRef(name="calls", uid="job-uid-1"),
        "shard_name": f"calls-{shard}",
        "shard_uid": shard,
        "attempt": attempt,
        "stage": stage,
        "task": Task.TRANSCRIBE,
        "contract": CONTRACT,
        "contract_digest": digest_of(CONTRACT),
        "output_folder": "file:///data/out/calls-job-uid-",
        "billing_key": "team-speech",
    }
    return AttemptSpec.model_validate(content | changes)


def request_for(spec: AttemptSpec, lease_seconds: int = 600, **extra: object) -> AttemptRequest:
    content = spec.dump() | extra
    return AttemptRequest(spec_digest=digest_of(content), spec=content, lease_seconds=lease_seconds)


REQUEST = request_for(process_spec())


@asynccontextmanager
async def running_agent(
    folder: Path,
    *,
    lanes: int = 1,
    clock: ManualClock | None = None,
    interactive: int = 0,
    interactive_lanes: InteractivePools | None = None,
    models: ModelResolver | None = None,
    allow: Sequence[str] | None = None,
    pace: PaceWatch | None = None,
    memory_short: Callable[[], bool] = lambda: False,
    burning_seconds: Callable[[], float] = lambda: 0.0,
    session_token: str | None = SESSION_TOKEN,
) -> AsyncIterator[Agent]:
    """Runs an agent, and stops it in order, as SIGTERM does."""
    clock = clock or ManualClock()
    stage = ControlledStage()
    pools = StubPools(lanes, interactive)
    key = Ed25519PrivateKey.from_private_bytes(b"k" * 32)
    journal = await Journal.open(folder / "state", folder / "state" / "journal.sqlite3")
    scratch = Scratch(folder / "scratch", 10_000, 0)
    chain_id = await journal.write(lambda db: open_chain(db, public_key_text(key)))
    services = AttemptServices(
        journal=journal,
        ledger=Ledger(key, chain_id, MACHINE.hardware_id),
        scratch=scratch,
        clock=clock,
        machine=MACHINE,
        lanes=LaneSlots(pools),
        pools=pools,
        interactive=interactive_lanes or InteractivePools((), folder / "lanes"),
        batch_lanes=pools.lanes,
        unload_after_seconds=900,
        models=models or NoModels(),
        ladders=NoLadders(),
        shared_ladders=SharedLadders(ladder_book(folder)),
        pace=pace or PaceWatch(),
        quarantine=QuarantineStore(folder / "scratch" / "quarantine", 10_000, clock),
        open_budget=lambda spec: NoBudget(),
        stages=dict.fromkeys(Stage, stage),
        open_storage=open_storage
        if allow is None
        else lambda credentials, namespace: Storage(allow, credentials, namespace=namespace),
    )
    supervisor = Supervisor(services)
    await supervisor.start()
    endpoint_lanes = EndpointLanes(
        services, supervisor.closing, supervisor.fail, lambda: supervisor.bound.control_plane
    )
    supervisor.share_scratch_with(endpoint_lanes.scratch_owners)
    await endpoint_lanes.start()
    batch_yield = BatchYield(
        services,
        endpoint_lanes.live_lanes,
        lambda: supervisor.closing.calls_back,
        supervisor.unload_idle,
        supervisor.fail,
        memory_short=memory_short,
        burning_since_seconds=lambda _: clock.lease_seconds() - burning_seconds(),
    )
    batch_yield.start()
    metrics = AgentMetrics(
        lambda: AgentReading(
            supervisor.states(),
            pools.facts(),
            pools.readings(),
            scratch.reserved_bytes,
            10_000,
            7,
            2,
            True,
            endpoint_lanes.states(),
            endpoint_lanes.open_sessions(),
            services.pace.readings(),
            yield_reading(services.yields),
        ),
        services.clip_metrics,
    )
    routes = Routes(services, supervisor, endpoint_lanes, Authenticator(AgentTokens(TOKEN, session_token)), metrics)
    listener = listen_on(Listen(port=0))
    server = build_server(build_app(routes, supervisor.clock))
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    client = httpx.AsyncClient(
        base_url=url, headers={"Authorization": f"Bearer {TOKEN}"}, trust_env=False, timeout=30.0
    )
    try:
        yield Agent(
            folder,
            clock,
            stage,
            pools,
            supervisor,
            journal,
            scratch,
            key,
            client,
            endpoint_lanes,
            routes,
            services.yields,
        )
    finally:
        batch_yield.stop()
        await asyncio.gather(supervisor.shut_down(), endpoint_lanes.shut_down())
        routes.closing.set()
        await client.aclose()
        server.should_exit = True
        await serving
        scratch.close()
        await journal.close()


def ladder_book(folder: Path) -> MacLadderBook:
    """The agent's ladders, which its stand-in stages do not ask for."""
    return MacLadderBook(folder / "state" / "ladders", MACHINE.chip, MACHINE.versions, 2**30, FLOAT32)


class NoModels:
    async def resolve(self, source: ModelSource, storage: Storage) -> ResolvedModel:
        return MODEL


class NoLadders:
    async def table(
        self,
        lane: Lane,
        model: ResolvedModel,
        spec: LaneSpec,
        longest: Callable[[], Awaitable[Sequence[ClipTask]]],
    ) -> LadderTable | None:
        return None

    def stored(self, model: ResolvedModel, contract_digest: str) -> LadderTable | None:
        return None

    async def step_down(self, model: ResolvedModel, contract_digest: str, batch_size: int, reason: str) -> None:
        raise AssertionError("the stand-in stages step down from nothing")


class NoBudget:
    spent = SpentBudget()

    def spend_retry(self, failure_class: FailureClass) -> None:
        raise AssertionError("the stand-in stages retry nothing")

    def spend_quarantined(self, audio_milliseconds: int) -> None:
        raise AssertionError("the stand-in stages quarantine nothing")


def open_storage(credentials: S3Credentials | None, namespace: Sequence[str] | None) -> Storage:
    return Storage(("file:///data/",), credentials, namespace=namespace)
