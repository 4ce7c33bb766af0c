"""What a Mac's mailbox holds after which statement and which answer, and that a delivery waits for no one else."""

from __future__ import annotations

import asyncio
import inspect

import pytest

from voxfleet_api.attempt_spec import AttemptKey
from voxfleet_api.protocol import AttemptRequest, Problem
from voxfleet_operator.fleet.delivery import CALLS_AT_ONCE, Delivery
from voxfleet_operator.fleet.mac_view import PENDING, AgentAnswer, AgentRefused, Fleet, Order, Outcome
from voxfleet_operator.fleet.mailbox import MAX_ANSWERS, MAX_ORDERS, Letter, Mailbox

DIGEST = "sha256:" + "0" * 64
A, A2, B = AttemptKey("a", 1), AttemptKey("a", 2), AttemptKey("b", 1)
REFUSAL = AgentRefused(429, Problem(message="every lane is taken"))


def request(lease_seconds: int = 60) -> AttemptRequest:
    return AttemptRequest(spec_digest=DIGEST, spec={}, lease_seconds=lease_seconds)


def answer(outcome: Outcome, at_seconds: float = 0.0) -> AgentAnswer:
    return AgentAnswer(outcome, at_seconds, REFUSAL if outcome is Outcome.REFUSED else None)


def taken(mailbox: Mailbox, now: float = 0.0) -> Letter:
    letter = mailbox.next(now)
    assert letter is not None
    return letter


def test_reconcilers_cannot_wait_for_a_mac() -> None:
    """Whoever awaits a call to one Mac in a shared worker makes all others wait for it."""
    calls = [member for name, member in vars(Fleet).items() if not name.startswith("_") and callable(member)]
    assert calls and not [call for call in calls if inspect.iscoroutinefunction(call)]


def test_a_put_is_sent_once_and_its_answer_is_kept() -> None:
    mailbox = Mailbox()
    assert mailbox.answer(Order.PUT, A) is None
    mailbox.put(A, request(1))
    mailbox.put(A, request(2))
    assert mailbox.answer(Order.PUT, A) is PENDING
    letter = taken(mailbox)
    assert letter.request == request(2) and mailbox.next(0) is None
    assert mailbox.answer(Order.PUT, A) is PENDING
    assert mailbox.answered(letter, answer(Outcome.REFUSED))
    assert mailbox.answer(Order.PUT, A) == answer(Outcome.REFUSED)
    assert mailbox.next(1e9) is None


def test_a_put_that_is_stated_again_while_it_is_sent_goes_again() -> None:
    mailbox = Mailbox()
    mailbox.put(A, request(1))
    letter = taken(mailbox)
    mailbox.put(A, request(2))
    mailbox.answered(letter, answer(Outcome.ACCEPTED))
    assert mailbox.answer(Order.PUT, A) is PENDING
    assert taken(mailbox).request == request(2)


@pytest.mark.parametrize(
    ("outcome", "again_seconds"),
    [(Outcome.DELETING, 1.0), (Outcome.UNKNOWN, 2.0), (Outcome.REFUSED, 2.0), (Outcome.GONE, None)],
)
def test_a_delete_is_sent_until_nothing_is_left(outcome: Outcome, again_seconds: float | None) -> None:
    mailbox = Mailbox()
    mailbox.delete(A)
    mailbox.answered(taken(mailbox, 10.0), answer(outcome, 10.0))
    if again_seconds is None:
        assert mailbox.next_due_seconds() == float("inf")
        return
    assert mailbox.next_due_seconds() == 10.0 + again_seconds
    assert mailbox.next(10.0 + again_seconds - 0.1) is None
    assert taken(mailbox, 10.0 + again_seconds).request is None


def test_a_delete_that_fails_is_repeated_ever_more_rarely_and_is_news_once() -> None:
    mailbox, now, pauses, news = Mailbox(), 0.0, [], []
    mailbox.delete(A)
    for _ in range(6):
        news.append(mailbox.answered(taken(mailbox, now), answer(Outcome.UNKNOWN, now)))
        pauses.append(mailbox.next_due_seconds() - now)
        now = mailbox.next_due_seconds()
    assert pauses == [2, 4, 8, 16, 30, 30]
    assert news == [True, False, False, False, False, False]


def test_what_comes_back_is_deleted_again_but_not_at_once() -> None:
    mailbox = Mailbox()
    mailbox.delete(A)
    mailbox.answered(taken(mailbox), answer(Outcome.GONE, 5.0))
    mailbox.delete(A)
    assert mailbox.answer(Order.DELETE, A) is PENDING, "gone it is no more"
    assert mailbox.next(5.0) is None and taken(mailbox, 6.0).key == A


def test_a_delete_ends_what_a_put_of_the_same_attempt_wanted() -> None:
    mailbox = Mailbox()
    mailbox.put(A, request())
    mailbox.delete(A)
    mailbox.put(A, request())
    assert taken(mailbox).request is None and mailbox.next(0) is None


def test_a_shard_has_one_call_under_way_and_others_do_not_wait_for_it() -> None:
    mailbox = Mailbox()
    mailbox.put(A, request())
    first = taken(mailbox)
    mailbox.delete(A)
    mailbox.put(A2, request())
    mailbox.put(B, request())
    assert taken(mailbox).key == B
    assert mailbox.next(0) is None
    mailbox.answered(first, answer(Outcome.ACCEPTED))
    second = taken(mailbox)
    assert (second.key, second.order) == (A, Order.DELETE), "an older attempt is deleted before a newer one starts"
    mailbox.answered(second, answer(Outcome.GONE))
    assert taken(mailbox).key == A2


def test_without_contact_puts_are_dropped_and_named_and_deletes_stay() -> None:
    mailbox = Mailbox()
    mailbox.put(A, request())
    mailbox.delete(B)
    mailbox.answered(taken(mailbox), answer(Outcome.UNKNOWN, 1.0))
    assert mailbox.connection_lost(2.0) == {"a"}
    assert mailbox.answer(Order.PUT, A) == AgentAnswer(Outcome.UNKNOWN, 2.0)
    letter = taken(mailbox, 2.0)
    assert (letter.key, letter.request) == (B, None), "with contact it is sent at once"


def test_it_is_bounded() -> None:
    mailbox = Mailbox()
    for number in range(3 * MAX_ANSWERS):
        mailbox.put(AttemptKey("p", number), request())
        mailbox.delete(AttemptKey(f"d{number}", 1))
    sent = 0
    while (letter := mailbox.next(0)) is not None:
        mailbox.answered(letter, answer(Outcome.ACCEPTED if letter.request else Outcome.GONE))
        sent += 1
    assert sent == 2 * MAX_ORDERS
    keys = [AttemptKey(f"e{number}", 1) for number in range(3 * MAX_ANSWERS)]
    for key in keys:
        mailbox.put(key, request())
        mailbox.answered(taken(mailbox), answer(Outcome.ACCEPTED))
    assert sum(mailbox.answer(Order.PUT, key) is not None for key in keys) == MAX_ANSWERS
    for key in (AttemptKey(f"f{number}", 1) for number in range(3)):
        mailbox.put(key, request())
        keys.append(key)
    mailbox.connection_lost(0.0)
    assert sum(mailbox.answer(Order.PUT, key) is not None for key in keys) == MAX_ANSWERS


async def test_a_call_that_hangs_holds_up_neither_another_shard_nor_another_mac() -> None:
    hung, forever, arrived = Mailbox(), asyncio.Event(), asyncio.Queue[Letter]()
    delivery = Delivery(hung, lambda: 0.0)

    async def send(letter: Letter) -> None:
        if letter.key == A:
            await forever.wait()
        hung.answered(letter, answer(Outcome.ACCEPTED))
        arrived.put_nowait(letter)

    running = asyncio.create_task(delivery.run(send))
    hung.put(A, request())
    for number in range(CALLS_AT_ONCE):
        hung.put(AttemptKey(f"b{number}", 1), request())
    delivery.wake()
    async with asyncio.timeout(10):
        for _ in range(CALLS_AT_ONCE):
            assert (await arrived.get()).key != A
        hung.put(A2, request())
        hung.put(B, request())
        delivery.wake()
        assert (await arrived.get()).key == B
        forever.set()
        assert {(await arrived.get()).key, (await arrived.get()).key} == {A, A2}
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
