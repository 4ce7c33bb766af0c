"""Whatever clocks, borders and crashes do: the rows stand for exactly the time that lanes were held.

Meter, journal tables, recovery and ledger are the agent's own; the clocks are the test's.
"""

from __future__ import annotations

import sqlite3
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.component.agent.agent_rig import process_spec

from voxfleet_agent.attempts.lane_meter import LaneMeter
from voxfleet_agent.attempts.meter_clock import LONGEST_CORRECTION, MeterClock
from voxfleet_agent.attempts.paused_time import Payer
from voxfleet_agent.attempts.recovery import seal_left_holds
from voxfleet_agent.journal import lane_holds, schema
from voxfleet_agent.journal.attempt_table import JournaledAttempt
from voxfleet_agent.journal.lane_holds import EndpointHolder
from voxfleet_agent.ledger import Ledger, begin_chain, page_after, public_key_text
from voxfleet_api.attempt_spec import AttemptKey
from voxfleet_api.digest import digest_of
from voxfleet_api.ledger import Activity, LedgerRow, verify
from voxfleet_api.protocol import AttemptState

KEY = Ed25519PrivateKey.from_private_bytes(b"k" * 32)
LANES = 2
MONTH_END = datetime(2026, 10, 31, 23, 59, 59, 500_000, tzinfo=UTC)
SUMMER_TIME_ENDS = datetime(2026, 10, 25, 0, 59, 59, tzinfo=UTC)
BERLIN = ZoneInfo("Europe/Berlin")

AWAKE = st.sampled_from([0, 1, 499, 500, 501, 2_999, 60_000, 86_400_000]) | st.integers(0, 40 * 86_400_000)
PAYERS = [
    Payer(AttemptKey(uid, 7), EndpointHolder("cp", "team-a", uid, uid, "cc-7")) for uid in ("endpoint-a", "endpoint-b")
]
STEP = st.one_of(
    st.tuples(st.sampled_from(["start", "switch", "end", "clip"]), st.integers(0, LANES - 1)),
    st.tuples(st.just("start"), st.integers(0, LANES - 1)),
    st.tuples(st.just("resume"), st.integers(0, LANES - 1)),
    st.tuples(st.just("tick"), st.just(0)),
    st.tuples(st.just("awake"), AWAKE),
    st.tuples(st.just("asleep"), st.integers(1, 70 * 86_400_000)),
    st.tuples(st.just("clock"), st.integers(-40 * 86_400_000, 40 * 86_400_000) | st.integers(-9_000, 9_000)),
    st.tuples(st.sampled_from(["crash", "reboot", "replay"]), st.just(0)),
)

STANDS = st.tuples(st.integers(0, LANES * len(PAYERS) - 1), AWAKE)
"""A lane stands still for somebody, and for how long at least."""
STEPS = st.lists(
    STEP.map(lambda step: [step]) | STANDS.map(lambda stands: [("pause", stands[0]), ("awake", stands[1])]), max_size=30
).map(lambda parts: [step for part in parts for step in part])


class Clocks:
    """`shown` is the wall clock's time, in a zone with summer time."""

    def __init__(self, start: datetime) -> None:
        self.metered, self.shown = 12_345, start

    def metered_milliseconds(self) -> int:
        return self.metered

    def lease_seconds(self) -> float:
        return self.metered / 1000

    def wall(self) -> datetime:
        return self.shown.astimezone(BERLIN)


@dataclass
class Held:
    """One attempt on its lane, as far as the test knows."""

    meter: LaneMeter
    record: JournaledAttempt
    since: int
    """Since when the time is not in `spent`, on the metered clock."""
    payer: Payer | None = None
    spent: Counter[str] = field(default_factory=Counter)
    """Milliseconds, by the UID of who pays."""
    journaled: Counter[str] = field(default_factory=Counter)

    def up_to(self, now: int) -> None:
        self.spent[self.record.key.shard_uid if self.payer is None else self.payer.key.shard_uid] += now - self.since
        self.since = now


class Mac:
    def __init__(self, start: datetime) -> None:
        self.clocks = Clocks(start)
        self.boots = 1
        self.db = sqlite3.connect(":memory:")
        self.db.executescript(schema.TABLES)
        self.ledger = Ledger(KEY, begin_chain(self.db, public_key_text(KEY)), "hw-1")
        self.records: dict[AttemptKey, JournaledAttempt] = {}
        self.lanes: dict[int, Held] = {}
        self.expected: Counter[str] = Counter()
        """Milliseconds, by the UID of a shard or an endpoint."""
        self.clips = self.added_clips = 0
        self.steady = True
        """Whether the Mac never slept and its clock was never set."""
        self.set_back = timedelta()
        self.disordered: set[str] = set()
        """Boots in which the wall clock was set back by more than a correction, or before the agent forgot it."""
        self._start_process()

    def _start_process(self) -> None:
        self.clock = MeterClock(self.clocks)

    @property
    def boot_id(self) -> str:
        return f"boot-{self.boots}"

    def start(self, lane: int) -> None:
        if lane in self.lanes:
            return
        spec = process_spec(f"shard-{len(self.records)}")
        record = JournaledAttempt(
            AttemptKey(spec.shard_uid, 1), digest_of(spec), "cp", spec, AttemptState.RUNNING, f"offline-{lane}"
        )
        self.records[record.key] = record
        now = self.clocks.metered
        meter = LaneMeter(self.clock, self.boot_id, record.key, f"offline-{lane}", "Offline")
        self.lanes[lane] = Held(meter, record, now)
        lane_holds.save(self.db, meter.hold)

    def switch(self, lane: int) -> None:
        if (held := self.lanes.get(lane)) is None or held.meter.activity is Activity.CLEANUP:
            return
        activity = Activity.WORK if held.meter.activity is Activity.SETUP else Activity.CLEANUP
        self.ledger.seal(self.db, held.meter.switch(activity), held.record)
        lane_holds.save(self.db, held.meter.hold)
        held.up_to(self.clocks.metered)
        held.journaled = held.spent.copy()

    def pause(self, number: int) -> None:
        lane, payer = divmod(number, len(PAYERS))
        self._pay(lane, PAYERS[payer])

    def resume(self, lane: int) -> None:
        self._pay(lane, None)

    def _pay(self, lane: int, payer: Payer | None) -> None:
        if (held := self.lanes.get(lane)) is not None:
            held.meter.pay(payer)
            held.up_to(self.clocks.metered)
            held.payer = payer

    def end(self, lane: int) -> None:
        if (held := self.lanes.pop(lane, None)) is None:
            return
        ended = held.meter.end()
        self.ledger.seal(self.db, ended, held.record)
        assert self.ledger.seal(self.db, ended, held.record) == []
        held.up_to(self.clocks.metered)
        self.expected += held.spent

    def clip(self, lane: int) -> None:
        if lane in self.lanes:
            self.lanes[lane].meter.add(1000, clips=1)
            self.added_clips += 1

    def tick(self, _: int) -> None:
        for held in self.lanes.values():
            ended = held.meter.tick()
            self.ledger.tick(self.db, ended, held.meter.running, held.record)
            held.up_to(self.clocks.metered)
            held.journaled = held.spent.copy()

    def awake(self, milliseconds: int) -> None:
        self.clocks.metered += milliseconds
        self.clocks.shown += timedelta(milliseconds=milliseconds)

    def asleep(self, milliseconds: int) -> None:
        self.clocks.shown += timedelta(milliseconds=milliseconds)
        self.steady = False

    def set_clock(self, milliseconds: int) -> None:
        self.clocks.shown += timedelta(milliseconds=milliseconds)
        self.steady = False
        self.set_back += timedelta(milliseconds=max(0, -milliseconds))
        if self.set_back > LONGEST_CORRECTION:
            self.disordered.add(self.boot_id)

    def crash(self, _: int) -> None:
        for held in self.lanes.values():
            self.expected += held.journaled
        self.lanes.clear()
        self._start_process()
        if self.set_back:
            self.disordered.add(self.boot_id)
        self.replay(0)

    def replay(self, _: int) -> None:
        """Recovery runs again, as after a second crash; while attempts run, it is not asked to."""
        if not self.lanes:
            seal_left_holds(self.db, self.ledger, self.records)
            assert seal_left_holds(self.db, self.ledger, self.records) == []

    def reboot(self, _: int) -> None:
        self.crash(0)
        self.boots += 1
        self.set_back = timedelta()
        self.clocks.metered = 777
        self._start_process()

    def rows(self) -> list[LedgerRow]:
        signed = page_after(self.db, self.ledger.chain_id, -1, 10_000).rows
        verify(signed, KEY.public_key())
        return [item.row for item in signed]


def play(start: datetime, steps: Iterable[tuple[str, int]]) -> Mac:
    mac = Mac(start)
    for name, value in steps:
        getattr(mac, "set_clock" if name == "clock" else name)(value)
    for lane in range(LANES):
        mac.end(lane)
    return mac


def moment(text: str) -> datetime:
    return datetime.fromisoformat(text)


@settings(max_examples=150, deadline=None)
@given(start=st.sampled_from([MONTH_END, SUMMER_TIME_ENDS]), steps=STEPS)
def test_rows_stand_for_the_time_that_lanes_were_held_to_the_millisecond(
    start: datetime, steps: list[tuple[str, int]]
) -> None:
    mac = play(start, [("start", lane) for lane in range(LANES)] + steps)
    rows = mac.rows()
    signed: dict[str, int] = defaultdict(int)
    for row in rows:
        signed[row.shard_uid] += row.monotonic_milliseconds
        is_paused = row.activity is Activity.PAUSED
        assert is_paused == (row.held_for.kind == "VoiceEndpoint") == (row.billing_key == "cc-7")
        assert row.paused_milliseconds == is_paused * row.monotonic_milliseconds
    assert {uid: spent for uid, spent in signed.items() if spent} == {uid: s for uid, s in mac.expected.items() if s}
    lanes: dict[tuple[str, str], list[LedgerRow]] = defaultdict(list)
    for row in rows:
        start_at, end_at = moment(row.wall_start), moment(row.wall_end)
        assert end_at - start_at >= timedelta(milliseconds=row.monotonic_milliseconds)
        assert row.wall_start[:7] == (end_at - (end_at > start_at) * timedelta(milliseconds=1)).strftime("%Y-%m")
        if mac.steady:
            assert end_at - start_at == timedelta(milliseconds=row.monotonic_milliseconds)
        lanes[row.boot_id, row.lane].append(row)
    for (boot_id, _), items in lanes.items():
        for one, other in pairwise(items):
            assert boot_id in mac.disordered or one.wall_end <= other.wall_start, (one, other)


@given(days=st.integers(0, 120), before=st.integers(0, 5_000), ticks=st.lists(st.integers(0, 3_000), max_size=20))
def test_splitting_at_borders_loses_nothing_and_makes_a_row_for_each_month(
    days: int, before: int, ticks: list[int]
) -> None:
    start = MONTH_END - timedelta(milliseconds=before)
    steps = [
        ("start", 0),
        ("switch", 0),
        *((name, value) for tick in ticks for name, value in (("awake", tick), ("tick", 0))),
    ]
    mac = play(start, [*steps, ("awake", days * 86_400_000)])
    work = [row for row in mac.rows() if row.activity is Activity.WORK]
    assert sum(row.monotonic_milliseconds for row in work) == sum(ticks) + days * 86_400_000
    months = [row.wall_start[:7] for row in work]
    assert months == sorted(set(months))
    for one, other in pairwise(work):
        assert one.wall_end == other.wall_start and one.wall_end.endswith("-01T00:00:00.000Z")


@settings(max_examples=25)
@given(lost=st.integers(0, 3_000))
def test_a_crash_loses_what_came_after_the_last_tick_and_nothing_else(lost: int) -> None:
    mac = play(
        MONTH_END,
        [("start", 0), ("awake", 10_000), ("clip", 0), ("tick", 0), ("clip", 0), ("awake", lost), ("crash", 0)],
    )
    rows = mac.rows()
    assert sum(row.monotonic_milliseconds for row in rows) == 10_000
    assert sum(row.clips for row in rows) == 1


@given(pauses=st.lists(st.tuples(st.integers(0, 3_000), st.integers(0, 3_000)), max_size=30))
def test_pauses_make_one_row_for_each_endpoint_however_many_there_are(pauses: list[tuple[int, int]]) -> None:
    steps = [("start", 0), ("switch", 0)]
    for number, (works, stands) in enumerate(pauses):
        steps += [("awake", works), ("pause", number % 2), ("awake", stands), ("resume", 0), ("tick", 0)]
    mac = play(SUMMER_TIME_ENDS, steps)
    rows = [row for row in mac.rows() if row.activity in (Activity.WORK, Activity.PAUSED)]
    assert [row.shard_uid for row in rows if row.monotonic_milliseconds or row.activity is Activity.PAUSED] == [
        uid for uid, spent in [("shard-0", sum(works for works, _ in pauses)), *mac_paused(pauses)] if spent
    ]
    assert sum(row.monotonic_milliseconds for row in rows) == sum(map(sum, pauses))


def mac_paused(pauses: list[tuple[int, int]]) -> list[tuple[str, int]]:
    """What each endpoint pays, in the order in which they first paused the lane."""
    paid: dict[str, int] = {}
    for number, (_, stands) in enumerate(pauses):
        if stands:
            uid = PAYERS[number % 2].key.shard_uid
            paid[uid] = paid.get(uid, 0) + stands
    return list(paid.items())


@settings(max_examples=25)
@given(stands=st.integers(1, 9_000), lost=st.integers(0, 3_000), ends=st.sampled_from(["switch", "end", "tick"]))
def test_what_a_lane_stood_still_for_is_signed_once_whether_it_is_sealed_or_left_behind(
    stands: int, lost: int, ends: str
) -> None:
    steps = [("start", 0), ("switch", 0), ("awake", 5_000), ("pause", 0), ("awake", stands), ("tick", 0)]
    mac = play(SUMMER_TIME_ENDS, [*steps, (ends, 0), ("awake", lost), ("crash", 0)])
    paused = [row.monotonic_milliseconds for row in mac.rows() if row.activity is Activity.PAUSED]
    work = [row.monotonic_milliseconds for row in mac.rows() if row.activity is Activity.WORK]
    assert (paused, work) == ([stands], [5_000])
