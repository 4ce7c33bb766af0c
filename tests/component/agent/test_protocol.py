"""The life of an attempt with real HTTP, journal and ledger; the test controls stages and lanes."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.component.agent.agent_rig import (
    COMMIT,
    CONTROL_PLANE,
    REQUEST,
    Agent,
    finalize_spec,
    plan_spec,
    process_spec,
    request_for,
    running_agent,
)

from voxfleet_api.attempt_spec import AttemptKey
from voxfleet_api.ledger import Activity, ChainHead, RowOwner, verify
from voxfleet_api.machine_messages import MachineFacts
from voxfleet_api.protocol import AttemptState, AttemptStatus, Problem


async def test_an_attempt_from_put_to_sealed_rows(agent: Agent) -> None:
    answer = await agent.put(REQUEST)
    assert answer.status_code == 200 and AttemptStatus.load(answer.json()).state is AttemptState.ACCEPTED
    context = await agent.stage_entered()
    running = await agent.status(REQUEST)
    assert running.state is AttemptState.RUNNING and running.lane == "offline-0"
    agent.clock.advance(2.5)
    context.work_meter(7000, 2)
    context.progress(2, 4)
    agent.stage.answers.put_nowait(COMMIT)
    ended = await agent.until(REQUEST, "Succeeded")

    assert ended.result == COMMIT and ended.lane is None and ended.progress.done == 2
    assert ended.scratch_high_water_bytes == 100 and ended.scratch_residue_bytes == 0
    assert list(agent.scratch.attempts_path.iterdir()) == [] and agent.scratch.reserved_bytes == 0
    page = await agent.ledger()
    assert [(signed.row.activity, signed.row.monotonic_milliseconds) for signed in page.rows] == [
        (Activity.SETUP, 0),
        (Activity.WORK, 2500),
        (Activity.CLEANUP, 0),
    ]
    assert [(signed.row.audio_milliseconds, signed.row.clips) for signed in page.rows] == [(0, 0), (7000, 2), (0, 0)]
    assert {signed.row.price_class for signed in page.rows} == {"Offline"}
    assert {signed.row.held_for for signed in page.rows} == {
        RowOwner(kind="AudioBatchJob", namespace="speech", name="calls", uid="job-uid-1")
    }
    assert {(signed.row.lane, signed.row.billing_key, signed.row.control_plane) for signed in page.rows} == {
        ("offline-0", "team-speech", CONTROL_PLANE)
    }
    assert ended.ledger is not None and (ended.ledger.first_sequence, ended.ledger.last_sequence) == (0, 2)
    head = verify(page.rows, agent.key.public_key())
    assert head is not None and head.sequence == 2
    facts = MachineFacts.load((await agent.http.get("/v1/machine")).json())
    assert facts.pools[0].free_lanes == 1
    assert ChainHead(facts.ledger_chain_id, facts.ledger_sequence, head.hash) == head


async def test_a_mac_that_would_refuse_for_want_of_scratch_says_so_before(agent: Agent) -> None:
    async def lacks_scratch() -> bool:
        return MachineFacts.load((await agent.http.get("/v1/machine")).json()).lacks_scratch

    assert not await lacks_scratch()
    agent.scratch.min_free_bytes = 2**62
    assert await lacks_scratch() and (await agent.put(REQUEST)).status_code == 507


async def test_a_repeated_put_changes_nothing(agent: Agent) -> None:
    await agent.put(REQUEST)
    await agent.stage_entered()
    again = await agent.put(REQUEST)
    assert again.status_code == 200 and AttemptStatus.load(again.json()).state is AttemptState.RUNNING
    assert agent.stage.entered.empty()
    changed = request_for(process_spec(billing_key="someone-else"))
    other = await agent.put(changed)
    assert other.status_code == 409 and Problem.load(other.json()).held_attempt == 1


@pytest.mark.parametrize("lanes", [0, 1])
async def test_an_attempt_gets_no_interactive_lane_however_many_are_free(tmp_path: Path, lanes: int) -> None:
    async with running_agent(tmp_path, lanes=lanes, interactive=2) as agent:
        if lanes:
            assert (await agent.put(REQUEST)).status_code == 200
            assert (await agent.stage_entered()).lane is agent.pools.lanes[-1]
        refused = await agent.put(request_for(process_spec("shard-2")))
        assert refused.status_code == 429 and int(refused.headers["Retry-After"]) > 0
        told = "every lane is taken" if lanes else "this agent has no lane for batches"
        assert told in Problem.load(refused.json()).message
        assert {fact.name: fact.free_lanes for fact in agent.pools.facts()} == {
            "live": 2,
            **({"offline": 0} if lanes else {}),
        }
        assert (await agent.put(request_for(plan_spec("p-1")))).status_code == 200
        assert (await agent.stage_entered()).lane is None, "plans need no lane"


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
    assert {signed.row.shard_uid for signed in (await agent.ledger()).rows} == {"shard-1"}


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
    assert sum(signed.row.monotonic_milliseconds for signed in (await agent.ledger()).rows) == 3000
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
    assert sum(signed.row.monotonic_milliseconds for signed in (await agent.ledger()).rows) == 19_000
    agent.clock.advance(500)  # no attempt holds the lane, so nothing is billed
    assert (await agent.http.post("/v1/renew", headers=agent.headers())).json() == {"renewed": 0}

    assert AttemptStatus.load((await agent.put(request)).json()).state is AttemptState.ACCEPTED
    resumed = await agent.stage_entered()
    assert await resumed.journal.base() == b"base"
    agent.stage.answers.put_nowait(COMMIT)
    await agent.until(request, "Succeeded")
    assert sum(signed.row.monotonic_milliseconds for signed in (await agent.ledger()).rows) == 19_000


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
        assert sum(signed.row.monotonic_milliseconds for signed in (await again.ledger()).rows) == 4000
        assert (await again.put(REQUEST, epoch=0)).status_code == 412  # the binding is durable as well
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


async def test_an_ended_attempt_keeps_its_result_and_no_clip_data(agent: Agent) -> None:
    await agent.put(REQUEST)
    context = await agent.stage_entered()
    await context.journal.freeze_base(b"base")
    agent.stage.answers.put_nowait(COMMIT)
    assert (await agent.until(REQUEST, "Succeeded")).result == COMMIT
    assert await context.journal.base() is None


async def test_the_newest_put_says_how_small_the_batches_of_the_next_run_are(agent: Agent) -> None:
    await agent.put(REQUEST)
    assert (await agent.stage_entered()).batch_halvings == 0
    live = agent.supervisor.attempt(AttemptKey("shard-1", 1))
    assert live is not None
    await agent.supervisor.park(live, "a test")
    await agent.put(REQUEST.model_copy(update={"batch_halvings": 2}))
    assert (await agent.stage_entered()).batch_halvings == 2
