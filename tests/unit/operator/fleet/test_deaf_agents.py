"""An agent that renews leases and leaves an order undone is given up until its leases have run out."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import cast

import pytest
from tests.unit.operator.decisions.bodies import LEASE_SECONDS, mac_agent
from tests.unit.operator.fleet.idle_session import idle_session

from voxfleet_api.attempt_spec import AttemptKey
from voxfleet_api.kinds import MacAgent
from voxfleet_api.protocol import LedgerPage, Problem, RenewRequest
from voxfleet_operator.fleet.agent_client import AgentClient
from voxfleet_operator.fleet.identity import MacRejected
from voxfleet_operator.fleet.mac_view import AgentRefused, AgentUnreachable, Order
from voxfleet_operator.fleet.mailbox import Letter
from voxfleet_operator.fleet.session import MacSession
from voxfleet_operator.fleet.session_context import SessionTiming
from voxfleet_operator.fleet.unanswered_orders import UnansweredOrders, is_no_answer

A, B = AttemptKey("shard-a", 1), AttemptKey("shard-b", 1)
SILENT = AgentUnreachable("no answer")
BROKEN = AgentRefused(500, Problem(message="unforeseen KeyError"))
LATE = AgentRefused(408, Problem(message="late"))
TIMING = SessionTiming()


def full() -> AgentRefused:
    return AgentRefused(507, Problem.model_validate({"class": "ScratchExhausted", "message": "no room"}))


@dataclass
class Told:
    """Answers the DELETEs of a session that dials nobody."""

    seconds: float = 0.0
    answers: dict[AttemptKey, Exception] = field(default_factory=dict)
    deleting: set[AttemptKey] = field(default_factory=set)
    renewal: Exception | None = None
    changed: int = 0
    """How often the Mac was told to have changed, and none of its shards."""

    def change(self, _: str, shard_uids: frozenset[str]) -> None:
        self.changed += not shard_uids

    async def delete_attempt(self, shard_uid: str, attempt: int) -> bool:
        error = self.answers.get(AttemptKey(shard_uid, attempt))
        if error is not None:
            raise error
        return AttemptKey(shard_uid, attempt) not in self.deleting

    async def renew(self, _: RenewRequest) -> None:
        if self.renewal is not None:
            raise self.renewal

    async def ledger(self, after: int, **_: object) -> LedgerPage:
        return LedgerPage(chain_id="chain", rows=())


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
async def session(told: Told) -> AsyncIterator[MacSession]:
    session = idle_session(MacAgent.load(mac_agent("mac-a")), clock=lambda: told.seconds, on_change=told.change)
    yield session
    await session.stop()


async def deletes(session: MacSession, told: Told, *keys: AttemptKey) -> None:
    for key in keys:
        await session._send(cast("AgentClient", told), Letter(key, None), session._mailbox, session._record)


@pytest.mark.parametrize("error", [SILENT, BROKEN, AgentRefused(404, Problem(message="no such path"))])
async def test_one_delete_that_is_left_undone_beside_others_that_are_not(
    session: MacSession, told: Told, error: Exception
) -> None:
    told.answers[A] = error
    while told.seconds < TIMING.deaf_seconds:
        await deletes(session, told, A, B)
        told.seconds += 10
    with pytest.raises(MacRejected, match="left a DELETE undone for 60 s"):
        await deletes(session, told, A)


async def test_a_deletion_that_hangs_is_shown_for_as_long_as_it_does_and_ends_no_contact(
    session: MacSession, told: Told
) -> None:
    told.deleting.add(A)
    hung: list[float] = []
    while told.seconds < 4 * TIMING.deleting_seconds:
        await deletes(session, told, A, B)
        hung += [told.seconds] if session.view.hung_deletions == (A,) else []
        told.seconds += 30
    assert hung[0] == TIMING.deleting_seconds and len(hung) == 90
    assert session._patience.take_stay_away_seconds() == 0
    assert told.changed == 1, "it is told once"
    told.deleting.clear()
    await deletes(session, told, A)
    assert session.view.hung_deletions == () and told.changed == 2


async def test_neither_a_break_of_contact_nor_silence_begins_a_deletion_anew(session: MacSession, told: Told) -> None:
    told.deleting.add(A)
    while told.seconds < TIMING.deleting_seconds:
        await deletes(session, told, A)
        told.seconds += 100
        session._patience.contact_made()
    told.answers[A] = SILENT
    await deletes(session, told, A)
    told.answers.clear()
    await deletes(session, told, A)
    assert session.view.hung_deletions == (A,)


async def test_a_deletion_that_ends_in_between_starts_the_count_anew(session: MacSession, told: Told) -> None:
    for told.seconds, told.deleting in ((0.0, {A}), (890.0, set()), (1000.0, {A}), (1899.0, {A})):
        await deletes(session, told, A)
    assert session.view.hung_deletions == ()


async def test_an_agent_that_is_about_a_deletion_has_not_left_it_undone(session: MacSession, told: Told) -> None:
    told.deleting.add(A)
    for told.seconds, error in ((0.0, SILENT), (50.0, None), (70.0, SILENT), (129.0, SILENT)):
        told.answers = {} if error is None else {A: error}
        await deletes(session, told, A)


async def test_a_delete_that_is_answered_in_between_starts_the_count_anew(session: MacSession, told: Told) -> None:
    for seconds, error in ((0.0, SILENT), (50.0, None), (70.0, BROKEN), (129.0, SILENT)):
        told.seconds, told.answers = seconds, {} if error is None else {A: error}
        await deletes(session, told, A)
    told.seconds = 1000.0
    told.answers = {B: SILENT}
    await deletes(session, told, B)  # another one's first


async def test_a_delete_that_is_refused_counts_on_over_breaks_of_contact_and_one_without_an_answer_does_not(
    session: MacSession, told: Told
) -> None:
    """A break may be why there was no answer, and is never why there was a refusal."""
    for told.seconds, told.answers[A] in ((0.0, SILENT), (TIMING.deaf_seconds, BROKEN)):
        await deletes(session, told, A)
        session._patience.contact_made()
    told.seconds = 2 * TIMING.deaf_seconds
    with pytest.raises(MacRejected, match="left a DELETE undone"):
        await deletes(session, told, A)
    session._patience.contact_made()
    await deletes(session, told, A)  # once it is back it gets as long again


async def renews(session: MacSession, told: Told) -> None:
    with contextlib.suppress(AgentRefused, AgentUnreachable):
        await session._renew(cast("AgentClient", told))


@pytest.mark.parametrize("error", [SILENT, BROKEN, LATE, AgentRefused(400, Problem(message="no such field"))])
async def test_an_agent_that_renews_no_lease_for_the_length_of_one_is_given_up(
    session: MacSession, told: Told, error: Exception
) -> None:
    """It may have granted what it did not confirm, so it would never be lost."""
    told.renewal = error
    while told.seconds < LEASE_SECONDS:
        await renews(session, told)
        told.seconds += 10
    with pytest.raises(MacRejected, match="answers, but renews no lease"):
        await renews(session, told)
    assert session._patience.take_stay_away_seconds() == LEASE_SECONDS + TIMING.stay_away_margin_seconds


async def test_a_renewal_in_between_or_an_epoch_to_raise_starts_the_count_anew(session: MacSession, told: Told) -> None:
    stale = AgentRefused(412, Problem(message="a newer leader"))
    for seconds, told.renewal in ((0.0, BROKEN), (25.0, None), (35.0, BROKEN), (64.0, SILENT), (200.0, stale)):
        told.seconds = seconds
        await renews(session, told)


async def test_a_late_renewal_ends_no_conversation(session: MacSession, told: Told) -> None:
    for told.seconds, told.renewal in ((0.0, LATE), (25.0, LATE), (29.0, None), (31.0, LATE), (60.0, LATE)):
        await session._renew(cast("AgentClient", told))


async def test_the_session_stays_away_for_the_longest_lease(session: MacSession, told: Told) -> None:
    for lost_after, longest in ((f"{LEASE_SECONDS}s", LEASE_SECONDS), ("10m", 600), ("5s", 600)):
        session.update(MacAgent.load(mac_agent("mac-a", disconnect={"lostAfter": lost_after})))
        session._patience.contact_made()
        told.answers[A] = SILENT
        await deletes(session, told, A)
        told.seconds += TIMING.deaf_seconds
        with pytest.raises(MacRejected):
            await deletes(session, told, A)
        assert session._patience.take_stay_away_seconds() == longest + TIMING.stay_away_margin_seconds


def test_puts_count_together_and_not_across_a_time_without_any() -> None:
    orders = UnansweredOrders(forget_seconds=60.0)
    assert [orders.unanswered(Order.PUT, key, now) for key, now in ((A, 0.0), (B, 40.0), (A, 80.0))] == [0, 40, 80]
    assert orders.unanswered(Order.PUT, A, 3600.0) == 0, "none was wanted for an hour"
    orders.answered(Order.PUT, B)
    assert orders.unanswered(Order.PUT, A, 3610.0) == 0
    assert orders.unanswered(Order.DELETE, A, 3620.0) == 0


@pytest.mark.parametrize(
    ("order", "refusal", "silent"),
    [
        (Order.DELETE, BROKEN, True),
        (Order.PUT, BROKEN, True),
        (Order.PUT, full(), False),
        (Order.DELETE, full(), True),
        (Order.PUT, AgentRefused(409, Problem(message="older")), False),
        (Order.DELETE, AgentRefused(412, Problem(message="old epoch")), False),
        (Order.DELETE, AgentRefused(404, Problem(message="no such path")), True),
        (Order.DELETE, AgentRefused(409, Problem(message="held")), True),
        (Order.PUT, AgentRefused(408, Problem(message="late")), True),
        (Order.PUT, AgentRefused(503, Problem(message="it takes nothing")), False),
        (Order.DELETE, AgentRefused(503, Problem(message="it takes nothing")), True),
    ],
)
def test_an_error_of_the_agents_own_is_no_answer(order: Order, refusal: AgentRefused, silent: bool) -> None:
    assert is_no_answer(order, refusal) is silent
