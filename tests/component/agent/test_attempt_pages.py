"""Lists of attempts come in pages that stay far below what a client accepts; old and new sides work together."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import httpx
import pytest
from pydantic import SecretStr
from tests.component.agent.agent_rig import CONTROL_PLANE, REQUEST, TOKEN, Agent, process_spec, request_for

from voxfleet_agent.attempts.event_feed import PAGE_BYTES
from voxfleet_agent.journal import attempt_table
from voxfleet_agent.journal.attempt_table import JournaledAttempt
from voxfleet_api.attempt_spec import AttemptKey
from voxfleet_api.failures import FailureClass
from voxfleet_api.kinds.job_status import QuarantinedClip
from voxfleet_api.protocol import AttemptList, AttemptState, ShardResult
from voxfleet_operator.fleet import agent_client
from voxfleet_operator.fleet.agent_client import AgentClient
from voxfleet_operator.fleet.dialer import DialError
from voxfleet_operator.fleet.mac_view import AgentUnreachable


@dataclass
class Connection:
    base_url: str
    transport: httpx.AsyncBaseTransport
    refusal: DialError | None = None


@asynccontextmanager
async def client_of(base_url: str, transport: httpx.AsyncBaseTransport | None = None) -> AsyncIterator[AgentClient]:
    """The operator's client."""
    connection = Connection(base_url, transport or httpx.AsyncHTTPTransport())
    async with AgentClient(
        connection, control_plane=CONTROL_PLANE, leader="leader", epoch=lambda: 1, on_stale_epoch=lambda _: None
    ) as client:
        client.authorize(SecretStr(TOKEN))
        yield client


class Body(httpx.AsyncByteStream):
    def __init__(self, content: object) -> None:
        self._content = json.dumps(content).encode()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield self._content


async def fill(agent: Agent, count: int, quarantined: int = 0) -> list[AttemptKey]:
    """Journals so many succeeded attempts, as a Mac holds them after some nights."""
    clips = tuple(
        QuarantinedClip(index=index, id=f"{index:0128}", failure_class=FailureClass.DECODE_ERROR, reason="x" * 256)
        for index in range(quarantined)
    )
    spec = process_spec()
    records = [
        JournaledAttempt(
            key=AttemptKey(f"shard-{number:05d}", 1),
            spec_digest=REQUEST.spec_digest,
            control_plane=CONTROL_PLANE,
            spec=spec,
            state=AttemptState.SUCCEEDED,
            result=ShardResult(commit_sha256="a" * 64, quarantine=clips),
        )
        for number in range(count)
    ]

    def work(db: sqlite3.Connection) -> None:
        for record in records:
            attempt_table.save(db, record)

    await agent.journal.write(work)
    return [record.key for record in records]


def keys_of(listing: AttemptList) -> list[AttemptKey]:
    return [AttemptKey(status.shard_uid, status.attempt) for status in listing.attempts]


async def test_more_attempts_than_one_answer_holds_are_listed(agent: Agent) -> None:
    wanted = await fill(agent, 2000, quarantined=20)
    whole = await agent.http.get("/v1/attempts")
    assert len(whole.content) > agent_client.MAX_ANSWER_BYTES, "else this shows nothing"
    page = await agent.http.get("/v1/attempts", params={"limit": "500"})
    assert len(page.content) < PAGE_BYTES + 100_000

    async with client_of(str(agent.http.base_url)) as client:
        assert keys_of(await client.attempts()) == wanted


async def test_every_page_goes_on_after_the_one_before(agent: Agent) -> None:
    await fill(agent, 5)
    await agent.put(request_for(process_spec("shard-00002", attempt=2)))
    first = AttemptList.load((await agent.http.get("/v1/attempts", params={"limit": "3"})).json())
    assert [str(key) for key in keys_of(first)] == ["shard-00000.1", "shard-00001.1", "shard-00002.1"]
    rest = {"limit": "3", "continue": first.continue_token or ""}
    second = AttemptList.load((await agent.http.get("/v1/attempts", params=rest)).json())
    assert [str(key) for key in keys_of(second)] == ["shard-00002.2", "shard-00003.1", "shard-00004.1"]
    assert second.continue_token is None


@pytest.mark.parametrize(
    "query",
    [{"limit": "0"}, {"limit": "501"}, {"limit": "3", "continue": "shard-1"}, {"limit": "3", "continue": "a b.1"}],
)
async def test_a_page_that_does_not_exist_is_refused(agent: Agent, query: dict[str, str]) -> None:
    assert (await agent.http.get("/v1/attempts", params=query)).status_code == 400


async def test_an_operator_that_knows_no_pages_gets_all(agent: Agent) -> None:
    wanted = await fill(agent, 600)
    listing = AttemptList.load((await agent.http.get("/v1/attempts")).json())
    assert keys_of(listing) == wanted and listing.continue_token is None


async def test_an_agent_that_knows_no_pages_is_asked_once() -> None:
    asked: list[httpx.URL] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request.url)
        return httpx.Response(200, stream=Body({"attempts": [], "cursor": "journal:7"}))

    async with client_of("http://agent", httpx.MockTransport(answer)) as client:
        assert (await client.attempts()).cursor == "journal:7"
    assert len(asked) == 1


async def test_the_cursor_is_that_of_the_first_page() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        later = "continue" in request.url.params
        page = {"attempts": [STATUS], "cursor": "journal:9" if later else "journal:7"}
        return httpx.Response(200, stream=Body(page if later else page | {"continueToken": "shard-1.1"}))

    async with client_of("http://agent", httpx.MockTransport(answer)) as client:
        assert (await client.attempts()).cursor == "journal:7"


@pytest.mark.parametrize("attempts", [0, 1])
async def test_a_list_without_an_end_is_given_up(monkeypatch: pytest.MonkeyPatch, attempts: int) -> None:
    monkeypatch.setattr(agent_client, "MAX_LISTED_ATTEMPTS", 20)
    answer = {"attempts": [STATUS] * attempts, "cursor": "journal:7", "continueToken": "shard-1.1"}
    transport = httpx.MockTransport(lambda _: httpx.Response(200, stream=Body(answer)))
    async with client_of("http://agent", transport) as client:
        with pytest.raises(AgentUnreachable, match="does not end"):
            await client.attempts()


STATUS = {
    "shardUid": "shard-1",
    "attempt": 1,
    "specDigest": REQUEST.spec_digest,
    "controlPlane": CONTROL_PLANE,
    "namespace": "speech",
    "job": {"name": "calls", "uid": "job-uid-1"},
    "shardName": "calls-shard-1",
    "stage": "Process",
    "state": "Succeeded",
}
