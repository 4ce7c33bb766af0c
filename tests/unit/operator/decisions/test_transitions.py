"""Every transition is told, once, in words that the closed list knows."""

from __future__ import annotations

from itertools import permutations

import pytest
from tests.unit.operator.decisions.job_objects import NOW
from tests.unit.operator.golden.condition_sections import states
from tests.unit.operator.golden.shard_states import shard_states

from voxfleet_api.conditions import ConditionType, Reason, condition
from voxfleet_api.failures import FailureClass
from voxfleet_api.kinds import AudioShard
from voxfleet_api.kinds.resource import Resource
from voxfleet_operator.event_reasons import TEXTS, Announced, EventReason, announced, facts_of
from voxfleet_operator.events import NOTE_LIMIT_BYTES, event
from voxfleet_operator.reconcile.transitions import (
    NO_NEWS,
    TOLD_OTHERWISE,
    conditions_of,
    shard_transitions,
    transitions,
)

REASONS: tuple[Announced, ...] = (*EventReason, *Reason, *FailureClass)


@pytest.mark.parametrize("reason", REASONS)
def test_each_reason_can_be_published(reason: Announced) -> None:
    made = event({"kind": "Lease", "name": "x"}, reason, "é" * 5000)
    assert made.reason == reason and made.reason.isalnum() and len(made.reason) <= 128
    assert len(made.note.encode()) <= NOTE_LIMIT_BYTES
    assert made.severity == ("Warning" if facts_of(reason).warning else "Normal")


def test_each_reason_of_an_event_has_a_meaning() -> None:
    assert set(TEXTS) == set(EventReason)
    assert not {str(reason) for reason in EventReason} & {str(reason) for reason in (*Reason, *FailureClass)}


@pytest.mark.parametrize("kind", [kind for kind in states() if kind is not AudioShard])
def test_each_change_of_a_condition_is_told_once(kind: type[Resource]) -> None:
    for before, after in permutations(states()[kind].values(), 2):
        old = {(item.type, item.status, item.reason) for item in conditions_of(before)}
        new = {
            announced(item.reason)
            for item in conditions_of(after)
            if item.status != "Unknown" and (item.type, item.status, item.reason) not in old
        }
        told = [item.reason for item in transitions(conditions_of(before), conditions_of(after))]
        assert len(told) == len(set(told))
        assert set(told) - {EventReason.UNBLOCKED} == new - TOLD_OTHERWISE - NO_NEWS


def test_what_is_no_longer_blocked_is_told() -> None:
    blocked = condition((), ConditionType.STALLED, True, Reason.SECRET_NOT_FOUND, "create it", generation=1, now=NOW)
    [told] = transitions((blocked,), ())
    assert (told.reason, told.note) == (EventReason.UNBLOCKED, "no longer SecretNotFound: create it")


SHARDS = shard_states()


@pytest.mark.parametrize(
    ("before", "state", "told"),
    [
        ("assigned", "assigned", []),
        ("assigned", "its attempt failed, and it is tried again", [FailureClass.GPU_ABORT_TIMEOUT]),
        ("assigned", "its attempt failed in a way of an agent to come", [EventReason.OTHER_FAILURE]),
        ("assigned", "its Mac gave it back", []),
        ("assigned", "its Mac is lost", [FailureClass.MACHINE_LOST]),
        ("assigned", "taken over from a lost Mac", [FailureClass.MACHINE_LOST]),
        ("assigned again", "committed", []),
        ("assigned again", "failed, retried too often", [FailureClass.GPU_ABORT_TIMEOUT, Reason.ATTEMPTS_EXHAUSTED]),
        ("assigned", "failed, for the job as it is written", [FailureClass.MODEL_MISMATCH]),
    ],
)
def test_a_job_is_told_only_what_goes_wrong_with_a_shard(before: str, state: str, told: list[Announced]) -> None:
    found = shard_transitions(SHARDS[before], SHARDS[state])
    assert [item.reason for item in found] == told
    assert all(item.note.startswith(f"shard {SHARDS[state].metadata.name}") for item in found)
