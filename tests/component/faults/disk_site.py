"""A real agent with jobs over the same few clips, whose disks a test troubles."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tests.component.faults.fault_run import QUICK
from tests.rig.agent_process import AgentProcess
from tests.rig.job_specs import JobSpecs

from voxfleet_api.attempt_spec import AttemptSpec
from voxfleet_api.kinds.job_input import JobInput, PrefixInput
from voxfleet_api.protocol import AttemptState, ShardResult
from voxfleet_api.results import PlanResult
from voxfleet_api.rows import ResultRow
from voxfleet_corpus.sounds import SPEECH, TEXT

CLIPS = 6


def lay_out(root: Path) -> list[str]:
    """Makes the clips and the folder of the output; returns what the agent must be allowed to use."""
    for name in ("clips", "out"):
        (root / name).mkdir(exist_ok=True)
    for number in range(CLIPS):
        (root / "clips" / f"{number}.wav").write_bytes(SPEECH.read_bytes())
    return [f"{(root / name).as_uri()}/" for name in ("clips", "out")]


@dataclass
class Site:
    root: Path
    agent: AgentProcess
    jobs: Iterator[int] = field(default_factory=itertools.count)

    def pids(self) -> list[int]:
        """Of the agent and its lanes."""
        return [process.pid for process in self.agent.processes()]

    def plan(self) -> tuple[JobSpecs, PlanResult]:
        """A new job over the same clips."""
        inputs, outputs = (f"{(self.root / name).as_uri()}/" for name in ("clips", "out"))
        specs = JobSpecs(JobInput(prefix=PrefixInput(uri=inputs)), outputs, QUICK, number=next(self.jobs))
        return specs, self.agent.plan(specs)

    def fail(self, specs: JobSpecs, plan: PlanResult) -> str:
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

    def finish(self, specs: JobSpecs, plan: PlanResult, spec: AttemptSpec, result: ShardResult) -> list[ResultRow]:
        """Finalizes; every clip has one row and its words."""
        self.agent.succeed(specs.finalize(plan, [(spec, result)]))
        lines = (specs.local_folder / "results.jsonl").read_bytes().splitlines()
        rows = [ResultRow.model_validate_json(line) for line in lines]
        assert [row.index for row in rows] == list(range(CLIPS))
        assert {row.text for row in rows} == {TEXT}
        return rows
