"""The protocol over real HTTP, a real journal and a real ledger; stages and lanes are held by the test."""

from __future__ import annotations

import asyncio
import base64
import errno
import sqlite3
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.component.agent import agent_rig
from tests.component.agent.agent_rig import (
    COMMIT,
    CONTROL_PLANE,
    PATIENCE_SECONDS,
    TOKEN,
    Agent,
    finalize_spec,
    plan_spec,
    process_spec,
    request_for,
    running_agent,
)

from voxfleet_agent.attempts.key import AttemptKey
from voxfleet_agent.journal import attempts, events
from voxfleet_api.digest import canonical_json
from voxfleet_api.failures import FailureClass, VoxFleetError
from voxfleet_api.ledger import IDENTITY_CONTEXT, Activity, ChainHead, public_key, verify
from voxfleet_api.protocol import (
    AttemptRequest,
    AttemptState,
    AttemptStatus,
    EventType,
    Identity,
    LedgerPage,
    MachineFacts,
    Problem,
    identity_claim,
)


@pytest.fixture
async def agent(tmp_path: Path) -> AsyncIterator[Agent]:
    async with running_agent(tmp_path) as running:
        yield running


REQUEST = request_for(process_spec())


async def rows(agent: Agent) -> LedgerPage:
    return LedgerPage.load((await agent.http.get("/v1/ledger")).json())


async def test_an_attempt_from_put_to_sealed_rows(agent: Agent) -> None:
    answer = await agent.put(REQUEST)
    assert answer.status_code == 200 and AttemptStatus.load(answer.json()).state is AttemptState.ACCEPTED
    context = await agent.stage_entered()
    running = await agent.status(REQUEST)
    assert running.state is AttemptState.RUNNING and running.lane == "offline-0"
    agent.clock.advance(2.5)
    context.audio_meter(7000)
    context.progress(2, 4)
    agent.stage.answers.put_nowait(COMMIT)
    ended = await agent.until(REQUEST, "Succeeded")

    assert ended.result == COMMIT and ended.lane is None and ended.progress.done == 2
    assert ended.scratch_high_water_bytes == 100 and ended.scratch_residue_bytes == 0
    assert list(agent.scratch.attempts_path.iterdir()) == [] and agent.scratch.reserved_bytes == 0
    page = await rows(agent)
    assert [(signed.row.activity, signed.row.monotonic_milliseconds) for signed in page.rows] == [
        (Activity.SETUP, 0),
        (Activity.WORK, 2500),
        (Activity.CLEANUP, 0),
    ]
    assert [signed.row.audio_milliseconds for signed in page.rows] == [0, 7000, 0]
    assert {(signed.row.lane, signed.row.billing_key, signed.row.control_plane) for signed in page.rows} == {
        ("offline-0", "team-speech", CONTROL_PLANE)
    }
    assert ended.ledger is not None and (ended.ledger.first_sequence, ended.ledger.last_sequence) == (0, 2)
    head = verify(page.rows, agent.key.public_key())
    assert head is not None and head.sequence == 2
    facts = MachineFacts.load((await agent.http.get("/v1/machine")).json())
    assert facts.pools[0].free_lanes == 1
    assert ChainHead(facts.ledger_chain_id, facts.ledger_sequence, head.hash) == head


async def test_a_failure_of_a_class_fails_the_attempt_with_it(agent: Agent) -> None:
    await agent.put(REQUEST)
    agent.stage.answers.put_nowait(VoxFleetError(FailureClass.MODEL_MISMATCH, "the model changed"))
    failure = (await agent.until(REQUEST, "Failed")).failure
    assert failure is not None and failure.failure_class is FailureClass.MODEL_MISMATCH
    assert failure.message == "the model changed"


async def test_an_unforeseen_error_fails_the_attempt_and_tells_nothing_of_speech(agent: Agent) -> None:
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


async def test_a_full_disk_is_told_as_such_from_within_a_group(agent: Agent) -> None:
    await agent.put(REQUEST)
    agent.stage.answers.put_nowait(ExceptionGroup("clips", [OSError(errno.ENOSPC, "no space")]))
    failure = (await agent.until(REQUEST, "Failed")).failure
    assert failure is not None and failure.failure_class is FailureClass.SCRATCH_EXHAUSTED


async def test_an_agent_that_must_end_records_nothing_of_what_its_end_does_to_others(agent: Agent) -> None:
    await agent.put(REQUEST)
    await agent.stage_entered()
    live = agent.supervisor.attempt(AttemptKey("shard-1", 1))
    assert live is not None and live.task is not None
    agent.supervisor._fail(RuntimeError("another attempt does not stop"))
    # What a lane says when the ending agent kills it.
    agent.stage.answers.put_nowait(VoxFleetError(FailureClass.LANE_CRASHED, "the agent stopped the lane"))
    await asyncio.wait({live.task}, timeout=PATIENCE_SECONDS)
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

    monkeypatch.setattr(attempts, "forget", full)
    with pytest.raises(sqlite3.OperationalError):
        await agent.supervisor.delete(key)
    assert isinstance(agent.supervisor.failed.exception(), sqlite3.OperationalError)  # the next process erases it


async def test_a_folder_that_does_not_answer_holds_up_only_its_own_put(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = threading.Event()

    def waits(uri: str) -> None:
        answers.wait(PATIENCE_SECONDS)

    monkeypatch.setattr(agent_rig, "check_address", waits)
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


async def test_identity_proves_the_ledger_key_without_a_token(agent: Agent) -> None:
    answer = await agent.http.get("/v1/identity", params={"nonce": "n-1"}, headers={"Authorization": ""})
    identity = Identity.load(answer.json())
    assert identity.nonce == "n-1" and identity.control_plane is None
    content = IDENTITY_CONTEXT + canonical_json(identity_claim(identity))

    public_key(identity.public_key).verify(base64.b64decode(identity.signature), content)
    assert (await agent.http.get("/v1/identity")).status_code == 400


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
        "another stage's order": (request_for(spec, stage="Plan"), FailureClass.INVALID_INPUT, "order"),
        "an address outside": (
            request_for(spec, outputFolder="file:///etc/out"),
            FailureClass.ACCESS_DENIED,
            "file:///data/",
        ),
    }


@pytest.mark.parametrize("name", list(unfit_requests()))
async def test_a_spec_that_cannot_run_here_is_refused_with_its_class(agent: Agent, name: str) -> None:
    request, failure_class, word = unfit_requests()[name]
    answer = await agent.put(request)
    problem = Problem.load(answer.json())
    assert answer.status_code == 422 and problem.failure_class is failure_class and word in problem.message
    assert (await agent.http.get("/v1/attempts")).json()["attempts"] == []


async def test_a_plan_input_outside_the_allowed_prefixes_is_refused(agent: Agent) -> None:
    answer = await agent.put(request_for(plan_spec(uri="file:///etc/")))
    assert answer.status_code == 422 and Problem.load(answer.json()).failure_class is FailureClass.ACCESS_DENIED


async def test_a_repeated_put_changes_nothing(agent: Agent) -> None:
    await agent.put(REQUEST)
    await agent.stage_entered()
    again = await agent.put(REQUEST)
    assert again.status_code == 200 and AttemptStatus.load(again.json()).state is AttemptState.RUNNING
    assert agent.stage.entered.empty()
    changed = request_for(process_spec(billing_key="someone-else"))
    other = await agent.put(changed)
    assert other.status_code == 409 and Problem.load(other.json()).held_attempt == 1


async def test_lanes_are_not_overbooked_and_control_work_needs_none(agent: Agent) -> None:
    await agent.put(REQUEST)
    busy = await agent.put(request_for(process_spec("shard-2")))
    assert busy.status_code == 429 and int(busy.headers["Retry-After"]) > 0
    requests = [request_for(plan_spec("p-1")), request_for(plan_spec("p-2")), request_for(finalize_spec("f-1"))]
    for request in requests:
        assert (await agent.put(request)).status_code == 200
    for _ in range(3):  # one lane and two control slots
        await agent.stage_entered()
    states = sorted([(await agent.status(request)).state for request in requests])
    assert states == [AttemptState.ACCEPTED, AttemptState.RUNNING, AttemptState.RUNNING]
    for _ in range(4):
        agent.stage.answers.put_nowait(COMMIT)
    for request in (REQUEST, *requests):
        assert (await agent.until(request, "Succeeded")).state is AttemptState.SUCCEEDED
    assert {signed.row.shard_uid for signed in (await rows(agent)).rows} == {"shard-1"}


async def test_delete_stops_erases_and_leaves_a_tombstone(agent: Agent) -> None:
    await agent.put(REQUEST)
    await agent.stage_entered()
    agent.clock.advance(3)
    path = "/v1/attempts/shard-1/1"
    assert (await agent.http.delete(path, headers=agent.headers())).status_code == 202
    while (await agent.http.delete(path, headers=agent.headers())).status_code == 202:
        pass  # each call is a round trip
    assert agent.pools.lanes[0].kills == 1
    assert (await agent.http.get(path)).status_code == 404
    assert list(agent.scratch.attempts_path.iterdir()) == []
    assert sum(signed.row.monotonic_milliseconds for signed in (await rows(agent)).rows) == 3000
    late = await agent.put(REQUEST)
    assert late.status_code == 410 and Problem.load(late.json()).held_attempt == 1
    assert (await agent.http.delete(path, headers=agent.headers())).status_code == 204
    assert (await agent.put(request_for(process_spec(attempt=2)))).status_code == 200


async def test_a_tombstone_for_a_shard_never_seen(agent: Agent) -> None:
    assert (await agent.http.delete("/v1/attempts/shard-1/3", headers=agent.headers())).status_code == 204
    for attempt, status in ((1, 410), (3, 410), (4, 200)):
        assert (await agent.put(request_for(process_spec(attempt=attempt)))).status_code == status


async def test_a_lease_that_expires_parks_and_the_same_put_resumes(agent: Agent) -> None:
    request = request_for(process_spec(), lease_seconds=10)
    await agent.put(request)
    context = await agent.stage_entered()
    await context.journal.freeze_base(b"base")
    agent.clock.advance(9)
    await agent.supervisor.watch()
    assert (await agent.http.post("/v1/renew", headers=agent.headers())).json() == {"renewed": 1}
    agent.clock.advance(9)
    await agent.supervisor.watch()
    assert (await agent.status(request)).state is AttemptState.RUNNING
    agent.clock.advance(1)
    await agent.supervisor.watch()
    parked = await agent.status(request)
    assert parked.state is AttemptState.PARKED and parked.lane is None
    assert agent.pools.lanes[0].kills == 1 and list(agent.scratch.attempts_path.iterdir()) == []
    assert sum(signed.row.monotonic_milliseconds for signed in (await rows(agent)).rows) == 19_000
    agent.clock.advance(500)  # nobody holds the lane: nothing is billed
    assert (await agent.http.post("/v1/renew", headers=agent.headers())).json() == {"renewed": 0}

    assert AttemptStatus.load((await agent.put(request)).json()).state is AttemptState.ACCEPTED
    resumed = await agent.stage_entered()
    assert await resumed.journal.base() == b"base"
    agent.stage.answers.put_nowait(COMMIT)
    await agent.until(request, "Succeeded")
    assert sum(signed.row.monotonic_milliseconds for signed in (await rows(agent)).rows) == 19_000


async def test_a_newer_attempt_parks_the_older_one(tmp_path: Path) -> None:
    async with running_agent(tmp_path, lanes=2) as agent:
        await agent.put(REQUEST)
        await agent.stage_entered()
        newer = request_for(process_spec(attempt=2))
        assert (await agent.put(newer)).status_code == 200
        assert (await agent.until(REQUEST, "Parked")).attempt == 1
        back = await agent.put(REQUEST)
        assert back.status_code == 409 and Problem.load(back.json()).held_attempt == 2


async def test_a_resumed_attempt_waits_for_its_lane(agent: Agent) -> None:
    first = request_for(process_spec("shard-1"), lease_seconds=10)
    second = request_for(process_spec("shard-2"))
    await agent.put(first)
    await agent.stage_entered()
    agent.clock.advance(10)
    await agent.supervisor.watch()
    await agent.put(second)
    await agent.stage_entered()
    assert (await agent.put(first)).status_code == 200
    assert (await agent.status(first)).state is AttemptState.ACCEPTED
    agent.stage.answers.put_nowait(COMMIT)
    await agent.until(second, "Succeeded")
    await agent.stage_entered()
    assert (await agent.until(first, "Running")).lane == "offline-0"


async def test_events_resume_after_a_cursor_and_are_trimmed_by_an_ack(agent: Agent) -> None:
    start = (await agent.http.get("/v1/attempts")).json()["cursor"]
    await agent.put(REQUEST)
    agent.stage.answers.put_nowait(COMMIT)
    seen = []
    async for event in agent.events(start):
        if event.type is not EventType.HEARTBEAT:
            seen.append(event)
        if event.attempt is not None and event.attempt.state is AttemptState.SUCCEEDED:
            break
    kinds = [event.attempt.state.value if event.attempt else event.row and event.row.row.activity for event in seen]
    assert kinds == ["Accepted", "Running", "Setup", "Work", "Finishing", "Cleanup", "Succeeded"]
    middle = seen[3].cursor
    resumed = []
    async for event in agent.events(middle):
        if event.type is not EventType.HEARTBEAT:
            resumed.append(event)
        if len(resumed) == 3:
            break
    assert resumed == seen[4:]

    ack = await agent.http.post("/v1/events/ack", json={"cursor": middle}, headers=agent.headers())
    assert ack.status_code == 204
    for cursor, status in (
        (middle, 200),
        (start, 410),
        ("other-journal:3", 410),
        (middle + "00", 410),
        (middle + "0" * 5000, 410),
        ("", 410),
    ):
        async with agent.http.stream("GET", "/v1/events", params={"after": cursor}) as response:
            assert response.status_code == status, cursor


async def test_a_list_is_never_older_than_its_cursor(agent: Agent) -> None:
    await agent.put(REQUEST)
    context = await agent.stage_entered()
    context.progress(3, 4)
    held, go = threading.Event(), threading.Event()

    def hold(db: sqlite3.Connection) -> None:
        held.set()
        go.wait(PATIENCE_SECONDS)

    holding = asyncio.create_task(agent.journal.write(hold, wake=False))
    assert await asyncio.to_thread(held.wait, PATIENCE_SECONDS)
    live = agent.supervisor.attempt(AttemptKey("shard-1", 1))
    assert live is not None
    parking = asyncio.create_task(agent.supervisor.park(live, "the test says so"))
    while live.meter is not None:  # noqa: ASYNC110 -- given up as the commit is handed over; nothing tells of it
        await asyncio.sleep(0)
    listing = asyncio.create_task(agent.supervisor.feed.listing())  # its read waits behind the commit
    await asyncio.sleep(0)
    go.set()
    await asyncio.gather(holding, parking)
    listed = await listing
    assert listed.cursor == agent.supervisor.feed.cursor(await agent.journal.read(events.last))
    (status,) = listed.attempts
    assert status.state is AttemptState.PARKED and status.progress.done == 3


async def test_progress_is_told_without_being_journaled(agent: Agent) -> None:
    await agent.put(REQUEST)
    context = await agent.stage_entered()
    cursor = (await agent.http.get("/v1/attempts")).json()["cursor"]
    context.progress(1, 4)
    context.progress(2, 4)
    await agent.supervisor.watch()
    async for event in agent.events(cursor):
        if event.attempt is not None:
            assert event.attempt.progress.done == 2 and event.cursor == cursor
            break


async def test_a_stopping_agent_parks_and_admits_nothing(tmp_path: Path) -> None:
    async with running_agent(tmp_path) as agent:
        await agent.put(REQUEST)
        await agent.stage_entered()
        agent.clock.advance(4)
        await agent.supervisor.shut_down()
        assert (await agent.status(REQUEST)).state is AttemptState.PARKED
        assert (await agent.put(request_for(process_spec("shard-2")))).status_code == 503
        assert (await agent.put(REQUEST)).status_code == 503
        assert (await agent.http.get("/readyz")).status_code == 503
    async with running_agent(tmp_path) as again:
        assert (await again.status(REQUEST)).state is AttemptState.PARKED
        assert sum(signed.row.monotonic_milliseconds for signed in (await rows(again)).rows) == 4000
        assert (await again.put(REQUEST, epoch=0)).status_code == 412  # the binding is durable, too
        assert (await again.put(REQUEST)).status_code == 200
        await again.stage_entered()


async def test_credentials_reach_the_stage_and_never_the_journal(
    agent: Agent, caplog: pytest.LogCaptureFixture
) -> None:
    body = REQUEST.dump() | {"credentials": {"accessKeyId": "AKIA-one", "secretAccessKey": "secret-one"}}
    path = "/v1/attempts/shard-1/1"
    assert (await agent.http.put(path, json=body, headers=agent.headers())).status_code == 200
    await agent.stage_entered()
    live = agent.supervisor.attempt(AttemptKey("shard-1", 1))
    assert live is not None and live.credentials is not None
    assert live.credentials.secret_access_key.get_secret_value() == "secret-one"
    await agent.supervisor.park(live, "the test says so")
    assert "credentials=None" in repr(live)
    written = b"".join(file.read_bytes() for file in (agent.folder / "state").iterdir())
    answers = (await agent.http.get("/v1/attempts")).text + caplog.text
    for secret in ("AKIA-one", "secret-one"):
        assert secret.encode() not in written and secret not in answers


async def test_an_ended_attempt_keeps_its_result_and_nothing_of_its_clips(agent: Agent) -> None:
    await agent.put(REQUEST)
    context = await agent.stage_entered()
    await context.journal.freeze_base(b"base")
    agent.stage.answers.put_nowait(COMMIT)
    assert (await agent.until(REQUEST, "Succeeded")).result == COMMIT
    assert await context.journal.base() is None


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


async def test_metrics_name_no_job(agent: Agent) -> None:
    await agent.put(REQUEST)
    await agent.stage_entered()
    text = (await agent.http.get("/metrics", headers={"Authorization": ""})).text
    assert 'voxfleet_agent_attempts{state="Running"} 1.0' in text
    assert 'voxfleet_agent_free_lanes{pool="offline"} 0.0' in text
    assert "calls" not in text and "shard-1" not in text


async def test_metrics_tell_of_each_lanes_ring(agent: Agent) -> None:
    text = (await agent.http.get("/metrics", headers={"Authorization": ""})).text
    assert 'voxfleet_agent_lane_ring_underruns_total{lane="offline-0"} 3.0' in text
    assert 'voxfleet_agent_lane_ring_resets_total{cause="DecodeError",lane="offline-0"} 2.0' in text
    assert 'voxfleet_agent_lane_restarts_total{cause="Recycled",lane="offline-0"} 1.0' in text
    assert 'voxfleet_agent_lane_ring_high_water_bytes{lane="offline-0"}' in text


async def test_metrics_tell_what_is_retained(agent: Agent) -> None:
    text = (await agent.http.get("/metrics", headers={"Authorization": ""})).text
    assert "voxfleet_agent_quarantine_bytes 7.0" in text and "voxfleet_agent_quarantined_clips 2.0" in text
