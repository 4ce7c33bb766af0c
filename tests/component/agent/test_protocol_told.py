"""What the agent reports: events, lists, progress, metrics and its identity."""

from __future__ import annotations

import asyncio
import base64
import sqlite3
import threading
from pathlib import Path

from tests.component.agent.agent_rig import COMMIT, REQUEST, TIMEOUT_SECONDS, Agent, running_agent
from tests.unit.agent.ladder.measured_mac import TABLE, MeasuredMac

from voxfleet_agent.journal import event_table
from voxfleet_api.attempt_spec import AttemptKey
from voxfleet_api.digest import canonical_json
from voxfleet_api.ledger import IDENTITY_CONTEXT, public_key
from voxfleet_api.machine_messages import Identity, identity_claim, nonce_for_port
from voxfleet_api.protocol import AttemptState, EventType


async def test_identity_proves_the_ledger_key_without_a_token(agent: Agent) -> None:
    answer = await agent.http.get("/v1/identity", params={"nonce": "n-1"}, headers={"Authorization": ""})
    identity = Identity.load(answer.json())
    assert identity.nonce == "n-1" and identity.control_plane is None
    content = IDENTITY_CONTEXT + canonical_json(identity_claim(identity))

    public_key(identity.public_key).verify(base64.b64decode(identity.signature), content)
    assert (await agent.http.get("/v1/identity")).status_code == 400


async def test_a_nonce_for_another_port_is_not_signed_for_whoever_hands_it_on(agent: Agent) -> None:
    """Another user of the Mac who listens on the port that the operator calls."""
    nonce = nonce_for_port("unpredictable", agent.http.base_url.port or 0)
    assert (await agent.http.get("/v1/identity", params={"nonce": nonce})).json()["nonce"] == nonce
    handed_on = await agent.http.get("/v1/identity", params={"nonce": nonce_for_port("unpredictable", 1)})
    assert handed_on.status_code == 400
    assert f"listens on port {agent.http.base_url.port}; correct spec.ssh.agentPort" in handed_on.json()["message"]


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
    kinds = [event.attempt.state if event.attempt else event.row and event.row.row.activity for event in seen]
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
        go.wait(TIMEOUT_SECONDS)

    holding = asyncio.create_task(agent.journal.write(hold, wake=False))
    assert await asyncio.to_thread(held.wait, TIMEOUT_SECONDS)
    live = agent.supervisor.attempt(AttemptKey("shard-1", 1))
    assert live is not None
    parking = asyncio.create_task(agent.supervisor.park(live, "the test says so"))
    while live.meter is not None:  # noqa: ASYNC110 -- no event reports that the commit is handed over
        await asyncio.sleep(0)
    listing = asyncio.create_task(agent.supervisor.feed.listing())  # the read of the list waits behind the commit
    await asyncio.sleep(0)
    go.set()
    await asyncio.gather(holding, parking)
    listed = await listing
    assert listed.cursor == agent.supervisor.feed.cursor(await agent.journal.read(event_table.last))
    (status,) = listed.attempts
    assert status.state is AttemptState.PARKED and status.progress.done == 3


async def test_progress_is_reported_without_being_journaled(agent: Agent) -> None:
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


async def test_metrics_name_no_job(agent: Agent) -> None:
    await agent.put(REQUEST)
    await agent.stage_entered()
    text = (await agent.http.get("/metrics", headers={"Authorization": ""})).text
    assert 'voxfleet_agent_attempts{state="Running"} 1.0' in text
    assert 'voxfleet_agent_free_lanes{kind="Offline",pool="offline"} 0.0' in text
    assert "calls" not in text and "shard-1" not in text


async def test_metrics_report_each_lanes_ring(agent: Agent) -> None:
    text = (await agent.http.get("/metrics", headers={"Authorization": ""})).text
    assert 'voxfleet_agent_lane_ring_underruns_total{lane="offline-0"} 3.0' in text
    assert 'voxfleet_agent_lane_ring_underruns_by_cause_total{cause="Disk",lane="offline-0"} 3.0' in text
    assert 'voxfleet_agent_lane_ring_resets_total{cause="DecodeError",lane="offline-0"} 2.0' in text
    assert 'voxfleet_agent_lane_restarts_total{cause="Recycled",lane="offline-0"} 1.0' in text
    assert 'voxfleet_agent_lane_ring_high_water_bytes{lane="offline-0"}' in text


async def test_a_lane_that_somebody_slows_down_is_told_with_the_machine_and_in_the_metrics(tmp_path: Path) -> None:
    mac = MeasuredMac()
    async with running_agent(tmp_path, pace=mac.watch) as agent:
        await agent.put(REQUEST)
        context = await agent.stage_entered()
        assert context.pace is mac.watch.of("offline-0"), "the attempt is watched on its own lane"
        assert (await agent.http.get("/v1/machine")).json()["contendedLanes"] == []
        pace = mac.watch.of("offline-0")
        with pace.working():
            pace.compare_with(TABLE)
            mac.work(pace, 2.0)
        told = (await agent.http.get("/v1/machine")).json()["contendedLanes"]
        assert told == [{"lane": "offline-0", "slowdownPercent": 200}]
        text = (await agent.http.get("/metrics", headers={"Authorization": ""})).text
        assert 'voxfleet_agent_lane_slowdown_ratio{lane="offline-0"} 2.0' in text
        assert 'voxfleet_agent_lane_contended{lane="offline-0"} 1.0' in text


async def test_metrics_report_retained_clips(agent: Agent) -> None:
    text = (await agent.http.get("/metrics", headers={"Authorization": ""})).text
    assert "voxfleet_agent_quarantine_bytes 7.0" in text and "voxfleet_agent_quarantined_clips 2.0" in text
