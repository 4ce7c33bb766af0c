"""The last rows of an attempt are known before it counts as gone from its Mac: events may be slower than answers."""

from __future__ import annotations

import asyncio
import base64
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import cast

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from tests.rig.ledger_row import ledger_row
from tests.unit.operator.decisions.bodies import mac_agent
from tests.unit.operator.fleet.idle_session import idle_session

from voxfleet_api.attempt_spec import AttemptKey
from voxfleet_api.kinds import MacAgent
from voxfleet_api.kinds.audio_shard import JobRef, Stage
from voxfleet_api.ledger import Activity, SignedRow, sign
from voxfleet_api.protocol import AttemptState, AttemptStatus, LedgerPage, LedgerSpan
from voxfleet_operator.fleet.agent_client import AgentClient
from voxfleet_operator.fleet.mac_view import Order, Outcome
from voxfleet_operator.fleet.mailbox import Letter
from voxfleet_operator.fleet.session import MacSession

KEY = Ed25519PrivateKey.generate()
A = AttemptKey("shard-a", 1)
ROW = sign(
    ledger_row(
        0,
        "0" * 64,
        chain_id="chain-1",
        control_plane="c",
        shard_uid=A.shard_uid,
        attempt=A.attempt,
        activity=Activity.WORK,
        audio_milliseconds=10,
    ),
    KEY,
)


class Agent:
    """Deletes at once, and has signed these rows, of which no event has told yet."""

    def __init__(self, rows: Sequence[SignedRow]) -> None:
        self.rows = rows
        self.asked = 0
        self.meanwhile: Callable[[], object] | None = None
        """Happens between the question and the answer."""

    async def delete_attempt(self, *_: object) -> bool:
        return True

    async def ledger(self, after: int, *, limit: int) -> LedgerPage:
        self.asked += 1
        if self.meanwhile is not None:
            meanwhile, self.meanwhile = self.meanwhile, None
            meanwhile()
        return LedgerPage(chain_id="chain-1", rows=tuple(self.rows[after + 1 :][:limit]))


def reported(state: AttemptState, span: LedgerSpan | None = None) -> AttemptStatus:
    return AttemptStatus(
        shard_uid=A.shard_uid,
        attempt=A.attempt,
        spec_digest="",
        control_plane="c",
        namespace="speech",
        job=JobRef(name="night", uid="job"),
        shard_name="night-00000",
        stage=Stage.PROCESS,
        state=state,
        ledger=span,
    )


def a_session() -> MacSession:
    key = base64.b64encode(KEY.public_key().public_bytes_raw()).decode()
    session = idle_session(MacAgent.load(mac_agent("mac-a", ledgerPublicKey=key)))
    session._record.book.resume("chain-1", -1)
    return session


async def delete(session: MacSession, agent: Agent, status: AttemptStatus) -> None:
    session._record.attempt_reported(status)
    await session._send(cast("AgentClient", agent), Letter(A, None), session._mailbox, session._record)
    answer = session.answer(Order.DELETE, A)
    assert answer is not None and answer.outcome is Outcome.GONE and A not in session.view.attempts
    await session.stop()


@pytest.mark.parametrize("state", [AttemptState.RUNNING, AttemptState.PARKED])
async def test_an_attempt_that_is_gone_has_its_last_rows(state: AttemptState) -> None:
    session = a_session()
    await delete(session, Agent([ROW]), reported(state))
    assert session.view.usage[A].rows == 1


async def test_an_event_that_is_faster_than_the_answer_is_no_broken_chain() -> None:
    session, agent = a_session(), Agent([ROW])
    agent.meanwhile = lambda: session._record.rows_delivered([ROW])
    await delete(session, agent, reported(AttemptState.RUNNING))
    assert session.view.usage[A].rows == 1 and session.view.ledger_error is None


async def test_nothing_is_asked_for_an_attempt_that_ended_with_all_its_rows() -> None:
    span = LedgerSpan(chain_id="chain-1", first_sequence=0, last_sequence=0)
    session, agent = a_session(), Agent([ROW])
    session._record.rows_delivered([ROW])
    await delete(session, agent, reported(AttemptState.SUCCEEDED, span))
    assert session.view.usage[A].rows == 1 and agent.asked == 0


async def test_an_event_that_comes_before_a_thread_verifies_the_answer_is_no_broken_chain() -> None:
    """Only on a busy machine: the Mac took nothing for good, because a row seemed to be repeated."""
    session, agent = a_session(), Agent([ROW])
    with ThreadPoolExecutor(1) as threads:
        asyncio.get_running_loop().set_default_executor(threads)
        busy, asked = threading.Event(), asyncio.Event()
        occupied = asyncio.get_running_loop().run_in_executor(None, busy.wait)
        agent.meanwhile = asked.set
        reading = asyncio.create_task(session._reading.read(cast("AgentClient", agent)))
        await asked.wait()
        session._record.rows_delivered([ROW])
        busy.set()
        await asyncio.gather(occupied, reading)
    assert session.view.ledger_error is None and session.view.usage[A].rows == 1
    await session.stop()
