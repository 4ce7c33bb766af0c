"""Ladders over the protocol: what an agent tells of its own, and what a PUT may bring."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.component.agent.agent_rig import COMMIT, CONTRACT, MODEL, REQUEST, Agent, ladder_book
from tests.unit.agent.ladder.paper_lane import make_tier

from voxfleet_agent.ladder.shared_ladders import SharedLadders
from voxfleet_api.digest import digest_of
from voxfleet_api.ladder_table import LadderTable
from voxfleet_api.machine_messages import MachineFacts
from voxfleet_api.protocol import AttemptState, LadderList, ReportedLadder


def handed(folder: Path) -> ReportedLadder:
    """What another Mac with the same chip and packages has measured."""
    book = ladder_book(folder)
    table = LadderTable(
        model_digest=MODEL.digest,
        contract_digest=digest_of(CONTRACT),
        chip=book.profile.chip,
        versions=dict(book.profile.versions),
        sample_rate_hz=16_000,
        memory_cap_bytes=2**30,
        tiers=(make_tier(1, 100), make_tier(2, 150)),
        memory_knee=2,
        latency_knee=1,
        throughput_knee=2,
        chosen=2,
    )
    return ReportedLadder(
        profile=book.profile.digest(),
        model_digest=MODEL.digest,
        contract_digest=digest_of(CONTRACT),
        measured_on="mac-b",
        table=table.model_dump_json(by_alias=True, exclude_none=True),
    )


async def facts(agent: Agent) -> MachineFacts:
    return MachineFacts.load((await agent.http.get("/v1/machine")).json())


async def told(agent: Agent) -> tuple[ReportedLadder, ...]:
    return LadderList.load((await agent.http.get("/v1/ladders")).json()).ladders


async def test_a_handed_ladder_is_there_before_the_stage_begins(agent: Agent, tmp_path: Path) -> None:
    before, ladder = await facts(agent), handed(tmp_path)
    assert await told(agent) == ()
    assert before.ladder_profile == ladder.profile
    answer = await agent.put(REQUEST.model_copy(update={"ladder": ladder}))
    await agent.stage_entered()
    (kept,) = await told(agent)
    assert (answer.status_code, kept.measured_on, kept.table) == (200, "mac-b", ladder.table)
    assert kept.audio_milliseconds_per_second == round(200_000 * 1000 / 1500)
    assert (await facts(agent)).ladders_revision != before.ladders_revision
    agent.stage.answers.put_nowait(COMMIT)
    await agent.until(REQUEST, AttemptState.SUCCEEDED)


@pytest.mark.parametrize("ladder", [{"profile": "none"}, "text", {"fieldOfALaterOperator": 1}], ids=str)
async def test_a_ladder_that_cannot_be_read_costs_no_attempt(agent: Agent, ladder: object) -> None:
    path = f"/v1/attempts/{REQUEST.spec['shardUid']}/{REQUEST.spec['attempt']}"
    answer = await agent.http.put(path, json={**REQUEST.dump(), "ladder": ladder}, headers=agent.headers())
    assert (answer.status_code, await told(agent)) == (200, ())


async def test_ladders_are_told_to_the_operator_alone(agent: Agent) -> None:
    assert (await agent.http.get("/v1/ladders", headers={"Authorization": ""})).status_code == 401


async def test_the_book_that_the_agent_serves_is_the_one_that_its_stages_use(agent: Agent, tmp_path: Path) -> None:
    await agent.put(REQUEST.model_copy(update={"ladder": handed(tmp_path)}))
    found = ladder_book(agent.folder).stored(MODEL, digest_of(CONTRACT))
    assert found is not None and (found.chosen, found.measured_on) == (2, "mac-b")
    assert (await SharedLadders(ladder_book(agent.folder)).told()).ladders == await told(agent)
