"""The CSV of each night in the ledger archive: every row in one of them, and each the same bytes when made again."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, generate_latest
from tests.rig.nights import NightlyWorld, attempts, hours, made_anew
from tests.rig.signed_mac import SignedMac

from voxfleet_api.digest import canonical_json, sha256_hex
from voxfleet_billing.archive_format import MonthIndex, TimeClass
from voxfleet_billing.nightly import night_csv
from voxfleet_billing.nightly.night_archive import read_night
from voxfleet_billing.nightly.nightly_format import Closed
from voxfleet_billing.nights import NightClock
from voxfleet_operator.event_reasons import EventReason
from voxfleet_operator.metrics import NightlyMetrics

DAY = timedelta(days=1)
NIGHT = "2026-11-20"
AFTERWARDS = datetime(2026, 11, 21, 0, 5, tzinfo=UTC)


class Killed(Exception):
    """The process ended."""


def a_night(**changes: object) -> tuple[NightlyWorld, SignedMac]:
    """Two attempts in the night and one after it, archived; the night is over."""
    world, mac = NightlyWorld(now=AFTERWARDS, **changes), SignedMac()  # type: ignore[arg-type] # fields of it
    attempts(mac, hours(20, 22, 24.01))
    world.archive(mac)
    return world, mac


async def test_a_closed_night_has_a_line_for_each_row_that_began_in_it() -> None:
    world, mac = a_night()
    await world.writer().step()
    lines = world.lines(NIGHT)
    assert [line["row"] for line in lines] == [f"chain-1#{number}" for number in range(6)]
    assert lines[1] == {
        "night": NIGHT,
        "late": "",
        "mac": "mac-01",
        "hardware_id": "hardware-mac-01",
        "start": "2026-11-20T20:00:02.000Z",
        "end": "2026-11-20T20:10:02.000Z",
        "machine_seconds": "600.000",
        "time_class": "Productive",
        "activity": "Work",
        "lane": "offline/0",
        "price_class": "Offline",
        "owner_kind": "AudioBatchJob",
        "namespace": "speech",
        "owner_name": "nightly",
        "owner_uid": "nightly-uid",
        "billing_key": "team-speech",
        "shard_uid": mac.rows[1].row.shard_uid,
        "attempt": "1",
        "clips": "600",
        "audio_seconds": "12000.000",
        "paused_seconds": "0.000",
        "row": "chain-1#1",
        "row_sha256": mac.rows[1].hash,
    }
    found = read_night(world.store, NIGHT)
    assert found is not None and found.missing == ()
    assert (found.manifest.rows, found.manifest.machine_milliseconds, found.manifest.late_rows) == (6, 1_206_000, 0)
    (chain,) = found.manifest.sources[0].chains
    assert (chain.through, chain.hash) == (8, mac.rows[8].hash)
    assert world.events == [
        (EventReason.NIGHT_CLOSED, "night 2026-11-20: 6 rows, 0.3350 machine-hours; it is 2026-11-20.csv")
    ]


async def test_no_cell_is_a_formula() -> None:
    world, mac = NightlyWorld(now=AFTERWARDS), SignedMac()
    mac.clock = hours(20)[0]
    mac.attempt(lane="=1+1", billing_key="-team", hardware_id="@SUM(A1)", price_class="+1")
    world.archive(mac)
    await world.writer().step()
    line = world.lines(NIGHT)[1]
    found = [line[name] for name in ("lane", "billing_key", "hardware_id", "price_class")]
    assert found == ["'=1+1", "'-team", "'@SUM(A1)", "'+1"]


async def test_a_night_that_was_closed_is_never_written_again() -> None:
    world, mac = a_night()
    await world.writer().step()
    before = dict(world.store.objects)
    attempts(mac, hours(1, day=21))
    world.archive(mac)
    world.now += timedelta(hours=3)
    await world.writer().step()
    assert {path: before[path] for path in before if path.startswith("nightly/")} == {
        path: content for path, content in world.store.objects.items() if path.startswith("nightly/")
    }
    assert made_anew(world.store, NIGHT) == {f"nightly/{NIGHT}.csv": before[f"nightly/{NIGHT}.csv"]}


async def test_a_late_row_is_in_the_next_csv_with_its_own_night() -> None:
    world, mac = NightlyWorld(now=AFTERWARDS), SignedMac()
    attempts(mac, hours(20, 22, 26))
    world.archive(mac, 3)
    writer = world.writer()
    await writer.step()
    first = world.store.objects[f"nightly/{NIGHT}.csv"]
    world.archive(mac)
    world.now += DAY
    await writer.step()
    lines = world.lines("2026-11-21")
    assert [(line["row"], line["late"], line["night"]) for line in lines] == [
        *((f"chain-1#{number}", "Late", NIGHT) for number in range(3, 6)),
        *((f"chain-1#{number}", "", "2026-11-21") for number in range(6, 9)),
    ]
    assert world.store.objects[f"nightly/{NIGHT}.csv"] == first
    assert "3 rows of earlier nights" in world.events[-1][1]


async def test_a_row_of_a_month_that_is_over_is_late_once() -> None:
    world, mac = NightlyWorld(now=datetime(2026, 12, 1, 0, 5, tzinfo=UTC)), SignedMac()
    attempts(mac, [datetime(2026, 11, 30, 21, tzinfo=UTC), datetime(2026, 11, 30, 23, tzinfo=UTC)])
    world.archive(mac, 3)
    writer = world.writer()
    for archived in (None, 0, 0):
        await writer.step()
        world.now += DAY
        world.archive(mac, archived)
    late = [[line["row"] for line in world.lines(night) if line["late"]] for night in world.nights()]
    assert late == [[], [f"chain-1#{number}" for number in range(3, 6)], []]


async def test_a_month_that_stays_open_is_looked_at_for_as_long() -> None:
    world, mac = NightlyWorld(now=AFTERWARDS), SignedMac()
    attempts(mac, hours(20, 22))
    world.archive(mac, 3)
    writer = world.writer()
    while world.now.month != 3:
        await writer.step()
        world.now += DAY
    world.archive(mac)
    await writer.step()
    assert [line["row"] for line in world.lines(world.nights()[-1])] == [f"chain-1#{number}" for number in range(3, 6)]


async def test_a_process_that_died_between_manifest_and_csv_leaves_the_same_csv() -> None:
    world, mac = a_night()
    undisturbed = world.twin()
    await undisturbed.writer().step()

    def kill(path: str) -> None:
        if path.endswith(".csv"):
            raise Killed

    world.store.before_write = kill
    with pytest.raises(Killed):
        await world.writer().step()
    assert world.nights() == [NIGHT] and f"nightly/{NIGHT}.csv" not in world.store.objects
    world.store.before_write = lambda _: None
    attempts(mac, hours(1, day=21))  # the next leader finds more than the one that died
    world.archive(mac)
    await world.writer().step()
    assert world.store.objects[f"nightly/{NIGHT}.csv"] == undisturbed.store.objects[f"nightly/{NIGHT}.csv"]


async def test_of_two_leaders_the_first_manifest_counts() -> None:
    world, mac = NightlyWorld(now=AFTERWARDS), SignedMac()
    attempts(mac, hours(20, 22))
    world.archive(mac, 3)
    other = world.twin()
    other.archive(mac)
    await other.writer().step()

    def overtaken(path: str) -> None:
        if path == f"nightly/{NIGHT}.json":
            world.store.objects.update(other.store.objects)

    world.store.before_write = overtaken
    await world.writer().step()
    assert len(world.lines(NIGHT)) == 6
    assert world.store.objects == other.store.objects


async def test_a_mac_that_cannot_be_read_holds_up_no_other_and_its_rows_come_later() -> None:
    world, other = a_night()
    mac = SignedMac(name="mac-02", chain_id="chain-2")
    attempts(mac, hours(20, 25))  # the second one is in the archive before the first night is closed
    world.archive(mac)
    writer = world.writer()
    await writer.step()
    (path,) = [path for path in world.store.objects if "/mac-02/rows/2026-11-21" in path]
    whole = world.store.objects[path]
    world.store.objects[path] = whole.replace(b"speech", b"spoken")
    world.now += DAY
    await writer.step()
    assert {line["mac"] for line in world.lines("2026-11-21")} == {other.name}
    reason, note = world.events[-1]
    assert reason is EventReason.NIGHT_NOT_CLOSED and path in note and "restore it from a copy" in note
    world.store.objects[path] = whole
    world.now += DAY
    await writer.step()
    late = [(line["row"], line["night"]) for line in world.lines("2026-11-22") if line["late"]]
    assert late == [(f"chain-2#{number}", "2026-11-21") for number in range(3, 6)]


async def test_content_that_voxfleet_did_not_write_ends_no_process() -> None:
    world, other = a_night()
    mac = SignedMac(name="mac-02", chain_id="chain-2")
    attempts(mac, hours(20))
    world.archive(mac)
    (path,) = [path for path in world.store.objects if "/mac-02/rows/" in path]
    content = world.store.objects[path].replace(b'"wallStart"', b'"wallBegin"')
    (index,) = [path for path in world.store.objects if "/mac-02/index/" in path]
    known = MonthIndex.load_json(world.store.objects[index])
    entry = known.segments[0].model_copy(update={"sha256": sha256_hex(content)})
    world.store.objects[path] = content
    world.store.objects[index] = canonical_json(known.model_copy(update={"segments": (entry,)}).dump())
    await world.writer().step()
    assert {line["mac"] for line in world.lines(NIGHT)} == {other.name}
    assert "memory://archive/2026-11/mac-02: cannot be read, KeyError('wallStart')" in world.events[-1][1]

    manifest = f"nightly/{NIGHT}.json"
    for wrong in (b'"timeZone":"Nowhere"', b'"timeZone":7'):
        world.store.objects[manifest] = world.store.objects[manifest].replace(b'"timeZone":"UTC"', wrong)
        assert await world.writer().step() >= 60
        assert f"{manifest}: is no manifest of a night" in world.events[-1][1]


async def test_an_archive_that_is_down_is_told_once_and_tried_again() -> None:
    registry = CollectorRegistry()
    world, _ = a_night(metrics=NightlyMetrics(registry))
    writer = world.writer()
    world.store.down = True
    for _ in range(3):
        assert await writer.step() >= 60
        world.now += timedelta(minutes=10)
    ((reason, note),) = world.events
    assert reason is EventReason.NIGHT_NOT_CLOSED and "does not answer" in note
    assert 'voxfleet_nightly_csv_total{result="failed"} 3.0' in generate_latest(registry).decode()
    world.store.down = False
    await writer.step()
    assert "voxfleet_nightly_csv_overdue_seconds 2100.0" in generate_latest(registry).decode()
    await writer.step()
    text = generate_latest(registry).decode()
    assert "voxfleet_nightly_csv_overdue_seconds 0.0" in text and 'total{result="written"} 1.0' in text


async def test_nights_are_those_of_the_price_book_and_none_is_closed_before_it_was_read() -> None:
    world, _ = a_night(clock=None)
    writer = world.writer()
    await writer.step()
    assert world.nights() == []
    world.clock = NightClock(ZoneInfo("Europe/Berlin"), time(7))
    world.now = datetime(2026, 11, 21, 6, tzinfo=UTC)
    await writer.step()
    found = read_night(world.store, NIGHT)
    assert found is not None and found.manifest.closed is Closed.ALL_ROWS_ARCHIVED
    assert (found.manifest.first, found.manifest.until) == ("2026-11-20T06:00:00.000Z", "2026-11-21T06:00:00.000Z")
    assert len(world.lines(NIGHT)) == 9


async def test_nights_that_nobody_closed_in_time_are_closed_one_after_the_other() -> None:
    world, mac = a_night()
    writer = world.writer()
    await writer.step()
    attempts(mac, hours(20, day=22))
    world.archive(mac)
    world.now += 3 * DAY
    writer = world.writer()
    for _ in range(5):
        await writer.step()
    assert world.nights() == [NIGHT, "2026-11-21", "2026-11-22", "2026-11-23"]
    assert [len(world.lines(night)) for night in world.nights()] == [6, 3, 3, 0]


async def test_a_large_night_has_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(night_csv, "PART_BYTES", 1200)
    world, _ = a_night()
    await world.writer().step()
    found = read_night(world.store, NIGHT)
    assert found is not None
    assert [file.name for file in found.manifest.files[:2]] == [f"{NIGHT}.csv", f"{NIGHT}.2.csv"]
    assert sum(file.lines for file in found.manifest.files) == 6
    for file in found.manifest.files:
        assert len(world.store.objects[f"nightly/{file.name}"]) == file.size_bytes <= 1200
    assert made_anew(world.store, NIGHT) == {
        path: content for path, content in world.store.objects.items() if path.endswith(".csv")
    }


async def test_what_an_attempt_is_settled_as_later_changes_no_csv() -> None:
    world, mac = NightlyWorld(now=AFTERWARDS), SignedMac()
    attempts(mac, hours(20))
    world.archive(mac)
    writer = world.writer()
    await writer.step()
    mac.clock += timedelta(hours=1)  # in the segment of the same day, which grows
    uid = mac.rows[1].row.shard_uid
    mac.attempt(uid, work=TimeClass.ORPHANED)
    world.archive(mac)
    assert made_anew(world.store, NIGHT) == {f"nightly/{NIGHT}.csv": world.store.objects[f"nightly/{NIGHT}.csv"]}


async def test_an_attempt_across_the_border_has_its_class_on_either_side() -> None:
    world, mac = NightlyWorld(now=AFTERWARDS), SignedMac()
    attempts(mac, [datetime(2026, 11, 20, 23, 59, 59, tzinfo=UTC)])  # its work begins a second after midnight
    world.archive(mac)
    writer = world.writer()
    await writer.step()
    world.now += DAY
    await writer.step()
    told = [[line["time_class"] for line in world.lines(night)] for night in world.nights()]
    assert told == [["Overhead"], ["Productive", "Overhead"]]


SETTLED, CLOSED, RESTARTED = "settled", "closed", "restarted"


@settings(max_examples=25)
@given(
    st.lists(st.tuples(st.integers(0, 1), st.integers(0, 100)), min_size=1, max_size=12),
    st.lists(
        st.tuples(st.sampled_from([SETTLED, SETTLED, CLOSED, RESTARTED]), st.integers(0, 1), st.integers(1, 5)),
        max_size=15,
    ),
)
async def test_each_row_is_in_one_csv_whatever_is_late(
    starts: list[tuple[int, int]], steps: list[tuple[str, int, int]]
) -> None:
    """Attempts of two Macs over the end of a month, archived some rows at a time while nights are closed."""
    begin = datetime(2026, 11, 28, 1, tzinfo=UTC)
    macs = [SignedMac(name=f"mac-{number}", chain_id=f"chain-{number}") for number in range(2)]
    for number, mac in enumerate(macs):
        attempts(mac, sorted({begin + timedelta(hours=hour) for of, hour in starts if of == number}))
    world = NightlyWorld(now=datetime(2026, 11, 28, 0, 5, tzinfo=UTC))
    writer = world.writer()
    await writer.step()  # the night before, of which there are no rows
    for step, number, count in steps:
        if step == SETTLED:
            world.archive(macs[number], count)
        elif step == CLOSED:
            world.now += DAY
            await writer.step()
        else:
            writer = world.writer()
    for mac in macs:
        world.archive(mac)
    for _ in range(10):
        world.now += DAY
        await writer.step()
        await writer.step()
    told = sorted((line["row"], line["row_sha256"]) for night in world.nights() for line in world.lines(night))
    assert told == sorted((f"{row.row.chain_id}#{row.row.sequence}", row.hash) for mac in macs for row in mac.rows)
    for night in world.nights():
        assert all(line["night"] == night for line in world.lines(night) if not line["late"])
        assert made_anew(world.store, night)[f"nightly/{night}.csv"] == world.store.objects[f"nightly/{night}.csv"]
