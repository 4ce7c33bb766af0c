"""The table of a shard's newest attempt, every cell of it, and what an agent's refusal means."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product

import pytest
from tests.unit.operator.decisions.memory_api import sha

from voxfleet_api.conditions import Reason
from voxfleet_api.failures import RULES, FailureClass, Remedy
from voxfleet_api.kinds import AudioShard
from voxfleet_api.kinds.audio_shard import AttemptOutcome, AttemptRecord, AttemptUsage, JobRef, Stage
from voxfleet_api.protocol import AttemptKey, AttemptState, AttemptStatus, Problem, ShardResult
from voxfleet_operator.fleet.mac_view import AgentRefused, MacView
from voxfleet_operator.metering.usage import NO_ROWS
from voxfleet_operator.reconcile.job_life import JobWish
from voxfleet_operator.reconcile.lost_mac import ContactState, contact_state
from voxfleet_operator.reconcile.mac_closing import Recall
from voxfleet_operator.reconcile.shard.decide import (
    TABLE,
    ReportedState,
    ShardAction,
    decide,
    put_refusal,
    reported_state,
    superseded,
)
from voxfleet_operator.reconcile.shard.status import failed_for_good

DIGEST = f"sha256:{sha('spec')}"
UID = "shard-uid"


def record(attempt: int, mac: str, outcome: AttemptOutcome, usage: AttemptUsage | None = None) -> AttemptRecord:
    return AttemptRecord(attempt=attempt, mac=mac, outcome=outcome, usage=usage)


def shard_with(*records: AttemptRecord) -> AudioShard:
    newest = records[-1]
    return AudioShard.load(
        {
            "metadata": {"name": "job-00000", "namespace": "team", "uid": UID},
            "spec": {
                "jobRef": {"name": "job", "uid": "job-uid"},
                "stage": "Process",
                "ordinal": 0,
                "indexes": "0-1",
            },
            "status": {
                "attempt": newest.attempt,
                "mac": newest.mac,
                "specDigest": DIGEST,
                "leaseSeconds": 30,
                "attempts": [item.dump() for item in records],
            },
        }
    )


def report(attempt: int, state: AttemptState, digest: str = DIGEST) -> AttemptStatus:
    done = state is AttemptState.SUCCEEDED
    return AttemptStatus(
        shard_uid=UID,
        attempt=attempt,
        spec_digest=digest,
        control_plane="cp",
        namespace="team",
        job=JobRef(name="job", uid="job-uid"),
        shard_name="job-00000",
        stage=Stage.PROCESS,
        state=state,
        result=ShardResult(commit_sha256=sha("commit")) if done else None,
    )


def view_with(*reports: AttemptStatus, connected: bool = True, usage: AttemptUsage | None = None) -> MacView:
    return MacView(
        "mac-a",
        connected=connected,
        reason=Reason.CONNECTED if connected else Reason.SSH_UNREACHABLE,
        message="",
        attempts={AttemptKey(UID, item.attempt): item for item in reports},
        usage={} if usage is None else {AttemptKey(UID, item.attempt): usage for item in reports},
    )


RECALL = ShardAction.RECALL
WAIT, PUT, COMMIT, FAIL, REVOKE, REPLACE, LOSE = (
    ShardAction.WAIT,
    ShardAction.PUT,
    ShardAction.COMMIT,
    ShardAction.FAIL,
    ShardAction.REVOKE,
    ShardAction.REPLACE,
    ShardAction.LOSE,
)
Cells = dict[ReportedState, tuple[ShardAction, ShardAction, ShardAction]]
WORK: Cells = {
    # the attempt is          connected  silent  lost
    ReportedState.ABSENT: (PUT, WAIT, REPLACE),
    ReportedState.ACCEPTED: (WAIT, WAIT, REPLACE),
    ReportedState.RUNNING: (WAIT, WAIT, REPLACE),
    ReportedState.PARKED: (PUT, WAIT, REPLACE),
    ReportedState.FINISHING: (WAIT, WAIT, REPLACE),
    ReportedState.SUCCEEDED: (COMMIT, COMMIT, COMMIT),
    ReportedState.FAILED: (FAIL, FAIL, FAIL),
    ReportedState.DELETING: (REVOKE, WAIT, REPLACE),
    ReportedState.FOREIGN: (REVOKE, WAIT, REPLACE),
}
FINISH: Cells = {
    ReportedState.ABSENT: (REVOKE, WAIT, LOSE),
    ReportedState.ACCEPTED: (WAIT, WAIT, LOSE),
    ReportedState.RUNNING: (WAIT, WAIT, LOSE),
    ReportedState.PARKED: (REVOKE, WAIT, LOSE),
    ReportedState.FINISHING: (WAIT, WAIT, LOSE),
    ReportedState.SUCCEEDED: (COMMIT, COMMIT, COMMIT),
    ReportedState.FAILED: (FAIL, FAIL, FAIL),
    ReportedState.DELETING: (REVOKE, WAIT, LOSE),
    ReportedState.FOREIGN: (REVOKE, WAIT, LOSE),
}
STOP: Cells = {
    **FINISH,
    ReportedState.ACCEPTED: (REVOKE, WAIT, LOSE),
    ReportedState.RUNNING: (REVOKE, WAIT, LOSE),
    ReportedState.FINISHING: (REVOKE, WAIT, LOSE),
}
DISCARD: Cells = dict.fromkeys(ReportedState, (REVOKE, WAIT, LOSE))
WANT: dict[JobWish, Cells] = {
    JobWish.WORK: WORK,
    JobWish.FINISH: FINISH,
    JobWish.STOP: STOP,
    JobWish.DISCARD: DISCARD,
}


def test_the_table_is_whole() -> None:
    assert set(TABLE) == set(product(ContactState, ReportedState))
    assert set(WANT) == set(JobWish)


@pytest.mark.parametrize(("wish", "reached", "how"), list(product(JobWish, ContactState, ReportedState)))
def test_every_cell(wish: JobWish, reached: ContactState, how: ReportedState) -> None:
    """From the shard and the view, not from the table itself."""
    shard = shard_with(record(1, "mac-a", AttemptOutcome.ASSIGNED))
    connected = reached is ContactState.CONNECTED
    if how is ReportedState.ABSENT:
        view = view_with(connected=connected)
    elif how is ReportedState.FOREIGN:
        view = view_with(report(1, AttemptState.RUNNING, f"sha256:{sha('other')}"), connected=connected)
    else:
        view = view_with(report(1, AttemptState(how.value)), connected=connected)
    assert decide(shard, view, reached, wish) is WANT[wish][how][list(ContactState).index(reached)]


RECALLS: Mapping[Recall, Mapping[ReportedState, ShardAction]] = {
    Recall.NONE: {},
    Recall.AT_NEXT_CLIP: {ReportedState.ABSENT: RECALL},
    Recall.NOW: {
        ReportedState.ABSENT: RECALL,
        ReportedState.ACCEPTED: RECALL,
        ReportedState.RUNNING: RECALL,
        ReportedState.PARKED: RECALL,
        ReportedState.DELETING: RECALL,
    },
}
"""What a Mac in contact that drains or closes changes of WORK; without contact it changes nothing."""


@pytest.mark.parametrize(("recall", "reached", "how"), list(product(Recall, ContactState, ReportedState)))
def test_every_cell_of_a_mac_that_calls_back(recall: Recall, reached: ContactState, how: ReportedState) -> None:
    shard = shard_with(record(1, "mac-a", AttemptOutcome.ASSIGNED))
    connected = reached is ContactState.CONNECTED
    if how is ReportedState.ABSENT:
        view = view_with(connected=connected)
    elif how is ReportedState.FOREIGN:
        view = view_with(report(1, AttemptState.RUNNING, f"sha256:{sha('other')}"), connected=connected)
    else:
        view = view_with(report(1, AttemptState(how.value)), connected=connected)
    want = WORK[how][list(ContactState).index(reached)]
    if connected:
        want = RECALLS[recall].get(how, want)
    assert decide(shard, view, reached, JobWish.WORK, recall) is want


def test_a_wait_ends_with_contact_or_with_the_lease_unless_the_mac_works() -> None:
    """The only waits without an end of their own are those for a Mac that is in contact and works."""
    working = {ReportedState.ACCEPTED, ReportedState.RUNNING, ReportedState.FINISHING}
    for cells in WANT.values():
        for how, (connected, _, lost) in cells.items():
            assert connected is not WAIT or how in working
            assert lost is not WAIT
    assert all(REPLACE not in row and PUT not in row for wish in (FINISH, STOP, DISCARD) for row in wish.values())


def test_a_report_of_another_attempt_is_not_seen() -> None:
    shard = shard_with(record(1, "mac-a", AttemptOutcome.LOST), record(2, "mac-a", AttemptOutcome.ASSIGNED))
    view = view_with(report(1, AttemptState.SUCCEEDED))
    assert decide(shard, view, ContactState.CONNECTED, JobWish.WORK) is ShardAction.PUT


def test_a_success_without_a_result_is_not_one() -> None:
    bare = report(1, AttemptState.SUCCEEDED).model_copy(update={"result": None})
    assert reported_state(bare, DIGEST) is ReportedState.FOREIGN


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


@pytest.mark.parametrize(
    ("status", "failure_class", "revoked", "recorded"),
    [
        (400, None, True, None),
        (400, FailureClass.INVALID_INPUT, True, None),
        (401, None, False, None),
        (403, None, False, None),
        (404, None, True, None),
        (412, None, False, None),
        (409, None, True, None),
        (410, None, True, None),
        (422, None, True, FailureClass.RUNTIME_MISMATCH),
        (422, FailureClass.PLAN_MISMATCH, True, FailureClass.PLAN_MISMATCH),
        (429, None, True, None),
        (429, FailureClass.INVALID_INPUT, True, None),
        (503, None, True, None),
        (422, "OfAnAgentToCome", True, "OfAnAgentToCome"),
        (507, None, True, FailureClass.SCRATCH_EXHAUSTED),
        (507, FailureClass.INVALID_INPUT, True, FailureClass.SCRATCH_EXHAUSTED),
        (500, None, True, None),
    ],
)
def test_refusals(
    status: int, failure_class: FailureClass | None, revoked: bool, recorded: FailureClass | None
) -> None:
    refusal = put_refusal(AgentRefused(status, Problem(failure_class=failure_class, message="no")), 1)
    assert refusal.final is revoked
    assert refusal.failure_class is recorded
    assert refusal.no_room is (status in (429, 503, 507))
    assert "no" in refusal.message


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
