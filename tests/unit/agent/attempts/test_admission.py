"""The answers of the protocol, in the protocol's order."""

from __future__ import annotations

from dataclasses import replace

import pytest

from voxfleet_agent.attempts.admission import (
    Binding,
    Caller,
    KnownAttempt,
    PutFacts,
    Refusal,
    RepeatedPut,
    Start,
    decide_mutation,
    decide_put,
    decide_read,
)
from voxfleet_api.failures import FailureClass
from voxfleet_api.protocol import AttemptState, Problem

OWNER = "cp-1"
BOUND = Binding(OWNER, 7)
CALLER = Caller(authenticated=True, control_plane=OWNER, epoch=7)

# Everything is wrong at once; each row fixes the fault that the previous answer named, so that the next one shows.
MUTATION_ORDER: list[tuple[Caller, int | None]] = [
    (Caller(authenticated=False, control_plane="cp-2", epoch=6), 401),
    (Caller(authenticated=True, control_plane="cp-2", epoch=6), 403),
    (Caller(authenticated=True, control_plane=None, epoch=6), 400),
    (Caller(authenticated=True, control_plane=OWNER, epoch=None), 400),
    (Caller(authenticated=True, control_plane=OWNER, epoch=6), 412),
    (Caller(authenticated=True, control_plane=OWNER, epoch=7), None),
    (Caller(authenticated=True, control_plane=OWNER, epoch=8), None),
]


@pytest.mark.parametrize(("caller", "status"), MUTATION_ORDER)
def test_mutations_are_checked_in_order(caller: Caller, status: int | None) -> None:
    refusal = decide_mutation(caller, BOUND)
    assert (None if refusal is None else refusal.status) == status


def test_refusals_name_the_owner_and_the_epoch() -> None:
    other = decide_mutation(replace(CALLER, control_plane="cp-2"), BOUND)
    assert other is not None and other.problem.owner == OWNER and OWNER in other.problem.message
    old = decide_mutation(replace(CALLER, epoch=3), BOUND)
    assert old is not None and old.problem.held_epoch == 7


def test_an_unbound_agent_accepts_any_authenticated_caller() -> None:
    assert decide_mutation(CALLER, Binding(None, None)) is None


@pytest.mark.parametrize(
    ("caller", "status"),
    [
        (Caller(False, None, None), 401),
        (Caller(True, None, None), None),
        (Caller(True, OWNER, None), None),
        (Caller(True, "cp-2", None), 403),
    ],
)
def test_reads_need_the_token_and_no_foreign_control_plane(caller: Caller, status: int | None) -> None:
    refusal = decide_read(caller, BOUND)
    assert (None if refusal is None else refusal.status) == status


MINE = KnownAttempt(3, "sha256:a", AttemptState.RUNNING)
UNFIT = Problem(failure_class=FailureClass.RUNTIME_MISMATCH, message="upgrade this Mac")
ALL_WRONG = PutFacts(
    attempt=3,
    spec_digest="sha256:b",
    outdated=True,
    tombstone=3,
    known_attempts=(MINE, KnownAttempt(4, "sha256:c", AttemptState.RUNNING)),
    spec_problem=UNFIT,
    draining=True,
    scratch_shortage="full",
    slot_free=False,
)
IN_TIME = replace(ALL_WRONG, outdated=False)
NOT_DELETED = replace(IN_TIME, tombstone=2)
NOT_OVERTAKEN = replace(NOT_DELETED, known_attempts=(MINE,))
NEW = replace(NOT_OVERTAKEN, known_attempts=())
FIT = replace(NEW, spec_problem=None)
NOT_DRAINING = replace(FIT, draining=False)
ROOM = replace(NOT_DRAINING, scratch_shortage=None)
FREE = replace(ROOM, slot_free=True)
INTERACTIVE_ALONE = replace(ROOM, lacks_lanes=True)

PUT_ORDER: list[tuple[PutFacts, int | RepeatedPut | Start]] = [
    (ALL_WRONG, 408),
    (IN_TIME, 410),
    (NOT_DELETED, 409),
    (NOT_OVERTAKEN, 409),
    (replace(NOT_OVERTAKEN, spec_digest="sha256:a"), RepeatedPut(resume=False)),
    (NEW, 422),
    (FIT, 503),
    (NOT_DRAINING, 507),
    (INTERACTIVE_ALONE, 429),
    (ROOM, 429),
    (FREE, Start(())),
]


def test_an_agent_without_a_lane_for_batches_says_so() -> None:
    refusal = decide_put(INTERACTIVE_ALONE)
    assert isinstance(refusal, Refusal) and "all of its pools are Interactive" in refusal.problem.message


@pytest.mark.parametrize(("facts", "expected"), PUT_ORDER)
def test_puts_are_checked_in_order(facts: PutFacts, expected: int | RepeatedPut | Start) -> None:
    decision = decide_put(facts)
    assert (decision.status if isinstance(decision, Refusal) else decision) == expected


def test_refused_puts_name_the_attempt_and_when_to_retry() -> None:
    deleted, newer, busy, unfit = (decide_put(facts) for facts in (IN_TIME, NOT_DELETED, ROOM, NEW))
    assert isinstance(deleted, Refusal) and deleted.problem.held_attempt == 3
    assert isinstance(newer, Refusal) and newer.problem.held_attempt == 4
    assert isinstance(busy, Refusal) and busy.retry_after_seconds is not None
    assert isinstance(unfit, Refusal) and unfit.problem is UNFIT


@pytest.mark.parametrize("state", list(AttemptState))
def test_only_a_parked_attempt_is_resumed(state: AttemptState) -> None:
    decision = decide_put(replace(FREE, spec_digest="sha256:a", known_attempts=(replace(MINE, state=state),)))
    assert decision == RepeatedPut(resume=state is AttemptState.PARKED)


def test_a_newer_attempt_parks_the_running_attempts_of_its_shard() -> None:
    known = tuple(KnownAttempt(number, "sha256:a", state) for number, state in enumerate(AttemptState, start=1))
    decision = decide_put(replace(FREE, attempt=99, known_attempts=known))
    assert decision == Start((1, 2))


def test_an_attempt_above_a_tombstone_starts() -> None:
    assert decide_put(replace(FREE, tombstone=2)) == Start(())
