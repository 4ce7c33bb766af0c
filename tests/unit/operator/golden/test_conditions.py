"""Every row of conditions.md, decided anew; no condition and no reason without a row, no state that no row shows."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.operator.decisions.bodies import job_body
from tests.unit.operator.decisions.job_objects import a_shard, failed
from tests.unit.operator.decisions.job_states import LIVE, decided, running_job
from tests.unit.operator.decisions.test_job_life_simulation import MACHINE_FAILURES, calm, chaos
from tests.unit.operator.decisions.world import World
from tests.unit.operator.golden.condition_sections import (
    EVENTS,
    INTRODUCTION,
    KSTATUS,
    cell,
    condition_sections,
    states,
)
from tests.unit.operator.golden.markdown_tables import FOLDER, REWRITE, read, rendered

from voxfleet_api.conditions import ConditionType, Reason, find
from voxfleet_api.failures import RULES, FailureClass, Remedy
from voxfleet_api.kinds import KINDS, AudioBatchJob, AudioShard, MacAgent, VoiceContract
from voxfleet_api.kinds.audio_shard import Stage
from voxfleet_api.kinds.resource import Resource
from voxfleet_operator.reconcile.transitions import conditions_of

FILE = FOLDER / "conditions.md"
GOLDEN = read(FILE)
STATES = states()
ROWS = [pytest.param(kind, name, id=f"{kind.crd.kind}-{name}") for kind, found in STATES.items() for name in found]
ONLY_WHEN_TRUE = (
    ConditionType.FAILED,
    ConditionType.HALTED,
    ConditionType.SUSPENDED,
    ConditionType.STALLED,
    ConditionType.RECONCILING,
    ConditionType.QUARANTINED,
)
OF_LIMITS = (ConditionType.OFFLINE_SLO_MET, ConditionType.WITHIN_FAILURE_BUDGET)
"""What a job's contract and results decide, whatever state the job is in."""
TO_COME = "OfAnAgentToCome"


@pytest.mark.parametrize(("kind", "name"), ROWS)
def test_every_state_has_the_conditions_of_its_row(kind: type[Resource], name: str) -> None:
    wanted = GOLDEN[kind.crd.kind].rows.get(name, {})
    found = {type_: cell(STATES[kind][name], type_) for type_ in ConditionType}
    assert {type_: text for type_, text in found.items() if text} == {
        type_: text for type_, text in wanted.items() if text and type_ not in (KSTATUS, EVENTS)
    }, f"{FILE.name}, {kind.crd.kind}, {name}; {REWRITE}"


def test_the_file_holds_every_state_and_nothing_else() -> None:
    """But for what kstatus says of them, which tests/cluster/api/test_kstatus.py asks it."""
    told = {kind: {name: cells[KSTATUS] for name, cells in section.rows.items()} for kind, section in GOLDEN.items()}
    assert {kind.crd.kind: set(found) for kind, found in STATES.items()} == {
        kind: set(found) for kind, found in told.items()
    }, REWRITE
    assert FILE.read_text() == rendered(INTRODUCTION, condition_sections(told)), REWRITE


def test_every_kind_has_its_table() -> None:
    assert set(STATES) == set(KINDS)


def test_every_condition_and_every_reason_of_the_closed_list_has_a_row() -> None:
    shown = [item for found in STATES.values() for resource in found.values() for item in conditions_of(resource)]
    assert {item.type for item in shown} == set(ConditionType)
    reasons = {item.reason for item in shown}
    assert set(Reason) - reasons == set()
    assert reasons - set(Reason) - set(FailureClass) == {TO_COME}


@pytest.mark.parametrize(("kind", "name"), ROWS)
def test_a_condition_that_reports_trouble_is_there_only_while_there_is_some(kind: type[Resource], name: str) -> None:
    conditions = conditions_of(STATES[kind][name])
    present = [item for type_ in ONLY_WHEN_TRUE if (item := find(conditions, type_)) is not None]
    assert all(item.status == "True" for item in present)


@pytest.mark.parametrize("failure_class", [name for name, rule in RULES.items() if rule.remedy is Remedy.NOTHING])
def test_any_class_that_no_retry_mends_halts_a_job_as_the_one_in_the_table(failure_class: FailureClass) -> None:
    job = running_job()
    status = decided(job, failed(job, 0, failure_class), a_shard(job, Stage.PROCESS, 1, **LIVE))
    found = {item.type: f"{item.status} {item.reason}" for item in status.conditions if item.type not in OF_LIMITS}
    row = GOLDEN["AudioBatchJob"].rows["halted by a failed shard"]
    wanted = {type_: text for type_, text in row.items() if text and type_ not in (KSTATUS, EVENTS)}
    assert found == {type_: text.replace(FailureClass.MODEL_MISMATCH, failure_class) for type_, text in wanted.items()}


def shapes(kind: type[Resource]) -> set[frozenset[str]]:
    """The conditions of each row, without what may stand beside any of them."""
    return {_shape(resource) for resource in STATES[kind].values()}


def _shape(resource: Resource) -> frozenset[str]:
    """A failure class stands for all, and clips may be quarantined, limits told and a Secret missing in any state."""
    items = [
        item
        for item in conditions_of(resource)
        if item.type not in (ConditionType.QUARANTINED, *OF_LIMITS)
        and not (item.type == ConditionType.STALLED and _runs(resource))
    ]
    return frozenset(f"{item.type} {item.status} {_reason(item.reason)}" for item in items)


def _runs(resource: Resource) -> bool:
    return find(conditions_of(resource), ConditionType.FAILED) is None and cell(resource, ConditionType.ACCEPTED) == (
        "True Accepted"
    )


def _reason(reason: str) -> str:
    return "a failure class" if reason in set(FailureClass) | {TO_COME} else reason


VERBS: dict[str, dict[str, object]] = {
    "nothing": {},
    "suspend": {"suspend": True},
    "cancel": {"cancel": True},
    "a deadline": {"activeDeadlineSeconds": 300},
    "machine time": {"maxMachineSeconds": 30},
}
JOB_FAULTS = (FailureClass.MODEL_MISMATCH, FailureClass.INVALID_INPUT)


@settings(max_examples=12)
@given(
    seed=st.integers(0, 2**32 - 1),
    macs=st.integers(1, 3),
    verb=st.sampled_from(sorted(VERBS)),
    failure_rate=st.sampled_from([0.0, 0.3]),
    failures=st.sampled_from([MACHINE_FAILURES, JOB_FAULTS]),
)
async def test_no_order_of_events_leads_to_a_state_without_a_row(
    seed: int, macs: int, verb: str, failure_rate: float, failures: tuple[FailureClass, ...]
) -> None:
    world = World(seed, macs)
    for agent in world.agents.values():
        agent.failures, agent.failure_rate = failures, failure_rate
    world.api.add(job_body(parallelism=2))
    rows = {kind: shapes(kind) for kind in (AudioBatchJob, AudioShard, MacAgent, VoiceContract)}

    def look() -> None:
        for kind, known in rows.items():
            for resource in world.api.all(kind):
                assert _shape(resource) in known, (kind.crd.kind, sorted(_shape(resource)))

    for turn in range(60):
        if turn == 20:
            world.api.user_edits("AudioBatchJob", "team", "job", **VERBS[verb])
        await chaos(world, 5)
        look()
    calm(world)
    for _ in range(100):  # a suspended job never ends
        await world.settle(5)
        look()
        if world.quiet():
            break
