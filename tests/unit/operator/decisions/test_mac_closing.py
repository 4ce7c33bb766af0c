"""When a Mac's attempts have to be over: drain, windows and rental, each with its grace, and the earliest of them."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.operator.decisions.bodies import mac_agent
from tests.unit.operator.decisions.memory_api import Clock
from tests.unit.operator.decisions.memory_fleet import Agent, facts
from tests.unit.operator.decisions.world import World

from voxfleet_api.conditions import Reason
from voxfleet_api.kinds import MacAgent
from voxfleet_api.kinds.audio_shard import Stage
from voxfleet_api.protocol import RenewRequest
from voxfleet_operator.fleet.closing import Closing, ClosingPhase, renews_leases
from voxfleet_operator.fleet.mac_view import MacView
from voxfleet_operator.reconcile.mac_closing import LONG_AGO, Recall, closing, next_change, opens_at, recall

GRACE = timedelta(minutes=5)
NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
NIGHT = {"timeZone": "UTC", "windows": [{"start": "20:00", "end": "06:00"}]}


def clock(text: str, day: int = 20) -> datetime:
    hour, minute = map(int, text.split(":"))
    return datetime(2026, 11, day, hour, minute, tzinfo=UTC)


def a_mac(draining_since: str | None = None, **spec: object) -> MacAgent:
    body = mac_agent("mac-a", **spec)
    if draining_since is not None:
        transition = f"2026-11-20T{draining_since}:00Z"
        known = {"type": "Draining", "status": "True", "reason": "Draining", "lastTransitionTime": transition}
        body["status"] = {"conditions": [known]}
    return MacAgent.load(body)


CASES: dict[str, tuple[MacAgent, datetime, Closing]] = {
    "nothing is asked": (a_mac(), NOON, Closing()),
    "the window is open": (
        a_mac(availability=NIGHT),
        clock("21:00"),
        Closing(False, clock("06:00", 21), clock("06:05", 21)),
    ),
    "the window has just closed": (
        a_mac(availability=NIGHT),
        clock("06:01"),
        Closing(True, clock("06:00"), clock("06:05")),
    ),
    "a rental is over at its end, not after it": (
        a_mac(availability={"rentalEnd": "2026-11-20T13:00:00Z"}),
        NOON,
        Closing(False, clock("12:55"), clock("13:00")),
    ),
    "the rental ends just after the window": (
        a_mac(availability=NIGHT | {"rentalEnd": "2026-11-21T06:02:00Z"}),
        clock("21:00"),
        Closing(False, clock("05:57", 21), clock("06:02", 21)),
    ),
    "the rental was over long ago": (
        a_mac(availability={"rentalEnd": "2026-10-01T00:00:00Z"}),
        NOON,
        Closing(True, datetime(2026, 9, 30, 23, 55, tzinfo=UTC), datetime(2026, 10, 1, tzinfo=UTC)),
    ),
    "the rental has not begun": (
        a_mac(availability={"rentalStart": "2026-12-01T00:00:00Z"}),
        NOON,
        Closing(True, LONG_AGO, LONG_AGO),
    ),
    "hours that nobody can read leave alone what runs": (
        a_mac(availability=NIGHT | {"timeZone": "Europe/Berln"}),
        NOON,
        Closing(True),
    ),
    "a drain that was just written": (
        a_mac(drain={"deadlineSeconds": 600}),
        NOON,
        Closing(True, clock("12:10"), clock("12:15")),
    ),
    "a drain counts from when it was first seen": (
        a_mac("11:30", drain={"deadlineSeconds": 3600}),
        NOON,
        Closing(True, clock("12:30"), clock("12:35")),
    ),
    "a drain that returns at once": (
        a_mac("11:58", drain={"mode": "ReturnAtNextClip", "deadlineSeconds": 3600}),
        NOON,
        Closing(True, clock("11:58"), clock("12:03")),
    ),
    "the earliest counts": (
        a_mac("21:00", drain={"deadlineSeconds": 7 * 24 * 3600}, availability=NIGHT),
        clock("22:00"),
        Closing(True, clock("06:00", 21), clock("06:05", 21)),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_when_attempts_have_to_be_over(name: str) -> None:
    mac, now, want = CASES[name]
    assert closing(mac, now) == want


def test_a_drain_is_bounded_although_nobody_wrote_a_deadline() -> None:
    found = closing(a_mac("12:00", drain={}), NOON)
    assert found.stop_at == NOON + timedelta(hours=1) + GRACE


NEW = facts(Agent("mac-a", Clock(), World().random))
OLD = NEW.model_copy(update={"capabilities": ()})
CLOSING = Closing(True, NOON, NOON + GRACE)
VIEW = MacView("mac-a", connected=True, reason=Reason.CONNECTED, message="", machine=NEW)


@pytest.mark.parametrize(
    ("seconds", "stage", "knows_how", "want"),
    [
        (-1, Stage.PROCESS, True, Recall.NONE),
        (-1, Stage.PROCESS, False, Recall.NONE),
        (-1, Stage.PLAN, True, Recall.NONE),
        (0, Stage.PROCESS, True, Recall.AT_NEXT_CLIP),
        (0, Stage.PROCESS, False, Recall.NOW),
        (0, Stage.PLAN, True, Recall.NOW),
        (0, Stage.FINALIZE, True, Recall.NOW),
        (299, Stage.PROCESS, True, Recall.AT_NEXT_CLIP),
        (300, Stage.PROCESS, True, Recall.NOW),
    ],
)
def test_how_attempts_are_called_back(seconds: int, stage: Stage, knows_how: bool, want: Recall) -> None:
    view = replace(VIEW, machine=NEW if knows_how else OLD)
    assert recall(CLOSING, stage, view, NOON + timedelta(seconds=seconds)) is want


@pytest.mark.parametrize(
    ("seconds", "told", "renews_an_old_agent"),
    [
        (-60, RenewRequest(takes_nothing=True, return_after_seconds=60, stop_after_seconds=360, lanes=True), True),
        (0, RenewRequest(takes_nothing=True, return_after_seconds=0, stop_after_seconds=300, lanes=True), True),
        (300, RenewRequest(takes_nothing=True, return_after_seconds=0, stop_after_seconds=0, lanes=True), False),
    ],
)
def test_what_a_renewal_says(seconds: int, told: RenewRequest, renews_an_old_agent: bool) -> None:
    now = NOON + timedelta(seconds=seconds)
    assert CLOSING.renewal(now) == told
    assert renews_leases(CLOSING, OLD, now) is renews_an_old_agent
    assert renews_leases(CLOSING, NEW, now), "it is told that it is to run nothing"
    assert Closing().renewal(now) == RenewRequest(lanes=True) and renews_leases(Closing(), OLD, now)


def test_a_mac_that_is_about_to_close_takes_nothing() -> None:
    ends = Closing(False, NOON, NOON + GRACE)
    assert ends.renewal(NOON).takes_nothing and not ends.renewal(NOON - GRACE).takes_nothing


@given(
    st.sampled_from([NIGHT, NIGHT | {"rentalEnd": "2026-11-21T03:00:00Z"}, {"rentalStart": "2026-11-20T18:00:00Z"}]),
    st.sampled_from([None, {"deadlineSeconds": 900}, {"mode": "ReturnAtNextClip"}]),
    st.integers(0, 3 * 24 * 60),
)
def test_the_next_change_is_the_first_moment_at_which_anything_differs(
    hours: dict[str, object], drain: dict[str, object] | None, minutes: int
) -> None:
    mac = a_mac("12:00", availability=hours, **({} if drain is None else {"drain": drain}))
    now = NOON + timedelta(minutes=minutes)

    def shown(moment: datetime) -> tuple[ClosingPhase, bool, bool]:
        found = closing(mac, moment)
        return found.phase(moment), found.takes_nothing, opens_at(mac, moment) is not None

    change = next_change(mac, now)
    until = now + timedelta(days=2) if change is None else change - timedelta(seconds=1)
    assert shown(until) == shown(now)
    assert change is None or change > now
