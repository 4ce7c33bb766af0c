"""The time of an endpoint's warm lane: verified like a job's, settled by being read, counted by class."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st
from tests.rig.ledger_row import ledger_row
from tests.rig.memory_archive import MemoryArchive
from tests.unit.operator.decisions.bodies import LEDGER_KEY
from tests.unit.operator.decisions.test_statement_decisions import NOW, statement, view_of

from voxfleet_api.attempt_spec import AttemptKey
from voxfleet_api.kinds import MachineHourStatement
from voxfleet_api.kinds.machine_hour_statement import MAX_ENDPOINTS, EndpointTime
from voxfleet_api.ledger import GENESIS_HASH, Activity, RowOwner, SignedRow, sign
from voxfleet_billing.archive_format import MonthIndex, TimeClass
from voxfleet_billing.archive_reader import read_rows
from voxfleet_billing.archive_writer import revise, with_rows
from voxfleet_operator.fleet.ledger_book import LedgerBook
from voxfleet_operator.metering.endpoint_usage import EndpointSum, endpoint_sums, endpoint_usage
from voxfleet_operator.reconcile.statement.archiving import addition, archived_month
from voxfleet_operator.reconcile.statement.decide import SettledRun, settled_runs
from voxfleet_operator.reconcile.statement.endpoint_times import (
    EndpointRow,
    machine_milliseconds,
    with_endpoint_rows,
)
from voxfleet_operator.reconcile.statement.status import from_archive, with_run

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
ENDPOINT = RowOwner(kind="VoiceEndpoint", namespace="speech", name="captions", uid="endpoint-uid")
PRODUCTIVE, OVERHEAD = TimeClass.PRODUCTIVE, TimeClass.OVERHEAD
LIFE = ((Activity.SETUP, 5_000), (Activity.IDLE, 10_001), (Activity.WORK, 7_002), (Activity.CLEANUP, 3))


def signed(owner: RowOwner = ENDPOINT, **fields: object) -> list[SignedRow]:
    """One lane's life."""
    rows: list[SignedRow] = []
    for number, (activity, milliseconds) in enumerate(LIFE):
        previous = rows[-1].hash if rows else GENESIS_HASH
        content = {"owner": owner, "shard_uid": owner.uid, "attempt": 3, "activity": activity, "lane": "interactive-0"}
        content |= {"monotonic_milliseconds": milliseconds, "price_class": "Interactive", "billing_key": "team-speech"}
        rows.append(sign(ledger_row(number, previous, **(content | fields)), KEY))
    return rows


def book_of(rows: list[SignedRow]) -> LedgerBook:
    book = LedgerBook(KEY.public_key(), "cluster-1", lambda: NOW)
    assert book.add(rows) == set(), "no shard waits for them"
    assert book.error is None and book.usage == {}
    return book


def settled(rows: list[SignedRow], *, connected: bool = True) -> tuple[SettledRun, ...]:
    view = view_of(*book_of(rows).rows, connected=connected)
    return settled_runs(view, lambda uid: None, lambda chain_id: -1)


@pytest.mark.parametrize("connected", [True, False])
def test_rows_are_settled_at_once_whether_or_not_their_mac_is_in_contact(connected: bool) -> None:
    (run,) = settled(signed(), connected=connected)
    assert [item.time_class for item in run.rows] == [OVERHEAD, OVERHEAD, PRODUCTIVE, OVERHEAD]


def test_a_statement_counts_sessions_as_productive_and_the_rest_as_overhead() -> None:
    (run,) = settled(signed())
    status = with_run(statement(), run, LEDGER_KEY, "2026-11-30T23:00:00Z")
    assert (status.productive_seconds, status.overhead_seconds) == ("7.002", "15.004")
    assert (status.retry_seconds, status.orphaned_seconds, status.rows) == ("0.000", "0.000", 4)
    totals = [(item.namespace, item.billing_key, item.time_class, item.machine_seconds) for item in status.totals]
    assert totals == [
        ("speech", "team-speech", "Overhead", "15.004"),
        ("speech", "team-speech", "Productive", "7.002"),
    ]


def test_what_a_batch_stood_still_for_is_overhead_of_the_endpoint_and_nothing_of_the_job() -> None:
    job = RowOwner(kind="AudioBatchJob", namespace="calls", name="night", uid="job-uid")
    lane = {"lane": "offline-0", "price_class": "Offline"}
    work = ledger_row(0, owner=job, activity=Activity.WORK, monotonic_milliseconds=60_000, **lane)
    first = sign(work, KEY)
    paused = ledger_row(
        1,
        first.hash,
        owner=ENDPOINT,
        shard_uid=ENDPOINT.uid,
        attempt=3,
        activity=Activity.PAUSED,
        monotonic_milliseconds=7_500,
        paused_milliseconds=7_500,
        billing_key="team-speech",
        **lane,
    )
    book = LedgerBook(KEY.public_key(), "cluster-1", lambda: NOW)
    assert book.add([first, sign(paused, KEY)]) == {AttemptKey(work.shard_uid, work.attempt)} and book.error is None
    assert [usage.machine_milliseconds for usage in book.usage.values()] == [60_000]
    view = view_of(*book.rows, connected=True)
    (run,) = settled_runs(view, lambda uid: None, lambda chain_id: 0)
    assert [(item.row.activity, item.time_class) for item in run.rows] == [(Activity.PAUSED, OVERHEAD)]
    status = with_run(statement(), run, LEDGER_KEY, "2026-11-30T23:00:00Z")
    assert [(one.uid, one.productive_seconds, one.overhead_seconds) for one in status.endpoints] == [
        ("endpoint-uid", "0.000", "7.500")
    ]
    (total,) = status.totals
    assert (total.namespace, total.billing_key, total.machine_seconds) == ("speech", "team-speech", "7.500")


def test_the_archive_has_the_rows_and_how_they_were_settled() -> None:
    (run,) = settled(signed())
    store = MemoryArchive()
    first = MonthIndex(control_plane="cluster-1", mac="mac-a", month="2026-11", revision=0)
    known = revise(store, first, None, with_rows(addition(run, LEDGER_KEY, "2026-11-30T23:00:00Z")))
    found = [(row.owner_kind, row.owner_name, row.activity, row.time_class) for row in read_rows(store, known.index)]
    overhead, productive = "Overhead", "Productive"
    assert [row[2:] for row in found] == [
        *(("Setup", overhead), ("Idle", overhead), ("Work", productive), ("Cleanup", overhead))
    ]
    assert {row[:2] for row in found} == {("VoiceEndpoint", "captions")}


def test_a_statement_that_is_taken_from_the_archive_counts_endpoints_as_before() -> None:
    (run,) = settled(signed())
    counted = with_run(statement(), run, LEDGER_KEY, "2026-11-30T23:00:00Z")
    assert counted.endpoints == (
        EndpointTime(uid=ENDPOINT.uid, productive_seconds="7.002", overhead_seconds="15.004", rows=4),
    )
    store = MemoryArchive()
    first = MonthIndex(control_plane="cluster-1", mac="mac-a", month="2026-11", revision=0)
    known = revise(store, first, None, with_rows(addition(run, LEDGER_KEY, "2026-11-30T23:00:00Z")))
    rows = [row for _, row in archived_month(store, known).rows]
    again = from_archive(statement(), known, rows, frozenset({"chain-1"}), "2026-11-30T23:30:00Z")
    assert (again.endpoints, again.totals) == (counted.endpoints, counted.totals)


@given(st.lists(st.tuples(st.integers(0, 99), st.integers(0, 10**7), st.booleans()), max_size=200))
def test_a_statement_has_the_endpoints_that_took_most(drawn: list[tuple[int, int, bool]]) -> None:
    rows = [EndpointRow(f"uid-{n:02d}", PRODUCTIVE if used else OVERHEAD, spent) for n, spent, used in drawn]
    found = with_endpoint_rows((), rows)
    sums: dict[str, int] = {}
    for row in rows:
        sums[row.uid] = sums.get(row.uid, 0) + row.milliseconds
    assert {item.uid: machine_milliseconds(item) for item in found}.items() <= sums.items()
    left = [spent for uid, spent in sums.items() if uid not in {item.uid for item in found}]
    assert len(found) == min(MAX_ENDPOINTS, len(sums))
    assert not left or max(left) <= min(map(machine_milliseconds, found))


def test_an_endpoint_in_use_keeps_its_time_beside_any_number_that_are_gone() -> None:
    times = with_endpoint_rows((), [EndpointRow(f"gone-{n}", PRODUCTIVE, 36_000_000) for n in range(MAX_ENDPOINTS)])
    for _ in range(5):
        times = with_endpoint_rows(times, [EndpointRow("in-use", OVERHEAD, 3_600_000)])
    assert len(times) == MAX_ENDPOINTS
    assert [item.overhead_seconds for item in times if item.uid == "in-use"] == ["18000.000"]


def of_month(month: str, *times: EndpointTime) -> MachineHourStatement:
    return statement(endpoints=[time.dump() for time in times]).model_copy(
        update={"metadata": statement().metadata.model_copy(update={"name": month})}
    )


def test_usage_is_the_sum_of_statements_and_is_shown_once_an_hour() -> None:
    mine = EndpointTime(uid="mine", productive_seconds="1.500", overhead_seconds="2.000", rows=2)
    other = mine.model_copy(update={"uid": "other", "rows": 9})
    found = endpoint_sums([of_month("2026-10", mine, other), of_month("2026-11", mine)])["mine"]
    assert found == EndpointSum(3000, 4000, 4)
    usage = endpoint_usage(None, found, NOW)
    assert usage is not None
    shown = (usage.machine_seconds, usage.productive_seconds, usage.overhead_seconds, usage.rows)
    assert shown == ("7.000", "3.000", "4.000", 4)
    more = replace(found, overhead_milliseconds=5000)
    assert endpoint_usage(usage, more, NOW + timedelta(minutes=59)) is usage, "an hour has not passed"
    later = endpoint_usage(usage, more, NOW + timedelta(hours=1))
    assert later is not None and later.overhead_seconds == "5.000"
    assert endpoint_usage(usage, found, NOW + timedelta(days=9)) is usage, "nothing is new"
    assert endpoint_usage(usage, more, NOW - timedelta(days=1)) is not usage, "its clock was ahead"
    assert endpoint_usage(usage, None, NOW) is usage and endpoint_usage(None, None, NOW) is None


def test_rows_of_another_control_plane_are_counted_there() -> None:
    (run,) = settled(signed(control_plane="another"))
    assert {item.time_class for item in run.rows} == {TimeClass.FOREIGN}


def test_an_operator_that_does_not_know_a_rows_owner_settles_it_and_goes_on() -> None:
    """So did those of the version before with the rows of endpoints."""
    newer = RowOwner(kind="VoiceNewer", namespace="speech", name="captions", uid="newer-uid")
    book = LedgerBook(KEY.public_key(), "cluster-1", lambda: NOW)
    assert book.add(signed(newer)) == {AttemptKey("newer-uid", 3)} and book.error is None
    (run,) = settled_runs(view_of(*book.rows), lambda uid: None, lambda chain_id: -1)
    assert [item.time_class for item in run.rows] == [
        *(TimeClass.OVERHEAD, TimeClass.OVERHEAD, TimeClass.ORPHANED, TimeClass.OVERHEAD)
    ]


def test_a_row_of_an_endpoint_is_one_that_older_readers_take() -> None:
    row = json.loads(json.dumps(signed()[1].dump()))["row"]
    assert (row["shardUid"], row["attempt"]) == ("endpoint-uid", 3) and "jobUid" not in row
