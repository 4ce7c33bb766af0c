"""No status grows beyond 64 kB, whatever fails, how often, with which words, and on how many Macs."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.operator.decisions.bodies import LEDGER_KEY, mac_agent
from tests.unit.operator.decisions.job_objects import NOW, PLAN, a_contract, a_job, a_shard
from tests.unit.operator.decisions.memory_api import sha

from voxfleet_api.conditions import ConditionType, Reason, condition
from voxfleet_api.failures import FailureClass
from voxfleet_api.kinds import AudioBatchJob, AudioShard, MacAgent, MachineHourStatement
from voxfleet_api.kinds.audio_batch_job import STATUS_CLIPS, AudioBatchJobStatus, QuarantinedClip
from voxfleet_api.kinds.audio_shard import MAX_CHIP, AttemptOutcome, AttemptUsage, MachineIdentity, Stage
from voxfleet_api.kinds.job_source import AcceptedSource
from voxfleet_api.ledger import Activity
from voxfleet_api.protocol import AttemptKey, AttemptStatus, MachineFacts, PoolFacts, ShardResult
from voxfleet_api.ranges import MAX_INDEXES
from voxfleet_api.results import MAX_SHARDS, Counts, PlanResult
from voxfleet_api.stored_size import shortened, stored_bytes
from voxfleet_operator.fleet.mac_view import MacView
from voxfleet_operator.fleet.verified_row import VerifiedRow
from voxfleet_operator.reconcile.job.decide import JobSnapshot, plan_job
from voxfleet_operator.reconcile.job.shards import JobShards
from voxfleet_operator.reconcile.mac.status import mac_status
from voxfleet_operator.reconcile.shard.status import assigned, attempt_ended, committed
from voxfleet_operator.reconcile.statement.decide import SettledRow, SettledRun, TimeClass
from voxfleet_operator.reconcile.statement.status import takes, with_run

LIMIT_BYTES = 64_000
WORDS = ("x", "ß", "語", "\N{GRINNING FACE}", '"', "<", "\n")
SOME_PLAN = PlanResult.load({key: value for key, value in PLAN.items() if key != "attempt"})
CLASSES = [str(item) for item in FailureClass] + ["O" + "f" * 63]


Words = Callable[[int], str]
"""Makes a text, given how many characters it may have."""


def styles() -> st.SearchStrategy[Words]:
    """One word, repeated as often as there is room or less often: what counts is that all texts are long together."""
    parts = st.sampled_from([1.0, 1.0, 0.0]) | st.floats(0, 1)
    return st.builds(lambda word, part: lambda limit: word * int(limit * part), st.sampled_from(WORDS), parts)


@st.composite
def clips(draw: st.DrawFn, words: Words) -> tuple[QuarantinedClip, ...]:
    return tuple(
        QuarantinedClip(index=index, id=words(128), failure_class=class_, reason=words(256), sha256="a" * 64)
        for class_ in [draw(st.sampled_from(CLASSES))]
        for index in range(draw(st.sampled_from([0, STATUS_CLIPS, 3 * STATUS_CLIPS])))
    )


@st.composite
def plans(draw: st.DrawFn, words: Words) -> PlanResult:
    clips_of_job = draw(st.sampled_from([0, 1, 100_000, MAX_INDEXES, MAX_INDEXES]) | st.integers(0, MAX_INDEXES))
    shards = min(clips_of_job, draw(st.sampled_from([1, MAX_SHARDS, MAX_SHARDS]) | st.integers(1, MAX_SHARDS)))
    boundaries = tuple(clips_of_job * number // shards for number in range(shards + 1)) if shards else (0,)
    longest = {"model_revision": words(64), "audio_seconds": "9" * 28 + ".999", "boundaries": boundaries}
    return SOME_PLAN.model_copy(update=longest)


@st.composite
def results(draw: st.DrawFn, stage: Stage, words: Words) -> ShardResult:
    return ShardResult(
        commit_sha256=sha("commit"),
        plan=draw(plans(words)) if stage is Stage.PLAN else None,
        counts=Counts(succeeded=MAX_INDEXES, failed=MAX_INDEXES, quarantined=MAX_INDEXES),
        quarantine=draw(clips(words)),
        failures=draw(clips(words)),
        warnings=tuple({"code": f"W{number:02d}" + "w" * 61, "clips": 10**6} for number in range(16)),  # type: ignore[arg-type] # parsed
    )


@st.composite
def lives(draw: st.DrawFn, shard: AudioShard, words: Words) -> list[AudioShard]:
    """A shard after each edit of its life."""
    seen, longest_mac = [shard], draw(st.sampled_from([0, 250]))
    for number in range(1, draw(st.sampled_from([1, 9, 18])) + 1):
        machine = MachineIdentity(hardware_id=words(128), ledger_key="k" * 64)
        usage = AttemptUsage(
            chain_id="c" * 64, first_sequence=10**9, last_sequence=10**9, rows=10**6, complete=draw(st.booleans())
        )
        status = assigned(
            seen[-1],
            attempt=number,
            mac=f"{number:03d}" + "m" * longest_mac,
            machine=machine,
            chip=words(MAX_CHIP),
            spec_digest=f"sha256:{sha('spec')}",
            lease_seconds=600,
            usage_of_lost=None,
            now=NOW,
        )
        seen.append(seen[-1].model_copy(update={"status": status}))
        match draw(st.sampled_from(["ended", "ended", "taken over"])):
            case "ended":
                status = attempt_ended(
                    seen[-1],
                    draw(st.sampled_from([item for item in AttemptOutcome if item is not AttemptOutcome.ASSIGNED])),
                    draw(st.none() | st.sampled_from(CLASSES)),
                    words(1024),
                    draw(st.none() | st.just(usage)),
                    NOW,
                    retry_limit=draw(st.integers(0, 100)),
                )
                seen.append(seen[-1].model_copy(update={"status": status}))
    if draw(st.booleans()):
        last, result = seen[-1], draw(results(shard.spec.stage, words))
        report = AttemptStatus.model_construct(
            attempt=last.status.attempt or 1, scratch_high_water_bytes=2**62, scratch_residue_bytes=2**62
        )
        seen.append(last.model_copy(update={"status": committed(last, report, result, None, NOW)}))
    return seen


@pytest.mark.parametrize("stage", [Stage.PLAN, Stage.PROCESS])
@settings(max_examples=40)
@given(st.data())
def test_a_shard(stage: Stage, data: st.DataObject) -> None:
    shard = a_shard(a_job(), stage, 0 if stage is Stage.PROCESS else None)
    for moment in data.draw(lives(shard, data.draw(styles()))):
        assert stored_bytes(moment.status) < LIMIT_BYTES


def next_status(job: AudioBatchJob, data: st.DataObject, words: Words) -> AudioBatchJobStatus:
    """The job's status on a pass that finds a shard at some moment of its life."""
    planned = job.status.plan is not None and len(job.status.plan.boundaries) > 1
    shards = (
        [data.draw(lives(a_shard(job, Stage.PROCESS, 0), words))[-1]] if planned and data.draw(st.booleans()) else []
    )
    pending = data.draw(st.sampled_from([None, words(2000)]))
    return plan_job(JobSnapshot(job, JobShards.of(job, shards), a_contract(), pending_reason=pending), NOW).status


@settings(max_examples=60)
@given(st.data())
def test_a_job(data: st.DataObject) -> None:
    types = data.draw(st.sets(st.sampled_from(list(ConditionType)), max_size=7))
    words = data.draw(styles())
    said = words(2000)
    job = a_job(output={"uri": f"file:///{words(1000).strip()}/"})
    status = job.status.model_copy(
        update={
            "conditions": tuple(
                condition((), type_, True, Reason.ATTEMPTS_EXHAUSTED, said, generation=10**9, now=NOW)
                for type_ in types - {ConditionType.COMPLETE, ConditionType.FAILED}
            ),
            "plan": job.status.plan and job.status.plan.model_copy(update=dict(data.draw(plans(words)))),
            "macs": tuple(f"{number:03d}" + "m" * 250 for number in range(data.draw(st.sampled_from([0, 256])))),
            "source": AcceptedSource(uid="u" * 64, folder=words(1152), index_sha256="a" * 64, plan_attempt=9),
        }
    )
    written = next_status(job.model_copy(update={"status": status}), data, words)
    assert stored_bytes(written) < LIMIT_BYTES


@settings(max_examples=40)
@given(st.data())
def test_a_mac(data: st.DataObject) -> None:
    """Its agent may say whatever it likes."""
    words = data.draw(styles())
    facts = MachineFacts(
        hardware_id=words(3000),
        boot_id=words(3000),
        chip=words(3000),
        memory_bytes=2**62,
        os=words(3000),
        versions={f"{number}{words(300)}": words(300) for number in range(40)},
        runtime_compatible=data.draw(st.booleans()),
        runtime_message=words(3000),
        pools=tuple(
            PoolFacts(name=f"{number}{words(300)}", kind="Offline", lanes=1, free_lanes=0) for number in range(20)
        ),
        ledger_chain_id="chain",
        ledger_sequence=0,
    )
    connected = data.draw(st.booleans())
    told = words(3000)
    view = MacView("mac", connected=connected, reason=Reason.CONNECTED, message=told, machine=facts, ledger_error=told)
    mac = MacAgent.load(mac_agent("mac", drain={}))
    left = [f"team/{'s' * 250}" for _ in range(data.draw(st.integers(0, 1000)))]
    status = mac_status(mac, view, NOW, None, left)
    assert stored_bytes(status) < LIMIT_BYTES
    MacAgent.load(mac_agent("mac") | {"status": status.dump()})


@given(st.lists(st.tuples(st.integers(0, 40), st.integers(0, 80)), max_size=60))
def test_a_statement(runs: list[tuple[int, int]]) -> None:
    statement = MachineHourStatement.load(
        {
            "kind": "MachineHourStatement",
            "metadata": {"name": "mac-2026-11"},
            "spec": {"mac": "mac", "month": "2026-11"},
        }
    )
    for sequence, (chain, namespace) in enumerate(runs):
        row = VerifiedRow(
            chain_id=f"{chain:02d}" + "c" * 62,
            sequence=sequence,
            hash="a" * 64,
            month="2026-11",
            attempt=AttemptKey("uid", 1),
            ours=True,
            activity=Activity.WORK,
            machine_milliseconds=10**15,
            audio_milliseconds=10**15,
            namespace=f"{namespace:02d}" + "n" * 61,
        )
        run = SettledRun(row.chain_id, "2026-11", (SettledRow(row, TimeClass.PRODUCTIVE),))
        if takes(statement, run, LEDGER_KEY):
            status = with_run(statement, run, LEDGER_KEY, datetime.now(UTC).isoformat())
            statement = statement.model_copy(update={"status": status})
        assert stored_bytes(statement.status) < LIMIT_BYTES


@given(styles(), st.integers(10, 2000))
def test_a_text_is_cut_only_where_it_is_too_long(words: Words, limit: int) -> None:
    text = words(3000)
    cut = shortened(text, limit)
    assert stored_bytes(cut) - 2 <= limit or cut == text
    assert cut == text or (stored_bytes(text) - 2 > limit and text.startswith(cut[:-1]) and cut.endswith("…"))
