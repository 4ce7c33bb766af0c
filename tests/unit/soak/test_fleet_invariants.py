"""Each promise of the fleet's soak holds on a sound run and is seen broken in one that was doctored."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from tests.rig.ledger_row import ledger_row
from tests.sim.invariants import EndedJob, Left
from tests.soak.fleet.invariants import BookedMac, Freeze, RunFacts, judge, statements_are_what_was_signed

from voxfleet_api.attempt_spec import AttemptKey
from voxfleet_api.failures import FailureClass
from voxfleet_api.kinds import MachineHourStatement
from voxfleet_api.ledger import LedgerRow
from voxfleet_api.rows import ClipStatus, ResultRow, RowError


def heard(index: int, text: str = "one") -> ResultRow:
    return ResultRow(index=index, custom_id=f"c{index}", status=ClipStatus.SUCCEEDED, text=text)


def refused(index: int) -> ResultRow:
    error = RowError(failure_class=FailureClass.DECODE_ERROR, reason="is cut short")
    return ResultRow(index=index, custom_id=f"c{index}", status=ClipStatus.QUARANTINED, error=error)


def bill(start: int, end: int, attempt: int = 1, milliseconds: int | None = None) -> LedgerRow:
    return ledger_row(
        shard_uid="a-shard",
        attempt=attempt,
        wall_start=f"2026-11-20T22:00:{start:02d}.000Z",
        wall_end=f"2026-11-20T22:00:{end:02d}.000Z",
        monotonic_milliseconds=(end - start) * 1000 if milliseconds is None else milliseconds,
    )


JOB = EndedJob(
    name="job",
    complete=True,
    total=3,
    counts={"succeeded": 2, "quarantined": 1},
    rows={0: ["succeeded"], 1: ["quarantined"], 2: ["succeeded"]},
    usage_milliseconds=25_000,
    settled=True,
    signed_milliseconds=25_000,
)
SOUND = RunFacts(
    job=JOB,
    clips=[("c0", "one"), ("c1", None), ("c2", "one")],
    rows=[heard(0), refused(1), heard(2)],
    signed={"mac-a": [bill(0, 10)], "mac-b": [bill(25, 40, attempt=2)], "mac-c": []},
    seen={AttemptKey("a-shard", 1): {"mac-a"}, AttemptKey("a-shard", 2): {"mac-b"}},
    largest_status_bytes={"AudioBatchJob": 4000},
)


def test_a_sound_run_is_clean() -> None:
    assert judge(SOUND).clean


def test_a_lost_row() -> None:
    findings = judge(replace(SOUND, rows=SOUND.rows[:2], job=replace(JOB, rows={0: ["succeeded"], 1: ["quarantined"]})))
    assert findings.lost == 1 and any("2 of 3 clips" in text for text in findings.failures)


def test_a_doubled_row() -> None:
    twice = {0: ["succeeded"], 1: ["quarantined"], 2: ["succeeded", "succeeded"]}
    findings = judge(replace(SOUND, rows=[*SOUND.rows, heard(2)], job=replace(JOB, rows=twice)))
    assert findings.duplicated == 1 and any("clip 2 has rows" in text for text in findings.failures)


def test_a_second_that_two_rows_bill() -> None:
    signed = {**SOUND.signed, "mac-a": [bill(0, 10), bill(8, 12)]}
    assert judge(replace(SOUND, signed=signed)).double_billed_seconds >= 2.0


def test_an_overlap_of_two_macs_and_what_excuses_it() -> None:
    signed = {**SOUND.signed, "mac-b": [bill(8, 23, attempt=2)]}
    (broken,) = judge(replace(SOUND, signed=signed)).failures
    assert "both ran for 2.0 s" in broken
    assert judge(replace(SOUND, signed=signed, late_seconds=2.5)).clean
    began = 1_795_212_000.0  # 22:00:00
    assert judge(replace(SOUND, signed=signed, freezes=[Freeze("mac-a", began + 1, began + 6)])).clean
    assert not judge(replace(SOUND, signed=signed, freezes=[Freeze("mac-b", began + 30, began + 36)])).clean


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"job": replace(JOB, complete=False)}, "without being complete"),
        ({"job": replace(JOB, usage_milliseconds=25_001)}, "billed 25001 ms, 25000 ms were signed"),
        ({"job": replace(JOB, usage_milliseconds=24_999)}, "settled at 24999 of 25000 ms"),
        ({"job": replace(JOB, settled=False)}, "not settled"),
        ({"unverified_attempts": 1}, "given up as unverified"),
        ({"rows": [heard(0, "two"), refused(1), heard(2)]}, "expected c0, succeeded, 'one'"),
        ({"seen": {AttemptKey("a-shard", 1): {"mac-b"}}}, "was taken by mac-a, mac-b"),
        ({"largest_status_bytes": {"MacAgent": 64_001}}, "64001 bytes"),
        ({"left": Left(shards=["job-process-0"])}, "shard job-process-0 is left"),
        ({"left": Left(attempts={"mac-a": ["a-shard.1"]})}, "mac-a holds a-shard.1"),
        ({"troubles": ["agent 0 ended by itself"]}, "agent 0 ended by itself"),
    ],
)
def test_what_else_is_seen(change: dict[str, Any], told: str) -> None:
    (broken,) = judge(replace(SOUND, **change)).failures
    assert told in broken


def test_bytes_that_are_left_in_scratch() -> None:
    findings = judge(replace(SOUND, residue_bytes=7))
    assert findings.residue_bytes == 7 and not findings.clean


def statement(machine_seconds: str, rows: int) -> MachineHourStatement:
    return MachineHourStatement.load(
        {
            "kind": "MachineHourStatement",
            "metadata": {"name": "mac-a-2026-11"},
            "spec": {"mac": "mac-a", "month": "2026-11"},
            "status": {"machineSeconds": machine_seconds, "rows": rows},
        }
    )


@pytest.mark.parametrize(
    ("statements", "told"),
    [
        ([statement("25.000", 2)], []),
        ([statement("10.000", 1), statement("15.000", 1)], []),
        ([statement("10.000", 1)], ["count 1 of 2", "bill 10000 ms, 25000 ms"]),
        ([statement("35.000", 3)], ["count 3 of 2", "bill 35000 ms, 25000 ms"]),
    ],
)
def test_statements_count_each_row_once(statements: list[MachineHourStatement], told: list[str]) -> None:
    broken = statements_are_what_was_signed({"mac-a": BookedMac([bill(0, 10), bill(25, 40)], statements)})
    assert len(broken) == len(told) and all(text in found for text, found in zip(told, broken, strict=True))
