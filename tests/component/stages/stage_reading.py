"""Interrupts an attempt at an edge, and reads the files that attempts delivered."""

from __future__ import annotations

from tests.component.stages.stage_rig import Job
from tests.component.stages.stage_stubs import Edges, MemoryJournal, StubLane

from voxfleet_api.results import AttemptBase, Commit, PlanResult
from voxfleet_api.rows import ResultRow
from voxfleet_api.run_record import RunRecord


class StoppedError(Exception):
    """Ends an attempt in a test."""


def stop_at(wanted: str) -> Edges:
    def watch(name: str) -> None:
        if name.startswith(wanted):
            raise StoppedError(name)

    return Edges(watch)


def stop_after(edges: int) -> Edges:
    """Everything at and after the edge of this number fails, as if the process had been killed there."""

    def watch(name: str) -> None:
        if len(stopping.passed) >= edges:
            raise StoppedError(name)

    stopping = Edges(watch)
    return stopping


async def interrupted(
    job: Job,
    plan: PlanResult,
    wanted: str,
    *,
    attempt: int = 1,
    journal: MemoryJournal | None = None,
    lane: StubLane | None = None,
) -> MemoryJournal:
    """Runs an attempt until it reaches an edge; returns its journal."""
    original, job.edges = job.edges, stop_at(wanted)
    journal = journal or MemoryJournal(job.edges)
    journal.edges = job.edges
    try:
        await job.process(plan, attempt=attempt, journal=journal, lane=lane)
    except (StoppedError, BaseExceptionGroup) as error:
        assert isinstance(error, StoppedError) or error.split(StoppedError)[1] is None  # noqa: PT017 -- a group
    else:
        raise AssertionError(f"the attempt never came to {wanted!r}")
    finally:
        journal.edges = job.edges = original
    return journal


def rows_of(job: Job, attempt: int = 1) -> list[ResultRow]:
    commit = read_commit(job, attempt)
    lines = [line for part in commit.parts for line in (job.folder / part.path).read_bytes().splitlines()]
    return sorted((ResultRow.model_validate_json(line) for line in lines), key=lambda row: row.index)


def read_commit(job: Job, attempt: int = 1) -> Commit:
    return Commit.model_validate_json((job.attempt_files(attempt) / "commit.json").read_bytes())


def read_run(job: Job, attempt: int = 1) -> RunRecord:
    return RunRecord.model_validate_json((job.attempt_files(attempt) / "run.json").read_bytes())


def read_base(job: Job, attempt: int) -> AttemptBase:
    return AttemptBase.model_validate_json((job.attempt_files(attempt) / "base.json").read_bytes())


def part_names(job: Job, attempt: int = 1) -> list[str]:
    return sorted(path.name for path in job.attempt_files(attempt).glob("part-*"))
