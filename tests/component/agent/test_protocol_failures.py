"""Requests that the protocol refuses, and failures of attempts and of the agent."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import json
import sqlite3
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest
from starlette.requests import Request
from starlette.types import Message
from tests.component.agent import agent_rig
from tests.component.agent.agent_rig import (
    COMMIT,
    CONTROL_PLANE,
    REQUEST,
    TIMEOUT_SECONDS,
    TOKEN,
    Agent,
    ControlledStage,
    StubLane,
    plan_spec,
    process_spec,
    request_for,
    running_agent,
)

from voxfleet_agent.attempts import execution
from voxfleet_agent.journal import attempt_table
from voxfleet_agent.server.responses import RequestRefused, read_body
from voxfleet_agent.stages.stage_context import StageContext
from voxfleet_agent.storage import Storage
from voxfleet_api.attempt_spec import AttemptKey, PlanSource
from voxfleet_api.failures import FailureClass, VoxFleetError
from voxfleet_api.kinds.job_input import JobInput, ManifestInput
from voxfleet_api.kinds.job_source import SourceSelect
from voxfleet_api.protocol import AttemptRequest, AttemptState, Problem, S3Credentials, ShardResult


async def test_a_failure_of_a_class_fails_the_attempt_with_it(agent: Agent) -> None:
    await agent.put(REQUEST)
    agent.stage.answers.put_nowait(VoxFleetError(FailureClass.MODEL_MISMATCH, "the model changed"))
    failure = (await agent.until(REQUEST, "Failed")).failure
    assert failure is not None and failure.failure_class is FailureClass.MODEL_MISMATCH
    assert failure.message == "the model changed"


async def test_an_unforeseen_error_fails_the_attempt_and_reveals_no_speech(agent: Agent) -> None:
    await agent.put(REQUEST)
    group = ExceptionGroup("clips", [VoxFleetError(FailureClass.THROTTLED, "slow down")])
    agent.stage.answers.put_nowait(KeyError("a clip's name"))
    failure = (await agent.until(REQUEST, "Failed")).failure
    assert failure is not None and failure.failure_class is FailureClass.RUNTIME_MISMATCH
    assert "KeyError" in failure.message and "clip" not in failure.message
    second = request_for(process_spec("shard-2"))
    await agent.put(second)
    agent.stage.answers.put_nowait(group)
    failure = (await agent.until(second, "Failed")).failure
    assert failure is not None and failure.failure_class is FailureClass.THROTTLED


async def test_a_full_disk_is_reported_as_such_from_within_an_exception_group(agent: Agent) -> None:
    await agent.put(REQUEST)
    agent.stage.answers.put_nowait(ExceptionGroup("clips", [OSError(errno.ENOSPC, "no space")]))
    failure = (await agent.until(REQUEST, "Failed")).failure
    assert failure is not None and failure.failure_class is FailureClass.SCRATCH_EXHAUSTED


async def test_an_agent_that_must_end_records_no_failure_of_other_attempts(agent: Agent) -> None:
    await agent.put(REQUEST)
    await agent.stage_entered()
    live = agent.supervisor.attempt(AttemptKey("shard-1", 1))
    assert live is not None and live.task is not None
    agent.supervisor.fail(RuntimeError("another attempt does not stop"))
    # The error of a lane that the ending agent kills.
    agent.stage.answers.put_nowait(VoxFleetError(FailureClass.LANE_CRASHED, "the agent stopped the lane"))
    await asyncio.wait({live.task}, timeout=TIMEOUT_SECONDS)
    status = await agent.status(REQUEST)
    assert status.state is AttemptState.RUNNING and status.failure is None
    assert isinstance(agent.supervisor.failed.exception(), RuntimeError)


async def test_a_deletion_that_cannot_end_ends_the_agent(agent: Agent, monkeypatch: pytest.MonkeyPatch) -> None:
    await agent.put(REQUEST)
    agent.stage.answers.put_nowait(COMMIT)
    await agent.until(REQUEST, "Succeeded")
    key = AttemptKey("shard-1", 1)

    def full(db: sqlite3.Connection, gone: AttemptKey) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr(attempt_table, "delete", full)
    with pytest.raises(sqlite3.OperationalError):
        await agent.supervisor.delete(key)
    assert isinstance(agent.supervisor.failed.exception(), sqlite3.OperationalError)  # the next process deletes it


async def test_a_folder_that_does_not_answer_delays_only_its_own_put(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = threading.Event()

    def waits(credentials: S3Credentials | None, namespace: Sequence[str] | None) -> Storage:
        answers.wait(TIMEOUT_SECONDS)
        return Storage(("file:///data/",), credentials)

    monkeypatch.setattr(agent_rig, "open_storage", waits)
    async with running_agent(tmp_path) as agent:
        waiting = asyncio.create_task(agent.put(REQUEST))
        renewed = await agent.http.post("/v1/renew", headers=agent.headers())
        assert renewed.status_code == 200 and not waiting.done()
        answers.set()
        assert (await waiting).status_code == 200


async def test_callers_are_checked(agent: Agent) -> None:
    assert (await agent.put(REQUEST, token=TOKEN[:-1])).status_code == 401
    assert (await agent.http.get("/v1/attempts", headers={"Authorization": ""})).status_code == 401
    assert (await agent.http.get("/v1/attempts", headers={"Authorization": f"Basic {TOKEN}"})).status_code == 401
    assert (await agent.put(REQUEST, epoch=5)).status_code == 200
    other = await agent.put(REQUEST, control_plane="someone-else", epoch=9)
    assert other.status_code == 403 and Problem.load(other.json()).owner == CONTROL_PLANE
    old = await agent.put(REQUEST, epoch=4)
    assert old.status_code == 412 and Problem.load(old.json()).held_epoch == 5
    assert (await agent.http.post("/v1/renew")).status_code == 400
    assert (await agent.http.post("/v1/renew", headers=agent.headers(epoch=4))).status_code == 412


def unfit_requests() -> dict[str, tuple[AttemptRequest, FailureClass, str]]:
    spec = process_spec()
    return {
        "unknown field": (request_for(spec, shiny=1), FailureClass.RUNTIME_MISMATCH, "upgrade this Mac"),
        "a float": (
            request_for(spec).model_copy(update={"spec": spec.dump() | {"x": 0.5}}),
            FailureClass.RUNTIME_MISMATCH,
            "float",
        ),
        "wrong digest": (
            request_for(spec).model_copy(update={"spec_digest": "sha256:" + "9" * 64}),
            FailureClass.RUNTIME_MISMATCH,
            "specDigest",
        ),
        "wrong contract digest": (
            request_for(spec, contractDigest="sha256:" + "9" * 64),
            FailureClass.RUNTIME_MISMATCH,
            "contractDigest",
        ),
        "another stage's order": (request_for(spec, stage="Plan"), FailureClass.RUNTIME_MISMATCH, "order"),
        "an address outside": (
            request_for(spec, outputFolder="file:///etc/out"),
            FailureClass.ACCESS_DENIED,
            "`allow`",
        ),
    }


@pytest.mark.parametrize("name", list(unfit_requests()))
async def test_a_spec_that_cannot_run_here_is_refused_with_its_class(agent: Agent, name: str) -> None:
    request, failure_class, word = unfit_requests()[name]
    answer = await agent.put(request)
    problem = Problem.load(answer.json())
    assert answer.status_code == 422 and problem.failure_class is failure_class and word in problem.message
    assert (await agent.http.get("/v1/attempts")).json()["attempts"] == []


async def test_a_spec_that_only_another_operator_sends_is_not_the_job_s_fault(agent: Agent) -> None:
    other_attempt = request_for(process_spec("shard-2"))
    answer = await agent.http.put("/v1/attempts/shard-1/1", json=other_attempt.dump(), headers=agent.headers())
    assert answer.status_code == 422 and Problem.load(answer.json()).failure_class is FailureClass.RUNTIME_MISMATCH
    body = other_attempt.dump()
    body["spec"]["billingKey"] = "\ud800"
    headers = agent.headers() | {"Content-Type": "application/json"}
    answer = await agent.http.put("/v1/attempts/shard-2/1", content=json.dumps(body), headers=headers)
    problem = Problem.load(answer.json())
    assert answer.status_code == 422 and problem.failure_class is FailureClass.RUNTIME_MISMATCH
    assert "specDigest: what came is not UTF-8" in problem.message


async def test_a_plan_input_outside_the_allowed_prefixes_is_refused(agent: Agent) -> None:
    answer = await agent.put(request_for(plan_spec(uri="file:///etc/")))
    assert answer.status_code == 422 and Problem.load(answer.json()).failure_class is FailureClass.ACCESS_DENIED


async def test_a_namespace_bounds_all_that_an_attempt_names_and_the_newest_put_counts(agent: Agent) -> None:
    def within(*prefixes: str) -> AttemptRequest:
        return REQUEST.model_copy(update={"uri_prefixes": prefixes})

    for prefixes in ((), ("file:///data/in/",), ("file:///etc/", "file:///data/output/"), ("file:///data/../",)):
        answer = await agent.put(within(*prefixes))
        problem = Problem.load(answer.json())
        assert answer.status_code == 422 and problem.failure_class is FailureClass.ACCESS_DENIED, prefixes
        assert "spec.access of the MacAgent" in problem.message
    assert (await agent.put(within("file:///", "file:///data/../"))).status_code == 200
    storage = (await agent.stage.entered.get()).storage
    storage.check("file:///data/theirs/x")
    assert (await agent.put(within("file:///data/out/"))).status_code == 200
    storage.check("file:///data/out/x")
    with pytest.raises(VoxFleetError, match=r"spec\.access of the MacAgent"):
        storage.check("file:///data/theirs/x")


async def test_an_operator_that_bounds_nothing_plans_no_manifest(agent: Agent) -> None:
    planned = plan_spec()
    assert planned.plan is not None
    by_manifest = JobInput(manifest=ManifestInput(uri="file:///data/in/m.jsonl"))
    spec = planned.model_copy(update={"plan": planned.plan.model_copy(update={"input": by_manifest})})
    answer = await agent.put(request_for(spec))
    problem = Problem.load(answer.json())
    assert answer.status_code == 422 and problem.failure_class is FailureClass.RUNTIME_MISMATCH
    assert "upgrade the operator" in problem.message
    assert (await agent.put(request_for(planned))).status_code == 200
    bounded = request_for(spec.model_copy(update={"attempt": 2})).model_copy(
        update={"uri_prefixes": ("file:///data/",)}
    )
    assert (await agent.put(bounded)).status_code == 200


async def test_the_earlier_job_of_a_rerun_must_be_open_to_the_namespace(agent: Agent) -> None:
    planned = plan_spec()
    assert planned.plan is not None
    source = PlanSource(
        folder="file:///data/theirs/night-12345678", index_sha256="a" * 64, plan_attempt=1, select=SourceSelect.FAILED
    )
    rerun = planned.plan.model_copy(update={"input": None, "source": source})
    request = request_for(planned.model_copy(update={"plan": rerun}))
    for prefixes, expected in (
        (None, FailureClass.RUNTIME_MISMATCH),
        (("file:///data/out/",), FailureClass.ACCESS_DENIED),
    ):
        answer = await agent.put(request.model_copy(update={"uri_prefixes": prefixes}))
        assert answer.status_code == 422 and Problem.load(answer.json()).failure_class is expected
    assert (await agent.put(request.model_copy(update={"uri_prefixes": ("file:///data/",)}))).status_code == 200


async def test_bad_requests_get_a_problem(agent: Agent) -> None:
    url = "/v1/attempts/shard-1/1"
    for content, status in ((b"{", 400), (b"[]", 400), (b"{}", 400), (b"x" * (4 * 2**20 + 1), 413)):
        answer = await agent.http.put(url, content=content, headers=agent.headers())
        assert answer.status_code == status and Problem.load(answer.json()).message
    for path, status in (("/v1/attempts/shard-1/0", 400), ("/v1/attempts/a_b/1", 400), ("/v1/nothing", 404)):
        answer = await agent.http.get(path)
        assert answer.status_code == status and Problem.load(answer.json()).message
    assert (await agent.http.get("/v1/ledger", params={"limit": "0"})).status_code == 400
    assert (await agent.http.post("/v1/attempts")).status_code == 405


async def test_a_body_that_breaks_off_is_refused_and_no_error_of_the_agent() -> None:
    messages: list[Message] = [
        {"type": "http.request", "body": b"{", "more_body": True},
        {"type": "http.disconnect"},
    ]

    async def receive() -> Message:
        return messages.pop(0)

    request = Request({"type": "http", "method": "PUT", "path": "/v1/attempts/u/1", "headers": []}, receive)
    with pytest.raises(RequestRefused, match="hung up"):
        await read_body(request)


async def test_a_stage_that_does_not_end_is_left_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its attempt parks and is deleted, its lease and those of others expire, and its lane comes back with its end."""
    monkeypatch.setattr(execution, "STOP_SECONDS", 0.05)
    ends = asyncio.Event()
    async with running_agent(tmp_path, lanes=2) as agent:

        async def stubborn(context: StageContext) -> ShardResult:
            agent.stage.entered.put_nowait(context)
            while True:
                with contextlib.suppress(asyncio.CancelledError):
                    await ends.wait()
                    return COMMIT

        other = request_for(process_spec("shard-2"), lease_seconds=10)
        first = request_for(process_spec(), lease_seconds=10)
        with monkeypatch.context() as patch:
            patch.setattr(ControlledStage, "__call__", lambda _, context: stubborn(context))
            await agent.put(first)
            stubborn_lane = (await agent.stage_entered()).lane
        await agent.put(other)
        await agent.stage_entered()
        agent.clock.advance(10)
        await agent.supervisor.watch()
        for request in (first, other):
            await agent.until(request, "Parked")
        assert isinstance(stubborn_lane, StubLane) and stubborn_lane.kills == 1
        assert agent.pools.facts()[0].free_lanes == 1, "nobody else gets the lane of a stage that goes on"
        assert (await agent.http.post("/v1/renew", headers=agent.headers())).json() == {"renewed": 0}

        await agent.put(first)  # resumes on the other lane
        await agent.stage_entered()
        freed = asyncio.Event()
        release = agent.pools.release

        def release_and_tell(lane: StubLane) -> None:
            release(lane)
            freed.set()

        monkeypatch.setattr(agent.pools, "release", release_and_tell)
        ends.set()
        async with asyncio.timeout(TIMEOUT_SECONDS):
            await freed.wait()
        assert (await agent.status(first)).state is AttemptState.RUNNING, "what is left behind changes nothing"
        agent.stage.answers.put_nowait(COMMIT)
        await agent.until(first, "Succeeded")
        assert (await agent.http.delete("/v1/attempts/shard-1/1", headers=agent.headers())).status_code == 204
    assert not agent.supervisor.failed.done()


async def test_with_too_many_stages_left_behind_the_agent_ends(agent: Agent, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(execution, "STOP_SECONDS", 0.05)
    monkeypatch.setattr(execution, "MAX_LEFT_BEHIND", 0)
    ends = asyncio.Event()

    async def stubborn(_: ControlledStage, context: StageContext) -> ShardResult:
        agent.stage.entered.put_nowait(context)
        while True:
            with contextlib.suppress(asyncio.CancelledError):
                await ends.wait()
                return COMMIT

    monkeypatch.setattr(ControlledStage, "__call__", stubborn)
    await agent.put(REQUEST)
    await agent.stage_entered()
    live = agent.supervisor.attempt(AttemptKey("shard-1", 1))
    assert live is not None
    await agent.supervisor.park(live, "a test")
    assert isinstance(agent.supervisor.failed.exception(), RuntimeError)
    ends.set()
