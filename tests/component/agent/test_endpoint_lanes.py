"""The warm lanes of endpoints, as an operator asks a real agent for them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from prometheus_client.parser import text_string_to_metric_families
from tests.component.agent.agent_rig import MODEL, TIMEOUT_SECONDS, Agent, ManualClock, running_agent
from tests.component.agent.endpoint_lane_rig import (
    OPEN_HEARING,
    REQUEST,
    FoundModels,
    agent_with_lanes,
    delete,
    lane_request,
    loads,
    path_of,
    put,
    status,
    until,
)

from voxfleet_agent.endpoint_lanes import lane_holding
from voxfleet_agent.models.resolved_model import ResolvedModel
from voxfleet_agent.storage import Storage
from voxfleet_api.attempt_spec import AttemptKey
from voxfleet_api.endpoint_lanes import LaneKey, LaneList, LaneStatus
from voxfleet_api.failures import FailureClass
from voxfleet_api.kinds.job_model import ModelSource
from voxfleet_api.kinds.job_task import Synthesis, SynthesisMode, Task, VoiceReference
from voxfleet_api.machine_messages import Capability, MachineFacts
from voxfleet_api.protocol import Problem, RenewAnswer


@pytest.fixture
async def agent(tmp_path: Path) -> AsyncIterator[Agent]:
    async with agent_with_lanes(tmp_path) as running:
        yield running


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
