"""A job that has ended never changes again, whatever happens to its spec, its contract and its shards."""

from __future__ import annotations

from typing import Any

import pytest
from tests.unit.operator.decisions.job_objects import LATER, a_contract, a_shard, committed, reasons
from tests.unit.operator.decisions.job_states import LIVE, NO_SECRET, job_states

from voxfleet_api.kinds.audio_shard import Stage
from voxfleet_operator.reconcile.job.decide import JobSnapshot, plan_job
from voxfleet_operator.reconcile.job.shards import JobShards
from voxfleet_operator.reconcile.job_life import JobWish, has_ended, wish_of

ENDED = {name: job for name, job in job_states().items() if has_ended(job)}
EDITS: dict[str, dict[str, Any]] = {
    "none": {},
    "suspended": {"suspend": True},
    "cancelled": {"cancel": True},
    "given no time": {"active_deadline_seconds": 1},
    "given no machine time": {"max_machine_seconds": 1},
}


@pytest.mark.parametrize("shards", ["as they are", "gone", "running"])
@pytest.mark.parametrize("edit", EDITS)
@pytest.mark.parametrize("name", ENDED)
def test_a_terminal_job_never_reopens(name: str, edit: str, shards: str) -> None:
    job = ENDED[name]
    job = job.model_copy(update={"spec": job.spec.model_copy(update=EDITS[edit])})
    found = {
        "as they are": (committed(job, Stage.PROCESS, 0, succeeded=60),),
        "gone": (),
        "running": (a_shard(job, Stage.PROCESS, 0, **LIVE), a_shard(job, Stage.FINALIZE, **LIVE)),
    }[shards]
    wider = a_contract(quarantine={"maxClips": 1000, "maxPercent": 100})
    snapshot = JobSnapshot(job, JobShards.of(job, found), wider, blocker=NO_SECRET, pending_reason="no Mac")
    decision = plan_job(snapshot, LATER)
    before, after = reasons(job.status), reasons(decision.status)
    assert {type_: after.get(type_) for type_ in ("Complete", "Failed")} == {
        type_: before.get(type_) for type_ in ("Complete", "Failed")
    }
    assert decision.create == () and not decision.add_finalizer and not decision.records_plan
    assert decision.status.completion_time == job.status.completion_time
    assert decision.status.contract == job.status.contract
    assert all(wish_of(job, stage) is JobWish.DISCARD for stage in Stage)


def test_every_way_to_end_is_among_them() -> None:
    assert len(ENDED) >= 4 and {reasons(job.status)["Complete"][0] for job in ENDED.values()} == {"True", "False"}
