"""For how long an agent in contact may leave undone what it is told, and what follows.

An agent that renews leases would never be lost: one that leaves an order undone, or confirms no renewal, is stayed away
from until its leases have run out. A deletion that hangs costs nobody else anything, as its attempt never runs again:
the Mac gets no more work, and goes on with what it has.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NoReturn

from voxfleet_api.attempt_spec import AttemptKey
from voxfleet_api.conditions import Reason
from voxfleet_operator.fleet.identity import MacRejected
from voxfleet_operator.fleet.mac_view import Order
from voxfleet_operator.fleet.session_context import SessionTiming
from voxfleet_operator.fleet.unanswered_orders import UnansweredOrders


class Patience:
    """With one Mac's agent. What ends contact is raised as MacRejected."""

    def __init__(self, timing: SessionTiming, clock: Callable[[], float], lease_seconds: float) -> None:
        self._timing = timing
        self._clock = clock
        self._longest_lease_seconds = lease_seconds
        self._stay_away_seconds = 0.0
        self._not_renewed_since: float | None = None
        """When the first renewal in a row failed."""
        self.another_machine()

    def contact_made(self) -> None:
        self._unanswered.contact_made()

    def another_machine(self) -> None:
        self._unanswered = UnansweredOrders(self._timing.forget_puts_seconds)
        self._deleting: dict[AttemptKey, float] = {}
        """Since when the agent has been deleting them, as it says. Each is in the mailbox until it is gone, which
        bounds their number."""

    def grants(self, lease_seconds: float) -> None:
        """All leases ever granted count, as attempts that got them may still run."""
        self._longest_lease_seconds = max(self._longest_lease_seconds, lease_seconds)

    def answered(self, order: Order, key: AttemptKey) -> None:
        self._unanswered.answered(order, key)
        if order is Order.DELETE:
            self._deleting.pop(key, None)

    def deleting(self, key: AttemptKey) -> None:
        """Takes that the agent is about it."""
        self._unanswered.answered(Order.DELETE, key)
        self._deleting.setdefault(key, self._clock())

    def hung_deletions(self) -> tuple[AttemptKey, ...]:
        """Of all connections: a break does not begin a deletion anew."""
        hung_since = self._clock() - self._timing.deleting_seconds
        return tuple(sorted(key for key, since in self._deleting.items() if since <= hung_since))

    def unanswered(self, order: Order, key: AttemptKey, *, refused: bool = False) -> None:
        """`refused`: the agent said itself that it leaves the order undone."""
        seconds = self._unanswered.unanswered(order, key, self._clock(), refused=refused)
        if seconds >= (limit := self._timing.deaf_seconds):
            self._unanswered = UnansweredOrders(self._timing.forget_puts_seconds)  # it gets as long once it is back
            self._stay_away(f"the agent renews leases, but left a {order} undone for {limit:g} s")

    def renewed(self) -> None:
        self._not_renewed_since = None

    def not_renewed(self, error: Exception) -> None:
        """A renewal that fails may have granted a lease, too."""
        now = self._clock()
        if self._not_renewed_since is None:
            self._not_renewed_since = now
        if now - self._not_renewed_since >= self._longest_lease_seconds:
            self._not_renewed_since = None
            self._stay_away(f"the agent answers, but renews no lease ({error})")

    def take_stay_away_seconds(self) -> float:
        """For how long to make no contact from now on; it is told once."""
        seconds, self._stay_away_seconds = self._stay_away_seconds, 0.0
        return seconds

    def _stay_away(self, fault: str) -> NoReturn:
        self._stay_away_seconds = self._longest_lease_seconds + self._timing.stay_away_margin_seconds
        raise MacRejected(
            Reason.AGENT_UNREACHABLE,
            f"{fault}; restart it. Its leases run out, so that other Macs take over",
        )
