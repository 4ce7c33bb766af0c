"""A full or read-only disk ends an attempt with its own class; the next attempt has every clip."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest
from tests.component.corpus.agent_process import AgentProcess
from tests.component.corpus.job_specs import JobSpecs
from tests.component.faults.fault_run import QUICK
from tests.component.faults.small_disk import SmallDisk, small_disk

from voxfleet_api.failures import FailureClass
from voxfleet_api.kinds.job_input import JobInput, PrefixInput
from voxfleet_api.protocol import AttemptSpec, AttemptState, ShardResult
from voxfleet_api.results import PlanResult, ResultRow
from voxfleet_corpus.sounds import SPEECH, TEXT

CLIPS = 6


@dataclass
class Site:
    """An agent whose scratch and output lie on small disks."""

    root: Path
    agent: AgentProcess
    scratch: SmallDisk
    output: SmallDisk
    state: SmallDisk
    jobs: Iterator[int] = field(default_factory=itertools.count)

    def plan(self) -> tuple[JobSpecs, PlanResult]:
        """A new job over the same clips."""
        inputs, outputs = (f"{(self.root / name).as_uri()}/" for name in ("clips", "out"))
        specs = JobSpecs(JobInput(prefix=PrefixInput(uri=inputs)), outputs, QUICK, number=next(self.jobs))
        plan = self.agent.succeed(specs.plan()).plan
        assert plan is not None
        return specs, plan

    def fail(self, specs: JobSpecs, plan: PlanResult) -> FailureClass:
        """Runs the shard's first attempt, which must fail; its class."""
        (spec,) = specs.process(plan, 1)
        status = self.agent.run(spec)
        assert status.state is AttemptState.FAILED
        assert status.failure is not None
        assert status.scratch_residue_bytes == 0
        return status.failure.failure_class

    def recover(self, specs: JobSpecs, plan: PlanResult) -> None:
        """Runs the next attempt, which must deliver every clip once."""
        (spec,) = specs.process(plan, 2)
        self.finish(specs, plan, spec, self.agent.succeed(spec))

    def finish(self, specs: JobSpecs, plan: PlanResult, spec: AttemptSpec, result: ShardResult) -> None:
        """Finalizes; every clip has one row and its words."""
        self.agent.succeed(specs.finalize(plan, [(spec, result)]))
        folder = Path(specs.folder.removeprefix("file://"))
        lines = (folder / "results.jsonl").read_bytes().splitlines()
        rows = [ResultRow.model_validate_json(line) for line in lines]
        assert [row.index for row in rows] == list(range(CLIPS))
        assert {row.text for row in rows} == {TEXT}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    root = tmp_path_factory.mktemp("disks")
    (root / "clips").mkdir()
    for number in range(CLIPS):
        (root / "clips" / f"{number}.wav").write_bytes(SPEECH.read_bytes())
    scratch = root / "mac" / "scratch"
    config = {"path": str(scratch), "quota": "2Gi", "minFree": "1Ki"}
    allow = [f"{(root / name).as_uri()}/" for name in ("clips", "out")]
    with (
        small_disk(scratch, "16m") as scratch_disk,
        small_disk(root / "out", "4m") as output_disk,
        small_disk(root / "mac" / "state", "32m") as state_disk,
        AgentProcess(root / "mac", allow, scratch=config) as agent,
    ):
        yield Site(root, agent, scratch_disk, output_disk, state_disk)


def test_scratch_without_room_for_a_clip(site: Site) -> None:
    specs, plan = site.plan()
    with site.scratch.full(free_bytes=SPEECH.stat().st_size // 2):
        assert site.fail(specs, plan) is FailureClass.SCRATCH_EXHAUSTED
    site.recover(specs, plan)


def test_scratch_that_turns_read_only(site: Site) -> None:
    specs, plan = site.plan()
    with site.scratch.read_only():
        assert site.fail(specs, plan) is FailureClass.SCRATCH_EXHAUSTED
    site.recover(specs, plan)


def test_output_without_room_for_a_part(site: Site) -> None:
    specs, plan = site.plan()
    with site.output.full():
        assert site.fail(specs, plan) is FailureClass.TRANSPORT
    site.recover(specs, plan)


def test_journal_without_room(site: Site) -> None:
    """The agent can promise nothing any more and ends; what it promised before, it keeps."""
    specs, plan = site.plan()
    (spec,) = specs.process(plan)
    with site.state.full(free_bytes=40_000):
        with contextlib.suppress(httpx.TransportError):
            site.agent.put(spec)  # it may end before it answers
        assert site.agent.mac.agent.wait_exit(30) != 0
    site.agent.mac.restart_agent()
    result = site.agent.succeed(spec)
    site.finish(specs, plan, spec, result)
