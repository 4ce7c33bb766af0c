"""The conditions of every kind in every state, for the golden table."""

from __future__ import annotations

from collections.abc import Mapping

from tests.unit.operator.decisions.job_objects import NOW, a_contract
from tests.unit.operator.decisions.job_states import job_states
from tests.unit.operator.golden.endpoint_states import endpoint_states
from tests.unit.operator.golden.mac_states import mac_states
from tests.unit.operator.golden.markdown_tables import Section
from tests.unit.operator.golden.schedule_states import schedule_states
from tests.unit.operator.golden.shard_states import shard_states
from tests.unit.operator.golden.statement_states import statement_states

from voxfleet_api.conditions import ConditionType, find
from voxfleet_api.kinds import (
    AudioBatchJob,
    AudioBatchSchedule,
    AudioShard,
    MacAgent,
    MachineHourStatement,
    VoiceContract,
    VoiceEndpoint,
)
from voxfleet_api.kinds.resource import Resource
from voxfleet_operator.reconcile.contract.status import contract_status
from voxfleet_operator.reconcile.mac.changes import changes
from voxfleet_operator.reconcile.transitions import conditions_of, shard_transitions, transitions

INTRODUCTION = """# State -> conditions

Every state that an object can be in, and the conditions that its status then has: status and reason, or nothing where
the condition is absent. `kstatus` is what the library of that name says, on which Flux and others wait.
`test_conditions.py` decides each row anew, and fails when a condition or a reason of the closed list has no row.
"""
KSTATUS, EVENTS = "kstatus", "events"

TEXTS: Mapping[type[Resource], str] = {
    AudioBatchJob: "A job waits, runs and ends as a batch/v1 Job does; `STATE` in `kubectl get abj` is the reason of"
    " Complete. Where the reason is a failure class, any class that no retry mends may stand there. `events` are what"
    " people are told when a new job is so at once.",
    AudioBatchSchedule: "A schedule is current as soon as somebody has looked at it, as a batch/v1 CronJob is, unless"
    " no job can be made. `events` are what people are told when a new schedule is so at once.",
    AudioShard: "Where the reason is a failure class, any class may stand there, also one of an agent to come."
    " `events` are what people are told of its job when an assigned shard comes to be so.",
    MacAgent: "A Mac is current as soon as somebody has looked at it, unless its spec cannot be used: GitOps does not"
    " wait for machines. `events` are what people are told when a Mac that took attempts comes to be so.",
    VoiceContract: "Jobs copy a contract, so it has nothing to wait for. `events` are those of a new one.",
    VoiceEndpoint: "An endpoint is current as soon as its spec is accepted: GitOps does not wait for machines. Where"
    " the reason is a failure class, any class may stand there. `events` are what people are told when a new endpoint"
    " is so at once.",
    MachineHourStatement: "A statement only grows, and its conditions hold nobody up. `events` are what people are told"
    " when a new one is so at once.",
}


def states() -> dict[type[Resource], dict[str, Resource]]:
    contract = a_contract()
    return {
        AudioBatchJob: {**job_states()},
        AudioBatchSchedule: {**schedule_states()},
        AudioShard: {**shard_states()},
        MacAgent: {**mac_states()},
        VoiceContract: {
            "nobody has seen it": contract,
            "jobs may name it": contract.model_copy(update={"status": contract_status(contract, NOW)}),
        },
        VoiceEndpoint: {**endpoint_states()},
        MachineHourStatement: {**statement_states()},
    }


def condition_sections(kstatus: Mapping[str, Mapping[str, str]]) -> list[Section]:
    """`kstatus`: what the library says, by kind and state."""
    return [_section(kind, found, kstatus[kind.crd.kind]) for kind, found in states().items()]


def _section(kind: type[Resource], found: Mapping[str, Resource], kstatus: Mapping[str, str]) -> Section:
    types = [type_ for type_ in ConditionType if any(cell(resource, type_) for resource in found.values())]
    rows = {
        name: {KSTATUS: kstatus[name], **{type_.value: cell(resource, type_) for type_ in types}, **_events(resource)}
        for name, resource in found.items()
    }
    return Section(kind.crd.kind, TEXTS[kind], "state", rows)


def _events(resource: Resource) -> dict[str, str]:
    match resource:
        case MacAgent():
            before = mac_states()["takes attempts"]
            found = (
                *transitions(conditions_of(before), conditions_of(resource)),
                *changes(before.status, resource.status),
            )
        case AudioShard():
            found = shard_transitions(shard_states()["assigned"], resource)
        case _:
            found = transitions((), conditions_of(resource))
    return {EVENTS: ", ".join(item.reason for item in found)}


def cell(resource: Resource, type_: ConditionType) -> str:
    found = find(conditions_of(resource), type_)
    return "" if found is None else f"{found.status} {found.reason}"
