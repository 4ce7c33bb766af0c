"""What waits, what namespaces hold, and which chip a homogeneous job began on, as the objects say."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from tests.unit.operator.decisions.attempt_objects import record, shard_with
from tests.unit.operator.decisions.job_objects import a_job, a_shard, committed, failed
from tests.unit.operator.decisions.job_states import job_states

from voxfleet_api.kinds import AudioBatchJob, AudioShard
from voxfleet_api.kinds.audio_shard import AttemptOutcome, AttemptRecord, AttemptUsage, ShardPiece, Stage
from voxfleet_operator.metering.recent_use import decay
from voxfleet_operator.metering.usage import NO_ROWS
from voxfleet_operator.placement.order import LANE_SECONDS, LONGEST_WAIT_SECONDS, NamespaceTurns
from voxfleet_operator.placement.snapshot import NamespaceStanding, PendingShard
from voxfleet_operator.placement.waiting import (
    WEIGHT_LABEL,
    job_chip,
    lane_histories,
    pending_shard,
    placement_job,
    standings,
    stays_on_chip,
    unfinished,
    weight_of,
)
from voxfleet_operator.reconcile.job.shards import JobShards
from voxfleet_operator.reconcile.job_life import JobWish, stages_at_work, wish_of
from voxfleet_operator.reconcile.shard.facts import ShardFacts
from voxfleet_operator.reconcile.shard.status import KEPT_ATTEMPTS, assigned, chip_of_work


def planned(**spec: Any) -> AudioBatchJob:
    """A job of five shards."""
    job = a_job(**spec)
    assert job.status.plan is not None
    plan = job.status.plan.model_copy(update={"boundaries": (0, 20, 40, 60, 80, 100)})
    return job.model_copy(update={"status": job.status.model_copy(update={"plan": plan})})


NOW = datetime(2026, 11, 20, 22, 0, tzinfo=UTC)
JOB = planned()
WORKED = AttemptUsage(chain_id="chain", first_sequence=0, last_sequence=2, rows=3, work_milliseconds=5, complete=True)


def process(ordinal: int, *, live: bool = False, at: str | None = None, created: str = "") -> AudioShard:
    status: dict[str, Any] = {"assignedAt": at} if at else {}
    if live:
        status |= {"attempt": 1, "attempts": [{"attempt": 1, "mac": "mac-a", "outcome": "Assigned"}]}
    shard = a_shard(JOB, Stage.PROCESS, ordinal, **status)
    return shard.model_copy(update={"metadata": shard.metadata.model_copy(update={"creation_timestamp": created})})


def of_namespace(shard: AudioShard, namespace: str) -> AudioShard:
    return shard.model_copy(update={"metadata": shard.metadata.model_copy(update={"namespace": namespace})})


def pending_in(namespace: str, shard: AudioShard, *, replaces_lost: bool = False) -> PendingShard:
    common = replace(placement_job(JOB, JobShards(())), namespace=namespace)
    return pending_shard(common, ShardFacts.of(shard), replaces_lost=replaces_lost)


def standing_of(*shards: AudioShard, used: float = 0.0, labels: dict[str, str] | None = None) -> NamespaceStanding:
    common = placement_job(JOB, JobShards(()))
    waiting = [pending_shard(common, ShardFacts.of(shard)) for shard in shards if not shard.status.attempts]
    return standings(lane_histories(shards), waiting, {"team": used}, {"team": labels or {}}, NOW)["team"]


@pytest.mark.parametrize(
    ("stage", "split", "expected"),
    [
        (Stage.FINALIZE, False, False),
        (Stage.FINALIZE, True, True),
        (Stage.PLAN, True, False),
        (Stage.PROCESS, True, False),
    ],
)
def test_finalize_of_a_split_job_needs_an_agent_that_knows_parts(stage: Stage, *, split: bool, expected: bool) -> None:
    """Another would leave run records in twice, and bundle.json would depend on who merged."""
    closed = process(0)
    piece = ShardPiece(path="0", inherits=(closed.metadata.uid,), after_attempt=3)
    half = closed.model_copy(update={"spec": closed.spec.model_copy(update={"piece": piece})})
    common = placement_job(JOB, JobShards((closed, half) if split else (closed,)))
    assert pending_shard(common, ShardFacts.of(half)).is_piece
    assert pending_shard(common, ShardFacts.of(a_shard(JOB, stage))).is_piece is expected


def test_a_lane_counts_for_ten_minutes_at_once_and_for_as_long_as_it_is_held() -> None:
    short = process(0, live=True, at="2026-11-20T21:59:00Z")
    long = process(1, live=True, at="2026-11-20T21:00:00Z")
    assert standing_of(short, long, used=7.0) == NamespaceStanding(2, 7.0 + LANE_SECONDS + 3600.0)


def test_a_namespace_waits_since_its_work_is_there_or_since_its_last_lane() -> None:
    new = process(0, created="2026-11-20T21:30:00Z")
    old = process(1, created="2026-11-20T20:00:00Z")
    ended = process(2, at="2026-11-20T21:00:00Z")
    assert standing_of(new).waited_seconds == 1800.0
    assert standing_of(new, old).waited_seconds == 7200.0
    assert standing_of(new, old, ended).waited_seconds == 3600.0
    assert standing_of(process(0, live=True, at="2026-11-20T21:00:00Z")).waited_seconds == 0.0, "nothing waits"


def test_what_a_lost_mac_has_is_no_lane_once_another_mac_may_take_over() -> None:
    lost = process(0, live=True, at="2026-11-20T20:00:00Z", created="2026-11-20T19:00:00Z")
    waiting = [pending_in("team", lost, replaces_lost=True)]
    found = standings(lane_histories([lost]), waiting, {"team": 7.0}, {}, NOW)["team"]
    assert found == NamespaceStanding(0, 7.0, waited_seconds=7200.0)


def test_a_lost_mac_starves_no_namespace() -> None:
    """The other Mac's only lane goes to another namespace every 30 minutes, whose use decays meanwhile."""
    busy_seconds, lost_at = 1800.0, NOW
    lost = of_namespace(process(0, live=True, at="2026-11-20T22:00:00Z"), "a")
    next_one = of_namespace(process(1), "b")
    waiting = [pending_in("a", lost, replaces_lost=True), pending_in("b", next_one)]
    used = {"a": 4 * 3600.0, "b": 0.0}
    for lanes_given in range(48):
        now = lost_at + timedelta(seconds=lanes_given * busy_seconds)
        turn = NamespaceTurns(used, standings(lane_histories([lost, next_one]), waiting, used, {}, now)).take()
        if turn == "a":
            break
        used = {name: seconds * decay(busy_seconds) for name, seconds in used.items()}
        used["b"] += busy_seconds
    assert (turn, (now - lost_at).total_seconds()) == ("a", LONGEST_WAIT_SECONDS)


def test_plans_and_merges_hold_no_lane() -> None:
    plan = a_shard(
        JOB,
        Stage.PLAN,
        attempt=1,
        assignedAt="2026-11-20T21:00:00Z",
        attempts=[{"attempt": 1, "mac": "mac-a", "outcome": "Assigned"}],
    )
    assert standing_of(plan, process(0, created="2026-11-20T20:00:00Z")) == NamespaceStanding(waited_seconds=7200.0)


@pytest.mark.parametrize(
    ("label", "weight"), [("3", 3), ("99", 99), ("0", 1), ("100", 1), ("-2", 1), ("2.5", 1), ("two", 1), (None, 1)]
)
def test_a_weight_is_a_label_of_the_namespace(label: str | None, weight: int) -> None:
    labels = {} if label is None else {WEIGHT_LABEL: label}
    assert weight_of(labels) == weight
    assert standing_of(process(0), labels=labels).weight == weight


def test_what_is_unfinished() -> None:
    shard, merge = process(0), a_shard(JOB, Stage.FINALIZE)
    given = (shard, committed(JOB, Stage.PROCESS, 1), failed(JOB, 2, "AttemptsExhausted"))
    assert left(JOB, given) == [shard]
    assert left(JOB, (*given, merge)) == [merge], "once results are merged, no clip is worked on"
    planless, suspended = (
        JOB.model_copy(update={"status": JOB.status.model_copy(update={"plan": None})}),
        planned(suspend=True),
    )
    for job in (planless, suspended):
        assert left(job, given) == []


@pytest.mark.parametrize("state", job_states().values(), ids=job_states().keys())
def test_the_stages_at_work_are_those_that_the_job_wishes_done(state: AudioBatchJob) -> None:
    for job in (state, state.model_copy(update={"spec": state.spec.model_copy(update={"suspend": True})})):
        assert stages_at_work(job) == {stage for stage in Stage if wish_of(job, stage) is JobWish.WORK}


def left(job: AudioBatchJob, shards: Iterable[AudioShard]) -> list[AudioShard]:
    return [found.shard for found in unfinished(job, JobShards.of(job, shards))]


def on(chip: str | None, outcome: AttemptOutcome, usage: AttemptUsage | None) -> AttemptRecord:
    return record(1, "mac-a", outcome, usage).model_copy(update={"chip": chip})


@pytest.mark.parametrize(
    ("attempt", "found"),
    [
        (on("M2", AttemptOutcome.ASSIGNED, None), "M2"),
        (on("M2", AttemptOutcome.SUCCEEDED, WORKED), "M2"),
        (on("M2", AttemptOutcome.LOST, None), "M2"),
        (on("M2", AttemptOutcome.FAILED, WORKED.model_copy(update={"complete": False})), "M2"),
        (on("M2", AttemptOutcome.REFUSED, NO_ROWS), None),
        (on("M2", AttemptOutcome.RETURNED, NO_ROWS), None),
        (on(None, AttemptOutcome.SUCCEEDED, WORKED), None),
    ],
)
def test_a_chip_counts_unless_it_is_known_that_nothing_ran_on_it(attempt: AttemptRecord, found: str | None) -> None:
    shard = shard_with(attempt)
    assert chip_of_work(shard) == found
    assert job_chip(JobShards((process(3), shard))) == found


def test_a_chip_is_remembered_when_its_attempt_is_summed_up() -> None:
    shard = shard_with(on("M2", AttemptOutcome.FAILED, WORKED))
    for attempt in range(2, KEPT_ATTEMPTS + 4):
        status = assigned(
            shard,
            attempt=attempt,
            mac="mac-b",
            machine=None,
            chip="M4",
            spec_digest="sha256:" + "a" * 64,
            lease_seconds=30,
            usage_of_lost=None,
            now="2026-11-20T22:00:00Z",
        )
        refused = status.attempts[-1].model_copy(update={"outcome": AttemptOutcome.REFUSED, "usage": NO_ROWS})
        shard = shard.model_copy(
            update={"status": status.model_copy(update={"attempts": (*status.attempts[:-1], refused)})}
        )
    assert "M2" not in {item.chip for item in shard.status.attempts}
    assert chip_of_work(shard) == "M2"


def test_only_a_homogeneous_job_has_a_chip() -> None:
    shards = JobShards((shard_with(on("M2", AttemptOutcome.SUCCEEDED, WORKED)),))
    assert placement_job(JOB, shards).needs.chip is None
    assert placement_job(a_job(requirements={"homogeneous": True}), shards).needs.chip == "M2"


def test_a_homogeneous_job_refuses_another_chip_for_its_clips_alone() -> None:
    same = a_job(requirements={"homogeneous": True})
    begun = JobShards((shard_with(on("M2", AttemptOutcome.SUCCEEDED, WORKED)),))

    def stays(job: AudioBatchJob, shards: JobShards, shard: AudioShard, chip: str) -> bool:
        return stays_on_chip(job, lambda: job_chip(shards), shard, chip)

    assert stays(same, begun, process(1), "M2") and stays(same, JobShards(()), process(1), "M4")
    assert not stays(same, begun, process(1), "M4")
    assert stays(same, begun, a_shard(same, Stage.FINALIZE), "M4")
    assert stays(JOB, begun, process(1), "M4")
