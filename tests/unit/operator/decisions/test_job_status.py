"""What the status of a job says, and when it changes."""

from __future__ import annotations

import json
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.operator.decisions.job_objects import (
    LATER,
    NOW,
    PLAN,
    a_contract,
    a_job,
    a_shard,
    committed,
    ending,
    failed,
    reasons,
)
from tests.unit.operator.decisions.job_states import job_states
from tests.unit.operator.decisions.memory_api import sha

from voxfleet_api.base import StatusModel
from voxfleet_api.conditions import ConditionType, Reason, find
from voxfleet_api.digest import digest_of
from voxfleet_api.kinds import AudioBatchJob
from voxfleet_api.kinds.audio_shard import Stage
from voxfleet_api.kinds.job_source import AcceptedSource
from voxfleet_api.kinds.job_status import STATUS_CLIPS
from voxfleet_operator.reconcile.job.decide import JobSnapshot, plan_job
from voxfleet_operator.reconcile.job.shards import JobShards
from voxfleet_operator.reconcile.job.status import only_progress_moved, with_facts
from voxfleet_operator.reconcile.job_findings import REFUSAL_GRACE_SECONDS
from voxfleet_operator.reconcile.shard.new_shard import NewShard
from voxfleet_operator.reconcile.status_writer import differs


def test_every_address_of_a_job_needs_access() -> None:
    spoken = {"mode": "CustomVoice", "reference": {"uri": "file:///voices/anna.wav", "text": "one two"}}
    job = a_job(
        task="Synthesize",
        synthesis=spoken,
        model={"uri": "https://models.example/tts/"},
        input={"manifest": {"uri": "file:///in/texts.jsonl"}},
    )
    assert set(job.spec.uris()) == {
        "file:///in/texts.jsonl",
        job.spec.output.uri,
        "https://models.example/tts/",
        "file:///voices/anna.wav",
    }


def test_a_model_by_path_needs_access_and_a_built_in_one_does_not() -> None:
    by_path, built_in = a_job(model={"path": "/Models/whisper/"}), a_job(model={"builtin": {"name": "commands"}})
    assert set(by_path.spec.uris()) - set(built_in.spec.uris()) == {"file:///Models/whisper/"}


# The verdict.

VERDICTS: dict[str, tuple[dict[str, int], dict[str, int], str | None]] = {
    "all succeeded": ({"succeeded": 60}, {"succeeded": 40}, None),
    "one failed": ({"succeeded": 59, "failed": 1}, {"succeeded": 40}, "ClipsFailed"),
    "quarantine within the limits": ({"succeeded": 58, "quarantined": 2}, {"succeeded": 40}, None),
    "quarantine above the percentage": (
        {"succeeded": 57, "quarantined": 3},
        {"succeeded": 40},
        "QuarantineLimitExceeded",
    ),
    "failed clips weigh more than quarantined ones": (
        {"succeeded": 50, "quarantined": 9, "failed": 1},
        {"succeeded": 40},
        "ClipsFailed",
    ),
}


@pytest.mark.parametrize("name", VERDICTS)
def test_terminal_truth(name: str) -> None:
    first, second, want = VERDICTS[name]
    job = a_job()
    status = ending(job, committed(job, Stage.PROCESS, 0, **first), committed(job, Stage.PROCESS, 1, **second))
    found = reasons(status)
    if want is None:
        assert found["Complete"] == ("True", "Finished") and "Failed" not in found
    else:
        assert found["Complete"] == ("False", "Failed") and found["Failed"] == ("True", want)
    assert ("Quarantined" in found) == (status.clips.quarantined > 0)
    assert status.completion_time == NOW and status.results is not None
    assert status.results.uri == "file:///data/out/job-12345678/index.json"


def test_a_job_with_a_failed_shard_is_finalized_and_then_failed_for_its_reason() -> None:
    job = a_job()
    shards = (committed(job, Stage.PROCESS, 0, succeeded=60), failed(job, 1, "AttemptsExhausted"))
    before = plan_job(JobSnapshot(job, JobShards(shards), None), NOW)
    assert [new.stage for new in before.create] == [Stage.FINALIZE] and "Failed" not in reasons(before.status)
    assert before.status.clips.not_run == 40
    assert reasons(ending(job, *shards))["Failed"] == ("True", "AttemptsExhausted")


def test_a_machines_failure_lets_the_other_shards_go_on_and_a_jobs_own_does_not() -> None:
    job = a_job()
    waiting = a_shard(job, Stage.PROCESS, 0)
    machine = plan_job(JobSnapshot(job, JobShards((waiting, failed(job, 1, "AttemptsExhausted"))), None), NOW)
    assert machine.create == ()
    own = plan_job(JobSnapshot(job, JobShards((waiting, failed(job, 1, "PlanMismatch"))), None), NOW)
    assert [new.stage for new in own.create] == [Stage.FINALIZE]


def halting(percent: int | None, **first: int) -> tuple[AudioBatchJob, JobShards]:
    """A job of two shards, the first of which is committed."""
    job = a_job()
    accepted = a_contract(quarantine={"maxPercent": 100} | ({} if percent is None else {"haltFanOutPercent": percent}))
    held = job.status.contract
    assert held is not None
    status = job.status.model_copy(update={"contract": held.model_copy(update={"spec": accepted.spec})})
    job = job.model_copy(update={"status": status})
    return job, JobShards.of(job, (committed(job, Stage.PROCESS, 0, **first), a_shard(job, Stage.PROCESS, 1)))


@pytest.mark.parametrize(
    ("percent", "quarantined", "halts"), [(10, 6, False), (10, 7, True), (None, 60, False), (100, 60, False)]
)
def test_fan_out_halts_beyond_the_contracts_percentage(percent: int | None, quarantined: int, *, halts: bool) -> None:
    job, shards = halting(percent, succeeded=60 - quarantined, quarantined=quarantined)
    assert shards.halted is halts
    wanted = [Stage.FINALIZE] if halts else []
    assert [new.stage for new in plan_job(JobSnapshot(job, shards, None), NOW).create] == wanted


def test_a_halted_job_says_why_it_failed() -> None:
    job, shards = halting(10, succeeded=50, quarantined=10)
    everything = JobShards((*shards.all, committed(job, Stage.FINALIZE)), shards.halt_percent)
    status = plan_job(JobSnapshot(job, everything, None), NOW).status
    failure = find(status.conditions, ConditionType.FAILED)
    assert failure is not None and failure.reason == Reason.QUARANTINE_LIMIT_EXCEEDED
    assert "10 of the first 60 clips" in failure.message and "40 clips did not run" in failure.message


def test_plan_is_frozen_by_one_write_before_any_process_shard_exists() -> None:
    unplanned = a_job({"contract": {"digest": f"sha256:{sha('c')}", "spec": a_contract().spec.dump()}})
    result = {key: value for key, value in PLAN.items() if key != "attempt"}
    plan = a_shard(unplanned, Stage.PLAN, attempt=3, commit={"attempt": 3, "sha256": sha("plan")}, plan=result)
    decision = plan_job(JobSnapshot(unplanned, JobShards((plan,)), None), NOW)
    assert decision.create == () and decision.records_plan
    assert decision.status.plan is not None and decision.status.plan.dump() == PLAN | {"attempt": 3}
    job = a_job()
    after = plan_job(JobSnapshot(job, JobShards((plan,)), None), NOW)
    assert after.create == (NewShard(Stage.PROCESS, 0), NewShard(Stage.PROCESS, 1))


def test_a_later_edit_of_the_contract_never_reaches_the_job() -> None:
    job = a_job({})
    accepted = plan_job(JobSnapshot(job, JobShards(()), a_contract()), NOW).status
    assert accepted.contract is not None and accepted.contract.digest == digest_of(a_contract().spec)
    running = job.model_copy(update={"status": accepted})
    edited = a_contract(quarantine={"maxClips": 1})
    assert plan_job(JobSnapshot(running, JobShards(()), edited), NOW).status.contract == accepted.contract


def test_the_finalizer_comes_before_everything() -> None:
    job = a_job({})
    bare = job.model_copy(update={"metadata": job.metadata.model_copy(update={"finalizers": ()})})
    decision = plan_job(JobSnapshot(bare, JobShards(()), a_contract()), NOW)
    assert decision.add_finalizer and decision.status == bare.status and decision.create == ()


def test_someone_elses_shard_is_ignored() -> None:
    job = a_job()
    own = committed(job, Stage.PROCESS, 0, succeeded=60)
    renamed = own.model_copy(update={"metadata": own.metadata.model_copy(update={"name": "job-00009"})})
    foreign = own.model_copy(update={"metadata": own.metadata.model_copy(update={"owner_references": ()})})
    assert JobShards.of(job, [own, renamed, foreign]).all == (own,)


def test_the_first_quarantined_and_failed_clips_are_named() -> None:
    job = a_job()

    def clips(first: int) -> list[dict[str, object]]:
        return [
            {"index": index, "id": f"c{index}", "class": "DecodeError", "reason": "x"}
            for index in range(first, first + 20)
        ]

    shards = [
        a_shard(job, Stage.PROCESS, 1, quarantine=clips(60), failures=clips(100)),
        a_shard(job, Stage.PROCESS, 0, quarantine=clips(5), failures=clips(30)[:5]),
    ]
    status = plan_job(JobSnapshot(job, JobShards.of(job, shards), None), NOW).status
    assert [clip.index for clip in status.quarantine] == list(range(5, 5 + STATUS_CLIPS))
    assert [clip.index for clip in status.failures] == [*range(30, 35), *range(100, 100 + STATUS_CLIPS - 5)]


def test_the_warnings_of_all_shards_add_up() -> None:
    job = a_job()
    level, skipped = {"code": "LevelLost", "clips": 2}, {"code": "BytesSkipped", "clips": 3}
    shards = [
        a_shard(job, Stage.PROCESS, 0, warnings=[level]),
        a_shard(job, Stage.PROCESS, 1, warnings=[skipped, level]),
        a_shard(job, Stage.FINALIZE, 0, warnings=[skipped, {"code": "LevelLost", "clips": 4}]),
    ]
    status = plan_job(JobSnapshot(job, JobShards.of(job, shards), None), NOW).status
    assert [(count.code, count.clips) for count in status.warnings] == [("BytesSkipped", 3), ("LevelLost", 4)]


counts = st.tuples(st.integers(0, 15), st.integers(0, 15), st.integers(0, 15), st.integers(0, 15))


@given(st.lists(st.sampled_from(["committed", "live", "idle", "failed"]), min_size=2, max_size=2), counts)
def test_clips_always_add_up(kinds: list[str], verdicts: tuple[int, int, int, int]) -> None:
    job = a_job()
    shards = []
    for ordinal, (kind, size) in enumerate(zip(kinds, (60, 40), strict=True)):
        succeeded = size - sum(verdicts[:2])
        if kind == "committed":
            shards.append(
                committed(job, Stage.PROCESS, ordinal, succeeded=succeeded, failed=verdicts[0], quarantined=verdicts[1])
            )
        elif kind == "live":
            attempts = [{"attempt": 1, "mac": "mac-a", "outcome": "Assigned"}]
            shards.append(a_shard(job, Stage.PROCESS, ordinal, attempt=1, attempts=attempts))
        elif kind == "failed":
            shards.append(failed(job, ordinal, "AttemptsExhausted"))
        else:
            shards.append(a_shard(job, Stage.PROCESS, ordinal))
    clips = plan_job(JobSnapshot(job, JobShards(tuple(shards)), None), NOW).status.clips
    parts = clips.succeeded + clips.failed + clips.quarantined + clips.not_run + clips.running + clips.pending
    assert clips.total == parts == 100
    assert min(clips.model_dump().values()) >= 0
    assert clips.running == sum(size for kind, size in zip(kinds, (60, 40), strict=True) if kind == "live")


def test_progress_may_wait_and_turns_may_not() -> None:
    job = a_job()
    idle = JobShards((a_shard(job, Stage.PROCESS, 0), a_shard(job, Stage.PROCESS, 1)))
    half = JobShards((committed(job, Stage.PROCESS, 0, succeeded=60), a_shard(job, Stage.PROCESS, 1)))
    done = JobShards((committed(job, Stage.PROCESS, 0, succeeded=60), committed(job, Stage.PROCESS, 1, succeeded=40)))
    first, second, third = (plan_job(JobSnapshot(job, shards, None), NOW).status for shards in (idle, half, done))
    assert differs(first, second) and only_progress_moved(first, second)
    assert not only_progress_moved(second, third)
    assert not differs(first, plan_job(JobSnapshot(job.model_copy(update={"status": first}), idle, None), LATER).status)


# What a state is called, and when it is looked at again.


@pytest.mark.parametrize(
    ("name", "state"),
    [
        ("its contract is not there yet", Reason.PENDING),
        ("planning", Reason.PLANNING),
        ("waiting for a Mac to plan it", Reason.WAITING_FOR_MAC),
        ("running", Reason.RUNNING),
        ("waiting for a Mac", Reason.WAITING_FOR_MAC),
        ("finalizing", Reason.FINALIZING),
    ],
)
def test_a_job_that_waits_for_a_mac_is_told_from_one_that_moves_on(name: str, state: Reason) -> None:
    assert reasons(job_states()[name].status)["Complete"] == ("False", state)


def test_waiting_for_a_mac_is_written_with_the_progress_and_other_states_at_once() -> None:
    states = job_states()
    running, waiting, planning = states["running"].status, states["waiting for a Mac"].status, states["planning"].status
    assert only_progress_moved(running, waiting) and only_progress_moved(waiting, running)
    assert not only_progress_moved(planning, running)
    assert not only_progress_moved(waiting, states["failed for a shard"].status)


def test_a_missing_contract_is_looked_for_until_the_grace_ends_and_then_only_when_it_changes() -> None:
    states = job_states()
    young, old = states["its contract is not there yet"], states["refused for its contract"]
    assert plan_job(JobSnapshot(young, JobShards(()), None), NOW).again_seconds == REFUSAL_GRACE_SECONDS
    assert plan_job(JobSnapshot(old, JobShards(()), None), NOW).again_seconds is None
    refused = plan_job(JobSnapshot(young, JobShards(()), None), LATER).status
    assert reasons(refused)["Stalled"] == ("True", "ContractNotFound") and "Reconciling" not in reasons(refused)


@pytest.mark.parametrize("letter", ["x", "\N{GRINNING FACE}"], ids=["ascii", "wide"])
def test_a_status_stays_under_64_kb_whatever_fails(letter: str) -> None:
    """100,000 clips in 5,000 shards on 256 Macs, with the longest ids, reasons and names."""
    shards, clips = 5_000, 100_000
    plan = PLAN | {"boundaries": [number * clips // shards for number in range(shards + 1)]}
    job = a_job({**a_job().status.dump(), "plan": plan})
    bad = [
        {"index": number, "id": letter * 128, "class": "UnsupportedContainerOrEncoding"[:64], "reason": letter * 256}
        for number in range(STATUS_CLIPS)
    ]
    shard = a_shard(
        job,
        Stage.PROCESS,
        0,
        attempt=1,
        commit={"attempt": 1, "sha256": "a" * 64},
        clips={"failed": 10, "quarantined": 10},
        quarantine=[clip | {"sha256": "a" * 64} for clip in bad],
        failures=bad,
        attempts=[
            {"attempt": number + 1, "mac": f"{number:03d}" + "m" * 250, "outcome": "Failed"} for number in range(16)
        ],
    )
    source = AcceptedSource(uid="u" * 64, folder="f" * 1152, index_sha256="a" * 64, plan_attempt=100)
    macs = tuple(f"mac-{number:03d}.example.com" for number in range(256))
    named = job.status.model_copy(update={"macs": macs, "source": source})
    job = job.model_copy(update={"status": named})
    status = with_facts(job, job.status, JobShards((shard,)), ended=True, pending_reason=None)
    messages = [{"type": f"T{n}", "status": "True", "reason": "R", "message": "m" * 1024} for n in range(6)]
    written = json.dumps({**status.dump(), "conditions": messages, "pendingReason": "p" * 1024}, ensure_ascii=False)
    assert status.quarantine and status.failures and status.macs
    assert len(written.encode()) < 64_000 - 4_000, "managedFields take some, too"


# What counts as a change of a status.


class Listing(StatusModel):
    items: tuple[dict[str, object], ...] = ()
    name: str = "listing"


JSON_VALUES = st.recursive(
    st.integers(0, 3) | st.sampled_from(["a", "b"]), lambda inner: st.lists(inner, max_size=3), max_leaves=6
)


@given(st.lists(st.dictionaries(st.sampled_from("xyz"), JSON_VALUES, max_size=3), max_size=4), st.randoms())
def test_the_order_of_lists_is_no_change(items: list[dict[str, object]], random: Random) -> None:
    def shuffled(value: object) -> object:
        if isinstance(value, dict):
            return {name: shuffled(item) for name, item in value.items()}
        if isinstance(value, list):
            return random.sample([shuffled(item) for item in value], len(value))
        return value

    one, other = Listing(items=tuple(items)), Listing.load({"items": shuffled(items)})
    assert not differs(one, other) and not differs(other, one)


@pytest.mark.parametrize(
    "items",
    [
        [],
        [{"x": 1}],
        [{"x": 1}, {"x": 1}, {"x": 2}],
        [{"x": 1}, {"x": [1, 2, 2]}],
        [{"x": 1}, {"x": [1, 2], "y": 0}],
    ],
)
def test_another_entry_is_a_change_at_any_depth(items: list[dict[str, object]]) -> None:
    sound = Listing(items=({"x": 1}, {"x": [1, 2]}))
    assert differs(sound, Listing(items=tuple(items))) and differs(Listing(items=tuple(items)), sound)
    assert differs(sound, sound.model_copy(update={"name": "other"}))
