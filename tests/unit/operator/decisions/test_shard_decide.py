"""Decisions about a shard's attempts that no table shows; golden/attempts.md has the others."""

from __future__ import annotations

import pytest
from tests.unit.operator.decisions.attempt_objects import DIGEST, UID, record, report, shard_with, view_with
from tests.unit.operator.decisions.job_objects import PLAN

from voxfleet_api.attempt_spec import AttemptKey
from voxfleet_api.conditions import Reason
from voxfleet_api.failures import RULES, FailureClass, Remedy
from voxfleet_api.kinds.audio_shard import AttemptOutcome, AttemptUsage, Stage
from voxfleet_api.protocol import AttemptState, Problem, ShardResult
from voxfleet_api.results import PlanResult
from voxfleet_operator.fleet.mac_view import AgentRefused
from voxfleet_operator.metering.usage import NO_ROWS
from voxfleet_operator.reconcile.job_life import JobWish
from voxfleet_operator.reconcile.lost_mac import ContactState, contact_state
from voxfleet_operator.reconcile.shard.decide import (
    ReportedState,
    ShardAction,
    decide,
    put_refusal,
    reported_state,
    superseded,
)
from voxfleet_operator.reconcile.shard.status import failed_for_good


def test_a_report_of_another_attempt_is_not_seen() -> None:
    shard = shard_with(record(1, "mac-a", AttemptOutcome.LOST), record(2, "mac-a", AttemptOutcome.ASSIGNED))
    view = view_with(report(1, AttemptState.SUCCEEDED))
    assert decide(shard, view, ContactState.CONNECTED, JobWish.WORK) is ShardAction.PUT


def test_a_success_without_a_result_is_not_one() -> None:
    bare = report(1, AttemptState.SUCCEEDED).model_copy(update={"result": None})
    assert reported_state(bare, Stage.PROCESS, DIGEST) is ReportedState.FOREIGN


@pytest.mark.parametrize(
    ("stage", "boundaries", "want"),
    [
        (Stage.PLAN, (0, 5, 9), ReportedState.SUCCEEDED),
        (Stage.PLAN, (0,), ReportedState.SUCCEEDED),
        (Stage.PLAN, None, ReportedState.FOREIGN),
        (Stage.PLAN, (), ReportedState.FOREIGN),
        (Stage.PLAN, (1, 5), ReportedState.FOREIGN),
        (Stage.PLAN, (0, 5, 3), ReportedState.FOREIGN),
        (Stage.PROCESS, (0, 5), ReportedState.FOREIGN),
        (Stage.FINALIZE, (0, 5), ReportedState.FOREIGN),
    ],
)
def test_a_success_has_what_its_stage_is_for(
    stage: Stage, boundaries: tuple[int, ...] | None, want: ReportedState
) -> None:
    plan = None if boundaries is None else PlanResult.load({**PLAN, "boundaries": list(boundaries)})
    done = report(1, AttemptState.SUCCEEDED)
    result = ShardResult(commit_sha256="0" * 64, plan=plan)
    assert reported_state(done.model_copy(update={"result": result}), stage, DIGEST) is want


@pytest.mark.parametrize(
    ("connected", "silent_seconds", "want"),
    [
        (True, 1e9, ContactState.CONNECTED),
        (False, 0.0, ContactState.SILENT),
        (False, 39.9, ContactState.SILENT),
        (False, 40.0, ContactState.LOST),
    ],
)
def test_lost_means_lease_and_margin(connected: bool, silent_seconds: float, want: ContactState) -> None:
    view = view_with(connected=connected)
    assert contact_state(view, silent_seconds=silent_seconds, lease_seconds=30, margin_seconds=10) is want
    if not connected:
        assert contact_state(None, silent_seconds=silent_seconds, lease_seconds=30, margin_seconds=10) is want


@pytest.mark.parametrize("status", [401, 422, 429, 500, 507])
def test_a_refusal_is_told_in_the_agents_words(status: int) -> None:
    refusal = put_refusal(AgentRefused(status, Problem(message="the disk is full")), 1)
    assert "the disk is full" in refusal.message


@pytest.mark.parametrize(
    ("status", "held", "used"),
    [(410, 7, 7), (409, 7, 7), (410, 3, 3), (410, 2, None), (410, None, None), (422, 7, None), (410, 10**9, None)],
)
def test_attempts_that_the_api_server_has_forgotten(status: int, held: int | None, used: int | None) -> None:
    refusal = put_refusal(AgentRefused(status, Problem(message="no", held_attempt=held)), 3)
    assert (refusal.final, refusal.used_attempt) == (True, used)


@pytest.mark.parametrize("failure_class", FailureClass)
def test_remedies(failure_class: FailureClass) -> None:
    nothing = RULES[failure_class].remedy is Remedy.NOTHING
    assert failed_for_good(failure_class, 1, 1) == (failure_class if nothing else None)
    assert failed_for_good(failure_class, 2, 1) == (failure_class if nothing else Reason.ATTEMPTS_EXHAUSTED)


def test_an_attempt_without_a_class_is_retried_up_to_the_limit() -> None:
    assert failed_for_good(None, 7, 7) is None
    assert failed_for_good(None, 8, 7) == Reason.ATTEMPTS_EXHAUSTED
    assert failed_for_good(None, 0, 0) is None, "a Mac without room costs nothing"
    assert failed_for_good(None, 1, 0) == Reason.ATTEMPTS_EXHAUSTED


def test_what_a_mac_brings_back_is_accounted_for_and_deleted() -> None:
    usage = AttemptUsage(chain_id="c", first_sequence=0, last_sequence=1, rows=2, work_milliseconds=5)
    shard = shard_with(record(1, "mac-a", AttemptOutcome.LOST), record(2, "mac-b", AttemptOutcome.SUCCEEDED))
    view = view_with(report(1, AttemptState.PARKED), usage=usage)
    running = superseded(shard, {"mac-a": view})
    assert running.usages == () and running.deletes == ((view, AttemptKey(UID, 1)),)
    silent = superseded(shard, {"mac-a": view_with(report(1, AttemptState.PARKED), usage=usage, connected=False)})
    assert silent.usages == ((1, usage),) and silent.deletes == ()
    gone = superseded(shard, {"mac-a": view_with()})
    assert gone.usages == ((1, NO_ROWS),) and gone.deletes == ()


def test_an_attempt_that_is_being_deleted_and_was_never_reported_may_still_bring_rows() -> None:
    """The answer to its PUT was lost, and that to its DELETE came before any event."""
    shard, here = shard_with(record(1, "mac-a", AttemptOutcome.RETURNED)), {"mac-a": view_with()}
    assert superseded(shard, here, lambda mac, key: key == AttemptKey(UID, 1)).usages == ()
    assert superseded(shard, here, lambda mac, key: False).usages == ((1, NO_ROWS),)


@pytest.mark.parametrize("outcome", [item for item in AttemptOutcome if item is not AttemptOutcome.ASSIGNED])
def test_a_new_process_that_knows_no_mac_yet_does_not_say_that_an_attempt_never_ran(outcome: AttemptOutcome) -> None:
    """A suspension and a deadline take attempts back that have rows on their Macs."""
    shard = shard_with(record(1, "mac-a", outcome))
    assert superseded(shard, {"mac-a": view_with(connected=False)}).usages == ()


@pytest.mark.parametrize(
    ("usage", "forgotten"),
    [(None, False), (NO_ROWS.model_copy(update={"complete": False}), False), (NO_ROWS, True)],
)
def test_a_committed_attempt_stays_on_its_mac_until_its_machine_time_is_recorded(
    usage: AttemptUsage | None, forgotten: bool
) -> None:
    shard = shard_with(record(1, "mac-a", AttemptOutcome.SUCCEEDED, usage))
    view = view_with(report(1, AttemptState.SUCCEEDED))
    assert superseded(shard, {"mac-a": view}).deletes == (((view, AttemptKey(UID, 1)),) if forgotten else ())
