"""A shard that keeps failing is split: when, into what, and that each clip stays in exactly one shard."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.operator.decisions.bodies import job_body
from tests.unit.operator.decisions.job_objects import NOW, a_job, a_shard, committed
from tests.unit.operator.decisions.test_every_job_ends import lose, until
from tests.unit.operator.decisions.world import World

from voxfleet_api.conditions import ConditionType, Reason, find, is_true
from voxfleet_api.failures import RULES, FailureClass, Remedy
from voxfleet_api.kinds import AudioBatchJob, AudioShard
from voxfleet_api.kinds.audio_shard import AttemptOutcome, AttemptRecord, AttemptUsage, MachineIdentity, Stage
from voxfleet_api.machine_messages import Capability
from voxfleet_api.ranges import decode
from voxfleet_operator.metering.usage import job_usage
from voxfleet_operator.reconcile.job.decide import JobSnapshot, plan_job
from voxfleet_operator.reconcile.job.shards import JobShards
from voxfleet_operator.reconcile.job_life import has_ended
from voxfleet_operator.reconcile.shard.attempt_spec import attempt_spec
from voxfleet_operator.reconcile.shard.coverage import Coverage
from voxfleet_operator.reconcile.shard.new_shard import NewShard, belongs, shard_body
from voxfleet_operator.reconcile.shard.pieces import attempts_before, piece_range
from voxfleet_operator.reconcile.shard.split import (
    MAX_SPLITS,
    SplitLimits,
    closed,
    is_split_due,
    is_split_due_once_lost,
    knows_pieces,
    may_be_a_clips_fault,
)

LIMITS = SplitLimits(retry_limit=7, job_splits=0, agents_can=True)
GPU = FailureClass.GPU_ABORT_TIMEOUT


def end(
    attempt: int,
    mac: str = "mac-a",
    outcome: AttemptOutcome = AttemptOutcome.FAILED,
    failure: FailureClass | None = GPU,
) -> AttemptRecord:
    machine = MachineIdentity(hardware_id=mac, ledger_key="key")
    return AttemptRecord(attempt=attempt, mac=mac, machine=machine, outcome=outcome, failure_class=failure)


def with_attempts(*records: AttemptRecord, shard: AudioShard | None = None) -> AudioShard:
    shard = shard or a_shard(a_job(), Stage.PROCESS, 0)
    newest = max((record.attempt for record in records), default=None)
    status = shard.status.model_copy(update={"attempts": records, "attempt": newest})
    return shard.model_copy(update={"status": status})


TWO = (end(1, "mac-a"), end(2, "mac-b"))
CASES: dict[str, tuple[AudioShard, SplitLimits, bool]] = {
    "two failures on two machines": (with_attempts(*TWO), LIMITS, True),
    "one failure": (with_attempts(end(1)), LIMITS, False),
    "two failures on one machine": (with_attempts(end(1), end(2)), LIMITS, False),
    "one Mac only, and one retry is left": (with_attempts(*(end(n) for n in range(1, 7))), LIMITS, True),
    "one Mac only, and two retries are left": (with_attempts(*(end(n) for n in range(1, 6))), LIMITS, False),
    "a lost Mac and a failure elsewhere": (
        with_attempts(end(1, "mac-a", AttemptOutcome.LOST, FailureClass.MACHINE_LOST), end(2, "mac-b")),
        LIMITS,
        True,
    ),
    "the newest end is a full disk": (
        with_attempts(*TWO, end(3, "mac-c", failure=FailureClass.SCRATCH_EXHAUSTED)),
        LIMITS,
        False,
    ),
    "the newest was only returned": (
        with_attempts(*TWO, end(3, "mac-c", AttemptOutcome.RETURNED, None)),
        LIMITS,
        False,
    ),
    "the newest is live": (with_attempts(*TWO, end(3, "mac-c", AttemptOutcome.ASSIGNED, None)), LIMITS, False),
    "refused before any clip": (
        with_attempts(*(end(n, f"mac-{n}", AttemptOutcome.REFUSED) for n in (1, 2))),
        LIMITS,
        False,
    ),
    "no retries are allowed": (with_attempts(*TWO), dataclasses.replace(LIMITS, retry_limit=0), False),
    "the job was split often enough": (with_attempts(*TWO), dataclasses.replace(LIMITS, job_splits=MAX_SPLITS), False),
    "an agent knows no parts": (with_attempts(*TWO), dataclasses.replace(LIMITS, agents_can=False), False),
    "Plan has no clips": (with_attempts(*TWO, shard=a_shard(a_job(), Stage.PLAN)), LIMITS, False),
    "it has a result": (with_attempts(*TWO, shard=committed(a_job(), Stage.PROCESS, 0)), LIMITS, False),
    "it never ran": (with_attempts(), LIMITS, False),
}


@pytest.mark.parametrize("name", CASES)
def test_when_a_shard_is_split(name: str) -> None:
    shard, limits, due = CASES[name]
    assert is_split_due(shard, limits) is due


def test_one_clip_is_never_split_and_a_closed_shard_not_again() -> None:
    shard = with_attempts(*TWO)
    alone = shard.model_copy(update={"spec": shard.spec.model_copy(update={"indexes": "7"})})
    assert not is_split_due(alone, LIMITS)
    assert not is_split_due(_closed(shard), LIMITS)


@pytest.mark.parametrize("failure", FailureClass)
def test_which_failures_may_be_a_clips_doing(failure: FailureClass) -> None:
    expected = RULES[failure].remedy is Remedy.OTHER_MAC and failure is not FailureClass.SCRATCH_EXHAUSTED
    assert may_be_a_clips_fault(end(1, failure=failure)) is expected


def test_a_silent_mac_counts_only_once_it_is_lost() -> None:
    shard = with_attempts(end(1, "mac-a"), end(2, "mac-b", AttemptOutcome.ASSIGNED, None))
    assert not is_split_due(shard, LIMITS) and is_split_due_once_lost(shard, LIMITS)
    again = with_attempts(end(1, "mac-a"), end(2, "mac-a", AttemptOutcome.ASSIGNED, None))
    assert not is_split_due_once_lost(again, LIMITS)


async def test_parts_are_made_only_while_every_agent_in_contact_knows_them() -> None:
    world = World(seed=1, macs=2)
    world.agents["mac-b"].capabilities = ()
    for mac in world.agents:
        world.fleet.ensured.add(mac)
        world.refresh(mac)
    assert not knows_pieces(world.fleet.views().values())
    lose(world, "mac-b")
    assert knows_pieces(world.fleet.views().values())
    lose(world, "mac-a")
    assert not knows_pieces(world.fleet.views().values())


@given(start=st.integers(0, 1000), length=st.integers(1, 3000), path=st.text("01", max_size=12))
def test_the_halves_of_a_range_are_a_partition_of_it(start: int, length: int, path: str) -> None:
    part = piece_range(range(start, start + length), path)
    if len(part) > 1:
        first, second = (piece_range(range(start, start + length), path + half) for half in "01")
        assert [*first, *second] == [*part] and 0 <= len(first) - len(second) <= 1


@given(data=st.data())
def test_each_clip_is_in_exactly_one_shard_whatever_is_split_and_whatever_is_not_created_yet(
    data: st.DataObject,
) -> None:
    job, shards = a_job(), dict[str, AudioShard]()
    for _ in range(data.draw(st.integers(0, 30))):
        coverage = Coverage.of(shards.values())
        missing, open_ = coverage.missing(2), [item for item in coverage.process if len(_clips(item)) > 1]
        if missing and (not open_ or data.draw(st.booleans())):
            made = _made(job, data.draw(st.sampled_from(missing)))
            shards[made.metadata.name] = made
        elif open_:
            split = data.draw(st.sampled_from(open_))
            shards[split.metadata.name] = _closed(with_attempts(*TWO, shard=split))
    coverage = Coverage.of(shards.values())
    made_clips = [index for item in coverage.process for index in _clips(item)]
    assert made_clips == sorted(made_clips), "in the order of their clips"
    missing_clips = [index for new in coverage.missing(2) for index in _clips(_made(job, new))]
    assert sorted([*made_clips, *missing_clips]) == list(range(100))
    assert all(belongs(item, job) for item in shards.values())


def test_the_parts_of_a_shard_that_is_not_closed_count_for_nothing() -> None:
    """An operator that knows no parts has dropped the field and takes the shard up again."""
    job = a_job()
    whole, other = a_shard(job, Stage.PROCESS, 0), a_shard(job, Stage.PROCESS, 1)
    halves = [_made(job, new) for new in Coverage.of([_closed(whole), other]).missing(2)]
    assert len(halves) == 2 and Coverage.of([*halves, whole, other]).process == (whole, other)


def test_a_shard_that_an_older_operator_opened_again_is_tried_once_more_before_it_is_closed_again() -> None:
    whole = _closed(with_attempts(*TWO))
    opened = whole.model_copy(update={"status": whole.status.model_copy(update={"superseded_by": ()})})
    assert not is_split_due(opened, LIMITS)
    assert is_split_due(with_attempts(*TWO, end(4, "mac-a"), shard=opened), LIMITS)


def test_a_closed_shard_takes_a_number_that_nobody_is_assigned_and_its_halves_begin_behind_it() -> None:
    job, whole = a_job(), _closed(with_attempts(*TWO))
    assert whole.status.attempt == 3 and whole.status.superseded_by == ("job-00000-p0", "job-00000-p1")
    found = find(whole.status.conditions, ConditionType.COMMITTED)
    assert found is not None and found.reason == Reason.SPLIT
    assert "GpuAbortTimeout on mac-a, GpuAbortTimeout on mac-b" in found.message
    first, second = (_made(job, new) for new in Coverage.of([whole]).missing(1))
    assert (first.spec.indexes, second.spec.indexes) == ("0-29", "30-59")
    assert attempts_before(first) == attempts_before(second) == 3
    quarter = _made(
        job, Coverage.of([whole, _closed(with_attempts(end(4), end(5, "mac-b"), shard=first)), second]).missing(1)[0]
    )
    assert quarter.metadata.name == "job-00000-p00" and quarter.spec.indexes == "0-14"
    assert quarter.spec.piece is not None and attempts_before(quarter) == 6
    assert quarter.spec.piece.inherits == (first.metadata.uid, whole.metadata.uid)
    process = attempt_spec(job, quarter, 7, [whole, first, quarter]).process
    assert process is not None and (process.ordinal, process.indexes) == (0, "0-14")
    assert process.inherits == quarter.spec.piece.inherits


def test_finalize_names_the_commits_in_the_order_of_their_clips() -> None:
    job, whole = a_job(), _closed(with_attempts(*TWO))
    halves = [_delivered(_made(job, new)) for new in Coverage.of([whole]).missing(1)]
    rest, finalize = committed(job, Stage.PROCESS, 1), a_shard(job, Stage.FINALIZE)
    spec = attempt_spec(job, finalize, 1, [rest, *reversed(halves), whole, finalize]).finalize
    assert spec is not None and spec.not_run == ""
    assert [ref.shard_uid for ref in spec.commits] == [item.metadata.uid for item in (*halves, rest)]
    half_done = attempt_spec(job, finalize, 1, [rest, halves[1], whole, finalize]).finalize
    assert half_done is not None and half_done.not_run == "0-29"


def test_the_machine_time_of_a_closed_shard_counts_once() -> None:
    usage = AttemptUsage(chain_id="c", first_sequence=0, last_sequence=2, rows=3, work_milliseconds=4000, complete=True)
    whole = _closed(with_attempts(*(record.model_copy(update={"usage": usage}) for record in TWO)))
    halves = [_delivered(_made(a_job(), new), usage) for new in Coverage.of([whole]).missing(1)]
    found = job_usage([whole, *halves], ended=True)
    assert (found.machine_seconds, found.productive_seconds, found.retry_seconds) == ("16.000", "8.000", "8.000")
    assert found.rows == 12 and found.settled


def test_the_job_makes_the_halves_and_counts_them() -> None:
    job, whole, other = a_job(), _closed(with_attempts(*TWO)), committed(a_job(), Stage.PROCESS, 1, succeeded=40)
    decision = plan_job(JobSnapshot(job, JobShards.of(job, [whole, other]), None), NOW)
    assert [new.path for new in decision.create] == ["0", "1"]
    shards = decision.status.shards
    assert (shards.total, shards.committed) == (3, 1)
    assert (decision.status.clips.succeeded, decision.status.clips.pending) == (40, 60)


# Whole lives.


async def test_one_bad_clip_costs_only_itself() -> None:
    world = World(seed=11, macs=3)
    for agent in world.agents.values():
        agent.poison = frozenset({5})
    world.api.add(job_body())
    await until(world, lambda: has_ended(world.job()), 6 * 3600, 4)
    job = world.job()
    assert (job.status.clips.succeeded, job.status.clips.not_run) == (9, 1)
    failed = find(job.status.conditions, ConditionType.FAILED)
    assert failed is not None and failed.reason == Reason.ATTEMPTS_EXHAUSTED and "job-00002-p1" in failed.message
    assert [reason for _, reason, _ in world.journal.published].count(Reason.SPLIT) == 1
    await world.settle()
    assert job.status.results is not None
    signed = sum(usage.machine_milliseconds for agent in world.agents.values() for usage in agent.usage.values())
    assert world.job().status.usage.machine_seconds == f"{signed / 1000:.3f}"


@pytest.mark.parametrize("left_out", ["both", "the second"])
async def test_an_operator_that_dies_between_closing_a_shard_and_making_its_halves_makes_them_later(
    left_out: str,
) -> None:
    world = World(seed=4, macs=2)
    for agent in world.agents.values():
        agent.poison = frozenset({0})
    world.api.add(job_body())
    wanted = ["job-00000-p0", "job-00000-p1"] if left_out == "both" else ["job-00000-p1"]
    real, broken = world.api.create, True

    async def create(resource: Mapping[str, object]) -> dict[str, Any]:
        metadata = resource["metadata"]
        assert isinstance(metadata, dict)
        if broken and metadata["name"] in wanted:
            raise Died
        return await real(resource)

    world.api.create = create  # type: ignore[method-assign] # the process ends here
    with pytest.raises(Died):
        await until(world, lambda: False, 6 * 3600, 4)
    assert not {shard.metadata.name for shard in world.shards()} & set(wanted)
    broken = False
    world.start_operator()
    for agent in world.agents.values():
        agent.poison = frozenset()
    await until(world, lambda: has_ended(world.job()), 6 * 3600, 4)
    assert is_true(world.job().status.conditions, ConditionType.COMPLETE)
    assert world.job().status.clips.succeeded == 10
    (whole,) = [shard for shard in world.shards() if shard.metadata.name == "job-00000"]
    assert whole.status.commit is None and max(item.attempt for item in whole.status.attempts) < (
        whole.status.attempt or 0
    )


async def test_agents_that_know_no_parts_get_the_whole_shard_again() -> None:
    world = World(seed=11, macs=2)
    for agent in world.agents.values():
        agent.poison, agent.capabilities = frozenset({5}), (Capability.NAMESPACE_ACCESS,)
    world.api.add(job_body())
    await until(world, lambda: has_ended(world.job()), 6 * 3600, 4)
    assert world.job().status.clips.not_run == 2
    assert all(shard.spec.piece is None for shard in world.shards())


class Died(Exception):
    """Where the operator's process ends."""


def _closed(shard: AudioShard) -> AudioShard:
    return shard.model_copy(update={"status": closed(shard, NOW)})


def _made(job: AudioBatchJob, new: NewShard) -> AudioShard:
    body = shard_body(job, new)
    metadata = body["metadata"]
    assert isinstance(metadata, dict)
    return AudioShard.load(body | {"metadata": metadata | {"uid": f"{metadata['name']}-uid"}})


def _delivered(shard: AudioShard, usage: AttemptUsage | None = None) -> AudioShard:
    number = attempts_before(shard) + 1
    done = end(number, outcome=AttemptOutcome.SUCCEEDED, failure=None).model_copy(update={"usage": usage})
    commit = {"attempt": number, "sha256": "0" * 64}
    loaded = AudioShard.load(shard.dump() | {"status": {"attempt": number, "commit": commit}})
    return with_attempts(done, shard=loaded)


def _clips(shard: AudioShard) -> list[int]:
    return decode(shard.spec.indexes or "")
