"""Status and envelopes are open: an older reader keeps or ignores what it does not know, and never fails over it."""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum, StrEnum
from typing import Annotated, Literal, get_args, get_origin

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, TypeAdapter, ValidationError

from voxfleet_api import protocol
from voxfleet_api.base import OPEN_VALUE, OPEN_VALUE_PATTERN, ApiModel, StatusModel
from voxfleet_api.clip_warnings import WarningCode
from voxfleet_api.conditions import Condition, ConditionType, Reason, condition
from voxfleet_api.failures import RULES, FailureClass, Remedy, rule_of
from voxfleet_api.input_selection import SkipReason
from voxfleet_api.kinds import KINDS, AudioBatchJob, AudioShard, Resource
from voxfleet_api.kinds.audio_shard import AttemptOutcome, Stage
from voxfleet_api.kinds.voice_contract import VoiceContractSpec
from voxfleet_api.ledger import LedgerRow
from voxfleet_api.protocol import AttemptState, AttemptStatus, Event, EventType, Problem
from voxfleet_generate.structural import Schema, kind_schema
from voxfleet_operator.fleet.mac_view import AgentRefused
from voxfleet_operator.reconcile.shard.decide import ReportedState, put_refusal, reported_state

STRICT = {VoiceContractSpec, LedgerRow}
"""A contract decides what happens to audio, a row what is paid: these refuse what they do not know."""
ENVELOPES = [
    value
    for value in vars(protocol).values()
    if isinstance(value, type) and issubclass(value, StatusModel) and value.__module__ == protocol.__name__
]
STATUSES: list[object] = [kind.model_fields["status"].annotation for kind in KINDS]


def types_in(annotation: object) -> Iterator[object]:
    yield annotation
    arguments: tuple[object, ...] = () if get_origin(annotation) is Literal else get_args(annotation)
    for argument in arguments:
        yield from types_in(argument)


def reachable(roots: list[object]) -> Iterator[type[BaseModel]]:
    seen: set[type] = set()
    waiting = [item for root in roots for item in types_in(root)]
    while waiting:
        found = waiting.pop()
        if not isinstance(found, type) or not issubclass(found, BaseModel) or found in seen | STRICT:
            continue
        seen.add(found)
        yield found
        waiting += [item for field in found.model_fields.values() for item in types_in(field.annotation)]


@pytest.mark.parametrize("model", [*reachable([*ENVELOPES, *STATUSES])], ids=lambda model: model.__name__)
def test_every_message_of_status_and_envelopes_is_open(model: type[BaseModel]) -> None:
    assert model.model_config.get("extra") == "ignore"
    closed = {
        name
        for name, field in model.model_fields.items()
        for found in types_in(field.annotation)
        if get_origin(found) is Literal or (isinstance(found, type) and issubclass(found, Enum))
    }
    # metav1.Condition's status is a closed set of Kubernetes itself.
    assert closed == ({"status"} if model is Condition else set())


def closed_fields(node: Schema, path: str) -> Iterator[str]:
    if "enum" in node:
        yield path
    for name, child in node.get("properties", {}).items():
        yield from closed_fields(child, f"{path}.{name}")
    if isinstance(node.get("items"), dict):
        yield from closed_fields(node["items"], f"{path}[]")


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.crd.kind)
def test_the_schema_of_a_status_lists_no_values(kind: type[Resource]) -> None:
    found = set(closed_fields(kind_schema(kind)["properties"]["status"], "status"))
    assert found <= {"status.conditions[].status"}


ATTEMPT = {
    "shardUid": "u",
    "attempt": 1,
    "specDigest": "d",
    "controlPlane": "c",
    "namespace": "n",
    "job": {"name": "j", "uid": "u", "queue": "new"},
    "shardName": "s",
    "stage": "Compress",
    "state": "Suspended",
    "failure": {"class": "SolarFlare", "message": "m", "hint": "new"},
}


def test_unknown_values_are_kept_and_known_ones_become_members() -> None:
    status = AttemptStatus.load(ATTEMPT)
    assert status.dump()["state"] == "Suspended" and status.dump()["failure"]["class"] == "SolarFlare"
    known = AttemptStatus.load({**ATTEMPT, "state": "Running", "stage": "Plan"})
    assert known.state is AttemptState.RUNNING and known.stage is Stage.PLAN
    assert AttemptStatus.load(known.dump()) == known
    assert Event.load({"type": "Weather", "cursor": "j:1"}).type == "Weather"


def test_a_result_of_a_newer_agent_is_read() -> None:
    result = {
        "commitSha256": "a" * 64,
        "warnings": [{"code": "Mp3Repaired", "clips": 2}, {"code": "LevelLost", "clips": 1}],
        "plan": {
            "manifestSha256": "b" * 64,
            "modelDigest": "sha256:" + "c" * 64,
            "boundaries": [0, 1],
            "audioSeconds": "1.000",
            "selection": {
                "listed": 4,
                "taken": 1,
                "skipped": [{"reason": "Exfat2Shadow", "entries": 2}, {"reason": "Hidden", "entries": 1}],
            },
        },
    }
    status = AttemptStatus.load({**ATTEMPT, "state": "Succeeded", "result": result})
    assert status.result is not None and status.result.plan is not None
    assert status.result.plan.selection is not None
    assert [count.code for count in status.result.warnings] == ["Mp3Repaired", WarningCode.LEVEL_LOST]
    assert isinstance(status.result.warnings[1].code, WarningCode)
    skipped = status.result.plan.selection.skipped
    assert skipped[0].reason == "Exfat2Shadow" and isinstance(skipped[1].reason, SkipReason)
    assert status.dump()["result"] == {**result, "quarantine": [], "failures": []}


OPEN_VALUES: TypeAdapter[str] = TypeAdapter(Annotated[str, OPEN_VALUE])


@given(st.from_regex(OPEN_VALUE_PATTERN, fullmatch=True).filter(lambda text: len(text) <= 64))
def test_every_open_value_can_be_the_reason_of_a_condition(value: str) -> None:
    OPEN_VALUES.validate_python(value)
    made = condition((), ConditionType.COMMITTED, False, value, "m", generation=1, now="2026-11-20T22:00:00Z")
    assert made.reason == value


@pytest.mark.parametrize("value", ["gpu-abort.v2", "solarFlare", "Solar_Flare", "Solar Flare", "9Lives", ""])
def test_what_no_condition_can_hold_is_no_open_value(value: str) -> None:
    with pytest.raises(ValidationError):
        OPEN_VALUES.validate_python(value)


@pytest.mark.parametrize(
    "known", [AttemptOutcome, AttemptState, EventType, FailureClass, Reason, SkipReason, Stage, WarningCode]
)
def test_every_known_member_is_an_open_value(known: type[StrEnum]) -> None:
    for member in known:
        OPEN_VALUES.validate_python(member.value)


def test_a_status_of_a_newer_operator_is_read() -> None:
    record = {"attempt": 1, "mac": "m", "outcome": "Evicted", "class": "SolarFlare", "cost": 1}
    spec = {"jobRef": {"name": "j", "uid": "u"}, "stage": "Plan"}
    shard = AudioShard.load({"metadata": {"name": "s"}, "spec": spec, "status": {"attempts": [record], "new": 1}})
    assert shard.status.attempts[0].outcome == "Evicted"
    assert shard.status.attempts[0].outcome is not AttemptOutcome.ASSIGNED
    job_spec = {
        "contractRef": {"name": "c"},
        "model": {"builtin": {"name": "commands"}},
        "input": {"prefix": {"uri": "file:///in/"}},
        "output": {"uri": "file:///out/"},
    }
    clip = {"index": 1, "id": "a", "class": "SolarFlare", "reason": "r"}
    job = AudioBatchJob.load({"metadata": {"name": "j"}, "spec": job_spec, "status": {"quarantine": [clip]}})
    assert job.status.quarantine[0].dump() == clip


def test_a_failure_class_of_a_newer_agent_sends_the_shard_to_another_mac() -> None:
    assert rule_of("SolarFlare").remedy is Remedy.OTHER_MAC and not rule_of("SolarFlare").quarantines
    assert all(rule_of(name) == rule for name, rule in RULES.items())
    problem = Problem.load({"class": "SolarFlare", "message": "m", "unknown": 1})
    assert put_refusal(AgentRefused(422, problem), 1).failure_class == "SolarFlare"
    busy = AgentRefused(429, Problem(failure_class=FailureClass.TRANSPORT, message="m"))
    assert put_refusal(busy, 1).failure_class == "Transport"


def test_a_state_of_a_newer_agent_counts_as_running_until_it_has_ended() -> None:
    assert reported_state(AttemptStatus.load(ATTEMPT), Stage.PROCESS, "d") is ReportedState.RUNNING
    ended = AttemptStatus.load({**ATTEMPT, "ended": True})
    assert ended.has_ended and reported_state(ended, Stage.PROCESS, "d") is ReportedState.FAILED
    assert (
        reported_state(AttemptStatus.load({**ATTEMPT, "state": "Failed"}), Stage.PROCESS, "d") is ReportedState.FAILED
    )


def test_every_state_of_an_agent_is_one_that_the_operator_decides_on() -> None:
    assert {state.value for state in AttemptState} <= {state.value for state in ReportedState}


def test_a_known_member_is_written_without_a_warning(recwarn: pytest.WarningsRecorder) -> None:
    model: ApiModel = Problem(failure_class=FailureClass.TRANSPORT, message="m")
    assert model.dump() == {"class": "Transport", "message": "m"} and not recwarn.list
