"""For what an endpoint holds its lane, and that the rows stand for exactly that time whatever happens meanwhile."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.agent.attempts.test_metering_schedules import KEY, Clocks

from voxfleet_agent.attempts.lane_meter import LaneMeter
from voxfleet_agent.attempts.meter_clock import MeterClock
from voxfleet_agent.attempts.metered_span import next_hour
from voxfleet_agent.attempts.recovery import seal_left_holds
from voxfleet_agent.endpoint_lanes.lane_metering import write_change
from voxfleet_agent.endpoint_lanes.warm_lane_meter import LASTING_MILLISECONDS, WarmLaneMeter, activity_of
from voxfleet_agent.journal import lane_holds, schema
from voxfleet_agent.journal.lane_holds import EndpointHolder
from voxfleet_agent.ledger import Ledger, begin_chain, page_after, public_key_text
from voxfleet_api.attempt_spec import AttemptKey
from voxfleet_api.ledger import Activity, LedgerRow, RowOwner, verify

EVENING = datetime(2026, 11, 30, 22, 0, tzinfo=UTC)
BEFORE_MONTHS_END = datetime(2026, 11, 30, 23, 59, 58, 500_000, tzinfo=UTC)
HOLDER = EndpointHolder("cp", "speech", "captions", "endpoint-1", "team-speech")
HOUR_MILLISECONDS = 3_600_000

AWAKE = st.sampled_from([0, 1, 999, 2_999, 3_000, 59_999, 60_000, HOUR_MILLISECONDS]) | st.integers(0, 10**8)
EVENTS = ("take", "warm", "cold", "open", "shut", "short", "tick", "give", "hand", "crash")
STEPS = st.one_of(
    st.tuples(st.sampled_from(EVENTS), st.just(0)),
    st.tuples(st.just("awake"), AWAKE),
    st.tuples(st.just("asleep"), st.integers(1, 10**8)),
    st.tuples(st.just("clock"), st.integers(-(10**8), 10**8)),
)


@pytest.mark.parametrize(
    ("warm", "sessions", "unused_milliseconds", "activity"),
    [
        (False, 0, None, Activity.SETUP),
        (False, 1, 0, Activity.SETUP),
        (True, 0, None, Activity.IDLE),
        (True, 1, 0, Activity.WORK),
        (True, 2, 10**9, Activity.WORK),
        (True, 0, LASTING_MILLISECONDS - 1, Activity.WORK),
        (True, 0, LASTING_MILLISECONDS, Activity.IDLE),
    ],
)
def test_what_a_lane_is_held_for(warm: bool, sessions: int, unused_milliseconds: int | None, activity: str) -> None:
    facts = {"warm": warm, "sessions": sessions, "unused_milliseconds": unused_milliseconds}
    assert activity_of(**facts) is activity  # type: ignore[arg-type] # by name
    assert activity_of(**facts, cleans_up=True) is Activity.CLEANUP  # type: ignore[arg-type] # by name


@dataclass
class LaneStandIn:
    warm: bool = False
    open_sessions: int = 0


class Mac:
    """One lane, which an endpoint takes and gives back; journal tables, recovery and ledger are the agent's own."""

    def __init__(self, start: datetime) -> None:
        self.clocks = Clocks(start)
        self.clock = MeterClock(self.clocks)
        self.db = sqlite3.connect(":memory:")
        self.db.executescript(schema.TABLES)
        self.ledger = Ledger(KEY, begin_chain(self.db, public_key_text(KEY)), "hw-1")
        self.lane = LaneStandIn()
        self.meter: WarmLaneMeter | None = None
        self.generation = 0
        self.began = self.journaled = 0
        self.expected: dict[int, int] = {}
        """Milliseconds, by the lane's number."""
        self.steady = True
        """Whether the Mac never slept and its clock was never set."""

    def take(self, _: int = 0) -> None:
        if self.meter is not None:
            return
        self.generation += 1
        key = AttemptKey(HOLDER.uid, self.generation)
        meter = LaneMeter(
            self.clock, "boot", key, "interactive-0", "Interactive", border_after=next_hour, holder=HOLDER
        )
        self.lane.warm, self.lane.open_sessions = False, 0
        self.meter = WarmLaneMeter(meter, self.lane, self.clocks.metered_milliseconds)
        self.began = self.journaled = self.clocks.metered

    def tick(self, _: int = 0, *, opened: bool = False) -> None:
        if self.meter is not None:
            write_change(self.db, self.ledger, HOLDER, self.meter.look(opened=opened))
            self.journaled = self.clocks.metered

    def warm(self, _: int = 0) -> None:
        self.lane.warm = True
        self.tick()

    def cold(self, _: int = 0) -> None:
        self.lane.warm, self.lane.open_sessions = False, 0
        self.tick()

    def open(self, _: int = 0) -> None:
        if self.lane.warm:
            self.lane.open_sessions += 1
            self.tick(opened=True)

    def shut(self, _: int = 0) -> None:
        """The next tick sees it."""
        self.lane.open_sessions = max(0, self.lane.open_sessions - 1)

    def short(self, _: int = 0) -> None:
        """A session that is over before anybody has looked."""
        if self.lane.warm:
            self.tick(opened=True)

    def give(self, _: int = 0) -> None:
        if self.meter is None:
            return
        self.meter.cleans_up()
        self.tick()
        self._end(self.meter)

    def hand(self, _: int = 0) -> None:
        """A newer generation takes the lane over; the older one's rows are signed a while later."""
        older = self.meter
        if older is None:
            return
        older.stop()
        began = self.began
        self.meter = None
        self.take()
        self.clocks.metered += 5
        self.clocks.shown += timedelta(milliseconds=5)
        newer, newer_began, self.generation = self.meter, self.began, self.generation - 1
        self.meter, self.began = older, began
        self._end(older, 5)
        self.meter, self.began, self.generation = newer, newer_began, self.generation + 1

    def _end(self, meter: WarmLaneMeter, since_stopped: int = 0) -> None:
        write_change(self.db, self.ledger, HOLDER, meter.end())
        self.meter = None
        self.expected[self.generation] = self.clocks.metered - since_stopped - self.began

    def crash(self, _: int = 0) -> None:
        if self.meter is not None:
            self.expected[self.generation] = self.journaled - self.began
        self.meter = None
        self.clock = MeterClock(self.clocks)
        self.steady = False  # what a new process knows of the clock may differ
        seal_left_holds(self.db, self.ledger, {})
        assert seal_left_holds(self.db, self.ledger, {}) == []

    def awake(self, milliseconds: int) -> None:
        self.clocks.metered += milliseconds
        self.clocks.shown += timedelta(milliseconds=milliseconds)

    def asleep(self, milliseconds: int) -> None:
        self.clocks.shown += timedelta(milliseconds=milliseconds)
        self.steady = False

    def set_clock(self, milliseconds: int) -> None:
        self.clocks.shown += timedelta(milliseconds=milliseconds)
        self.steady = False

    def rows(self) -> list[LedgerRow]:
        signed = page_after(self.db, self.ledger.chain_id, -1, 100_000).rows
        verify(signed, KEY.public_key())
        assert lane_holds.load_all(self.db) == [] or self.meter is not None
        return [item.row for item in signed]


def play(start: datetime, steps: Iterable[tuple[str, int]]) -> Mac:
    mac = Mac(start)
    mac.take()
    for name, value in steps:
        getattr(mac, "set_clock" if name == "clock" else name)(value)
    mac.give()
    return mac


def told(mac: Mac) -> list[tuple[str, int, str, str]]:
    return [
        (row.activity, row.monotonic_milliseconds, row.wall_start[11:-1], row.wall_end[11:-1]) for row in mac.rows()
    ]


@settings(max_examples=150, deadline=None)
@given(start=st.sampled_from([EVENING, BEFORE_MONTHS_END]), steps=st.lists(STEPS, max_size=40))
def test_rows_stand_for_the_time_that_the_lane_was_held_to_the_millisecond(
    start: datetime, steps: list[tuple[str, int]]
) -> None:
    mac = play(start, steps)
    signed: dict[int, int] = {}
    for row in mac.rows():
        signed[row.attempt] = signed.get(row.attempt, 0) + row.monotonic_milliseconds
        first, last = datetime.fromisoformat(row.wall_start), datetime.fromisoformat(row.wall_end)
        assert last - first >= timedelta(milliseconds=row.monotonic_milliseconds)
        assert last <= next_hour(first), "no row has more than one hour"
        assert (row.held_for, row.billing_key) == (HOLDER.owner, "team-speech")
    held = {number: spent for number, spent in mac.expected.items() if spent}
    assert {number: spent for number, spent in signed.items() if spent} == held
    if mac.steady:
        for one, other in pairwise(mac.rows()):
            assert one.wall_end <= other.wall_start


def test_a_lanes_life_by_activity_and_hour() -> None:
    start = datetime(2026, 11, 30, 22, 50, tzinfo=UTC)
    steps = [("awake", 20_000), ("warm", 0), ("awake", 40_000), ("open", 0), ("awake", 30_000), ("tick", 0)]
    steps += [("shut", 0), ("awake", 59_999), ("tick", 0), ("awake", 1), ("tick", 0)]
    steps += [("awake", 600_000), ("tick", 0), ("awake", 1000)]
    mac = play(start, steps)
    assert told(mac) == [
        ("Setup", 20_000, "22:50:00.000", "22:50:20.000"),
        ("Idle", 40_000, "22:50:20.000", "22:51:00.000"),
        ("Work", 90_000, "22:51:00.000", "22:52:30.000"),
        ("Idle", 450_000, "22:52:30.000", "23:00:00.000"),
        ("Idle", 151_000, "23:00:00.000", "23:02:31.000"),
        ("Cleanup", 0, "23:02:31.000", "23:02:31.000"),
    ]
    row = mac.rows()[0]
    assert row.owner == RowOwner(kind="VoiceEndpoint", namespace="speech", name="captions", uid="endpoint-1")
    assert (row.shard_uid, row.attempt, row.price_class, row.control_plane) == ("endpoint-1", 1, "Interactive", "cp")


def test_a_row_ends_with_its_month() -> None:
    mac = play(BEFORE_MONTHS_END, [("warm", 0), ("awake", 3000), ("tick", 0)])
    idle = [row for row in mac.rows() if row.activity == Activity.IDLE]
    assert [(row.wall_start[:7], row.monotonic_milliseconds) for row in idle] == [("2026-11", 1500), ("2026-12", 1500)]


def test_short_sessions_make_no_row_each() -> None:
    steps = [("warm", 0), *[step for _ in range(200) for step in (("short", 0), ("awake", 15_000), ("tick", 0))]]
    assert [row.activity for row in play(EVENING, steps).rows()] == ["Setup", "Idle", "Work", "Cleanup"]


def test_a_lane_whose_child_dies_again_and_again_makes_two_rows_a_minute_at_most() -> None:
    minutes = 30
    steps = [step for _ in range(minutes) for step in (("warm", 0), ("awake", 1000), ("cold", 0), ("awake", 59_000))]
    assert len(play(EVENING, steps).rows()) <= 2 * minutes + 2


@settings(max_examples=25)
@given(lost=st.integers(0, 3_000))
def test_a_crash_loses_what_came_after_the_last_tick_and_nothing_else(lost: int) -> None:
    mac = play(EVENING, [("warm", 0), ("awake", 10_000), ("tick", 0), ("awake", lost), ("crash", 0)])
    assert sum(row.monotonic_milliseconds for row in mac.rows()) == 10_000
