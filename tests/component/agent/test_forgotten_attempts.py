"""What an agent keeps of attempts that were deleted on it: their signed rows, and for 30 days a tombstone a shard."""

from __future__ import annotations

import sqlite3

from tests.component.agent.agent_rig import COMMIT, Agent, process_spec, request_for

from voxfleet_api.protocol import TOMBSTONE_DAYS, AttemptState, Event

LEDGER = {"ledger_rows"}
"""Kept until there is an archive: it is the bill."""


def table_sizes(db: sqlite3.Connection) -> dict[str, int]:
    names = [name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
    return {name: db.execute(f"SELECT count(*) FROM {name}").fetchone()[0] for name in names if name not in LEDGER}  # noqa: S608 # its own names


async def night(agent: Agent, number: int) -> None:
    """An attempt from its PUT to its settlement: the operator has its result, its rows and its events."""
    request = request_for(process_spec(f"shard-{number}"))
    cursor = (await agent.http.get("/v1/attempts")).json()["cursor"]
    await agent.put(request)
    await agent.stage_entered()
    agent.stage.answers.put_nowait(COMMIT)
    last: Event | None = None
    async for event in agent.events(cursor):
        last = event
        if event.attempt is not None and event.attempt.state is AttemptState.SUCCEEDED:
            break
    path = f"/v1/attempts/shard-{number}/1"
    answers = [(await agent.http.delete(path, headers=agent.headers())).status_code for _ in range(2)]
    assert answers == [204, 204], "a second DELETE changes nothing"
    newest = (await agent.http.get("/v1/attempts")).json()["cursor"]
    assert last is not None
    await agent.http.post("/v1/events/ack", json={"cursor": newest}, headers=agent.headers())


async def test_settled_attempts_leave_nothing_but_their_rows_and_a_tombstone_for_a_while(agent: Agent) -> None:
    await night(agent, 0)
    first = await agent.journal.read(table_sizes)
    for number in range(1, 4):
        await night(agent, number)
    after = await agent.journal.read(table_sizes)
    assert after | {"tombstones": 1} == first
    assert after["tombstones"] == 4 and after["attempts"] == after["events"] == 0
    assert agent.supervisor.states() == []

    agent.clock.advance(TOMBSTONE_DAYS * 86_400 + 1)
    await agent.supervisor.sweep()
    assert (await agent.journal.read(table_sizes))["tombstones"] == 0
