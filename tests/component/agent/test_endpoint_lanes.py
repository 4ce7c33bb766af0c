"""The warm lanes of endpoints, as an operator asks a real agent for them; their children count instead of hearing."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import httpx
import psutil
import pytest
from prometheus_client.parser import text_string_to_metric_families
from tests.component.agent.agent_rig import CONTRACT, MODEL, TIMEOUT_SECONDS, Agent, ManualClock, running_agent
from tests.rig.measured_turns import a_turn

from voxfleet_agent.config import PoolConfig
from voxfleet_agent.endpoint_lanes import lane_holding
from voxfleet_agent.endpoint_lanes.session_place import SessionPlace
from voxfleet_agent.journal import lane_holds
from voxfleet_agent.lane_protocol.session_messages import OpenHearing
from voxfleet_agent.lanes import interactive_lane
from voxfleet_agent.lanes.interactive_pools import InteractivePools
from voxfleet_agent.models.resolved_model import ResolvedModel
from voxfleet_agent.storage import Storage
from voxfleet_api.attempt_spec import AttemptKey
from voxfleet_api.digest import digest_of
from voxfleet_api.endpoint_lanes import EndpointLaneSpec, EndpointRef, LaneKey, LaneList, LaneRequest, LaneStatus
from voxfleet_api.failures import FailureClass, VoxFleetError
from voxfleet_api.kinds.job_model import BuiltinModel, BuiltinName, ModelSource
from voxfleet_api.kinds.job_task import Synthesis, SynthesisMode, Task, VoiceReference
from voxfleet_api.ledger import Activity, RowOwner, verify
from voxfleet_api.machine_messages import Capability, MachineFacts
from voxfleet_api.pools import PoolKind
from voxfleet_api.protocol import TOMBSTONE_DAYS, Problem, RenewAnswer

OPEN_HEARING = OpenHearing(session=0, sample_rate_hz=16_000, partial_milliseconds=500, max_turn_milliseconds=1000)
STAND_IN = Path(__file__).parents[1] / "lanes" / "session_stand_in.py"


class FoundModels:
    """The model is there, unless a test says otherwise."""

    def __init__(self) -> None:
        self.error: VoxFleetError | None = None
        self.resolved = 0
        self.gate = asyncio.Event()
        """While it is not set, models are still being fetched."""
        self.gate.set()

    async def resolve(self, source: ModelSource, storage: Storage) -> ResolvedModel:
        self.resolved += 1
        await self.gate.wait()
        if self.error is not None:
            raise self.error
        return MODEL


@asynccontextmanager
async def agent_with_lanes(
    folder: Path,
    *,
    lanes: int = 1,
    load: list[str] | None = None,
    models: FoundModels | None = None,
    clock: ManualClock | None = None,
    allow: tuple[str, ...] | None = None,
    memory_short: Callable[[], bool] = lambda: False,
    burning_seconds: Callable[[], float] = lambda: 0.0,
) -> AsyncIterator[Agent]:
    worker = (sys.executable, str(STAND_IN), json.dumps({"load": load or [""]}))
    pool = PoolConfig(name="interactive", lanes=lanes, memory_cap="1Gi", kind=PoolKind.INTERACTIVE)
    pools = InteractivePools((pool,), folder / "lanes", worker=worker)
    found = models or FoundModels()
    async with running_agent(
        folder,
        clock=clock,
        interactive_lanes=pools,
        models=found,
        allow=allow,
        memory_short=memory_short,
        burning_seconds=burning_seconds,
    ) as agent:
        yield agent
    await pools.close()


@pytest.fixture
async def agent(tmp_path: Path) -> AsyncIterator[Agent]:
    async with agent_with_lanes(tmp_path) as running:
        yield running


def lane_request(
    uid: str = "endpoint-1", generation: int = 1, lease_seconds: int = 60, extra: dict[str, object] | None = None,
    model_digest: str | None = None, **changes: object,
) -> LaneRequest:  # fmt: skip
    spec = EndpointLaneSpec.model_validate(
        {
            "namespace": "speech",
            "endpoint": EndpointRef(name="captions", uid=uid),
            "generation": generation,
            "task": Task.TRANSCRIBE,
            "contract": CONTRACT,
            "contract_digest": digest_of(CONTRACT),
            "model": ModelSource(builtin=BuiltinModel(name=BuiltinName.COMMANDS)),
            "memory_cap": "512Mi",
            "max_sessions": 2,
            "max_turn_seconds": 30,
            **changes,
        }
    )
    content = spec.dump() | (extra or {})
    return LaneRequest(
        spec_digest=digest_of(content),
        spec=content,
        lease_seconds=lease_seconds,
        uri_prefixes=("file:///data/open/",),
        model_digest=model_digest,
    )


REQUEST = lane_request()


def path_of(request: LaneRequest) -> str:
    spec = EndpointLaneSpec.load(request.spec)
    return f"/v1/lanes/{spec.endpoint.uid}/{spec.generation}"


async def put(agent: Agent, request: LaneRequest, epoch: int = 1, path: str | None = None) -> httpx.Response:
    return await agent.http.put(path or path_of(request), json=request.dump(), headers=agent.headers(epoch=epoch))


async def delete(agent: Agent, path: str) -> int:
    return (await agent.http.delete(path, headers=agent.headers())).status_code


async def status(agent: Agent, path: str) -> LaneStatus | None:
    answer = await agent.http.get(path)
    return None if answer.status_code == 404 else LaneStatus.load(answer.json())


async def until(agent: Agent, state: str | None, path: str = "/v1/lanes/endpoint-1/1") -> LaneStatus:
    """Waits until the lane has this state; None: until it is gone."""
    async with asyncio.timeout(TIMEOUT_SECONDS):
        while True:
            found = await status(agent, path)
            if (None if found is None else found.state) == state:
                return found or LaneStatus(
                    endpoint_uid="", generation=0, spec_digest="", namespace="", endpoint="", state="Deleting"
                )
            await asyncio.sleep(0.01)


def loads(agent: Agent, slot: int = 0) -> int:
    file = agent.folder / "lanes" / f"interactive-{slot}" / "loads"
    return len(file.read_text()) if file.exists() else 0


async def test_turns_are_counted_for_as_long_as_the_lane_is_there(agent: Agent) -> None:
    key = LaneKey("endpoint-1", 1)
    await put(agent, REQUEST)
    ready = await until(agent, "Ready")
    assert ready.latency is not None and ready.latency.kinds == ()
    place = agent.lanes.place(key)
    assert isinstance(place, SessionPlace)
    with place:
        for milliseconds in (400, 1_500):
            place.measured(a_turn(milliseconds, wait=100))
    told = (await until(agent, "Ready")).latency
    assert told is not None and told.since == ready.latency.since
    assert [(kind.latency, kind.turns, kind.wait.sum_milliseconds) for kind in told.kinds] == [("FinalText", 2, 200)]


async def test_a_lane_is_loaded_once_serves_and_is_deleted(agent: Agent) -> None:
    first = await put(agent, REQUEST)
    assert first.status_code == 200 and first.json()["state"] == "Loading"
    again = await put(agent, REQUEST)
    assert again.status_code == 200
    ready = await until(agent, "Ready")
    assert (ready.lane, ready.model_digest, ready.sample_rate_hz) == ("interactive-0", MODEL.digest, 16_000)
    assert (await put(agent, REQUEST)).json()["state"] == "Ready" and loads(agent) == 1
    limits = (agent.folder / "lanes" / "interactive-0" / "limits").read_text()
    assert json.loads(limits) == {"most_sessions": 2, "max_turn_milliseconds": 30_000}

    lane = agent.lanes.lane(LaneKey("endpoint-1", 1))
    assert lane is not None and lane.pid is not None
    pid = lane.pid
    session = lane.open_hearing(OPEN_HEARING)
    facts = MachineFacts.load((await agent.http.get("/v1/machine")).json())
    assert Capability.ENDPOINT_LANES in facts.capabilities
    assert [(one.key, one.sessions) for one in facts.endpoint_lanes] == [(LaneKey("endpoint-1", 1), 1)]
    families = {
        family.name: family for family in text_string_to_metric_families((await agent.http.get("/metrics")).text)
    }
    states = {s.labels["state"]: s.value for s in families["voxfleet_agent_endpoint_lanes"].samples}
    assert states == {"Loading": 0, "Ready": 1, "Failed": 0, "Deleting": 0}
    assert [sample.value for sample in families["voxfleet_agent_open_sessions"].samples] == [1]

    assert await delete(agent, path_of(REQUEST)) == 202
    assert agent.lanes.lane(LaneKey("endpoint-1", 1)) is None, "a lane that ends takes no session"
    end = [event async for event in session.events()][-1]
    assert end.model_dump()["failure_class"] == FailureClass.MACHINE_RETURNED
    await until(agent, None)
    assert not psutil.pid_exists(pid)
    assert await delete(agent, path_of(REQUEST)) == 204
    late = await put(agent, REQUEST)
    assert late.status_code == 410 and Problem.load(late.json()).held_generation == 1
    assert LaneList.load((await agent.http.get("/v1/lanes")).json()).lanes == ()


async def test_calls_are_refused_in_the_order_of_the_protocol(agent: Agent) -> None:
    path, body = path_of(REQUEST), REQUEST.dump()
    await put(agent, REQUEST, epoch=5)
    wrong = [
        (agent.headers(token="wrong", control_plane="other", epoch=1), 401),  # noqa: S106 -- it is none
        (agent.headers(control_plane="other", epoch=1), 403),
        (agent.headers(epoch=4), 412),
    ]
    for headers, code in wrong:
        for call in (agent.http.put(path, json=body, headers=headers), agent.http.delete(path, headers=headers)):
            assert (await call).status_code == code
    old = Problem.load((await agent.http.put(path, json=body, headers=agent.headers(epoch=4))).json())
    assert old.held_epoch == 5
    current = agent.headers(epoch=5)
    assert (await agent.http.put(path, json={}, headers=current)).status_code == 400
    assert (await agent.http.put("/v1/lanes/a_b/1", json=body, headers=current)).status_code == 400
    assert (await agent.http.put("/v1/lanes/endpoint-1/x", json=body, headers=current)).status_code == 400
    assert (await agent.http.get("/v1/lanes", headers={"Authorization": "Bearer no"})).status_code == 401
    other = lane_request(max_sessions=3)
    assert (await put(agent, other, epoch=5)).status_code == 409, "another spec of the same generation"
    busy = await put(agent, lane_request(uid="endpoint-2"), epoch=5)
    assert busy.status_code == 429 and int(busy.headers["Retry-After"]) > 0


async def test_a_lane_that_this_agent_cannot_keep_warm_is_refused(agent: Agent) -> None:
    secret = VoiceReference(uri="file:///data/secret/voice.wav", text="one")
    stolen = Synthesis(mode=SynthesisMode.CUSTOM_VOICE, reference=secret)
    for request, path, says in (
        (lane_request(extra={"surprise": 1}), path_of(REQUEST), "does not understand the spec"),
        (REQUEST.model_copy(update={"spec_digest": "sha256:" + "0" * 64}), path_of(REQUEST), "specDigest is"),
        (lane_request(contract_digest="sha256:" + "0" * 64), path_of(REQUEST), "contractDigest is"),
        (REQUEST, "/v1/lanes/endpoint-1/2", "the path says endpoint-1.2"),
        (lane_request(memory_cap="2Gi"), path_of(REQUEST), "at most 1024 MiB"),
        (lane_request(task=Task.SYNTHESIZE), path_of(REQUEST), "carries its own settings"),
        (lane_request(model=ModelSource(uri="file:///data/secret/")), path_of(REQUEST), "for the job's namespace"),
        (lane_request(task=Task.SYNTHESIZE, synthesis=stolen), path_of(REQUEST), "for the job's namespace"),
    ):
        answer = await put(agent, request, path=path)
        assert (answer.status_code, says in answer.json()["message"]) == (422, True), (says, answer.json())
    assert await status(agent, path_of(REQUEST)) is None and loads(agent) == 0


async def test_an_agent_without_an_interactive_pool_says_so(tmp_path: Path) -> None:
    async with running_agent(tmp_path) as agent:
        answer = await put(agent, REQUEST)
        assert answer.status_code == 422 and "no pool of kind Interactive" in answer.json()["message"]


async def test_deleting_a_lane_that_loads_leaves_no_child(tmp_path: Path) -> None:
    async with agent_with_lanes(tmp_path, load=["hang", ""]) as agent:
        await put(agent, REQUEST)
        async with asyncio.timeout(TIMEOUT_SECONDS):
            while loads(agent) == 0:  # noqa: ASYNC110 -- it waits for a process
                await asyncio.sleep(0.01)
        assert await delete(agent, path_of(REQUEST)) == 202
        await until(agent, None)
        await put(agent, lane_request(generation=2))  # the lane is free again
        await until(agent, "Ready", "/v1/lanes/endpoint-1/2")


async def test_a_newer_generation_takes_the_olders_lane(agent: Agent) -> None:
    await put(agent, REQUEST)
    await until(agent, "Ready")
    newer = lane_request(generation=2, max_sessions=5)
    assert (await put(agent, newer)).json()["lane"] == "interactive-0"
    await until(agent, "Ready", path_of(newer))
    assert await status(agent, path_of(REQUEST)) is None
    older = await put(agent, REQUEST)
    assert older.status_code == 409 and Problem.load(older.json()).held_generation == 2
    assert await delete(agent, "/v1/lanes/endpoint-1/1") == 204, "what is deleted is the older generation"
    assert (await status(agent, path_of(newer))) is not None
    assert (await put(agent, REQUEST)).status_code == 410


async def test_a_newer_generation_is_never_told_with_the_olders_child(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    models = FoundModels()
    async with agent_with_lanes(tmp_path, models=models) as agent:
        await put(agent, REQUEST)
        await until(agent, "Ready")
        lane = agent.lanes.lane(LaneKey("endpoint-1", 1))
        assert lane is not None and lane.pid is not None
        pid, remove, lived = lane.pid, agent.scratch.remove_attempt, []

        async def note_and_remove(key: AttemptKey) -> int:
            lived.append(psutil.pid_exists(pid))
            return await remove(key)

        monkeypatch.setattr(agent.scratch, "remove_attempt", note_and_remove)
        session = lane.open_hearing(OPEN_HEARING)
        models.gate.clear()
        newer = lane_request(generation=2, max_sessions=5)
        at_once = LaneStatus.load((await put(agent, newer)).json())
        assert (at_once.state, at_once.model_digest, at_once.sessions) == ("Loading", None, 0)
        async with asyncio.timeout(TIMEOUT_SECONDS):
            end = [event async for event in session.events()][-1]
        assert end.model_dump()["failure_class"] == FailureClass.MACHINE_RETURNED
        await until(agent, None)
        assert lived == [False], "the voice's recording stays for as long as a child that reads it"
        loading = await status(agent, path_of(newer))
        assert loading is not None and (loading.state, loading.model_digest) == ("Loading", None)
        assert agent.lanes.lane(LaneKey("endpoint-1", 2)) is None and loads(agent) == 1

        newest = lane_request(generation=3, max_sessions=4)
        await put(agent, newest)
        await until(agent, None, path_of(newer))
        models.gate.set()
        ready = await until(agent, "Ready", path_of(newest))
        assert ready.model_digest == MODEL.digest and loads(agent) == 2
        limits = (agent.folder / "lanes" / "interactive-0" / "limits").read_text()
        assert json.loads(limits)["most_sessions"] == 4


async def test_a_load_that_was_left_behind_touches_no_lane_that_is_anothers_by_now(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Stubborn(FoundModels):
        """The first model takes as long as it takes, whoever cancels it."""

        async def resolve(self, source: ModelSource, storage: Storage) -> ResolvedModel:
            self.resolved += 1
            while self.resolved == 1 and not self.gate.is_set():
                with suppress(asyncio.CancelledError):
                    await self.gate.wait()
            return MODEL

    monkeypatch.setattr(lane_holding, "STOP_SECONDS", 0.05)
    models = Stubborn()
    models.gate.clear()
    async with agent_with_lanes(tmp_path, models=models) as agent:
        await put(agent, REQUEST)
        async with asyncio.timeout(TIMEOUT_SECONDS):
            while models.resolved == 0:  # noqa: ASYNC110 -- a task comes there
                await asyncio.sleep(0.01)
        (left_behind,) = [task for task in asyncio.all_tasks() if "LaneHolding._load" in repr(task)]
        await delete(agent, path_of(REQUEST))
        await until(agent, None)
        models.resolved += 1
        other = lane_request(uid="endpoint-2")
        await put(agent, other)
        await until(agent, "Ready", path_of(other))
        models.gate.set()
        await asyncio.wait({left_behind}, timeout=TIMEOUT_SECONDS)
        assert left_behind.done() and loads(agent) == 1
        assert (await until(agent, "Ready", path_of(other))).lane == "interactive-0"


async def test_a_lane_that_nobody_renews_is_unloaded_and_a_put_brings_it_back(tmp_path: Path) -> None:
    clock = ManualClock()
    async with agent_with_lanes(tmp_path, clock=clock) as agent:
        await put(agent, REQUEST)
        await until(agent, "Ready")
        for _ in range(3):
            clock.advance(59)
            renewed = await agent.http.post("/v1/renew", json={"lanes": True}, headers=agent.headers())
            assert RenewAnswer.load(renewed.json()).renewed_lanes == 1
        await agent.lanes.watch()
        assert (await until(agent, "Ready")).state == "Ready"
        clock.advance(60)
        renewed = await agent.http.post("/v1/renew", json={"lanes": True}, headers=agent.headers())
        assert RenewAnswer.load(renewed.json()).renewed_lanes is None, "a renewal that comes too late revives nothing"
        await until(agent, None)
        assert (await put(agent, REQUEST)).status_code == 200
        await until(agent, "Ready")


async def test_an_operator_that_knows_no_lanes_renews_none(tmp_path: Path) -> None:
    """One that was rolled back: it could not delete them either."""
    clock = ManualClock()
    async with agent_with_lanes(tmp_path, clock=clock) as agent:
        await put(agent, REQUEST)
        await until(agent, "Ready")
        clock.advance(59)
        renewed = await agent.http.post("/v1/renew", json={}, headers=agent.headers())
        assert renewed.status_code == 200 and RenewAnswer.load(renewed.json()).renewed_lanes is None
        clock.advance(1)
        await until(agent, None)


async def test_a_mac_that_closes_ends_its_lanes_and_takes_none(tmp_path: Path) -> None:
    async with agent_with_lanes(tmp_path, lanes=2) as agent:
        await put(agent, REQUEST)
        await until(agent, "Ready")
        await agent.http.post("/v1/renew", json={"takesNothing": True}, headers=agent.headers())
        assert (await put(agent, lane_request(uid="endpoint-2"))).status_code == 503
        assert (await put(agent, REQUEST)).status_code == 200, "what it has goes on"
        await agent.http.post("/v1/renew", json={"stopAfterSeconds": 0}, headers=agent.headers())
        await until(agent, None)


async def test_a_killed_child_is_told_and_replaced(agent: Agent) -> None:
    await put(agent, REQUEST)
    await until(agent, "Ready")
    lane = agent.lanes.lane(LaneKey("endpoint-1", 1))
    assert lane is not None and lane.pid is not None
    os.kill(lane.pid, signal.SIGKILL)
    loading = await until(agent, "Loading")
    assert loading.failure is not None and loading.failure.failure_class is FailureClass.GPU_ABORT_OUT_OF_MEMORY
    ready = await until(agent, "Ready")
    assert ready.failure is None and loads(agent) == 2


async def test_a_lane_that_failed_tries_again_after_a_while(tmp_path: Path) -> None:
    clock, models = ManualClock(), FoundModels()
    models.error = VoxFleetError(FailureClass.MODEL_UNAVAILABLE, "no such weights")
    async with agent_with_lanes(tmp_path, clock=clock, models=models) as agent:
        await put(agent, REQUEST)
        failed = await until(agent, "Failed")
        assert failed.failure is not None and failed.lane is None
        assert (failed.failure.failure_class, failed.failure.message) == ("ModelUnavailable", "no such weights")
        other = lane_request(uid="endpoint-2")
        models.error = None
        assert (await put(agent, REQUEST)).json()["state"] == "Failed" and models.resolved == 1, "too soon"
        clock.advance(2)
        assert (await put(agent, REQUEST)).json()["state"] == "Loading"
        await until(agent, "Ready")
        assert (await put(agent, other)).status_code == 429


async def test_a_lane_that_nothing_keeps_warm_any_more_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unforeseen(*_: object) -> int:
        raise ZeroDivisionError

    clock = ManualClock()
    async with agent_with_lanes(tmp_path, clock=clock) as agent:
        await put(agent, REQUEST)
        await until(agent, "Ready")
        lane = agent.lanes.lane(LaneKey("endpoint-1", 1))
        assert lane is not None and lane.pid is not None
        with monkeypatch.context() as patch:
            patch.setattr(interactive_lane, "early_ends", unforeseen)
            os.kill(lane.pid, signal.SIGKILL)
            failed = await until(agent, "Failed")
        assert failed.failure is not None and failed.lane is None
        assert failed.failure.failure_class is FailureClass.RUNTIME_MISMATCH
        assert "ZeroDivisionError" in failed.failure.message
        clock.advance(2)
        await put(agent, REQUEST)
        await until(agent, "Ready")


async def test_the_lanes_of_an_endpoint_load_one_model(agent: Agent) -> None:
    await put(agent, lane_request(model_digest="sha256:" + "f" * 64))
    failed = await until(agent, "Failed")
    assert failed.failure is not None and failed.failure.failure_class is FailureClass.MODEL_MISMATCH
    assert MODEL.digest in failed.failure.message


async def test_a_voices_recording_stays_in_scratch_for_as_long_as_its_lane(tmp_path: Path) -> None:
    voices = tmp_path / "voices"
    voices.mkdir()
    (voices / "voice.wav").write_bytes(b"x" * 100)
    reference = VoiceReference(uri=(voices / "voice.wav").as_uri(), text="one")
    synthesis = Synthesis(mode=SynthesisMode.CUSTOM_VOICE, reference=reference)
    request = lane_request(task=Task.SYNTHESIZE, synthesis=synthesis).model_copy(
        update={"uri_prefixes": (f"{voices.as_uri()}/",)}
    )
    async with agent_with_lanes(tmp_path, allow=(f"{voices.as_uri()}/",)) as agent:
        await put(agent, request)
        await until(agent, "Ready")
        kept = tmp_path / "scratch" / "attempts" / "endpoint-1.1" / "reference"
        await agent.supervisor.sweep()
        assert kept.read_bytes() == b"x" * 100 and agent.scratch.reserved_bytes == 100
        await delete(agent, path_of(request))
        await until(agent, None)
        assert not kept.parent.exists() and agent.scratch.reserved_bytes == 0


async def test_scratch_that_cannot_be_removed_ends_neither_the_agent_nor_a_lane(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    models = FoundModels()
    models.error = VoxFleetError(FailureClass.MODEL_UNAVAILABLE, "no such weights")
    async with agent_with_lanes(tmp_path, models=models) as agent:
        remove, removed = agent.scratch.remove_attempt, []

        async def refuse(key: AttemptKey) -> int:
            raise OSError(errno.EIO, "the disk says no")

        async def note_and_remove(key: AttemptKey) -> int:
            removed.append(key)
            return await remove(key)

        monkeypatch.setattr(agent.scratch, "remove_attempt", refuse)
        await put(agent, REQUEST)
        assert (await until(agent, "Failed")).lane is None
        assert await delete(agent, path_of(REQUEST)) == 202
        await until(agent, None)
        models.error = None
        newer = lane_request(generation=2)
        await put(agent, newer)
        await until(agent, "Ready", path_of(newer))
        monkeypatch.setattr(agent.scratch, "remove_attempt", note_and_remove)
        await agent.lanes.sweep()
        await agent.lanes.sweep()
        assert removed == [AttemptKey("endpoint-1", 1)]


async def test_what_was_deleted_stays_so_over_a_restart_and_lanes_do_not(tmp_path: Path) -> None:
    clock = ManualClock()
    async with agent_with_lanes(tmp_path, clock=clock, lanes=2) as agent:
        other = lane_request(uid="endpoint-2", generation=3)
        await put(agent, REQUEST)
        await until(agent, "Ready")
        assert await delete(agent, path_of(other)) == 204, "a lane that was never seen, too"
    async with agent_with_lanes(tmp_path, clock=clock, lanes=2) as agent:
        assert LaneList.load((await agent.http.get("/v1/lanes")).json()).lanes == ()
        assert (await put(agent, other)).status_code == 410
        assert (await put(agent, REQUEST)).status_code == 200
        await until(agent, "Ready")
        clock.advance(TOMBSTONE_DAYS * 86_400 + 1)
        await agent.lanes.sweep()
        assert (await put(agent, other)).status_code == 200


async def test_the_time_of_a_lane_is_signed_by_what_it_was_held_for(tmp_path: Path) -> None:
    clock = ManualClock()
    async with agent_with_lanes(tmp_path, load=["hang", ""], clock=clock) as agent:
        await put(agent, lane_request(billing_key="team-speech"))
        async with asyncio.timeout(TIMEOUT_SECONDS):
            while loads(agent) == 0:  # noqa: ASYNC110 -- it waits for a process
                await asyncio.sleep(0.01)
        clock.advance(3)
        await agent.lanes.tick()
        assert await agent.journal.read(lambda db: [hold.milliseconds for hold in lane_holds.load_all(db)]) == [3000]
        await delete(agent, path_of(REQUEST))
        await until(agent, None)

        served = lane_request(generation=2, billing_key="team-speech")
        await put(agent, served)
        await until(agent, "Ready", path_of(served))
        clock.advance(10)
        lane = agent.lanes.lane(LaneKey("endpoint-1", 2))
        assert lane is not None and lane.pid is not None
        session = lane.open_hearing(OPEN_HEARING)
        await agent.lanes.tick()
        clock.advance(5)
        session.cancel()
        [event async for event in session.events()]
        os.kill(lane.pid, signal.SIGKILL)
        await until(agent, "Loading", path_of(served))
        clock.advance(2)
        await until(agent, "Ready", path_of(served))
        clock.advance(7)
        newer = lane_request(generation=3, billing_key="team-speech")
        await put(agent, newer)  # takes the lane over
        await until(agent, "Ready", path_of(newer))
        clock.advance(1)
        await delete(agent, path_of(newer))
        await until(agent, None, path_of(newer))
        page = await agent.ledger()
    verify(page.rows, agent.key.public_key())
    rows = [item.row for item in page.rows]
    assert {(row.held_for.kind, row.held_for.name, row.billing_key, row.price_class, row.lane) for row in rows} == {
        ("VoiceEndpoint", "captions", "team-speech", "Interactive", "interactive-0")
    }
    assert {row.control_plane for row in rows} == {agent.supervisor.bound.control_plane}
    spent = [(row.attempt, str(row.activity), row.monotonic_milliseconds) for row in rows if row.monotonic_milliseconds]
    assert spent == [(1, "Setup", 3000), (2, "Idle", 10_000), (2, "Work", 5000), (2, "Setup", 2000),
                     (2, "Idle", 7000), (3, "Idle", 1000)]  # fmt: skip


async def test_a_restarted_agent_signs_what_its_killed_process_held_a_lane_for(tmp_path: Path) -> None:
    clock = ManualClock()
    async with agent_with_lanes(tmp_path, clock=clock) as agent:
        await put(agent, REQUEST)
        await until(agent, "Ready")
        clock.advance(3)
        await agent.lanes.tick()
        (left,) = await agent.journal.read(lane_holds.load_all)
    async with agent_with_lanes(tmp_path / "other", clock=clock) as agent:
        await agent.journal.write(lambda db: lane_holds.save(db, left))  # as the killed process leaves it behind
    async with agent_with_lanes(tmp_path / "other", clock=clock) as agent:
        (signed,) = (await agent.ledger()).rows
        assert (signed.row.activity, signed.row.monotonic_milliseconds) == (Activity.IDLE, 3000)
        assert signed.row.held_for == RowOwner(
            kind="VoiceEndpoint", namespace="speech", name="captions", uid="endpoint-1"
        )
