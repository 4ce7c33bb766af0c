"""What the statuses of a job and of a Mac say, and what an attempt is told."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.operator.decisions.world import Agent, Clock, World, contract, facts, job_body, mac_agent, sha

from voxfleet_api.conditions import ConditionType, Reason, find
from voxfleet_api.digest import digest_of
from voxfleet_api.kinds import AudioBatchJob, AudioShard, MacAgent, VoiceContract
from voxfleet_api.kinds.audio_batch_job import CLEANUP_FINALIZER, STATUS_QUARANTINE_ITEMS, AudioBatchJobStatus
from voxfleet_api.kinds.audio_shard import AttemptOutcome, AttemptUsage, Stage
from voxfleet_api.protocol import AttemptSpec
from voxfleet_api.quantities import seconds_milliseconds
from voxfleet_operator.fleet.view import MacView
from voxfleet_operator.metering.usage import NO_ROWS, job_usage
from voxfleet_operator.reconcile.attempt_spec import (
    CredentialsIncomplete,
    SpecNotReady,
    attempt_request,
    attempt_spec,
    s3_credentials,
)
from voxfleet_operator.reconcile.contract import contract_status
from voxfleet_operator.reconcile.job_plan import JobSnapshot, plan_job
from voxfleet_operator.reconcile.job_shards import JobShards, NewShard, shard_body
from voxfleet_operator.reconcile.job_status import only_numbers_moved
from voxfleet_operator.reconcile.mac_status import mac_status
from voxfleet_operator.reconcile.writes import differs

NOW = "2026-11-20T22:00:00Z"
LATER = "2026-11-20T23:00:00Z"
PLAN = {
    "attempt": 1,
    "manifestSha256": sha("manifest"),
    "modelDigest": f"sha256:{sha('model')}",
    "modelRevision": "abc123",
    "boundaries": [0, 60, 100],
    "audioSeconds": "200.000",
}


def a_contract(**spec: object) -> VoiceContract:
    return VoiceContract.load(contract(**spec))


def a_job(status: dict[str, Any] | None = None, **spec: object) -> AudioBatchJob:
    body = job_body()
    body["spec"] |= spec
    body["metadata"] |= {"uid": "12345678-job", "finalizers": [CLEANUP_FINALIZER], "generation": 1}
    accepted = {"digest": digest_of(a_contract().spec), "spec": a_contract().spec.dump()}
    return AudioBatchJob.load(body | {"status": {"contract": accepted, "plan": PLAN} if status is None else status})


def a_shard(job: AudioBatchJob, stage: Stage, ordinal: int | None = None, **status: object) -> AudioShard:
    body = shard_body(job, NewShard(stage, ordinal))
    metadata = body["metadata"]
    assert isinstance(metadata, dict)
    return AudioShard.load(body | {"metadata": metadata | {"uid": f"{metadata['name']}-uid"}, "status": status})


def committed(job: AudioBatchJob, stage: Stage, ordinal: int | None = None, **clips: int) -> AudioShard:
    commit = {"attempt": 1, "sha256": sha(f"{stage}{ordinal}")}
    return a_shard(job, stage, ordinal, attempt=1, commit=commit, clips=clips)


def failed(job: AudioBatchJob, ordinal: int, reason: str) -> AudioShard:
    condition = {"type": "Failed", "status": "True", "reason": reason, "message": "why", "lastTransitionTime": NOW}
    return a_shard(job, Stage.PROCESS, ordinal, conditions=[condition])


def ending(job: AudioBatchJob, *shards: AudioShard) -> AudioBatchJobStatus:
    """The status once Finalize is committed."""
    everything = (*shards, committed(job, Stage.FINALIZE))
    return plan_job(JobSnapshot(job, JobShards(everything), None), NOW).status


def reasons(status: AudioBatchJobStatus) -> dict[str, tuple[str, str]]:
    return {item.type: (item.status, item.reason) for item in status.conditions}


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
    assert before.create == (NewShard(Stage.FINALIZE),) and "Failed" not in reasons(before.status)
    assert before.status.clips.not_run == 40
    assert reasons(ending(job, *shards))["Failed"] == ("True", "AttemptsExhausted")


def test_a_machines_failure_lets_the_other_shards_go_on_and_a_jobs_own_does_not() -> None:
    job = a_job()
    waiting = a_shard(job, Stage.PROCESS, 0)
    machine = plan_job(JobSnapshot(job, JobShards((waiting, failed(job, 1, "AttemptsExhausted"))), None), NOW)
    assert machine.create == ()
    own = plan_job(JobSnapshot(job, JobShards((waiting, failed(job, 1, "PlanMismatch"))), None), NOW)
    assert own.create == (NewShard(Stage.FINALIZE),)


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
    wanted = (NewShard(Stage.FINALIZE),) if halts else ()
    assert plan_job(JobSnapshot(job, shards, None), NOW).create == wanted


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


def test_quarantine_shows_the_first_clips_only() -> None:
    job = a_job()

    def clips(first: int) -> list[dict[str, object]]:
        return [
            {"index": index, "id": f"c{index}", "class": "DecodeError", "reason": "x"}
            for index in range(first, first + 20)
        ]

    shards = [
        a_shard(job, Stage.PROCESS, 1, quarantine=clips(60)),
        a_shard(job, Stage.PROCESS, 0, quarantine=clips(5)),
    ]
    status = plan_job(JobSnapshot(job, JobShards.of(job, shards), None), NOW).status
    assert [clip.index for clip in status.quarantine] == list(range(5, 5 + STATUS_QUARANTINE_ITEMS))


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
    assert differs(first, second) and only_numbers_moved(first, second)
    assert not only_numbers_moved(second, third)
    assert not differs(first, plan_job(JobSnapshot(job.model_copy(update={"status": first}), idle, None), LATER).status)


# Usage.

usages = st.builds(
    AttemptUsage,
    chain_id=st.just("c"),
    first_sequence=st.just(0),
    last_sequence=st.just(2),
    rows=st.integers(1, 9),
    setup_milliseconds=st.integers(0, 10**9),
    work_milliseconds=st.integers(0, 10**9),
    cleanup_milliseconds=st.integers(0, 10**9),
    audio_milliseconds=st.integers(0, 10**9),
    complete=st.just(True),
)


@given(st.lists(st.lists(usages, min_size=1, max_size=3), max_size=5))
def test_usage_is_the_exact_sum(per_shard: list[list[AttemptUsage]]) -> None:
    job = a_job()
    shards = []
    for ordinal, found in enumerate(per_shard):
        last = len(found)
        attempts = [
            {
                "attempt": number,
                "mac": "mac-a",
                "outcome": "Succeeded" if number == last else "Lost",
                "usage": usage.dump(),
            }
            for number, usage in enumerate(found, 1)
        ]
        commit = {"attempt": last, "sha256": sha("x")}
        shards.append(
            AudioShard.load(
                {
                    "metadata": {"name": f"job-{ordinal:05d}"},
                    "spec": {
                        "jobRef": {"name": "job", "uid": "u"},
                        "stage": "Process",
                        "ordinal": ordinal,
                        "indexes": "0",
                    },
                    "status": {"attempts": attempts, "commit": commit},
                }
            )
        )
    usage = job_usage(shards, ended=True)
    everything = [item for found in per_shard for item in found]
    assert usage.settled and usage.rows == sum(item.rows for item in everything)
    machine = seconds_milliseconds(usage.machine_seconds)
    assert machine == sum(item.machine_milliseconds for item in everything)
    parts = [seconds_milliseconds(text) for text in (usage.productive, usage.retry, usage.overhead)]
    assert sum(parts) == machine
    assert parts[0] == sum(found[-1].work_milliseconds for found in per_shard)
    assert not job_usage(shards, ended=False).settled
    assert job.metadata.uid not in usage.machine_hours


@pytest.mark.parametrize(
    ("outcome", "usage", "settled"),
    [
        (AttemptOutcome.ASSIGNED, None, False),
        (AttemptOutcome.LOST, None, False),
        (AttemptOutcome.LOST, NO_ROWS.model_copy(update={"complete": False}), False),
        (AttemptOutcome.REFUSED, NO_ROWS, True),
    ],
)
def test_settled_means_that_no_row_can_come(outcome: AttemptOutcome, usage: AttemptUsage | None, settled: bool) -> None:
    attempt: dict[str, object] = {"attempt": 1, "mac": "mac-a", "outcome": outcome}
    if usage is not None:
        attempt["usage"] = usage.dump()
    shard = a_shard(a_job(), Stage.PROCESS, 0, attempt=1, attempts=[attempt])
    assert job_usage([shard], ended=True).settled is settled


# What an attempt is told.


def test_a_spec_is_the_same_for_everybody_who_builds_it() -> None:
    job = a_job(model={"hub": {"id": "org/model", "revision": "main"}}, billingKey="team-speech")
    shards = [
        committed(job, Stage.PROCESS, 1, succeeded=40),
        a_shard(job, Stage.PROCESS, 0),
        a_shard(job, Stage.FINALIZE),
    ]
    process = attempt_spec(job, shards[1], 2, shards)
    assert process.process is not None and process.process.model.hub is not None
    assert process.process.model.hub.revision == "abc123", "a branch is named by the commit that Plan found"
    assert (process.process.indexes, process.billing_key) == ("0-59", "team-speech")
    assert process.output_folder == "file:///data/out/job-12345678"
    assert digest_of(process) == digest_of(attempt_spec(AudioBatchJob.load(job.dump()), shards[1], 2, shards[::-1]))
    request = attempt_request(process, 30, None)
    assert request.spec_digest == digest_of(AttemptSpec.load(request.spec))
    assert digest_of(attempt_spec(job, shards[1], 3, shards)) != request.spec_digest

    finalize = attempt_spec(job, shards[2], 1, shards).finalize
    assert finalize is not None and finalize.not_run == "0-59"
    assert [commit.shard_uid for commit in finalize.commits] == ["job-00001-uid"]


def test_nothing_is_told_before_its_ground_is_frozen() -> None:
    with pytest.raises(SpecNotReady, match="not accepted"):
        attempt_spec(a_job({}), a_shard(a_job(), Stage.PLAN), 1, [])
    accepted = a_job({"contract": {"digest": f"sha256:{sha('c')}", "spec": a_contract().spec.dump()}})
    with pytest.raises(SpecNotReady, match="has no plan"):
        attempt_spec(accepted, a_shard(a_job(), Stage.PROCESS, 0), 1, [])


def test_credentials_stay_out_of_texts() -> None:
    data = {"AWS_ACCESS_KEY_ID": b"id-of-key\n", "AWS_SECRET_ACCESS_KEY": b"very-secret", "AWS_REGION": b"eu"}
    credentials = s3_credentials(data, "team", "s3")
    assert credentials.access_key_id.get_secret_value() == "id-of-key" and credentials.region == "eu"
    assert "very-secret" not in repr(credentials)
    with pytest.raises(CredentialsIncomplete, match="team/s3 has no key AWS_SECRET_ACCESS_KEY"):
        s3_credentials({"AWS_ACCESS_KEY_ID": b"id"}, "team", "s3")


# Contracts and Macs.


def test_a_contract_publishes_its_digest() -> None:
    found = a_contract()
    status = contract_status(found, NOW)
    assert status.digest == digest_of(found.spec)
    assert contract_status(found.model_copy(update={"status": status}), LATER) == status


CONNECTED = MacView(
    "mac-a",
    connected=True,
    reason=Reason.CONNECTED,
    message="",
    machine=facts(Agent("mac-a", Clock(), World().random)),
)
SILENT = replace(CONNECTED, connected=False, machine=None)

MACS: dict[str, tuple[MacView, dict[str, object], dict[str, tuple[str, str]]]] = {
    "fine": (
        CONNECTED,
        {},
        {
            "Accepted": ("True", "Accepted"),
            "Reachable": ("True", "Connected"),
            "RuntimeCompatible": ("True", "Compatible"),
            "LedgerVerified": ("True", "Verified"),
            "Available": ("True", "Available"),
        },
    ),
    "not connected yet": (
        replace(SILENT, reason=Reason.CONNECTING, message="the first connection is under way"),
        {},
        {"Reachable": ("Unknown", "Connecting"), "Available": ("Unknown", "Connecting")},
    ),
    "wrong host key": (
        replace(SILENT, reason=Reason.HOST_KEY_MISMATCH, message="spec.ssh.hostKeys"),
        {},
        {"Reachable": ("False", "HostKeyMismatch"), "Available": ("False", "HostKeyMismatch")},
    ),
    "missing Secret": (
        replace(SILENT, reason=Reason.SECRET_NOT_FOUND, message="Secret voxfleet-system/mac-a"),
        {},
        {"Reachable": ("False", "SecretNotFound"), "LedgerVerified": ("Unknown", "Unknown")},
    ),
    "changed row": (
        replace(CONNECTED, ledger_error="ledger row c#0: was changed"),
        {},
        {"LedgerVerified": ("False", "RowRefused"), "Available": ("False", "RowRefused")},
    ),
    "unschedulable": (
        CONNECTED,
        {"unschedulable": True},
        {"Reachable": ("True", "Connected"), "Available": ("False", "Unschedulable")},
    ),
}


@pytest.mark.parametrize("name", MACS)
def test_mac_conditions(name: str) -> None:
    view, spec, want = MACS[name]
    mac = MacAgent.load(mac_agent("mac-a", **spec))
    status = mac_status(mac, view, NOW)
    found = {item.type: (item.status, item.reason) for item in status.conditions}
    assert {type_: found[type_] for type_ in want} == want
    reachable = find(status.conditions, ConditionType.REACHABLE)
    assert reachable is not None
    if not view.connected:
        assert reachable.message == view.message, "the fleet's own words tell what to do"


def test_facts_stay_when_contact_is_lost_and_nothing_moves_with_work() -> None:
    mac = MacAgent.load(mac_agent("mac-a"))
    status = mac_status(mac, CONNECTED, NOW)
    assert status.machine is not None and status.machine.lanes == 1
    known = mac.model_copy(update={"status": status})
    assert mac_status(known, replace(SILENT, reason=Reason.SSH_UNREACHABLE), LATER).machine == status.machine
    busy = facts(Agent("mac-a", Clock(), World().random, sequence=99))
    assert mac_status(known, replace(CONNECTED, machine=busy), LATER) == status
