"""Rows that cannot be settled stay on the Mac: memory is bounded however long the ledger archive is down."""

from __future__ import annotations

import base64
from typing import cast

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from tests.rig.ledger_row import ledger_row
from tests.unit.operator.decisions.bodies import mac_agent
from tests.unit.operator.fleet.idle_session import idle_session

from voxfleet_api.attempt_spec import AttemptKey
from voxfleet_api.kinds import MacAgent
from voxfleet_api.kinds.audio_shard import JobRef, Stage
from voxfleet_api.ledger import Activity, ChainHead, SignedRow, sign
from voxfleet_api.protocol import AttemptState, AttemptStatus, Event, EventType, LedgerPage, LedgerSpan
from voxfleet_operator.fleet import row_room
from voxfleet_operator.fleet.agent_client import AgentClient
from voxfleet_operator.fleet.session import MacSession

KEY = Ed25519PrivateKey.generate()
PINNED = base64.b64encode(KEY.public_key().public_bytes_raw()).decode()
SIGNED, BOUND = 100_000, 500


class Agent:
    """Has signed so many rows, each of an attempt of its own; it makes them when they are asked for."""

    def __init__(self) -> None:
        self.rows: list[SignedRow] = []

    def row(self, sequence: int) -> SignedRow:
        while len(self.rows) <= sequence:
            number = len(self.rows)
            row = ledger_row(
                number,
                self.rows[-1].hash if self.rows else "0" * 64,
                chain_id="chain-1",
                control_plane="c",
                shard_uid=f"shard-{number}",
                attempt=1,
                activity=Activity.WORK,
                monotonic_milliseconds=1000,
            )
            self.rows.append(sign(row, KEY))
        return self.rows[sequence]

    async def ledger(self, after: int, *, limit: int) -> LedgerPage:
        rows = tuple(self.row(number) for number in range(after + 1, min(SIGNED, after + 1 + limit)))
        return LedgerPage(chain_id="chain-1", rows=rows)


class Archive:
    def __init__(self) -> None:
        self.answers = False
        self.settled: ChainHead | None = None

    def head(self, _: str, __: str) -> ChainHead | None:
        return self.settled


@pytest.fixture
def archive(monkeypatch: pytest.MonkeyPatch) -> Archive:
    monkeypatch.setattr(row_room, "MAX_HELD_ROWS", BOUND)
    return Archive()


def a_session(archive: Archive) -> MacSession:
    mac = MacAgent.load(mac_agent("mac-a", ledgerPublicKey=PINNED))
    session = idle_session(mac, stored_head=archive.head, settles=lambda: archive.answers)
    session._record.book.resume("chain-1", SIGNED - 1)
    return session


def ended(sequence: int) -> AttemptStatus:
    return AttemptStatus(
        shard_uid=f"shard-{sequence}",
        attempt=1,
        spec_digest="",
        control_plane="c",
        namespace="speech",
        job=JobRef(name="night", uid="job"),
        shard_name="night",
        stage=Stage.PROCESS,
        state=AttemptState.SUCCEEDED,
        ledger=LedgerSpan(chain_id="chain-1", first_sequence=sequence, last_sequence=sequence),
    )


async def renewals(session: MacSession, agent: Agent, archive: Archive, count: int) -> int:
    """Returns the most rows that were held."""
    most = 0
    for _ in range(count):
        session._record.rows_settled(PINNED, archive.head)
        await session._reading.read_on(cast("AgentClient", agent))
        most = max(most, len(session.view.rows))
    return most


async def test_while_the_archive_is_down_no_more_rows_are_read_than_there_is_room_for(archive: Archive) -> None:
    agent, session = Agent(), a_session(archive)
    client = cast("AgentClient", agent)
    await session._reading.read_new(client)
    assert len(session.view.rows) == BOUND and session.view.rows_left
    assert await renewals(session, agent, archive, 5) == BOUND
    for number in (BOUND, BOUND + 1):  # what it signs meanwhile
        await session._handle(client, Event(type=EventType.ROW, cursor=str(number), row=agent.row(number)))
    await session._handle(client, Event(type=EventType.ATTEMPT, cursor="9", attempt=ended(BOUND + 1)))
    assert len(session.view.rows) == BOUND and session.view.ledger_error is None
    (report,) = session.view.attempts.values()
    assert not report.has_ended, "it waits for its row, which nobody calls missing"
    await session.stop()


async def test_once_the_archive_is_back_all_are_read_and_few_are_held(archive: Archive) -> None:
    agent, session = Agent(), a_session(archive)
    session._record.attempt_reported(ended(4 * BOUND))
    await session._reading.read_new(cast("AgentClient", agent))
    archive.answers = True
    most = 0
    while not session.view.attempts[AttemptKey(f"shard-{4 * BOUND}", 1)].has_ended:
        newest = session.view.rows[-1]
        archive.settled = ChainHead("chain-1", newest.sequence, newest.hash)
        most = max(most, await renewals(session, agent, archive, 1))
    assert most <= BOUND
    assert session.view.ledger_error is None
    await session.stop()


async def test_rows_of_open_attempts_that_fill_the_room_do_not_stop_it(archive: Archive) -> None:
    """Behind them lie the rows that end these attempts."""
    archive.answers = True
    agent, session = Agent(), a_session(archive)
    await session._reading.read_new(cast("AgentClient", agent))
    assert await renewals(session, agent, archive, 3) == 4 * BOUND
    await session.stop()
