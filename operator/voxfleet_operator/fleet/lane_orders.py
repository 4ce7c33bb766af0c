"""Which interactive lanes one agent is to hold and which it is to drop, and what it answered. Pure.

Reconcilers state what they want; the Mac's session tells the agent, again and again: that renews a lane, and brings its
state.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import IntEnum

from voxfleet_api.endpoint_lanes import LaneKey, LaneRequest, LaneState, LaneStatus
from voxfleet_operator.fleet.mac_view import AgentRefused, LaneAnswer, Outcome

MAX_LANES = 64
"""Of one Mac. What does not fit is stated again later."""
MOVING_SECONDS = 1.0
"""Between two calls about a lane that loads or goes."""
READY_SECONDS = 5.0
"""The same of one that is ready: so late a death is told, or a session."""
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 2.0, 30.0
"""After a refusal or no answer; it doubles."""


class LaneNews(IntEnum):
    """What an answer says more than the one before it."""

    NOTHING = 0
    SESSIONS = 1  # only how many there are and how long turns take, which concerns nobody but the lane's endpoint
    STATE = 2


@dataclass(frozen=True, slots=True)
class LaneLetter:
    """A call to make now."""

    key: LaneKey
    request: LaneRequest | None = None
    """To PUT."""
    drops: bool = False
    """DELETE. Neither this nor a request: GET."""


@dataclass(slots=True)
class _Order:
    key: LaneKey
    request: LaneRequest | None = None
    drops: bool = False
    due_seconds: float = float("-inf")
    failures: int = 0
    answer: LaneAnswer | None = None

    def letter(self) -> LaneLetter:
        return LaneLetter(self.key, None if self.drops else self.request, self.drops)

    @property
    def is_done(self) -> bool:
        return self.drops and self.answer is not None and self.answer.outcome is Outcome.GONE


class LaneOrders:
    """One order a lane UID, and one call under way for it at a time, so that its calls arrive in their order."""

    def __init__(self) -> None:
        self._orders: dict[str, _Order] = {}
        """By UID: of two lanes with the same one the agent ends the older one itself. What is gone is remembered while
        there is room, for those who ask. The one that was told last stands last."""
        self._calling: dict[str, LaneLetter] = {}

    def hold(self, key: LaneKey, request: LaneRequest | None) -> None:
        """`request` None: with the one from before, if there was one."""
        order = self._orders.get(key.endpoint_uid)
        if order is not None and order.key.generation > key.generation:
            return
        if order is None or order.key != key:
            if order is not None or self._has_room():
                self._orders[key.endpoint_uid] = _Order(key, request)
        elif not order.drops and request is not None and request != order.request:
            order.request, order.due_seconds = request, float("-inf")

    def drop(self, key: LaneKey) -> None:
        """A lane that is said to be gone stays so."""
        order = self._orders.get(key.endpoint_uid)
        if order is not None and order.key.generation > key.generation:
            return
        known = order is not None and order.key == key and order.drops
        if not known and (order is not None or self._has_room()):
            self._orders[key.endpoint_uid] = _Order(key, drops=True)

    def answers(self) -> dict[LaneKey, LaneAnswer]:
        return {order.key: order.answer for order in self._orders.values() if order.answer is not None}

    def next(self, now: float) -> LaneLetter | None:
        """Takes out the next call; it is under way until `answered`.

        Of those that are due it is the one that was told longest ago: however slow the calls, each has its turn.
        """
        due = (uid for uid, order in self._orders.items() if order.due_seconds <= now and uid not in self._calling)
        uid = next(due, None)
        if uid is None:
            return None
        order = self._orders[uid] = self._orders.pop(uid)
        letter = self._calling[uid] = order.letter()
        return letter

    def next_due_seconds(self) -> float:
        """When `next` may have a call although nothing was stated or answered meanwhile; infinity if never."""
        return min(
            (order.due_seconds for uid, order in self._orders.items() if uid not in self._calling),
            default=float("inf"),
        )

    def answered(self, letter: LaneLetter, answer: LaneAnswer) -> LaneNews:
        """Ends a call."""
        self._calling.pop(letter.key.endpoint_uid, None)
        order = self._orders.get(letter.key.endpoint_uid)
        if order is None or order.key != letter.key or order.drops != letter.drops:
            return LaneNews.NOTHING  # something else is wanted by now
        before, order.answer = order.answer, replace(answer, drops=letter.drops)
        pause_seconds = self._pause_seconds(order, answer)
        if order.drops or order.request is letter.request:  # else it is to be told something newer, at once
            order.due_seconds = answer.at_seconds + pause_seconds
        return _news(before, answer)

    def connection_lost(self) -> None:
        """What was to be held is stated again by those who decide by then; what was to go still is."""
        self._orders = {uid: order for uid, order in self._orders.items() if order.drops}
        for order in self._orders.values():
            order.due_seconds = float("inf") if order.is_done else float("-inf")

    def _has_room(self) -> bool:
        if len(self._orders) >= MAX_LANES:
            gone = next((uid for uid, order in self._orders.items() if order.is_done), None)
            if gone is None:
                return False
            del self._orders[gone]
        return True

    def _pause_seconds(self, order: _Order, answer: LaneAnswer) -> float:
        if order.is_done:
            return float("inf")
        if answer.outcome in (Outcome.REFUSED, Outcome.UNKNOWN):
            pause_seconds = min(LONGEST_PAUSE_SECONDS, FIRST_PAUSE_SECONDS * 2.0 ** min(order.failures, 16))
            order.failures += 1
            asked_seconds = None if answer.refusal is None else answer.refusal.retry_after_seconds
            return max(pause_seconds, asked_seconds or 0.0)
        order.failures = 0
        ready = answer.status is not None and answer.status.state == LaneState.READY
        return READY_SECONDS if ready else MOVING_SECONDS


def _news(before: LaneAnswer | None, answer: LaneAnswer) -> LaneNews:
    if before is None or _said(before) != _said(answer):
        return LaneNews.STATE
    return LaneNews.NOTHING if before.status == answer.status else LaneNews.SESSIONS


def _said(answer: LaneAnswer) -> tuple[Outcome, LaneStatus | None, tuple[int, str] | None]:
    status = None if answer.status is None else answer.status.model_copy(update={"sessions": 0, "latency": None})
    return answer.outcome, status, _told(answer.refusal)


def _told(refusal: AgentRefused | None) -> tuple[int, str] | None:
    return None if refusal is None else (refusal.status, refusal.problem.message)
