"""A rerun waits for the end of the job that it names, freezes where its results lie, and is refused without them."""

from __future__ import annotations

from typing import Any

import pytest
from tests.unit.operator.decisions.bodies import job_body
from tests.unit.operator.decisions.job_objects import LATER, NOW, PLAN, a_contract, a_job, reasons
from tests.unit.operator.decisions.memory_api import sha
from tests.unit.operator.decisions.memory_fleet import facts
from tests.unit.operator.decisions.test_isolation import state, until
from tests.unit.operator.decisions.world import World

from voxfleet_api.conditions import ConditionType, Reason, find
from voxfleet_api.kinds import AudioBatchJob
from voxfleet_api.kinds.job_source import AcceptedSource
from voxfleet_api.results import job_folder
from voxfleet_operator.queue import Key
from voxfleet_operator.reconcile.job.decide import JobSnapshot, plan_job
from voxfleet_operator.reconcile.job.shards import JobShards
from voxfleet_operator.reconcile.job.source import SourceRefusal, find_source
from voxfleet_operator.reconcile.namespace_access import access_lost, addresses_of
from voxfleet_operator.triggers import all_keys

SOURCE = {"jobRef": {"name": "night"}, "select": "Failed"}


def rerun(**spec: object) -> AudioBatchJob:
    job = a_job({"conditions": []}, source=SOURCE, **spec)
    return job.model_copy(update={"spec": job.spec.model_copy(update={"input": None})})


def night(output: str = "file:///data/out/", **status: object) -> AudioBatchJob:
    job = a_job({"plan": PLAN, **status}, output={"uri": output})
    return job.model_copy(update={"metadata": job.metadata.model_copy(update={"name": "night", "uid": "aabbccdd-uid"})})


ENDED: dict[str, Any] = {
    "conditions": [{"type": "Failed", "status": "True", "reason": "ClipsFailed", "lastTransitionTime": NOW}],
    "results": {"uri": "file:///data/out/night-aabbccdd/index.json", "sha256": sha("index")},
}


def test_the_results_of_an_ended_job_are_frozen() -> None:
    assert find_source(rerun(), night(**ENDED)) == AcceptedSource(
        uid="aabbccdd-uid", folder="file:///data/out/night-aabbccdd", index_sha256=sha("index"), plan_attempt=1
    )
    assert find_source(a_job(), None) is None


@pytest.mark.parametrize(
    ("source", "reason", "waits", "for_good"),
    [
        (None, Reason.SOURCE_NOT_FOUND, False, False),
        (night(), Reason.SOURCE_NOT_ENDED, True, False),
        (night(conditions=ENDED["conditions"]), Reason.SOURCE_WITHOUT_RESULTS, False, True),
        (night("s3://out/", **ENDED), Reason.INVALID_SPEC, False, True),
    ],
)
def test_a_rerun_that_cannot_be_accepted_says_why(
    source: AudioBatchJob | None, reason: Reason, waits: bool, for_good: bool
) -> None:
    found = find_source(rerun(), source)
    assert isinstance(found, SourceRefusal)
    assert (found.blocker.reason, found.waits, found.for_good) == (reason, waits, for_good)
    status = plan_job(JobSnapshot(rerun(), JobShards(()), a_contract(), source=source), LATER).status
    said = reasons(status)
    if for_good:
        assert said["Failed"] == ("True", reason)
    elif waits:
        assert said["Reconciling"] == ("True", reason) and "Stalled" not in said, "nothing is wrong"
    else:
        assert said["Stalled"] == ("True", reason)
    assert status.contract is None and status.source is None


def test_the_other_job_s_folder_must_be_open_too_and_old_agents_are_no_help() -> None:
    job = rerun()
    accepted = find_source(job, night("file:///elsewhere/", **ENDED))
    job = job.model_copy(update={"status": job.status.model_copy(update={"source": accepted})})
    assert "file:///elsewhere/night-aabbccdd/" in addresses_of(job)
    assert access_lost(job, ("file:///data/",), None) is not None
    machine = World().agents["mac-a"]
    machine.capabilities = tuple(item for item in machine.capabilities if item != "ChosenClips")
    both = ("file:///data/", "file:///elsewhere/")
    assert "too old for spec.only and spec.source" in (access_lost(job, both, facts(machine)) or "")
    assert access_lost(job, both, facts(World().agents["mac-a"])) is None


async def test_a_rerun_waits_and_then_runs_what_its_source_left() -> None:
    world = World(macs=2)
    world.api.add(job_body("again", input=None, source={"jobRef": {"name": "night"}, "select": "NotRun"}))
    world.clock.seconds += 60
    await world.settle(40)
    accepted = find(world.job("again").status.conditions, ConditionType.ACCEPTED)
    assert accepted is not None and accepted.reason == Reason.SOURCE_NOT_FOUND
    world.api.add(job_body("night"))
    await until(world, lambda: bool(world.shards("night")))
    waiting = world.job("again").status
    assert find(waiting.conditions, ConditionType.STALLED) is None, "it is there now, and only has to end"
    assert find(waiting.conditions, ConditionType.RECONCILING) is not None and world.shards("again") == []
    await until(world, lambda: state(world, "again") == Reason.FINISHED)
    source, found = world.job("night"), world.job("again").status.source
    assert found is not None and source.status.results is not None
    assert (found.uid, found.index_sha256) == (source.metadata.uid, source.status.results.sha256)
    told = [
        request.spec["plan"]
        for agent in world.agents.values()
        for request in agent.requests.values()
        if request.spec["shardName"] == "again-plan"
    ]
    folder = job_folder(source.spec.output.uri, "night", source.metadata.uid)
    assert len(told) == 1 and isinstance(told[0], dict)
    assert told[0]["source"] == {
        "folder": folder,
        "indexSha256": found.index_sha256,
        "planAttempt": 1,
        "select": "NotRun",
    }


async def test_a_source_that_goes_wakes_the_rerun_and_later_ones_change_nothing() -> None:
    world = World(macs=1)
    world.fleet.reachable.clear()
    world.api.add(job_body("night"))
    world.api.add(job_body("again", input=None, source=SOURCE))
    await world.settle(30)
    before = find(world.job("again").status.conditions, ConditionType.ACCEPTED)
    assert before is not None and before.reason == Reason.SOURCE_NOT_ENDED
    world.clock.seconds += 3600
    world.api.objects[Key("AudioBatchJob", "team", "night")]["metadata"]["finalizers"] = []
    world.api.user_deletes(AudioBatchJob, "team", "night")
    await world.settle(30)
    after = find(world.job("again").status.conditions, ConditionType.STALLED)
    assert after is not None and after.reason == Reason.SOURCE_NOT_FOUND


async def test_old_agents_get_no_job_of_chosen_clips() -> None:
    world = World(macs=1)
    agent = world.agents["mac-a"]
    agent.capabilities = tuple(item for item in agent.capabilities if item != "ChosenClips")
    world.api.add(job_body("some", only="0-3"))
    world.api.add(job_body("all"))
    await until(world, lambda: state(world, "all") == Reason.FINISHED)
    assert "too old for spec.only and spec.source; upgrade it" in (world.job("some").status.pending_reason or "")
    agent.capabilities = World().agents["mac-a"].capabilities
    await until(world, lambda: state(world, "some") == Reason.FINISHED)


async def test_a_mac_that_does_not_open_the_other_job_s_folder_gets_no_rerun() -> None:
    world = World(macs=1)
    everywhere = {"namespaceSelector": {}, "uriPrefixes": ["file:///data/", "file:///elsewhere/"]}
    world.api.user_edits("MacAgent", "", "mac-a", access=[everywhere])
    world.api.add(job_body("night", output={"uri": "file:///elsewhere/"}))
    await until(world, lambda: state(world, "night") == Reason.FINISHED)
    world.api.user_edits("MacAgent", "", "mac-a", access=[everywhere | {"uriPrefixes": ["file:///data/"]}])
    world.api.add(job_body("again", input=None, source=SOURCE))
    await until(world, lambda: "no access" in (world.job("again").status.pending_reason or ""))
    world.api.user_edits("MacAgent", "", "mac-a", access=[everywhere])
    await until(world, lambda: state(world, "again") == Reason.FINISHED)


async def test_a_new_leader_goes_on_with_what_was_frozen() -> None:
    world = World(macs=1)
    world.api.add(job_body("night"))
    await until(world, lambda: state(world, "night") == Reason.FINISHED)
    world.api.add(job_body("again", input=None, source=SOURCE))
    await until(world, lambda: world.job("again").status.source is not None)
    world.api.objects[Key("AudioBatchJob", "team", "night")]["metadata"]["finalizers"] = []
    world.api.user_deletes(AudioBatchJob, "team", "night")
    world.start_operator()
    assert Key("AudioBatchJob", "team", "night") not in all_keys(world.cache)
    await until(world, lambda: state(world, "again") == Reason.FINISHED)
