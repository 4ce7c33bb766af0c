"""The five lines of an acceptance: which number fails which line."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.rig.acceptance_objects import BASELINE, ROWS, a_contract, a_row, a_run, a_trial, quarantined

from voxfleet_api.acceptance import CitedRows
from voxfleet_api.kinds.mac_acceptance import AcceptanceCheck, AcceptanceLine
from voxfleet_api.rows import ResultRow, Timings
from voxfleet_cli.acceptance.checks import AllowedDifference, Trial, acceptance_lines
from voxfleet_cli.acceptance.finished_run import FinishedRun

GOOD = tuple(BASELINE.rows.values())
HOURS, DISK, SLO, BUDGET, BUNDLE = AcceptanceCheck


def judged(trial: Trial, baseline: FinishedRun = BASELINE, **allowed: int) -> dict[AcceptanceCheck, AcceptanceLine]:
    found = acceptance_lines(trial, baseline, baseline.rows, AllowedDifference(**allowed))
    assert [line.name for line in found] == list(AcceptanceCheck)
    return {line.name: line for line in found}


def failed(trial: Trial, baseline: FinishedRun = BASELINE, **allowed: int) -> set[AcceptanceCheck]:
    return {name for name, line in judged(trial, baseline, **allowed).items() if not line.passed}


def slow(index: int, milliseconds: int) -> ResultRow:
    return a_row(index, timings=Timings(infer_milliseconds=milliseconds))


PLAN = BASELINE.plan
CASES: dict[str, tuple[Trial, set[AcceptanceCheck]]] = {
    "as the baseline": (a_trial(*GOOD), set()),
    "work at the limit": (a_trial(*GOOD, usage={"productiveSeconds": "4.800"}), set()),
    "work over the limit": (a_trial(*GOOD, usage={"productiveSeconds": "4.801"}), {HOURS}),
    "no work at all": (a_trial(*GOOD, usage={"productiveSeconds": "0.000"}), {HOURS}),
    "rows still to come": (a_trial(*GOOD, usage={"settled": False}), {HOURS}),
    "an attempt without its rows": (a_trial(*GOOD, usage={"unverifiedAttempts": 1}), {HOURS}),
    "rows that are not cited": (a_trial(*GOOD, cited=()), {HOURS}),
    "rows that do not add up": (
        a_trial(*GOOD, cited=(ROWS.model_copy(update={"machine_milliseconds": 4999}),)),
        {HOURS},
    ),
    "scratch at the limit": (
        a_trial(*GOOD, contract=a_contract(scratch={"maxBytes": 1000}), scratch={"highWaterBytes": 1000}),
        set(),
    ),
    "scratch over the limit": (
        a_trial(*GOOD, contract=a_contract(scratch={"maxBytes": 1000}), scratch={"highWaterBytes": 1001}),
        {DISK},
    ),
    "scratch left behind": (a_trial(*GOOD, scratch={"residueBytes": 1}), {DISK}),
    "slower than the audio": (a_trial(*[slow(index, 10_001) for index in range(4)]), {SLO}),
    "as fast as the audio": (a_trial(*[slow(index, 10_000) for index in range(4)]), set()),
    "p95 at the limit": (a_trial(*GOOD, contract=a_contract(slo={"offlineTailP95": "1s"})), set()),
    "p95 over the limit": (
        a_trial(*GOOD[:3], slow(3, 1001), contract=a_contract(slo={"offlineTailP95": "1s"})),
        {SLO},
    ),
    "as many retries as allowed": (
        a_trial(*GOOD[:3], a_row(3, retries=2), contract=a_contract(failureBudget={"retriesPerHour": 2})),
        set(),
    ),
    "more retries than allowed": (
        a_trial(*GOOD[:3], a_row(3, retries=3), contract=a_contract(failureBudget={"retriesPerHour": 2})),
        {BUDGET},
    ),
    "more retries than the baseline": (a_trial(*GOOD[:3], a_row(3, retries=1)), {BUDGET}),
    "a clip in quarantine": (a_trial(*GOOD[:3], quarantined(3)), {BUDGET, BUNDLE}),
    "a clip in quarantine within the budget": (
        a_trial(*GOOD[:3], quarantined(3), contract=a_contract(failureBudget={"quarantinedMinutes": 1})),
        {BUNDLE},
    ),
    "a job that failed": (a_trial(*GOOD, failed="QuarantineLimitExceeded"), {BUDGET}),
    "a job without results": (a_trial(run=None, failed="Cancelled"), {DISK, SLO, BUDGET, BUNDLE}),
    "a clip that is missing": (a_trial(*GOOD[:3]), {SLO, BUNDLE}),
    "other bytes": (a_trial(*GOOD[:3], a_row(3, sha256="f" * 64)), {BUNDLE}),
    "another contract": (
        a_trial(run=replace(BASELINE, plan=PLAN.model_copy(update={"contract_digest": "sha256:" + "9" * 64}))),
        {BUNDLE},
    ),
    "another model": (
        a_trial(run=replace(BASELINE, plan=PLAN.model_copy(update={"model_digest": "sha256:" + "9" * 64}))),
        {BUNDLE},
    ),
    "no bundle": (a_trial(run=replace(BASELINE, bundle_sha256=None)), {BUNDLE}),
    "another word": (a_trial(*GOOD[:3], a_row(3, text="one two three five")), {BUNDLE}),
}


@pytest.mark.parametrize("name", CASES)
def test_which_lines_fail(name: str) -> None:
    trial, expected = CASES[name]
    assert failed(trial) == expected


@pytest.mark.parametrize(("percent", "fails"), [(6, {BUNDLE}), (7, set())])
def test_word_errors_count_over_all_clips(percent: int, fails: set[AcceptanceCheck]) -> None:
    assert failed(a_trial(*GOOD[:3], a_row(3, text="one two three five")), word_errors_percent=percent) == fails


def test_a_batch_counts_once_for_its_clips() -> None:
    """Four clips in one batch of 4 s: the baseline's model took 4 s, not 16."""
    batched = a_run(*[slow(index, 4000).model_copy(update={"batch_size": 4}) for index in range(4)])
    line = judged(a_trial(*GOOD), batched)[HOURS]
    assert line.passed and line.limit.startswith("4.800 s of work: 120 % of the baseline's 4.000 s")


def test_each_line_has_its_number_and_where_its_limit_is_from() -> None:
    contract = a_contract(
        slo={"offlineTailP95": "30s"},
        failureBudget={"retriesPerHour": 50, "quarantinedMinutes": 30},
        scratch={"maxBytes": "1Gi"},
    )
    told = {name: (line.value, line.limit) for name, line in judged(a_trial(*GOOD, contract=contract)).items()}
    assert told == {
        HOURS: (
            "4.000 s of work, 5.000 s signed in 3 rows",
            "4.800 s of work: 120 % of the baseline's 4.000 s; all of it signed",
        ),
        DISK: (
            "1000 bytes at most in one attempt, 0 bytes left behind",
            "1073741824 bytes (the contract's scratch.maxBytes), 0 bytes left behind",
        ),
        SLO: (
            "p95 1.000 s, 0.100 s of the model a second of audio",
            "p95 30.000 s (the contract's slo.offlineTailP95), 1.000 s of the model a second of audio",
        ),
        BUDGET: (
            "0 retries, 0 clips of 0.000 s in quarantine",
            "50 retries (the contract's retriesPerHour), 30 min in quarantine (quarantinedMinutes)",
        ),
        BUNDLE: (
            f"0 word errors in 16 words of 4 clips, bundle sha256 {'4' * 64}",
            "the bytes, contract and model of the baseline for 4 clips, 1 % word errors, a bundle",
        ),
    }


@given(
    st.integers(0, 10_000),
    st.integers(0, 10_000),
    st.lists(st.integers(1, 10_000), min_size=1, max_size=4),
    st.booleans(),
)
def test_time_that_is_not_proven_never_passes(work: int, overhead: int, parts: list[int], settled: bool) -> None:
    usage = {
        "productiveSeconds": f"{work / 1000:.3f}",
        "machineSeconds": f"{(work + overhead) / 1000:.3f}",
        "settled": settled,
    }
    cited: tuple[CitedRows, ...] = tuple(ROWS.model_copy(update={"machine_milliseconds": part}) for part in parts)
    line = judged(a_trial(*GOOD, usage=usage, cited=cited))[HOURS]
    assert line.passed == (settled and sum(parts) == work + overhead and 0 < work <= 4800)


def test_texts_never_stand_in_a_line() -> None:
    secret: dict[str, Any] = {"text": "attack at dawn"}
    trial = a_trial(*[a_row(index, **secret) for index in range(4)])
    assert "attack" not in "".join(f"{line.value}{line.limit}" for line in judged(trial).values())
