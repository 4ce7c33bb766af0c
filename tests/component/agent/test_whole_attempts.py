"""Plan, Process and Finalize on real clips, a real model and a real agent process, which is killed at every edge."""

from __future__ import annotations

import itertools
import json
import os
import signal
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from voxfleet_agent.crash import EXIT_CODE, VARIABLE
from voxfleet_api.digest import digest_of, sha256_hex
from voxfleet_api.kinds.audio_shard import JobRef, Stage
from voxfleet_api.kinds.contract_input import Container, ContractInput, Conversions, Downmix, Resample
from voxfleet_api.kinds.job_input import JobInput, ManifestInput
from voxfleet_api.kinds.job_model import ModelSource
from voxfleet_api.kinds.job_task import Task
from voxfleet_api.kinds.voice_contract import VoiceContractSpec
from voxfleet_api.ledger import SignedRow, public_key, verify
from voxfleet_api.protocol import (
    CONTROL_PLANE_HEADER,
    EPOCH_HEADER,
    TERMINAL_STATES,
    AttemptList,
    AttemptRequest,
    AttemptSpec,
    AttemptState,
    AttemptStatus,
    CommitRef,
    Event,
    FinalizeOrder,
    LedgerPage,
    MachineFacts,
    PlanOrder,
    ProcessOrder,
)
from voxfleet_api.ranges import decode
from voxfleet_api.results import Commit, PlanResult, ResultRow
from voxfleet_dev.mac import Mac
from voxfleet_dev.processes import wait_ended

CLIPS = Path(__file__).parents[3] / "examples" / "clips"
CONTRACT = VoiceContractSpec(
    input=ContractInput(containers=tuple(Container), sample_rates_hz=(16_000, 22_050, 44_100, 48_000), channels=(1, 2)),
    conversions=Conversions(resample=Resample(to_hz=16_000), downmix=Downmix()),
)
MODEL = ModelSource(path="default")
CALL_SECONDS = 120.0
EXIT_SECONDS = 120.0


@dataclass
class WholeAgent:
    """One agent process and what an operator would say to it."""

    mac: Mac
    output: str

    def __post_init__(self) -> None:
        self.http = httpx.Client(
            base_url=self.mac.url,
            headers={
                "Authorization": f"Bearer {self.mac.token}",
                CONTROL_PLANE_HEADER: "control-plane-1",
                EPOCH_HEADER: "1",
            },
            timeout=CALL_SECONDS,
            trust_env=False,
        )

    def spec(self, stage: Stage, shard: str, **order: object) -> AttemptSpec:
        content: dict[str, object] = {
            "namespace": "speech",
            "job": JobRef(name="calls", uid="job-uid-1"),
            "shard_name": f"calls-{shard}",
            "shard_uid": shard,
            "attempt": 1,
            "stage": stage,
            "task": Task.TRANSCRIBE,
            "contract": CONTRACT,
            "contract_digest": digest_of(CONTRACT),
            "output_folder": self.output,
        }
        return AttemptSpec.model_validate(content | order)

    def put(self, spec: AttemptSpec) -> AttemptRequest:
        request = AttemptRequest(spec_digest=digest_of(spec), spec=spec.dump(), lease_seconds=600)
        answer = self.http.put(f"/v1/attempts/{spec.shard_uid}/{spec.attempt}", json=request.dump())
        assert answer.status_code == 200, answer.text
        return request

    def until_ended(self, spec: AttemptSpec) -> AttemptStatus:
        """Follows the event stream. Raises httpx.TransportError when the agent dies."""
        listing = AttemptList.load(self.http.get("/v1/attempts").json())
        found = [status for status in listing.attempts if status.shard_uid == spec.shard_uid]
        if found and found[0].state in TERMINAL_STATES:
            return found[0]
        with self.http.stream("GET", "/v1/events", params={"after": listing.cursor}) as response:
            for line in response.iter_lines():
                status = Event.model_validate_json(line).attempt
                if status is not None and status.shard_uid == spec.shard_uid and status.state in TERMINAL_STATES:
                    return status
        raise httpx.RemoteProtocolError("the stream ended")

    def run(self, spec: AttemptSpec) -> AttemptStatus:
        self.put(spec)
        return self.until_ended(spec)

    def ledger(self) -> tuple[SignedRow, ...]:
        """All rows, verified."""
        rows = LedgerPage.load(self.http.get("/v1/ledger").json()).rows
        verify(rows, public_key(self.mac.ledger_public_key))
        return rows

    def scratch_entries(self) -> list[Path]:
        return list((self.mac.scratch / "attempts").iterdir())

    def read(self, name: str) -> bytes:
        return Path(f"{self.output.removeprefix('file://')}/{name}").read_bytes()


@pytest.fixture
def whole(tmp_path: Path) -> Iterator[WholeAgent]:
    output = tmp_path / "output"
    output.mkdir()
    mac = Mac("mac", tmp_path / "mac", allow=[f"file://{CLIPS}/", f"file://{output}/"])
    mac.write_files()
    mac.restart_agent()
    agent = WholeAgent(mac, f"file://{output}/calls-job-uid-")
    yield agent
    agent.http.close()
    mac.stop()


def plan(agent: WholeAgent, target_milliseconds: int = 40_000) -> PlanResult:
    order = PlanOrder(
        input=JobInput(manifest=ManifestInput(uri=f"file://{CLIPS}/manifest.jsonl")),
        model=MODEL,
        shard_audio_milliseconds=target_milliseconds,
        max_shards=100,
    )
    status = agent.run(agent.spec(Stage.PLAN, "plan-1", plan=order))
    assert status.state is AttemptState.SUCCEEDED, status.failure
    assert status.result is not None and status.result.plan is not None
    return status.result.plan


def process_spec(agent: WholeAgent, planned: PlanResult, ordinal: int, indexes: str) -> AttemptSpec:
    order = ProcessOrder(
        plan_attempt=1,
        manifest_sha256=planned.manifest_sha256,
        model=MODEL,
        model_digest=planned.model_digest,
        boundaries_digest=digest_of(list(planned.boundaries)),
        ordinal=ordinal,
        indexes=indexes,
    )
    return agent.spec(Stage.PROCESS, f"process-{ordinal}", process=order)


def shards(planned: PlanResult) -> list[str]:
    edges = planned.boundaries
    return [f"{first}-{last - 1}" for first, last in itertools.pairwise(edges)]


def committed_rows(agent: WholeAgent, status: AttemptStatus) -> list[ResultRow]:
    """The rows of a Process attempt, by its commit; every digest on the way is checked."""
    assert status.result is not None
    content = agent.read(f"parts/{status.shard_uid}/{status.attempt}/commit.json")
    assert sha256_hex(content) == status.result.commit_sha256
    rows = []
    for part in Commit.model_validate_json(content).parts:
        part_content = agent.read(part.path)
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


def test_a_job_from_its_plan_to_its_index(whole: WholeAgent) -> None:
    planned = plan(whole)
    ranges = shards(planned)
    assert len(ranges) == 2 and planned.boundaries[-1] == 35
    ended = []
    for ordinal, indexes in enumerate(ranges):
        status = whole.run(process_spec(whole, planned, ordinal, indexes))
        assert status.state is AttemptState.SUCCEEDED, status.failure
        assert status.scratch_residue_bytes == 0 < status.scratch_high_water_bytes
        ended.append(status)
    machine = MachineFacts.load(whole.http.get("/v1/machine").json())
    assert machine.loaded_models == (planned.model_digest,)
    assert machine.pools[0].free_lanes == 1

    commits = [
        CommitRef(shard_uid=status.shard_uid, attempt=1, sha256=status.result.commit_sha256)
        for status in ended
        if status.result is not None
    ]
    order = FinalizeOrder(plan_attempt=1, manifest_sha256=planned.manifest_sha256, total=35, commits=tuple(commits))
    final = whole.run(whole.spec(Stage.FINALIZE, "finalize-1", finalize=order))
    assert final.state is AttemptState.SUCCEEDED and final.result is not None, final.failure
    assert final.result.counts is not None
    assert (final.result.counts.succeeded, final.result.counts.quarantined) == (32, 3)
    assert sha256_hex(whole.read("index.json")) == final.result.commit_sha256
    rows = [
        ResultRow.model_validate_json(line)
        for name in ("results.jsonl", "errors.jsonl")
        for line in whole.read(name).splitlines()
    ]
    assert sorted(row.index for row in rows) == list(range(35))
    assert_transcripts(rows)
    assert whole.scratch_entries() == []
    by_shard = Counter(signed.row.shard_uid for signed in whole.ledger())
    assert by_shard == {"process-0": 3, "process-1": 3}  # Plan and Finalize hold no lane


EDGES = [
    "base-frozen",
    "reserved@3",
    "row-recorded@4",
    "part-frozen",
    "part-uploaded",
    "part-marked",
    "commit-uploaded",
    "row-sealed@2",
    "outcome-recorded",
]


@pytest.mark.parametrize("edge", EDGES)
def test_an_agent_that_dies_at_an_edge_resumes_without_losing_or_repeating_a_clip(whole: WholeAgent, edge: str) -> None:
    planned = plan(whole)
    spec = process_spec(whole, planned, 0, shards(planned)[0])
    whole.mac.kill_agent()
    whole.mac.restart_agent({VARIABLE: edge})
    whole.put(spec)
    with pytest.raises(httpx.TransportError):
        whole.until_ended(spec)
    left = whole.mac.agent.descendants()
    assert whole.mac.agent.wait_exit(EXIT_SECONDS) == EXIT_CODE
    assert wait_ended(left, 30) == []

    whole.mac.restart_agent()
    before = whole.ledger()
    listed = AttemptList.load(whole.http.get("/v1/attempts").json())
    found = [status for status in listed.attempts if status.shard_uid == spec.shard_uid]
    decided = edge in ("row-sealed@2", "outcome-recorded")
    assert [status.state for status in found] == [AttemptState.SUCCEEDED if decided else AttemptState.PARKED]
    assert whole.scratch_entries() == []
    status = whole.run(spec)
    assert status.state is AttemptState.SUCCEEDED, status.failure
    rows = committed_rows(whole, status)
    assert sorted(row.index for row in rows) == decode(shards(planned)[0])
    assert_transcripts(rows)
    assert whole.scratch_entries() == []
    after = whole.ledger()
    assert after[: len(before)] == before
    assert (len(after) == len(before)) is decided
    assert [signed.row.sequence for signed in after] == list(range(len(after)))


def test_kill_9_leaves_no_child_and_the_same_put_resumes(whole: WholeAgent) -> None:
    planned = plan(whole)
    spec = process_spec(whole, planned, 0, shards(planned)[0])
    cursor = AttemptList.load(whole.http.get("/v1/attempts").json()).cursor
    whole.put(spec)
    _until_loaded(whole, cursor)
    children = whole.mac.kill_agent()
    assert children and wait_ended(children, 30) == []
    whole.mac.restart_agent()
    status = whole.run(spec)
    assert status.state is AttemptState.SUCCEEDED
    assert sorted(row.index for row in committed_rows(whole, status)) == decode(shards(planned)[0])


def test_sigterm_parks_seals_and_ends_with_0(whole: WholeAgent) -> None:
    planned = plan(whole)
    spec = process_spec(whole, planned, 0, shards(planned)[0])
    cursor = AttemptList.load(whole.http.get("/v1/attempts").json()).cursor
    whole.put(spec)
    _until_loaded(whole, cursor)
    children = whole.mac.agent.descendants()
    listing = AttemptList.load(whole.http.get("/v1/attempts").json())
    with whole.http.stream("GET", "/v1/events", params={"after": listing.cursor}) as response:
        lines = response.iter_lines()
        next(lines)
        os.kill(whole.mac.agent.pid, signal.SIGTERM)
        told = [Event.model_validate_json(line).attempt for line in lines]
    assert whole.mac.agent.wait_exit(EXIT_SECONDS) == 0
    assert AttemptState.PARKED in [status.state for status in told if status is not None]
    assert wait_ended(children, 30) == [] and whole.scratch_entries() == []
    whole.mac.restart_agent()
    listed = AttemptList.load(whole.http.get("/v1/attempts").json())
    states = {status.shard_uid: status.state for status in listed.attempts}
    assert states[spec.shard_uid] is AttemptState.PARKED
    activities = [signed.row.activity.value for signed in whole.ledger()]
    assert activities == ["Setup", "Work"]
    assert whole.run(spec).state is AttemptState.SUCCEEDED


def test_a_model_path_that_does_not_exist_fails_with_its_class(whole: WholeAgent) -> None:
    order = PlanOrder(
        input=JobInput(manifest=ManifestInput(uri=f"file://{CLIPS}/manifest.jsonl")),
        model=ModelSource(path="/no/such/model"),
        shard_audio_milliseconds=1000,
        max_shards=10,
    )
    status = whole.run(whole.spec(Stage.PLAN, "plan-1", plan=order))
    assert status.state is AttemptState.FAILED
    assert status.failure is not None and status.failure.failure_class.value == "ModelUnavailable"


def _until_loaded(agent: WholeAgent, cursor: str) -> None:
    """Until the lane has its model: then the first row is sealed, and the clips begin."""
    with agent.http.stream("GET", "/v1/events", params={"after": cursor}) as response:
        for line in response.iter_lines():
            if Event.model_validate_json(line).row is not None:
                return
    raise AssertionError("the stream ended")
