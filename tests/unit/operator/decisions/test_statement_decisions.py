"""Which rows are settled, in what class, when they are written, and what a statement then says."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from tests.unit.operator.decisions.attempt_objects import UID, record, report, shard_with
from tests.unit.operator.decisions.bodies import LEDGER_KEY

from voxfleet_api.attempt_spec import AttemptKey
from voxfleet_api.conditions import ConditionType, Reason, condition
from voxfleet_api.kinds import AudioShard, MachineHourStatement
from voxfleet_api.kinds.audio_shard import AttemptOutcome, AttemptRecord, AttemptUsage
from voxfleet_api.kinds.machine_hour_statement import MAX_CHAINS
from voxfleet_api.ledger import Activity, ChainHead
from voxfleet_api.protocol import AttemptState, AttemptStatus
from voxfleet_billing.archive_format import TimeClass
from voxfleet_operator.cache import Cache
from voxfleet_operator.fleet.mac_view import MacView
from voxfleet_operator.fleet.verified_row import VerifiedRow
from voxfleet_operator.metering.statements import newest_heads, statement_name
from voxfleet_operator.reconcile.statement.decide import (
    MAX_WAITING_ROWS,
    SettledRow,
    SettledRun,
    is_due,
    settled_runs,
    work_class,
)
from voxfleet_operator.reconcile.statement.status import takes, with_run
from voxfleet_operator.reconcile.stored_statements import StoredStatements

NOW = datetime(2026, 11, 30, 23, tzinfo=UTC)
MAC = "mac-a"
ALL = AttemptUsage(chain_id="chain", first_sequence=0, last_sequence=2, rows=3, work_milliseconds=1000, complete=True)
PART = ALL.model_copy(update={"rows": 2, "complete": False})
MORE = ALL.model_copy(update={"rows": 4, "last_sequence": 3})


def row(
    sequence: int = 0,
    activity: Activity = Activity.WORK,
    *,
    attempt: int = 1,
    month: str = "2026-11",
    chain: str = "chain",
    ours: bool = True,
) -> VerifiedRow:
    key = AttemptKey(UID, attempt)
    return VerifiedRow(chain, sequence, f"{sequence:064x}", month, key, ours, activity, 1000 + sequence, 10)


def view_of(
    *rows: VerifiedRow,
    reports: tuple[AttemptStatus, ...] = (),
    usage: AttemptUsage | None = None,
    connected: bool = True,
) -> MacView:
    return MacView(
        MAC,
        connected=connected,
        reason=Reason.CONNECTED,
        message="",
        attempts={AttemptKey(item.shard_uid, item.attempt): item for item in reports},
        usage={} if usage is None else {AttemptKey(UID, 1): usage},
        rows=rows,
    )


def time_class(row: VerifiedRow, shard: AudioShard | None, view: MacView) -> TimeClass | None:
    work = work_class(row, shard, view)
    return None if work is None else SettledRow(row, work).time_class


def with_status(shard: AudioShard, **status: object) -> AudioShard:
    return AudioShard.load(shard.dump() | {"status": shard.status.dump() | status})


def committed(usage: AttemptUsage | None) -> AudioShard:
    shard = shard_with(record(1, MAC, AttemptOutcome.SUCCEEDED, usage))
    return with_status(shard, commit={"attempt": 1, "sha256": "a" * 64})


def ended(outcome: AttemptOutcome, usage: AttemptUsage | None, mac: str = MAC) -> AudioShard:
    return shard_with(record(1, mac, outcome, usage))


RUNNING = report(1, AttemptState.RUNNING)


@pytest.mark.parametrize(
    ("shard", "view", "found"),
    [
        (committed(ALL), view_of(), TimeClass.PRODUCTIVE),
        (committed(ALL), view_of(usage=ALL), TimeClass.PRODUCTIVE),
        (committed(PART), view_of(), None),
        (committed(None), view_of(), None),
        (committed(ALL), view_of(usage=MORE), None),  # a late row, which its shard is about to record
        (committed(ALL), view_of(usage=PART), TimeClass.PRODUCTIVE),  # the book began behind its first rows
        (ended(AttemptOutcome.ASSIGNED, None), view_of(), None),
        (ended(AttemptOutcome.LOST, ALL), view_of(), TimeClass.RETRY),
        (ended(AttemptOutcome.FAILED, ALL), view_of(), TimeClass.RETRY),
        (ended(AttemptOutcome.FAILED, PART), view_of(), None),
        (ended(AttemptOutcome.ASSIGNED, None, mac="mac-b"), view_of(), TimeClass.RETRY),  # of another Mac by now
        (shard_with(record(2, "mac-b", AttemptOutcome.ASSIGNED)), view_of(), TimeClass.RETRY),  # its record is folded
        (None, view_of(), TimeClass.ORPHANED),
        (None, view_of(reports=(RUNNING,)), None),
        (None, view_of(connected=False), None),
    ],
)
def test_work_falls_in_its_class_once_it_is_settled(
    shard: AudioShard | None, view: MacView, found: TimeClass | None
) -> None:
    assert time_class(row(), shard, view) is found
    overhead = None if found is None else TimeClass.OVERHEAD
    assert time_class(row(activity=Activity.SETUP), shard, view) is overhead
    assert time_class(row(ours=False), shard, view) is TimeClass.FOREIGN


LOST = ended(AttemptOutcome.LOST, ALL)
FAILED = with_status(
    LOST, conditions=[condition((), ConditionType.FAILED, True, "OutOfLuck", "", generation=1, now="").dump()]
)
SPLIT = with_status(LOST, supersededBy=["a", "b"])
AHEAD = report(2, AttemptState.RUNNING)


@pytest.mark.parametrize(
    ("shard", "view", "found"),
    [
        # The cache may not have seen it yet.
        (LOST, view_of(connected=False), None),
        (LOST, view_of(reports=(AHEAD,)), None),
        # A restored API server has forgotten it: no further attempt of the shard is to come, or its Mac has dropped it.
        (LOST, view_of(), TimeClass.RETRY),
        (committed(ALL), view_of(connected=False), TimeClass.RETRY),
        (FAILED, view_of(connected=False), TimeClass.RETRY),
        (SPLIT, view_of(connected=False), TimeClass.RETRY),
    ],
)
def test_a_row_of_an_attempt_newer_than_its_shard_waits_only_while_the_attempt_may_be_recorded(
    shard: AudioShard, view: MacView, found: TimeClass | None
) -> None:
    assert time_class(row(attempt=2), shard, view) is found
    overhead = None if found is None else TimeClass.OVERHEAD
    assert time_class(row(activity=Activity.SETUP, attempt=2), shard, view) is overhead


def shards(uid: str) -> AudioShard | None:
    """Attempt 1 is settled, attempt 2 runs."""
    records: tuple[AttemptRecord, ...] = (
        record(1, MAC, AttemptOutcome.FAILED, ALL),
        record(2, MAC, AttemptOutcome.ASSIGNED),
    )
    return shard_with(*records) if uid == UID else None


def summary(runs: tuple[SettledRun, ...]) -> list[tuple[str, str, list[int]]]:
    return [(run.chain_id, run.month, [item.row.sequence for item in run.rows]) for run in runs]


def test_a_run_ends_at_the_first_open_row_of_its_chain_and_at_the_month() -> None:
    view = view_of(
        row(0), row(1), row(2, month="2026-12"), row(3), row(4, attempt=2), row(5), row(0, chain="new"),
    )  # fmt: skip
    assert summary(settled_runs(view, shards, lambda _: -1)) == [
        ("chain", "2026-11", [0, 1]),
        ("chain", "2026-12", [2]),
        ("chain", "2026-11", [3]),
        ("new", "2026-11", [0]),
    ]


def test_rows_that_a_statement_counts_are_left_out_although_the_view_still_has_them() -> None:
    view = view_of(row(0), row(1), row(2))
    assert summary(settled_runs(view, shards, lambda _: 1)) == [("chain", "2026-11", [2])]
    assert settled_runs(view, shards, lambda _: 2) == ()


def runs_of(count: int) -> tuple[SettledRun, ...]:
    return (SettledRun("chain", "2026-11", (SettledRow(row(), TimeClass.RETRY),) * count),)


def statement(updated_at: str | None = None, **status: object) -> MachineHourStatement:
    return MachineHourStatement.load(
        {
            "metadata": {"name": "mac-a-2026-11"},
            "spec": {"mac": MAC, "month": "2026-11"},
            "status": {"updatedAt": updated_at} | status,
        }
    )


def stamp(seconds_ago: int) -> str:
    return (NOW - timedelta(seconds=seconds_ago)).strftime("%Y-%m-%dT%H:%M:%SZ")


@pytest.mark.parametrize(
    ("rows", "ago", "due"),
    [
        (0, [9999], False),
        (1, [3599], False),
        (1, [3600], True),
        (MAX_WAITING_ROWS, [1], True),
        (1, [], True),  # of a MacAgent that was deleted
        (1, [9999, 3599], False),
        (1, [9999, 3600], True),
    ],
)
def test_statements_are_written_every_hour_or_when_many_rows_wait(rows: int, ago: list[int], due: bool) -> None:
    assert is_due(runs_of(rows), map(stamp, ago), NOW) is due


@pytest.mark.parametrize(
    ("ago", "due"),
    [
        ([-7200], True),  # or its rows wait for three hours
        ([-1], True),
        ([9999, -7200], True),
        ([60, -7200], False),  # once it was written by another clock, the hour counts from there
    ],
)
def test_a_time_that_a_fast_clock_wrote_holds_up_no_statement(ago: list[int], due: bool) -> None:
    assert is_due(runs_of(1), map(stamp, ago), NOW) is due


def test_totals_and_cursor_move_together() -> None:
    rows = (
        SettledRow(row(0, Activity.SETUP), TimeClass.PRODUCTIVE),
        SettledRow(row(1), TimeClass.PRODUCTIVE),
        SettledRow(row(2), TimeClass.RETRY),
        SettledRow(row(3), TimeClass.ORPHANED),
        SettledRow(row(4, ours=False), TimeClass.FOREIGN),
    )
    first = with_run(statement(), SettledRun("chain", "2026-11", rows), LEDGER_KEY, "2026-11-30T23:00:00Z")
    assert (first.overhead_seconds, first.productive_seconds) == ("1.000", "1.001")
    assert (first.retry_seconds, first.orphaned_seconds) == ("1.002", "1.003")
    assert (first.machine_seconds, first.audio_seconds, first.rows) == ("4.006", "0.040", 4)
    assert [(item.sequence, item.hash) for item in first.cursors] == [(4, f"{4:064x}")]

    another = SettledRun("new", "2026-11", (SettledRow(row(0, chain="new"), TimeClass.RETRY),))
    second = with_run(statement(**first.dump()), another, LEDGER_KEY, "2026-11-30T23:30:00Z")
    assert second.machine_seconds == "5.006" and second.rows == 5
    assert {item.chain_id: item.sequence for item in second.cursors} == {"chain": 4, "new": 0}


def test_a_chain_is_settled_as_far_as_its_newest_cursor_says() -> None:
    old = statement(cursors=[{"chainId": "chain", "sequence": 4, "hash": "a" * 64, "ledgerKey": LEDGER_KEY}])
    new = statement(cursors=[{"chainId": "chain", "sequence": 9, "hash": "b" * 64, "ledgerKey": LEDGER_KEY}])
    forged = statement(cursors=[{"chainId": "chain", "sequence": 99, "hash": "c" * 64, "ledgerKey": "another"}])
    heads = newest_heads([old, new, statement(), forged])
    assert heads[LEDGER_KEY, "chain"] == ChainHead("chain", 9, "b" * 64)
    assert heads["another", "chain"].sequence == 99 and (LEDGER_KEY, "other") not in heads


def test_what_statements_say_is_read_again_when_one_changes_whatever_name_the_mac_has() -> None:
    cache = Cache()
    stored = StoredStatements(cache)
    assert stored.head(LEDGER_KEY, "chain") is None and stored.written_at(MAC) == ()
    for version, sequence in enumerate((4, 9), start=1):
        cursor = {"chainId": "chain", "sequence": sequence, "hash": "a" * 64, "ledgerKey": LEDGER_KEY}
        body = statement(stamp(9 - sequence), cursors=[cursor]).dump()
        body["metadata"] |= {"uid": "u", "resourceVersion": str(version)}
        cache.put(MachineHourStatement.load(body))
        head = stored.head(LEDGER_KEY, "chain")
        assert head is not None and head.sequence == sequence
        assert stored.written_at(MAC) == (stamp(9 - sequence),) and stored.written_at("mac-b") == ()
    cache.put(MachineHourStatement.load({**body, "metadata": {"name": "mac-a-2026-12", "uid": "v"}}))
    assert len(stored.written_at(MAC)) == 2
    cache.remove_uid("v")
    cache.remove_uid("u")
    assert stored.head(LEDGER_KEY, "chain") is None


@pytest.mark.parametrize("length", [6, 245, 246, 253])
def test_a_statement_of_any_mac_has_a_name_of_its_own(length: int) -> None:
    one, other = "a" * length, "a" * (length - 1) + "b"
    assert statement_name(one, "2026-11") != statement_name(other, "2026-11")
    assert len(statement_name(one, "2026-11")) <= 253
    assert len(statement_name(one, "2026-11", 2)) <= 253 and statement_name(one, "2026-11", 2)[-10:] == "-2026-11-2"


def test_a_statement_takes_the_chains_that_it_has_and_new_ones_while_there_is_room() -> None:
    cursors = [
        {"chainId": f"chain-{number}", "sequence": 0, "hash": "a" * 64, "ledgerKey": LEDGER_KEY}
        for number in range(MAX_CHAINS)
    ]
    full, room = statement(cursors=cursors), statement(cursors=cursors[1:])
    assert takes(full, "chain-0", LEDGER_KEY) and not takes(full, "new", LEDGER_KEY)
    assert takes(room, "new", LEDGER_KEY) and not takes(room, "chain-1", "another")
