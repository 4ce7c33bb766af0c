"""How long an agent in contact has left orders unanswered. Pure.

A DELETE counts by itself, as nothing else can end its attempt. A PUT is stated again and again, and a DELETE follows if
the attempt is not wanted any more, so that all PUTs count as one order.
"""

from __future__ import annotations

from voxfleet_api.attempt_spec import AttemptKey
from voxfleet_operator.fleet.mac_view import AgentRefused, Order

LATE_STATUS, EPOCH_STATUS, TAKES_NOTHING_STATUS = 408, 412, 503


class UnansweredOrders:
    def __init__(self, forget_seconds: float) -> None:
        """`forget_seconds`: without another PUT for so long none is wanted, and the count starts anew."""
        self._forget_seconds = forget_seconds
        self._deletes: dict[AttemptKey, float] = {}
        """Since when. Each is in the mailbox until it is answered, which bounds their number."""
        self._refused: set[AttemptKey] = set()
        """Those of which the agent said so itself when they were last sent."""
        self._puts: tuple[float, float] | None = None
        """When the first one and the newest one in a row got no answer."""

    def answered(self, order: Order, key: AttemptKey) -> None:
        if order is Order.DELETE:
            self._deletes.pop(key, None)
            self._refused.discard(key)
        else:
            self._puts = None

    def contact_made(self) -> None:
        """Silence from before counts no more, as the break may have been why; what was refused was refused."""
        self._puts = None
        self._deletes = {key: since for key, since in self._deletes.items() if key in self._refused}

    def unanswered(self, order: Order, key: AttemptKey, now: float, *, refused: bool = False) -> float:
        """Returns for how many seconds the order has been left unanswered."""
        if order is Order.DELETE:
            (self._refused.add if refused else self._refused.discard)(key)
            return now - self._deletes.setdefault(key, now)
        first, newest = self._puts or (now, now)
        if now - newest > self._forget_seconds:
            first = now
        self._puts = first, now
        return now - first


def is_no_answer(order: Order, refusal: AgentRefused) -> bool:
    """Whether a refusal leaves an order as undone as silence does.

    No refusal of a DELETE says that nothing is left of its attempt, and only that of its epoch ends by itself. A PUT is
    answered unless the agent is at fault or finds that it came late; with the class of a failure, or because it takes
    nothing now, it is.
    """
    if order is Order.DELETE:
        return refusal.status != EPOCH_STATUS
    if refusal.status in (LATE_STATUS, TAKES_NOTHING_STATUS):
        return refusal.status == LATE_STATUS
    return refusal.status >= 500 and refusal.problem.failure_class is None
