"""A real agent with a real batch and a real session: speech pauses the batch, a kill finds it paused."""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path

import pytest
from tests.component.agent.test_whole_attempts import (
    CLIPS,
    CONTRACT,
    Whole,
    assert_transcripts,
    clips_of,
    committed_rows,
)
from tests.rig.agent_process import LEASE_SECONDS, AgentProcess
from tests.rig.job_specs import MODEL, JobSpecs
from tests.rig.session_caller import SessionCaller, session_caller

from voxfleet_agent.attempts.lane_meter import TICK_SECONDS
from voxfleet_api.digest import digest_of
from voxfleet_api.endpoint_lanes import EndpointLaneSpec, EndpointRef, LaneStatus
from voxfleet_api.kinds.job_input import JobInput, ManifestInput
from voxfleet_api.kinds.job_task import Task
from voxfleet_api.ledger import Activity, LedgerRow
from voxfleet_api.protocol import AttemptState
from voxfleet_api.session_protocol import CommitTurn, OpenHearing, TurnDone

SESSION_TOKEN = "of-sessions-and-nothing-else"
HEARING = OpenHearing(sample_rate_hz=16_000, max_turn_milliseconds=30_000)
PATIENCE_SECONDS = 60.0
PAUSED = r'^voxfleet_agent_lane_paused_seconds_total\{lane="offline-0"\} (\S+)$'
LANE = EndpointLaneSpec(
    namespace="speech",
    endpoint=EndpointRef(name="captions", uid="endpoint-1"),
    generation=1,
    task=Task.TRANSCRIBE,
    contract=CONTRACT,
    contract_digest=digest_of(CONTRACT),
    model=MODEL,
    memory_cap="2Gi",
    max_sessions=2,
    max_turn_seconds=30,
    billing_key="captions",
)


@pytest.fixture
def whole(tmp_path: Path) -> Iterator[Whole]:
    """Three shards of the example clips."""
    output, token = tmp_path / "output", tmp_path / "session-token"
    output.mkdir()
    token.touch(mode=0o600)
    token.write_text(SESSION_TOKEN)
    manifest = ManifestInput(uri=f"file://{CLIPS}/manifest.jsonl")
    job = JobSpecs(JobInput(manifest=manifest), f"file://{output}/", CONTRACT, shard_audio_milliseconds=40_000)
    pools = [
        {"name": "offline", "batchSize": 2, "memoryCap": "2Gi"},
        {"name": "live", "kind": "Interactive", "memoryCap": "2Gi"},
    ]
    with AgentProcess(
        tmp_path / "mac",
        [f"file://{CLIPS}/", f"file://{output}/"],
        pools=pools,
        sessionTokenFile=str(token),
    ) as agent:
        yield Whole(agent, job)


async def warm(agent: AgentProcess) -> None:
    body = LANE.dump()
    request = {"specDigest": digest_of(body), "spec": body, "leaseSeconds": LEASE_SECONDS, "uriPrefixes": []}
    path = f"/v1/lanes/{LANE.endpoint.uid}/{LANE.generation}"
    agent.call("PUT", path, request)
    async with asyncio.timeout(PATIENCE_SECONDS):
        while LaneStatus.model_validate_json(agent.get(path)).state != "Ready":  # noqa: ASYNC110 -- another process
            await asyncio.sleep(0.05)


async def until_paused(agent: AgentProcess, seconds: float) -> None:
    """Until the lane for batches has stood still for so long in all."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while paused_seconds(agent) < seconds:  # noqa: ASYNC110 -- of another process
            await asyncio.sleep(0.05)


def paused_seconds(agent: AgentProcess) -> float:
    found = re.search(
        r'^voxfleet_agent_lane_paused_seconds_total\{lane="offline-0"\} (\S+)$', agent.get("/metrics"), re.M
    )
    return 0.0 if found is None else float(found[1])


@asynccontextmanager
async def speaking(caller: SessionCaller) -> AsyncIterator[None]:
    """At the pace of speech, until the agent is gone at the latest."""

    async def speak() -> None:
        with suppress(ConnectionError):
            while True:
                await caller.send_audio(bytes(3_200))
                await asyncio.sleep(0.1)

    task = asyncio.create_task(speak())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait({task})


async def answer_pings(caller: SessionCaller) -> None:
    while await caller.next_answer() is not None:
        pass


def of_batches(agent: AgentProcess) -> list[LedgerRow]:
    return [signed.row for signed in agent.ledger() if signed.row.lane == "offline-0"]


async def test_speech_pauses_a_batch_and_a_kill_finds_it_paused(whole: Whole) -> None:
    agent, job = whole.agent, whole.job
    first, second, *_ = job.process(agent.plan(job))
    await warm(agent)
    async with session_caller(agent.mac.url, LANE.key, SESSION_TOKEN) as caller:
        await caller.open(HEARING)
        cursor = agent.attempts().cursor
        async with speaking(caller):
            agent.put(first)
            await until_paused(agent, 0.2)
            assert agent.status(first).state is AttemptState.RUNNING
        await caller.send(CommitTurn())
        while not isinstance(await caller.next_answer(), TurnDone):
            pass
        status = await asyncio.to_thread(agent.until_ended, first, cursor)
        assert status.state is AttemptState.SUCCEEDED, status.failure
        # The session is open and silent. It speaks again, and the agent is killed.
        answering = asyncio.create_task(answer_pings(caller))
        before = paused_seconds(agent)
        async with speaking(caller):
            agent.put(second)
            await until_paused(agent, before + TICK_SECONDS + 0.5)
            agent.mac.kill_agent()
        await asyncio.wait({answering})
    agent.mac.restart_agent()
    resumed = agent.run(second)
    assert resumed.state is AttemptState.SUCCEEDED, resumed.failure

    rows = [*committed_rows(whole, status), *committed_rows(whole, resumed)]
    assert sorted(row.index for row in rows) == [*clips_of(first), *clips_of(second)]
    assert_transcripts(rows)
    assert not any(row.retries for row in rows)
    held = of_batches(agent)
    for one, other in pairwise(held):
        assert one.wall_end <= other.wall_start
    for row in held:
        took = datetime.fromisoformat(row.wall_end) - datetime.fromisoformat(row.wall_start)
        assert took >= timedelta(milliseconds=row.monotonic_milliseconds)
        assert (row.activity is Activity.PAUSED) == (row.held_for.name == "captions") == (row.billing_key == "captions")
    assert Counter(row.activity for row in held)[Activity.PAUSED] == 2
    paused = [row.monotonic_milliseconds for row in held if row.activity is Activity.PAUSED]
    assert paused[0] >= 200 and paused[1] >= 500
