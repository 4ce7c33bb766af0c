"""What is wanted of one agent, by attempt, and what it answered. Pure.

Reconcilers state what they want and read the answers; the Mac's session sends. Every call may be made again, so what
was dropped here is asked for again.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

from voxfleet_api.attempt_spec import AttemptKey
from voxfleet_api.protocol import AttemptRequest
from voxfleet_operator.fleet.mac_view import PENDING, AgentAnswer, AgentRefused, Order, Outcome

MAX_ORDERS = 256
"""Of each kind. What does not fit is stated again later."""
MAX_ANSWERS = 1024
DELETING_POLL_SECONDS = 1.0
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 2.0, 30.0
"""Between two DELETEs of an attempt, of which the first was refused or got no answer."""


@dataclass(frozen=True, slots=True)
class Letter:
    """A call to make now."""

    key: AttemptKey
    request: AttemptRequest | None
    """None: DELETE."""
    renews: bool = False
    """Of a PUT: the attempt was at work when it was stated."""

    @property
    def order(self) -> Order:
        return Order.DELETE if self.request is None else Order.PUT

    def answer(self, outcome: Outcome, at_seconds: float, refusal: AgentRefused | None) -> AgentAnswer:
        if self.request is None:
            return AgentAnswer(outcome, at_seconds, refusal)
        given = self.request.credentials, self.request.uri_prefixes
        return AgentAnswer(outcome, at_seconds, refusal, *given, renews=self.renews)


@dataclass(slots=True)
class _WantedDelete:
    due_seconds: float
    failures: int = 0


class Mailbox:
    """A PUT is sent once for each time that it is stated; a DELETE until nothing is left on the Mac.

    A DELETE makes a PUT of the same attempt obsolete. A shard has one call under way at a time, so that its calls
    arrive in their order.
    """

    def __init__(self) -> None:
        self._puts: dict[AttemptKey, Letter] = {}
        self._deletes: dict[AttemptKey, _WantedDelete] = {}
        self._calling: dict[str, Letter] = {}
        self._answers: OrderedDict[tuple[Order, AttemptKey], AgentAnswer] = OrderedDict()

    def put(self, key: AttemptKey, request: AttemptRequest, *, renews: bool = False) -> None:
        if key not in self._deletes and (key in self._puts or len(self._puts) < MAX_ORDERS):
            self._puts[key] = Letter(key, request, renews)

    def delete(self, key: AttemptKey) -> None:
        """An attempt that is said to be gone is deleted again, a moment later."""
        self._puts.pop(key, None)
        if key not in self._deletes and len(self._deletes) < MAX_ORDERS:
            old = self._answers.pop((Order.DELETE, key), None)
            due_seconds = float("-inf") if old is None else old.at_seconds + DELETING_POLL_SECONDS
            self._deletes[key] = _WantedDelete(due_seconds)

    def answer(self, order: Order, key: AttemptKey) -> AgentAnswer | None:
        """The newest answer; None if nothing was stated, or so long ago that it is forgotten.

        PENDING as long as a PUT is not answered, and a DELETE not once.
        """
        calling = self._calling.get(key.shard_uid)
        if order is Order.PUT and (key in self._puts or (calling is not None and calling.key == key)):
            return PENDING
        return self._answers.get((order, key), PENDING if order is Order.DELETE and key in self._deletes else None)

    def next(self, now: float) -> Letter | None:
        """Takes out the next call; it is under way until `answered`."""
        wanted = (key for key, delete in self._deletes.items() if delete.due_seconds <= now)
        for key in wanted:
            if key.shard_uid not in self._calling:
                return self._call(Letter(key, None))
        for key, letter in self._puts.items():
            if key.shard_uid not in self._calling:
                del self._puts[key]
                return self._call(letter)
        return None

    def next_due_seconds(self) -> float:
        """When `next` may have a call although nothing was stated or answered meanwhile; infinity if never."""
        return min(
            (delete.due_seconds for key, delete in self._deletes.items() if key.shard_uid not in self._calling),
            default=float("inf"),
        )

    def answered(self, letter: Letter, answer: AgentAnswer) -> bool:
        """Ends a call; returns whether the answer says more than the one before it."""
        self._calling.pop(letter.key.shard_uid, None)
        wanted = self._deletes.get(letter.key)
        if letter.request is None and wanted is not None:
            self._put_off(letter.key, wanted, answer)
        old = self._remember(letter.order, letter.key, answer)
        return letter.order is Order.PUT or old is None or old.outcome is not answer.outcome

    def connection_lost(self, now: float) -> set[str]:
        """Drops the PUTs, as others may decide before the Mac returns; returns the UIDs of their shards.

        DELETEs stay: what was to be deleted never runs again.
        """
        dropped = list(self._puts)
        self._puts.clear()
        for key in dropped:
            self._remember(Order.PUT, key, AgentAnswer(Outcome.UNKNOWN, now))
        for delete in self._deletes.values():
            delete.due_seconds = float("-inf")
        return {key.shard_uid for key in dropped}

    def _remember(self, order: Order, key: AttemptKey, answer: AgentAnswer) -> AgentAnswer | None:
        """Returns the answer before."""
        old = self._answers.pop((order, key), None)
        self._answers[order, key] = answer
        if len(self._answers) > MAX_ANSWERS:
            self._answers.popitem(last=False)
        return old

    def _call(self, letter: Letter) -> Letter:
        self._calling[letter.key.shard_uid] = letter
        return letter

    def _put_off(self, key: AttemptKey, wanted: _WantedDelete, answer: AgentAnswer) -> None:
        if answer.outcome is Outcome.GONE:
            del self._deletes[key]
        elif answer.outcome is Outcome.DELETING:
            wanted.failures = 0
            wanted.due_seconds = answer.at_seconds + DELETING_POLL_SECONDS
        else:
            pause_seconds = min(LONGEST_PAUSE_SECONDS, FIRST_PAUSE_SECONDS * 2.0 ** min(wanted.failures, 16))
            wanted.failures += 1
            wanted.due_seconds = answer.at_seconds + pause_seconds
