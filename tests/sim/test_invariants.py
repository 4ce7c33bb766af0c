"""Each invariant of the simulator holds on a sound history and fails on one that was made wrong by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.sim import invariants
from tests.sim.edges import EXPECTED, FULL_SEEDS, NEVER, RARE, WHOLE_SEEDS, CountingTable, never_taken
from tests.sim.history import History, PaidTime, Span
from tests.sim.invariants import EndedJob, ExhaustedShard, Left
from tests.sim.known import Known, known_as
from tests.sim.tables import mentions

from voxfleet_agent.attempts.state_machine import TABLE as AGENT_TABLE
from voxfleet_api.attempt_spec import AttemptKey
from voxfleet_api.ledger import Activity, LedgerRow, RowOwner, SignedRow
from voxfleet_operator.reconcile.job_findings import PendingReasons
from voxfleet_operator.reconcile.shard.decide import TABLE as SHARD_TABLE

ONE, TWO = AttemptKey("a-audioshard", 1), AttemptKey("a-audioshard", 2)
JOB = EndedJob(
    name="job",
    complete=True,
    total=3,
    counts={"succeeded": 2, "quarantined": 1, "failed": 0},
    rows={0: ["succeeded"], 1: ["quarantined"], 2: ["succeeded"]},
    usage_milliseconds=700,
    settled=True,
    signed_milliseconds=700,
)


def test_every_clip_has_one_row() -> None:
    assert invariants.every_clip_has_one_row(JOB) == []


@pytest.mark.parametrize(
    ("rows", "found"),
    [
        (None, "complete without results"),
        ({0: ["succeeded"], 1: ["quarantined"]}, "2 of 3 clips"),
        ({0: ["succeeded"], 1: ["quarantined"], 2: ["succeeded", "succeeded"]}, "clip 2 has rows"),
        ({0: ["succeeded"], 1: ["succeeded"], 2: ["succeeded"]}, "status counts"),
    ],
)
def test_a_clip_without_a_row_or_with_two_is_found(rows: dict[int, list[str]] | None, found: str) -> None:
    (broken,) = invariants.every_clip_has_one_row(replace(JOB, rows=rows))
    assert found in broken


def test_a_failed_job_needs_no_results() -> None:
    assert invariants.every_clip_has_one_row(replace(JOB, complete=False, rows=None)) == []


def paid(sequence: int, began: int, ended: int, lane: str = "offline/0", hardware: str = "one") -> PaidTime:
    row = LedgerRow(
        chain_id="chain",
        sequence=sequence,
        previous_hash="0" * 64,
        control_plane="cp",
        hardware_id=hardware,
        boot_id="boot",
        owner=RowOwner(kind="AudioBatchJob", namespace="team", name="job", uid="job-uid"),
        shard_uid="shard",
        attempt=1,
        lane=lane,
        activity=Activity.WORK,
        wall_start="2026-11-20T22:00:00Z",
        wall_end="2026-11-20T22:00:01Z",
        monotonic_milliseconds=ended - began,
    )
    return PaidTime(SignedRow(row=row, hash="0" * 64, signature=""), began, ended)


def test_a_second_that_two_rows_stand_for_is_found() -> None:
    assert invariants.no_second_is_signed_twice([paid(0, 0, 100), paid(1, 100, 300)]) == []
    assert invariants.no_second_is_signed_twice([paid(0, 0, 100), paid(1, 50, 90, lane="offline/1")]) == []
    assert invariants.no_second_is_signed_twice([paid(0, 0, 100), paid(1, 50, 90, hardware="other")]) == []
    (broken,) = invariants.no_second_is_signed_twice([paid(1, 99, 300), paid(0, 0, 100)])
    assert broken == "rows chain#0 and chain#1 stand for the same time"


def test_usage_beyond_what_was_signed_or_settled_below_it_is_found() -> None:
    assert invariants.usage_is_what_was_signed(JOB) == []
    assert invariants.usage_is_what_was_signed(replace(JOB, usage_milliseconds=600, settled=False)) == []
    assert invariants.usage_is_what_was_signed(replace(JOB, usage_milliseconds=600, reachable=False)) == []
    (less,) = invariants.usage_is_what_was_signed(replace(JOB, usage_milliseconds=600))
    (more,) = invariants.usage_is_what_was_signed(replace(JOB, usage_milliseconds=701, settled=False))
    assert "settled at 600 of 700" in less and "billed 701 ms, 700 ms" in more


def test_a_row_that_is_counted_or_archived_twice_is_found() -> None:
    sound = invariants.CountedMonth("mac-0 in 2026-11", 700, 700)
    assert invariants.statements_count_what_is_archived([sound], ["a", "b"]) == []
    twice = invariants.statements_count_what_is_archived([replace(sound, counted_milliseconds=800)], ["a", "b", "a"])
    assert twice == ["mac-0 in 2026-11 counts 800 ms, its archive has 700 ms", "1 rows are archived twice"]
    unarchived = replace(sound, counted_estimate_milliseconds=5)
    told = invariants.statements_count_what_is_archived([unarchived], [])
    assert told == ["mac-0 in 2026-11 estimates 5 ms, its archive 0 ms"]


def test_a_shard_that_busy_macs_used_up_is_found() -> None:
    assert invariants.refusals_cost_no_retry(ExhaustedShard("job-00000", costly=8), limit=8) == []
    (broken,) = invariants.refusals_cost_no_retry(ExhaustedShard("job-00000", costly=7), limit=8)
    assert broken.startswith("job-00000 has no attempt left after 7 of 8")


def test_an_attempt_on_two_machines_is_found() -> None:
    assert invariants.an_attempt_has_one_machine({ONE: {"a"}, TWO: {"b"}}) == []
    assert invariants.an_attempt_has_one_machine({ONE: {"b", "a"}}) == ["attempt a-audioshard.1 was taken by a, b"]


@pytest.mark.parametrize(
    ("spans", "window", "broken"),
    [
        ([Span(ONE, "a", 0, 10), Span(TWO, "b", 10, 20)], 0.0, 0),
        ([Span(ONE, "a", 0, 10), Span(TWO, "b", 9, 20)], 0.0, 1),
        ([Span(ONE, "a", 0, 10), Span(ONE, "b", 9, 20)], 0.0, 1),
        ([Span(ONE, "a", 0, 10), Span(TWO, "a", 9, 20)], 0.0, 0),
        ([Span(ONE, "a", 0, 10), Span(TWO, "b", 9, 20)], 1.0, 0),
        ([Span(ONE, "a", 0, 30), Span(TWO, "a", 2, 3), Span(TWO, "b", 20, 21)], 0.0, 1),
        ([Span(ONE, "a", 0, 10), Span(AttemptKey("other", 1), "b", 0, 10)], 0.0, 0),
    ],
)
def test_macs_that_share_a_shard_beyond_the_window_are_found(spans: list[Span], window: float, broken: int) -> None:
    assert len(invariants.macs_do_not_share_a_shard(spans, window)) == broken


def test_work_that_begins_behind_its_successor_is_found() -> None:
    spans = [Span(ONE, "a", 0, 10), Span(ONE, "a", 20, 21, continued=True), Span(TWO, "b", 30, 40)]
    assert invariants.no_work_begins_behind_its_successor(spans, {ONE: 0.0, TWO: 15.0}) == []
    (broken,) = invariants.no_work_begins_behind_its_successor([Span(ONE, "a", 16, 17)], {ONE: 0.0, TWO: 15.0})
    assert broken == "a-audioshard.1 began on a 1.0 s after a-audioshard.2 was assigned"


def test_a_status_beyond_its_bound_is_found() -> None:
    assert invariants.status_is_bounded({"AudioShard": 1000}) == []
    (broken,) = invariants.status_is_bounded({"AudioShard": 1000, "AudioBatchJob": 65_537})
    assert "AudioBatchJob has 65537" in broken


def test_what_is_left_is_found() -> None:
    assert invariants.nothing_is_left(Left(attempts={"a": []}, lanes={"a": 0})) == []
    left = Left(jobs=["job"], shards=["job-plan"], attempts={"a": ["x.1"]}, lanes={"b": 1})
    assert invariants.nothing_is_left(left) == [
        "job job is left", "shard job-plan is left", "a holds x.1", "b holds 1 lanes for nobody",
    ]  # fmt: skip


def test_a_table_that_remembers_is_found() -> None:
    reasons = PendingReasons()
    assert mentions({"reasons": reasons}) == {}
    reasons.replace({"0000000a-audiobatchjob": "no Mac fits"})
    ((table, entries),) = mentions({"nested": {"deep": [reasons]}}).items()
    assert table.startswith("PendingReasons.") and entries == ("0000000a-audiobatchjob",)
    assert invariants.tables_forget({table: entries}) == [f"{table} still has 0000000a-audiobatchjob"]


def test_history_counts_work_only_while_the_machine_runs() -> None:
    now = [0.0]
    history = History(lambda: now[0])
    history.work_began("a", ONE)
    now[0] = 2.0
    assert history.machine_stopped("a") == [ONE]
    now[0] = 5.0
    history.work_began("a", ONE)
    now[0] = 6.0
    history.close()
    assert history.spans == [Span(ONE, "a", 0.0, 2.0), Span(ONE, "a", 5.0, 6.0)]


def test_an_edge_that_was_never_taken_is_named() -> None:
    taken = dict.fromkeys(EXPECTED, 1)
    assert never_taken(taken, WHOLE_SEEDS) == []
    assert never_taken(taken | {"fault.mac-gone": 0}, FULL_SEEDS) == ["fault.mac-gone"]
    assert never_taken({}, FULL_SEEDS - 1) == [], "a few seeds take a few edges"
    rare = dict.fromkeys(RARE, 0)
    assert (never_taken(taken | rare, FULL_SEEDS), never_taken(taken | rare, WHOLE_SEEDS)) == ([], sorted(RARE))


def test_the_lists_of_edges_name_cells_that_exist() -> None:
    assert RARE <= EXPECTED and not EXPECTED & NEVER.keys()
    cells = {f"shard.{contact.value} x {report.value} = {action}" for (contact, report), action in SHARD_TABLE.items()}
    cells |= {f"agent.state {state.value} x {event.value}" for state, event in AGENT_TABLE}
    assert cells >= NEVER.keys()


def test_a_cell_of_a_table_is_counted_when_it_is_asked_for() -> None:
    counted = CountingTable({("a", "b"): "c"}, edges := History(lambda: 0.0).largest_status_bytes, "table ")
    assert counted["a", "b"] == "c" and edges == {"table a x b = c": 1}


def test_known_faults_are_told_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "tests.sim.known.KNOWN", (Known("a job that hangs", r"job-\d+ does not end", 1, "nobody ends it"),)
    )
    assert known_as("job-0 does not end: Running") == "a job that hangs"
    assert known_as("job-0 is not settled") is None
