"""No status grows beyond 64 kB, whatever fails, how often, with which words, and on how many Macs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol, TypeVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.operator.decisions.bodies import LEDGER_KEY, mac_agent
from tests.unit.operator.decisions.job_objects import NOW, PLAN, a_contract, a_job, a_shard
from tests.unit.operator.decisions.memory_api import sha

from voxfleet_api.attempt_spec import AttemptKey
from voxfleet_api.clip_warnings import MAX_WARNING_CODES, WarningCount
from voxfleet_api.conditions import ConditionType, Reason, condition
from voxfleet_api.failures import FailureClass
from voxfleet_api.kinds import AudioShard, MacAgent, MachineHourStatement
from voxfleet_api.kinds.audio_shard import (
    MAX_CHIP,
    AttemptOutcome,
    AttemptUsage,
    AudioShardStatus,
    MachineIdentity,
    ReportedJob,
    Stage,
)
from voxfleet_api.kinds.job_source import AcceptedSource
from voxfleet_api.kinds.job_status import STATUS_CLIPS, AudioBatchJobStatus, QuarantinedClip
from voxfleet_api.kinds.mac_agent import MacAgentStatus
from voxfleet_api.ledger import Activity
from voxfleet_api.machine_messages import MachineFacts, PoolFacts
from voxfleet_api.protocol import AttemptState, AttemptStatus, ShardResult
from voxfleet_api.ranges import MAX_INDEXES
from voxfleet_api.results import MAX_SHARDS, Counts, PlanResult
from voxfleet_api.stored_size import shortened, stored_bytes
from voxfleet_billing.archive_format import TimeClass
from voxfleet_operator.fleet.mac_view import MacView
from voxfleet_operator.fleet.verified_row import VerifiedRow
from voxfleet_operator.reconcile.job.decide import JobSnapshot, plan_job
from voxfleet_operator.reconcile.job.shards import JobShards
from voxfleet_operator.reconcile.mac.status import LeftToEnd, mac_status
from voxfleet_operator.reconcile.shard.status import assigned, attempt_ended, committed
from voxfleet_operator.reconcile.statement.decide import SettledRow, SettledRun
from voxfleet_operator.reconcile.statement.status import takes, with_run

T = TypeVar("T")

LIMIT_BYTES = 64_000
WORDS = ("x", "ß", "語", "\N{GRINNING FACE}", '"', "<", "\n")
SOME_PLAN = PlanResult.load({key: value for key, value in PLAN.items() if key != "attempt"})
CLASSES = [str(item) for item in FailureClass] + ["O" + "f" * 63]
TYPES = [item for item in ConditionType if item not in (ConditionType.COMPLETE, ConditionType.FAILED)]
STAGES = [Stage.PLAN, Stage.PROCESS]


class Chance(Protocol):
    """Chooses one of some options, of which the last one makes a status longest."""

    def __call__(self, options: Sequence[T]) -> T: ...


class AtWorst(Chance):
    def __call__(self, options: Sequence[T]) -> T:
        return options[-1]


class Drawn(Chance):
    def __init__(self, data: st.DataObject) -> None:
        self._data = data

    def __call__(self, options: Sequence[T]) -> T:
        return self._data.draw(st.sampled_from(options))


@dataclass(frozen=True)
class Whatever:
    """All that may happen to a fleet, in one word that is repeated."""

    one_of: Chance
    word: str

    def text(self, limit: int) -> str:
        return self.word * self.one_of([0, 1, limit // 2, limit])

    def clips(self) -> tuple[QuarantinedClip, ...]:
        number = self.one_of([0, 1, STATUS_CLIPS, 3 * STATUS_CLIPS])
        id_, reason, class_ = self.text(128), self.text(256), self.one_of(CLASSES)
        return tuple(
            QuarantinedClip(index=index, id=id_, failure_class=class_, reason=reason, sha256="a" * 64)
            for index in range(number)
        )

    def plan(self) -> PlanResult:
        clips = self.one_of([0, 1, 100, 100_000, MAX_INDEXES])
        shards = min(clips, self.one_of([1, 100, MAX_SHARDS]))
        boundaries = tuple(clips * number // shards for number in range(shards + 1)) if shards else (0,)
        longest = {"model_revision": self.text(64), "audio_seconds": "9" * 28 + ".999", "boundaries": boundaries}
        return SOME_PLAN.model_copy(update=longest)

    def result(self, stage: Stage) -> ShardResult:
        return ShardResult(
            commit_sha256=sha("commit"),
            plan=self.plan() if stage is Stage.PLAN else None,
            counts=Counts(succeeded=MAX_INDEXES, failed=MAX_INDEXES, quarantined=MAX_INDEXES),
            quarantine=self.clips(),
            failures=self.clips(),
            warnings=tuple(
                WarningCount(code=f"W{number:02d}" + "w" * 61, clips=10**6) for number in range(MAX_WARNING_CODES)
            ),
        )

    def life(self, shard: AudioShard) -> Iterator[AudioShard]:
        """A shard after each edit of its life."""
        letters, settled = self.one_of([0, 250]), self.one_of([True, False])
        for number in range(1, self.one_of([1, 9, 18]) + 1):
            usage = AttemptUsage(
                chain_id="c" * 64, first_sequence=10**9, last_sequence=10**9, rows=10**6, complete=settled
            )
            status = assigned(
                shard,
                attempt=number,
                mac=f"{number:03d}" + "m" * letters,
                machine=MachineIdentity(hardware_id=self.text(128), ledger_key="k" * 64),
                chip=self.text(MAX_CHIP),
                spec_digest=f"sha256:{sha('spec')}",
                lease_seconds=600,
                usage_of_lost=usage,
                now=NOW,
            )
            shard = shard.model_copy(update={"status": status})
            yield shard
            if self.one_of(["taken over", "ended"]) == "ended":
                ended = self.one_of([AttemptOutcome.LOST, AttemptOutcome.RETURNED, AttemptOutcome.FAILED])
                status = attempt_ended(
                    shard, ended, self.one_of(CLASSES), self.text(1024), usage, NOW, retry_limit=self.one_of([100, 0])
                )
                shard = shard.model_copy(update={"status": status})
                yield shard
        if self.one_of([False, True]):
            report = AttemptStatus(
                shard_uid=shard.metadata.uid,
                attempt=shard.status.attempt or 1,
                spec_digest=f"sha256:{sha('spec')}",
                control_plane="cluster",
                namespace="team",
                job=ReportedJob(name="job", uid="uid"),
                shard_name="shard",
                stage=shard.spec.stage,
                state=AttemptState.SUCCEEDED,
                scratch_high_water_bytes=2**62,
                scratch_residue_bytes=2**62,
            )
            status = committed(shard, report, self.result(shard.spec.stage), None, NOW)
            yield shard.model_copy(update={"status": status})

    def job(self) -> AudioBatchJobStatus:
        """A job's status after a pass that finds one of its shards at the end of its life."""
        job, said = a_job(output={"uri": f"file:///{self.text(1000).strip()}/"}), self.text(2000)
        source = AcceptedSource(uid="u" * 64, folder=self.text(1152), index_sha256="a" * 64, plan_attempt=9)
        status = job.status.model_copy(
            update={
                "conditions": tuple(
                    condition((), type_, True, Reason.ATTEMPTS_EXHAUSTED, said, generation=10**9, now=NOW)
                    for type_ in self.one_of([[], TYPES[:3], TYPES[:8]])
                ),
                "plan": job.status.plan and job.status.plan.model_copy(update=dict(self.plan())),
                "macs": tuple(f"{number:03d}" + "m" * 250 for number in range(self.one_of([0, 256]))),
                "source": source,
            }
        )
        job = job.model_copy(update={"status": status})
        planned = status.plan is not None and len(status.plan.boundaries) > 1
        shards = list(self.life(a_shard(job, Stage.PROCESS, 0)))[-1:] if planned else []
        snapshot = JobSnapshot(job, JobShards.of(job, shards), a_contract(), pending_reason=self.text(2000))
        return plan_job(snapshot, NOW).status

    def mac(self) -> MacAgentStatus:
        """Its agent says whatever it likes."""
        facts = MachineFacts(
            hardware_id=self.text(3000),
            boot_id=self.text(3000),
            chip=self.text(3000),
            memory_bytes=2**62,
            os=self.text(3000),
            versions={f"{number}{self.text(300)}": self.text(300) for number in range(40)},
            runtime_compatible=False,
            runtime_message=self.text(3000),
            pools=tuple(
                PoolFacts(name=f"{number}{self.text(300)}", kind="Offline", lanes=1, free_lanes=0)
                for number in range(20)
            ),
            ledger_chain_id="chain",
            ledger_sequence=0,
        )
        view = MacView(
            "mac",
            connected=self.one_of([True, False]),
            reason=Reason.CONNECTED,
            message=self.text(3000),
            machine=facts,
            ledger_error=self.text(3000),
        )
        left = LeftToEnd(*(["team/" + "s" * 250] * self.one_of([0, 1000]) for _ in range(2)))
        return mac_status(MacAgent.load(mac_agent("mac", drain={})), view, NOW, None, left)


def check_shard(found: Whatever, stage: Stage) -> None:
    shard = a_shard(a_job(), stage, 0 if stage is Stage.PROCESS else None)
    for moment in found.life(shard):
        assert stored_bytes(moment.status) < LIMIT_BYTES
        stored = moment.status.dump()
        assert AudioShardStatus.load(stored).dump() == stored, "the API server takes it"


@pytest.mark.parametrize("word", WORDS)
@pytest.mark.parametrize("stage", STAGES)
def test_a_shard_at_worst(stage: Stage, word: str) -> None:
    check_shard(Whatever(AtWorst(), word), stage)


@settings(max_examples=40)
@given(st.data(), st.sampled_from(STAGES), st.sampled_from(WORDS))
def test_a_shard(data: st.DataObject, stage: Stage, word: str) -> None:
    check_shard(Whatever(Drawn(data), word), stage)


@pytest.mark.parametrize("word", WORDS)
def test_a_job_at_worst(word: str) -> None:
    status = Whatever(AtWorst(), word).job()
    assert stored_bytes(status) < LIMIT_BYTES
    assert status.quarantine or word == "<", "the clips are what people look for; only at six bytes a letter none fits"


@settings(max_examples=60)
@given(st.data(), st.sampled_from(WORDS))
def test_a_job(data: st.DataObject, word: str) -> None:
    assert stored_bytes(Whatever(Drawn(data), word).job()) < LIMIT_BYTES


def check_mac(found: Whatever) -> None:
    status = found.mac()
    assert stored_bytes(status) < LIMIT_BYTES
    assert MacAgent.load(mac_agent("mac") | {"status": status.dump()}).status == status


@pytest.mark.parametrize("word", WORDS)
def test_a_mac_at_worst(word: str) -> None:
    check_mac(Whatever(AtWorst(), word))


@settings(max_examples=30)
@given(st.data(), st.sampled_from(WORDS))
def test_a_mac(data: st.DataObject, word: str) -> None:
    check_mac(Whatever(Drawn(data), word))


@given(st.lists(st.tuples(st.integers(0, 40), st.integers(0, 80), st.integers(0, 40)), max_size=60))
def test_a_statement(runs: list[tuple[int, int, int]]) -> None:
    statement = MachineHourStatement.load(
        {
            "kind": "MachineHourStatement",
            "metadata": {"name": "mac-2026-11"},
            "spec": {"mac": "mac", "month": "2026-11"},
        }
    )
    for sequence, (chain, namespace, endpoint) in enumerate(runs):
        row = VerifiedRow(
            chain_id=f"{chain:02d}" + "c" * 62,
            sequence=sequence,
            hash="a" * 64,
            month="2026-11",
            attempt=AttemptKey(f"{endpoint:036d}", 1),
            ours=True,
            activity=Activity.WORK,
            machine_milliseconds=10**15,
            audio_milliseconds=10**15,
            namespace=f"{namespace:02d}" + "n" * 61,
            owner_kind="VoiceEndpoint",
        )
        run = SettledRun(row.chain_id, "2026-11", (SettledRow(row, TimeClass.PRODUCTIVE),))
        if takes(statement, run.chain_id, LEDGER_KEY):
            status = with_run(statement, run, LEDGER_KEY, datetime.now(UTC).isoformat())
            statement = statement.model_copy(update={"status": status})
        assert stored_bytes(statement.status) < LIMIT_BYTES


@given(st.text(max_size=300), st.integers(10, 2000))
def test_a_text_is_cut_only_where_it_is_too_long(text: str, limit: int) -> None:
    cut = shortened(text, limit)
    assert stored_bytes(cut) - 2 <= limit or cut == text
    assert cut == text or (stored_bytes(text) - 2 > limit and text.startswith(cut[:-1]) and cut.endswith("…"))
