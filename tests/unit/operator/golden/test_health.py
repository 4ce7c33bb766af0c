"""The health that Argo CD and Flux show: every state of every kind, run through their own languages."""

from __future__ import annotations

import pytest
import yaml
from lupa import lua51  # type: ignore[import-untyped] # it ships no types
from tests.rig.argo_cd import Health, HealthScript
from tests.rig.kstatus import manifest
from tests.unit.operator.golden.condition_sections import KSTATUS, states
from tests.unit.operator.golden.health_sections import (
    ARGO_CD,
    FILE,
    FLUX,
    INTRODUCTION,
    TO_ITS_END,
    WAITS,
    argo_cd,
    checks,
    flux,
    health_sections,
    script,
    upstream_tests,
)
from tests.unit.operator.golden.markdown_tables import FOLDER, REWRITE, read, rendered

from voxfleet_api import GROUP
from voxfleet_api.conditions import ConditionType, Reason, find, is_true
from voxfleet_api.kinds import KINDS, AudioBatchJob
from voxfleet_api.kinds.resource import Resource
from voxfleet_dev.locations import REPOSITORY
from voxfleet_generate.gitops import CONFIG_MAP, CUSTOMIZATIONS, RULE, UNTIL_ACCEPTED, UNTIL_THE_END
from voxfleet_operator.reconcile.transitions import conditions_of

GOLDEN = read(FILE)
CONDITIONS = read(FOLDER / "conditions.md")
STATES = states()
ROWS = [pytest.param(kind, name, id=f"{kind.crd.kind}-{name}") for kind, found in STATES.items() for name in found]
JOBS = STATES[AudioBatchJob]


def test_the_file_holds_what_each_state_is_now() -> None:
    told = {kind: {name: cells[KSTATUS] for name, cells in part.rows.items()} for kind, part in CONDITIONS.items()}
    assert FILE.read_text() == rendered(INTRODUCTION, health_sections(told)), REWRITE


@pytest.mark.parametrize(("kind", "name"), ROWS)
def test_argo_cd_flux_and_kstatus_agree(kind: type[Resource], name: str) -> None:
    kstatus = CONDITIONS[kind.crd.kind].rows[name][KSTATUS].replace("Terminating", "InProgress")
    health = argo_cd(STATES[kind][name])
    assert (WAITS[health.status], flux(STATES[kind][name])) == (kstatus, kstatus)


def test_every_reason_and_every_condition_is_among_the_objects_that_were_asked_about() -> None:
    assert set(STATES) == set(KINDS) and {kind.crd.kind for kind in KINDS} == set(GOLDEN) == set(checks(UNTIL_ACCEPTED))
    asked = [
        item
        for kind, found in STATES.items()
        for name, resource in found.items()
        if GOLDEN[kind.crd.kind].rows[name][ARGO_CD] and GOLDEN[kind.crd.kind].rows[name][FLUX]
        for item in conditions_of(resource)
    ]
    assert set(Reason) - {item.reason for item in asked} == set()
    assert set(ConditionType) - {item.type for item in asked} == set()


@pytest.mark.parametrize(("kind", "name"), ROWS)
def test_only_what_is_not_accepted_yet_is_waited_for(kind: type[Resource], name: str) -> None:
    """So that no night's work, no Mac and nobody who suspended a job holds a sync."""
    resource = STATES[kind][name]
    if argo_cd(resource).is_waited_for:
        conditions = conditions_of(resource)
        unseen = resource.status == type(resource).model_fields["status"].get_default()
        waits = is_true(conditions, ConditionType.RECONCILING) and not is_true(conditions, ConditionType.ACCEPTED)
        assert unseen or waits or resource.metadata.deletion_timestamp is not None


@pytest.mark.parametrize("name", JOBS)
def test_a_job_that_is_waited_for_to_its_end_ends_the_wait_when_it_ends_or_is_refused(name: str) -> None:
    conditions = conditions_of(JOBS[name])
    wanted = "InProgress"
    if is_true(conditions, ConditionType.COMPLETE):
        wanted = "Current"
    elif is_true(conditions, ConditionType.STALLED):
        wanted = "Failed"
    hook = argo_cd(JOBS[name], hook=True)
    assert (WAITS[hook.status], flux(JOBS[name], UNTIL_THE_END)) == (wanted, wanted)


@pytest.mark.parametrize("name", JOBS)
def test_a_hook_of_helm_is_waited_for_as_one_of_argo_cd(name: str) -> None:
    """Argo CD runs both, and deletes what it takes for done with `hook-succeeded`."""
    hook = script().health(manifest(JOBS[name], annotations={"helm.sh/hook": "post-install"}))
    assert hook == argo_cd(JOBS[name], hook=True)


@pytest.mark.parametrize(("kind", "name"), ROWS)
def test_the_message_is_the_condition_s(kind: type[Resource], name: str) -> None:
    resource = STATES[kind][name]
    if message := argo_cd(resource).message:
        said = [f"{item.reason}: {item.message}" for item in conditions_of(resource)]
        assert message in (*said, "The operator has not seen this version yet", "Pending deletion")


@pytest.mark.parametrize(("kind", "name"), ROWS)
def test_an_edit_that_nobody_has_seen_is_in_progress(kind: type[Resource], name: str) -> None:
    metadata = STATES[kind][name].metadata
    edited = STATES[kind][name].model_copy(
        update={"metadata": metadata.model_copy(update={"generation": metadata.generation + 7})}
    )
    assert (argo_cd(edited).status, flux(edited)) == ("Progressing", "InProgress")


def test_the_tests_for_the_repository_of_argo_cd_are_those_that_are_there() -> None:
    folder = REPOSITORY / CUSTOMIZATIONS
    wanted = upstream_tests()
    there = {path for path in folder.rglob("*.yaml") if path.is_file()}
    assert there == set(wanted), REWRITE
    assert {path: path.read_text() for path in there} == wanted, REWRITE
    assert {path.parent.name for path in folder.glob("*/health.lua")} == {kind.crd.kind for kind in KINDS}


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.crd.kind)
def test_the_tests_for_the_repository_of_argo_cd_pass(kind: type[Resource]) -> None:
    """As upstream runs them: each health.lua beside its health_test.yaml, the whole answer compared."""
    folder = REPOSITORY / CUSTOMIZATIONS / kind.crd.kind
    script = HealthScript((folder / "health.lua").read_text())
    for test in yaml.safe_load((folder / "health_test.yaml").read_text())["tests"]:
        found = script.health(yaml.safe_load((folder / test["inputPath"]).read_text()))
        assert found == Health(**{"message": "", **test["healthStatus"]}), test["inputPath"]


def test_the_config_map_has_the_rule_for_every_kind() -> None:
    data = yaml.safe_load((REPOSITORY / CONFIG_MAP).read_text())["data"]
    rule = RULE.read_text()
    assert data == {f"resource.customizations.health.{GROUP}_{kind.crd.kind}": rule for kind in KINDS}


def test_a_script_that_needs_a_library_fails_here_as_in_argo_cd() -> None:
    for needs in ("string.sub('a', 1)", "('a'):upper()", "os.time()", "require('os')"):
        with pytest.raises(lua51.LuaError):
            HealthScript(f"{needs} return {{status = 'Healthy'}}").health(manifest(JOBS["running"]))


def test_a_job_s_own_conditions_stand_for_it_in_the_message() -> None:
    halted = argo_cd(JOBS["halted, cancelled"])
    condition = find(conditions_of(JOBS["halted, cancelled"]), ConditionType.HALTED)
    assert condition is not None and halted == Health("Healthy", f"{condition.reason}: {condition.message}")
    assert GOLDEN["AudioBatchJob"].rows["suspended"][TO_ITS_END] == "Progressing"
