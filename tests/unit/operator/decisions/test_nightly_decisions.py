"""Which night is next, when it is closed, and of which Macs rows are still expected."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.rig.signed_mac import SignedMac
from tests.unit.operator.decisions.attempt_objects import record, shard_with

from voxfleet_api.conditions import Reason
from voxfleet_api.kinds import AudioShard
from voxfleet_api.kinds.audio_shard import AttemptOutcome, AttemptUsage
from voxfleet_billing.instants import moment_of, text_of
from voxfleet_billing.nightly.night_csv import NightFrame
from voxfleet_billing.nightly.nightly_format import Closed, NightManifest, NightSource
from voxfleet_billing.nights import UTC_DAYS, NightClock
from voxfleet_operator.fleet.mac_view import MacView
from voxfleet_operator.fleet.verified_row import VerifiedRow
from voxfleet_operator.nightly.awaited import awaited_macs
from voxfleet_operator.nightly.decide import GRACE, closing_reason, is_told, months_of, next_night, overdue_seconds

BERLIN = NightClock(ZoneInfo("Europe/Berlin"), time(7))
END = datetime(2026, 11, 21, tzinfo=UTC)
USAGE = AttemptUsage(chain_id="chain", first_sequence=0, last_sequence=2, rows=3, complete=True)
CLOCKS = st.builds(
    NightClock,
    st.sampled_from(["UTC", "Europe/Berlin", "America/St_Johns", "Pacific/Kiritimati", "Pacific/Pago_Pago"]).map(
        ZoneInfo
    ),
    st.times(datetime(1970, 1, 1).time(), datetime(1970, 1, 1, 23, 59).time()).map(  # noqa: DTZ001 # times of day
        lambda found: found.replace(second=0, microsecond=0)
    ),
)


def manifest_of(frame: NightFrame) -> NightManifest:
    return NightManifest(
        night=frame.night,
        first=text_of(frame.start),
        until=text_of(frame.end),
        time_zone=frame.clock.zone.key,
        closes_at=f"{frame.clock.closes_at:%H:%M}",
        closed=Closed.ALL_ROWS_ARCHIVED,
        sources=(),
        files=(),
        rows=0,
        late_rows=0,
        machine_milliseconds=0,
    )


def test_the_first_night_is_the_last_that_is_over() -> None:
    frame = next_night(None, BERLIN, datetime(2026, 11, 21, 6, tzinfo=UTC))
    assert frame is not None
    assert (frame.night, text_of(frame.start)) == ("2026-11-20", "2026-11-20T06:00:00.000Z")
    assert moment_of(frame.end) == datetime(2026, 11, 21, 6, tzinfo=UTC)
    assert next_night(manifest_of(frame), BERLIN, moment_of(frame.end) + timedelta(hours=23)) is None
    following = next_night(manifest_of(frame), BERLIN, moment_of(frame.end) + timedelta(hours=24))
    assert following is not None and following.night == "2026-11-21" and following.start == frame.end


@given(st.lists(CLOCKS, min_size=1, max_size=4), st.dates(date(2026, 3, 20), date(2026, 11, 10)))
def test_nights_follow_each_other_whatever_becomes_of_their_clock(clocks: list[NightClock], day: date) -> None:
    now = datetime.combine(day, time(12), UTC)
    before = next_night(None, clocks[0], now)
    assert before is not None and moment_of(before.end) <= now
    for clock in clocks:
        frame = next_night(manifest_of(before), clock, now + timedelta(days=30))
        assert frame is not None
        assert frame.start == before.end < frame.end and frame.night > before.night
        assert frame.end - frame.start <= timedelta(hours=74) // timedelta(milliseconds=1)
        before = frame


def test_a_night_waits_for_its_rows_for_half_a_day_at_most() -> None:
    frame = next_night(None, UTC_DAYS, END)
    assert frame is not None
    assert closing_reason(frame, (), END) is Closed.ALL_ROWS_ARCHIVED
    assert closing_reason(frame, ("mac-a",), END + GRACE - timedelta(seconds=1)) is None
    assert closing_reason(frame, ("mac-a",), END + GRACE) is Closed.DEADLINE
    assert overdue_seconds(frame, END + GRACE) == 12 * 3600 and overdue_seconds(None, END) == 0


def test_the_months_whose_macs_are_looked_at() -> None:
    frame = next_night(None, BERLIN, datetime(2026, 12, 1, 7, tzinfo=UTC))
    assert frame is not None
    assert months_of(frame) == ("1970-01", "2026-09", "2026-10", "2026-11", "2026-12")
    source = NightSource(mac="mac-a", month="2026-11", since=text_of(frame.start), final=True, chains=())
    assert not is_told(source, frame)
    following = next_night(manifest_of(frame), BERLIN, datetime(2026, 12, 2, 7, tzinfo=UTC))
    assert following is not None and is_told(source, following)
    assert not is_told(source.model_copy(update={"final": False}), following)


def assigned(shard: AudioShard, at: str) -> AudioShard:
    return AudioShard.load(shard.dump() | {"status": shard.status.dump() | {"assignedAt": at}})


BEFORE, LATER = "2026-11-20T23:59:59Z", "2026-11-21T00:00:00Z"
RUNNING = record(1, "mac-a", AttemptOutcome.ASSIGNED)
UNREAD = record(1, "mac-a", AttemptOutcome.SUCCEEDED, USAGE.model_copy(update={"complete": False}))
SETTLED = record(1, "mac-a", AttemptOutcome.SUCCEEDED, USAGE)


@pytest.mark.parametrize(
    ("shard", "counted", "awaited"),
    [
        (assigned(shard_with(RUNNING), BEFORE), True, ("mac-a",)),
        (assigned(shard_with(RUNNING), LATER), True, ()),
        (assigned(shard_with(UNREAD), BEFORE), True, ("mac-a",)),
        (assigned(shard_with(SETTLED), BEFORE), False, ("mac-a",)),
        (assigned(shard_with(SETTLED), BEFORE), True, ()),
        (
            assigned(shard_with(UNREAD, record(2, "mac-b", AttemptOutcome.ASSIGNED)), LATER),
            True,
            ("mac-a",),
        ),
    ],
)
def test_attempts_that_may_have_rows_of_the_night(shard: AudioShard, counted: bool, awaited: tuple[str, ...]) -> None:
    assert awaited_macs([shard], [], lambda _: counted, lambda _, __: True, END) == awaited


def test_rows_of_jobs_that_are_gone_are_awaited_until_a_statement_counts_them() -> None:
    mac = SignedMac(clock=END - timedelta(seconds=5))
    mac.attempt(seconds=(10, 60, 1))
    rows = tuple(VerifiedRow.of(signed, "cluster-1", END) for signed in mac.rows)
    view = MacView("mac-b", connected=True, reason=Reason.CONNECTED, message="", rows=rows)
    assert [row.began_before("2026-11-21T00:00:00") for row in rows] == [True, False, False]

    def awaited(counted: int, end: datetime) -> tuple[str, ...]:
        return awaited_macs([], [view], lambda _: True, lambda _, row: row.sequence <= counted, end)

    assert awaited(-1, END) == ("mac-b",)
    assert awaited(0, END) == ()
    assert awaited(0, END + timedelta(minutes=1)) == ("mac-b",)
    assert awaited(2, END + timedelta(minutes=1)) == ()
