"""Plan, Process and Finalize on real clips with a real model, in an agent process killed at every crash point."""

from __future__ import annotations

import json
import os
import signal
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import httpx
import pytest
from tests.rig.agent_process import AgentProcess
from tests.rig.job_specs import JobSpecs

from voxfleet_api.attempt_spec import AttemptSpec
from voxfleet_api.digest import sha256_hex
from voxfleet_api.failures import FailureClass
from voxfleet_api.kinds.contract_input import Container, ContractInput, Conversions, Downmix, Resample
from voxfleet_api.kinds.job_input import JobInput, ManifestInput
from voxfleet_api.kinds.job_model import ModelSource
from voxfleet_api.kinds.voice_contract import VoiceContractSpec
from voxfleet_api.ledger import Activity
from voxfleet_api.machine_messages import MachineFacts
from voxfleet_api.protocol import AttemptState, AttemptStatus, RenewRequest, ShardResult
from voxfleet_api.ranges import decode
from voxfleet_api.results import AttemptBase, Commit
from voxfleet_api.rows import ResultRow
from voxfleet_dev.processes import wait_ended
from voxfleet_shared.crash_points import EXIT_CODE, VARIABLE

CLIPS = Path(__file__).parents[3] / "examples" / "clips"
CONTRACT = VoiceContractSpec(
    input=ContractInput(containers=tuple(Container), sample_rates_hz=(16_000, 22_050, 44_100, 48_000), channels=(1, 2)),
    conversions=Conversions(resample=Resample(to_hz=16_000), downmix=Downmix()),
)
EXIT_SECONDS = 120.0


@dataclass
class Whole:
    """One agent process, and a job over the example clips."""

    agent: AgentProcess
    job: JobSpecs

    def first_shard(self) -> AttemptSpec:
        """Runs Plan; returns the spec of the first shard, which has not begun."""
        return next(self.job.process(self.agent.plan(self.job)))

    def states(self) -> dict[str, str]:
        """Returns the state of every attempt that the agent knows, by shard."""
        return {status.shard_uid: status.state for status in self.agent.attempts().attempts}

    def scratch_entries(self) -> list[Path]:
        return list((self.agent.mac.scratch / "attempts").iterdir())

    def read(self, name: str) -> bytes:
        return (self.job.local_folder / name).read_bytes()


@pytest.fixture
def whole(tmp_path: Path) -> Iterator[Whole]:
    output = tmp_path / "output"
    output.mkdir()
    manifest = ManifestInput(uri=f"file://{CLIPS}/manifest.jsonl")
    job = JobSpecs(JobInput(manifest=manifest), f"file://{output}/", CONTRACT, shard_audio_milliseconds=40_000)
    with AgentProcess(tmp_path / "mac", [f"file://{CLIPS}/", f"file://{output}/"]) as agent:
        yield Whole(agent, job)


def clips_of(spec: AttemptSpec) -> list[int]:
    assert spec.process is not None
    return decode(spec.process.indexes)


def committed_rows(whole: Whole, status: AttemptStatus) -> list[ResultRow]:
    """Reads the rows of a Process attempt from its commit; checks every digest on the way."""
    assert status.result is not None
    content = whole.read(f"parts/{status.shard_uid}/{status.attempt}/commit.json")
    assert sha256_hex(content) == status.result.commit_sha256
    rows = []
    for part in Commit.model_validate_json(content).parts:
        part_content = whole.read(part.path)
        assert sha256_hex(part_content) == part.sha256 and part.sha256 in part.path
        found = [ResultRow.model_validate_json(line) for line in part_content.splitlines()]
        assert [row.index for row in found] == decode(part.indexes)
        rows += found
    return rows


def assert_transcripts(rows: list[ResultRow]) -> None:
    expected = {row["id"]: row for row in map(json.loads, (CLIPS / "expected.jsonl").read_text().splitlines())}
    wrong = 0
    for row in rows:
        want = expected[row.custom_id]
        if "class" in want:
            assert row.error is not None and row.error.failure_class == want["class"], row
        else:
            wrong += row.text != want["text"]
    assert wrong <= 0.05 * len(rows)


def test_a_job_from_its_plan_to_its_index(whole: Whole) -> None:
    agent, job = whole.agent, whole.job
    planned = agent.plan(job)
    assert len(planned.boundaries) == 3 and planned.boundaries[-1] == 35
    ended: list[tuple[AttemptSpec, ShardResult]] = []
    for spec in job.process(planned):
        status = agent.run(spec)
        assert status.state is AttemptState.SUCCEEDED and status.result is not None, status.failure
        assert status.scratch_residue_bytes == 0 < status.scratch_high_water_bytes
        ended.append((spec, status.result))
    machine = MachineFacts.model_validate_json(agent.get("/v1/machine"))
    assert machine.loaded_models == (planned.model_digest,)
    assert machine.pools[0].free_lanes == 1

    final = agent.succeed(job.finalize(planned, ended))
    assert final.counts is not None
    assert (final.counts.succeeded, final.counts.quarantined) == (32, 3)
    assert sha256_hex(whole.read("index.json")) == final.commit_sha256
    rows = [
        ResultRow.model_validate_json(line)
        for name in ("results.jsonl", "errors.jsonl")
        for line in whole.read(name).splitlines()
    ]
    assert sorted(row.index for row in rows) == list(range(35))
    assert_transcripts(rows)
    assert whole.scratch_entries() == []
    by_shard = Counter(signed.row.shard_uid for signed in agent.ledger())
    assert by_shard == {spec.shard_uid: 3 for spec, _ in ended}  # Plan and Finalize hold no lane


BEFORE_IT_IS_DECIDED = (
    "base-frozen",
    "reserved@3",
    "row-recorded@4",
    "part-frozen",
    "part-uploaded",
    "part-marked",
    "run-uploaded",
    "commit-uploaded",
)
"""The crash points in the order in which an attempt reaches them; each restart of the agent reaches the next one."""
DECIDED = ("row-sealed@2", "outcome-recorded")
EDGES = (*BEFORE_IT_IS_DECIDED, *DECIDED)


@pytest.mark.parametrize("edges", [BEFORE_IT_IS_DECIDED, *((edge,) for edge in DECIDED)], ids=lambda edges: edges[-1])
def test_an_agent_killed_at_a_crash_point_resumes_without_losing_or_repeating_a_clip(
    whole: Whole, edges: tuple[str, ...]
) -> None:
    agent = whole.agent
    spec = whole.first_shard()
    agent.mac.kill_agent()
    agent.mac.restart_agent({VARIABLE: edges[0]})
    decided = edges != BEFORE_IT_IS_DECIDED
    sealed = agent.ledger()
    for edge, following in zip(edges, [*edges[1:], None], strict=True):
        cursor = agent.attempts().cursor
        agent.put(spec)
        with pytest.raises(httpx.TransportError):
            agent.until_ended(spec, cursor)
        left = agent.mac.agent.descendants()
        assert agent.mac.agent.wait_exit(EXIT_SECONDS) == EXIT_CODE, edge
        assert wait_ended(left, 30) == []

        agent.mac.restart_agent({VARIABLE: following} if following else None)
        state = AttemptState.SUCCEEDED if decided else AttemptState.PARKED
        assert whole.states()[spec.shard_uid] is state, edge
        assert whole.scratch_entries() == [], edge
        before, sealed = sealed, agent.ledger()
        assert sealed[: len(before)] == before, edge
    status = agent.run(spec)
    assert status.state is AttemptState.SUCCEEDED, status.failure
    rows = committed_rows(whole, status)
    assert sorted(row.index for row in rows) == clips_of(spec)
    assert_transcripts(rows)
    assert whole.scratch_entries() == []
    after = agent.ledger()
    assert after[: len(sealed)] == sealed
    assert (len(after) == len(sealed)) is decided
    assert [signed.row.sequence for signed in after] == list(range(len(after)))


def test_kill_9_leaves_no_child_and_the_same_put_resumes(whole: Whole) -> None:
    agent = whole.agent
    spec = _put_until_loaded(whole)
    children = agent.mac.kill_agent()
    assert children and wait_ended(children, 30) == []
    agent.mac.restart_agent()
    status = agent.run(spec)
    assert status.state is AttemptState.SUCCEEDED
    assert sorted(row.index for row in committed_rows(whole, status)) == clips_of(spec)


def test_sigterm_parks_seals_and_ends_with_0(whole: Whole) -> None:
    agent = whole.agent
    spec = _put_until_loaded(whole)
    children = agent.mac.agent.descendants()
    events = agent.events(agent.attempts().cursor)
    next(events)
    os.kill(agent.mac.agent.pid, signal.SIGTERM)
    statuses = [event.attempt for event in events]
    assert agent.mac.agent.wait_exit(EXIT_SECONDS) == 0
    assert AttemptState.PARKED in [status.state for status in statuses if status is not None]
    assert wait_ended(children, 30) == [] and whole.scratch_entries() == []
    agent.mac.restart_agent()
    assert whole.states()[spec.shard_uid] is AttemptState.PARKED
    assert [signed.row.activity for signed in agent.ledger()] == ["Setup", "Work"]
    agent.succeed(spec)


def test_a_mac_that_drains_returns_its_shard_and_the_next_attempt_runs_only_the_rest(whole: Whole) -> None:
    agent, spec = whole.agent, whole.first_shard()
    cursor = agent.attempts().cursor
    agent.put(spec)
    rows = (event.row.row for event in agent.events(cursor) if event.row is not None)
    assert next(rows).activity is Activity.SETUP  # the lane has its model, and clips begin
    agent.renew(RenewRequest(takes_nothing=True, return_after_seconds=0, stop_after_seconds=300))
    with pytest.raises(httpx.HTTPStatusError, match="503"):
        agent.put(spec.model_copy(update={"shard_uid": "another-shard", "attempt": 1}))
    returned = agent.until_ended(spec, cursor)
    assert returned.failure is not None and returned.failure.failure_class is FailureClass.MACHINE_RETURNED
    assert returned.state is AttemptState.FAILED and whole.scratch_entries() == []

    agent.renew(RenewRequest())
    second = spec.model_copy(update={"attempt": 2})
    status = agent.run(second)
    assert status.state is AttemptState.SUCCEEDED, status.failure
    done = committed_rows(whole, status)
    assert sorted(row.index for row in done) == clips_of(spec)
    assert_transcripts(done)
    inherited = AttemptBase.model_validate_json(whole.read(f"parts/{spec.shard_uid}/2/base.json"))
    kept = {index for part in inherited.parts for index in decode(part.indexes)}
    assert {row.index for row in done if row.attempt == 1} == kept
    assert len(kept) < len(done), "it was drained in mid-shard"


def test_a_model_path_that_is_missing_or_not_allowed_fails_with_its_class(whole: Whole) -> None:
    paths = {f"{CLIPS}/no such model": "ModelUnavailable", "/no/such/model": "RuntimeMismatch"}
    for number, (path, failure_class) in enumerate(paths.items()):
        status = whole.agent.run(replace(whole.job, model=ModelSource(path=path), number=number).plan())
        assert status.state is AttemptState.FAILED
        assert status.failure is not None and status.failure.failure_class == failure_class


def _put_until_loaded(whole: Whole) -> AttemptSpec:
    """Puts the first shard and waits until its first row is sealed: then the lane has its model, and clips begin."""
    agent, spec = whole.agent, whole.first_shard()
    cursor = agent.attempts().cursor
    agent.put(spec)
    assert any(event.row is not None for event in agent.events(cursor)), "the stream ended"
    return spec
