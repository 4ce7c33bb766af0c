"""Runs the Plan, Process and Finalize stages of one job on this machine, without a cluster."""

from __future__ import annotations

import asyncio
import sys
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import nullcontext
from dataclasses import dataclass, field, replace

from voxfleet_agent import blas
from voxfleet_agent.lanes.lane_types import LaneHandle
from voxfleet_agent.local_services import LocalServices
from voxfleet_agent.logs import logger
from voxfleet_agent.stages.stage_context import ProgressSink
from voxfleet_agent.stages.stage_runner import StageEnd, StageRunner, failure_of
from voxfleet_agent.standalone.attempt_specs import AttemptSpecs, Committed, FrozenPlan
from voxfleet_agent.standalone.progress import REFRESH_SECONDS, ProgressReporter, StageProgress
from voxfleet_agent.standalone.run_journal import RunJournal
from voxfleet_agent.standalone.run_limit import RunLimit
from voxfleet_agent.standalone.run_verdict import committed_beyond_halt, concerns_job, may_try_again
from voxfleet_agent.standalone.stopwatch import Stopwatch
from voxfleet_agent.storage import Storage
from voxfleet_api.attempt_spec import AttemptKey, AttemptSpec
from voxfleet_api.failures import VoxFleetError
from voxfleet_api.kinds.audio_shard import Stage
from voxfleet_api.protocol import AttemptFailure, ShardResult
from voxfleet_api.results import SKIPPED_NAME, Counts, plan_folder

MAX_PART_NAMES = 1_000_000

_log = logger("voxfleet.local")


@dataclass(frozen=True, slots=True)
class RunResult:
    """The result of a run, however far it got."""

    plan: FrozenPlan | None
    committed: tuple[Committed, ...]
    failures: tuple[AttemptFailure, ...]
    """One failure for each shard without a result."""
    counts: Counts | None = None
    """Counts of the finalized job."""
    index_sha256: str | None = None
    stopped: str | None = None
    """Why clips were left undone, if the job's own limit stopped the run."""


@dataclass(frozen=True, slots=True)
class _ShardDone:
    clips: int
    audio_milliseconds: int


@dataclass(slots=True)
class _FanOut:
    """The Process shards of a run: which wait, which are committed, which failed."""

    waiting: deque[int]
    committed: dict[int, Committed] = field(default_factory=dict)
    failures: list[AttemptFailure] = field(default_factory=list)
    stopped: str | None = None


class JobRunner:
    """Runs one job. A second runner over the same journal continues where this one stopped."""

    def __init__(
        self,
        specs: AttemptSpecs,
        local: LocalServices,
        storage: Storage,
        run_journal: RunJournal,
        reporter: ProgressReporter,
        stopwatch: Stopwatch,
        limit: RunLimit | None,
    ) -> None:
        self._specs = specs
        self._scratch = local.scratch
        self._lanes = local.pools.lanes[: specs.job.spec.parallelism]
        self._storage = storage
        self._stage_runner = StageRunner(local, one_machine=True)
        self._run_journal = run_journal
        self._reporter = reporter
        self._stopwatch = stopwatch
        self._limit = limit
        self._began_seconds = asyncio.get_running_loop().time()
        self._done: dict[int, _ShardDone] = {}
        """By ordinal of a Process shard."""

    async def plan(self, *, retry_failed: bool) -> FrozenPlan | RunResult:
        """The job's plan, or the result of a run that has none. Raises asyncio.CancelledError when the run is parked.

        `retry_failed`: a finished job is planned again if clips failed or did not run, and these get another try.
        """
        specs = self._specs
        before = self._run_journal.delivered(specs.shard_uid(Stage.PLAN))
        planned_before = self._run_journal.last_delivered(specs.shard_uid(Stage.PLAN))
        if planned_before is None or planned_before.spec.plan is None:
            min_shards = specs.min_shards(len(self._lanes))
        else:  # it keeps its shards, however many lanes it has now: what they delivered stays theirs
            min_shards = planned_before.spec.plan.min_shards

        def spec_of(attempt: int) -> AttemptSpec:
            return specs.plan(attempt, min_shards)

        again = retry_failed and self._has_failed_clips()
        if again:
            self._reporter.say("plans again: clips failed before, and their causes may be mended")
        try:
            async with self._limited(applies=again or before is None):
                attempt, outcome = await self._deliver(
                    specs.shard_uid(Stage.PLAN), spec_of, None, self._planned, again=again
                )
        except TimeoutError:
            return RunResult(None, (), (), stopped=self._stopped())
        if isinstance(outcome, AttemptFailure) or outcome.plan is None:
            return RunResult(None, (), () if isinstance(outcome, ShardResult) else (outcome,))
        plan = FrozenPlan(attempt, outcome.plan)
        self._reporter.say(
            f"planned: {plan.total} clip{'s' * (plan.total != 1)}, {outcome.plan.audio_seconds} s of audio,"
            f" {plan.shards} shard{'s' * (plan.shards != 1)}"
        )
        planned = None if before is None or before.result is None else before.result.plan
        if planned is not None and planned.model_digest != plan.found.model_digest:
            self._reporter.say("the model's files have changed since: every clip runs again")
        selection = plan.found.selection
        if selection is not None and selection.skipped:
            named = f"; {plan_folder(attempt)}/{SKIPPED_NAME} names the rest" if selection.named else ""
            self._reporter.say(f"input: {selection.text}{named}")
        return plan

    async def run(self, plan: FrozenPlan) -> RunResult:
        """Runs what is left of the job. Raises asyncio.CancelledError when the run is parked."""
        fan = await self._process(plan)
        committed = tuple(fan.committed[ordinal] for ordinal in sorted(fan.committed))
        found = await self._finalize(plan, committed, tuple(fan.failures))
        return replace(found, stopped=fan.stopped)

    def _limited(self, *, applies: bool) -> asyncio.Timeout:
        """Ends its block with TimeoutError at the job's own limit; not one without work, which may come after it."""
        limit = self._limit if applies else None
        return asyncio.timeout_at(None if limit is None else self._began_seconds + limit.seconds)

    def _stopped(self) -> str | None:
        """Why, if the job's own limit was reached."""
        if self._limit is None:
            return None
        self._reporter.say(f"stopped: {self._limit.reason}")
        return self._limit.reason

    def _has_failed_clips(self) -> bool:
        """Whether the job was finalized with clips that failed or did not run."""
        plan = self._run_journal.delivered(self._specs.shard_uid(Stage.PLAN))
        final = self._run_journal.delivered(self._specs.shard_uid(Stage.FINALIZE))
        if plan is None or final is None or final.result is None or final.spec.finalize is None:
            return False
        counts = final.result.counts
        planned_since = final.spec.finalize.plan_attempt != plan.key.attempt
        return not planned_since and counts is not None and counts.failed + counts.not_run > 0

    def _planned(self, done: int, total: int, audio_milliseconds: int = 0) -> None:
        self._reporter.show(StageProgress("Plan", done, total))

    async def _process(self, plan: FrozenPlan) -> _FanOut:
        fan = _FanOut(deque())
        for ordinal in range(plan.shards):
            found = self._run_journal.delivered(self._specs.shard_uid(Stage.PROCESS, ordinal))
            process_spec = None if found is None else found.spec.process
            # What was delivered under an earlier Plan is inherited, row by row, by an attempt under this one.
            if (
                found is None
                or found.result is None
                or process_spec is None
                or process_spec.plan_attempt != plan.attempt
            ):
                fan.waiting.append(ordinal)
            else:
                fan.committed[ordinal] = Committed(ordinal, found.key.attempt, found.result)
                clips = plan.found.boundaries[ordinal + 1] - plan.found.boundaries[ordinal]
                # Nobody read how much audio it holds; shards hold about the same.
                self._done[ordinal] = _ShardDone(clips, _planned_milliseconds(plan) // plan.shards)
        if fan.committed and fan.waiting:
            self._reporter.say(f"goes on: {len(fan.committed)} of {plan.shards} shards are done")
        if fan.waiting and self._specs.job.spec.model.builtin is None:  # the built-in model is too small to gain by it
            slow = blas.slowness(sys.platform, blas.loaded_openblas(), blas.installed_openblas())
            if slow is not None:
                self._reporter.say(f"warning: {slow.found}; {slow.mend}")
        refreshing = asyncio.create_task(self._refresh())
        works = bool(fan.waiting) and not self._halted(fan)
        try:
            async with self._limited(applies=works), asyncio.TaskGroup() as group:
                for lane in self._lanes:
                    group.create_task(self._work(plan, fan, lane))
        except TimeoutError:
            fan.stopped = self._stopped()
        finally:
            refreshing.cancel()
            await asyncio.wait({refreshing})
        return fan

    async def _refresh(self) -> None:
        while True:
            await asyncio.sleep(REFRESH_SECONDS)
            self._reporter.refresh()

    async def _work(self, plan: FrozenPlan, fan: _FanOut, lane: LaneHandle) -> None:
        """Runs shard after shard on one lane."""
        specs = self._specs
        while fan.waiting and not self._halted(fan):
            ordinal = fan.waiting.popleft()
            uid = specs.shard_uid(Stage.PROCESS, ordinal)

            def spec_of(attempt: int, ordinal: int = ordinal) -> AttemptSpec:
                return specs.process(plan, ordinal, attempt)

            def progressed(done: int, total: int, audio_milliseconds: int = 0, ordinal: int = ordinal) -> None:
                self._done[ordinal] = _ShardDone(done, audio_milliseconds)
                self._reporter.show(_process_progress(plan, self._done.values()))

            attempt, outcome = await self._deliver(uid, spec_of, lane, progressed, again=True)
            if isinstance(outcome, ShardResult):
                fan.committed[ordinal] = Committed(ordinal, attempt, outcome)
            else:
                fan.failures.append(outcome)

    def _halted(self, fan: _FanOut) -> bool:
        halt_percent = self._specs.contract.quarantine.halt_fan_out_percent
        return (
            any(map(concerns_job, fan.failures))
            or committed_beyond_halt(fan.committed.values(), halt_percent) is not None
        )

    async def _finalize(
        self, plan: FrozenPlan, committed: tuple[Committed, ...], failures: tuple[AttemptFailure, ...]
    ) -> RunResult:
        uid = self._specs.shard_uid(Stage.FINALIZE)

        def spec_of(attempt: int) -> AttemptSpec:
            return self._specs.finalize(plan, committed, attempt)

        found = self._run_journal.delivered(uid)
        if found is not None and found.spec == spec_of(found.key.attempt) and found.result is not None:
            outcome: ShardResult | AttemptFailure = found.result
        else:
            _, outcome = await self._deliver(uid, spec_of, None, _untold, again=True)
        if isinstance(outcome, AttemptFailure):
            return RunResult(plan, committed, (*failures, outcome))
        return RunResult(plan, committed, failures, outcome.counts, outcome.commit_sha256)

    async def _deliver(
        self,
        uid: str,
        spec_of: Callable[[int], AttemptSpec],
        lane: LaneHandle | None,
        progress: ProgressSink,
        *,
        again: bool = False,
    ) -> tuple[int, ShardResult | AttemptFailure]:
        """Returns a shard's attempt and outcome; runs new attempts if the shard has no result, or if `again` is set."""
        found = self._run_journal.delivered(uid)
        if found is not None and found.result is not None and not again:
            return found.key.attempt, found.result
        tries = 0
        while True:
            tries += 1
            attempt, outcome = await self._try(uid, spec_of, lane, progress)
            if isinstance(outcome, ShardResult) or not may_try_again(outcome, tries):
                return attempt, outcome
            self._reporter.say(f"{outcome.failure_class}: {outcome.message}; trying again")

    async def _try(
        self, uid: str, spec_of: Callable[[int], AttemptSpec], lane: LaneHandle | None, progress: ProgressSink
    ) -> tuple[int, ShardResult | AttemptFailure]:
        try:
            first = 1 if self._run_journal.knows(uid) else await self._first_attempt(spec_of)
        except VoxFleetError as error:
            return 0, failure_of(error)
        spec = self._run_journal.begin(uid, spec_of, first)
        return spec.attempt, await self._attempt(spec, lane, progress)

    async def _first_attempt(self, spec_of: Callable[[int], AttemptSpec]) -> int:
        """The first attempt number that no part in the output has; parts may stem from a run whose journal is gone."""
        spec = spec_of(1)
        if spec.stage is not Stage.PROCESS:
            return 1
        folder = f"{spec.output_folder}/parts/{spec.shard_uid}/"
        names = await self._storage.list_names(folder, MAX_PART_NAMES)
        numbers = [int(first) for first in (name.partition("/")[0] for name in names) if first.isdecimal()]
        return max(numbers, default=0) + 1

    async def _attempt(
        self, spec: AttemptSpec, lane: LaneHandle | None, progress: ProgressSink
    ) -> ShardResult | AttemptFailure:
        self._stopwatch.work()
        record = await self._run_journal.running(spec)
        try:
            end = await self._run_stage(record.key, spec, lane, progress)
        except BaseException:
            if lane is not None:
                await lane.kill()
            raise
        residue_bytes = self._scratch.residue_bytes(record.key)
        await self._run_journal.ended(record, end.outcome, end.scratch_high_water_bytes, residue_bytes)
        return end.outcome

    async def _run_stage(
        self, key: AttemptKey, spec: AttemptSpec, lane: LaneHandle | None, progress: ProgressSink
    ) -> StageEnd:
        """Runs the stage and removes its scratch."""
        try:
            return await self._stage_runner.run(
                spec,
                lane,
                lambda: nullcontext(self._storage),
                progress=progress,
                working=_working,
                work_meter=lambda audio_milliseconds=0, clips=0: None,
                log=_log.bind(shard=spec.shard_name, attempt=spec.attempt),
            )
        finally:
            await self._scratch.remove_attempt(key)


def _process_progress(plan: FrozenPlan, shards: Iterable[_ShardDone]) -> StageProgress:
    found = list(shards)
    done, total_milliseconds = sum(shard.clips for shard in found), _planned_milliseconds(plan)
    heard_milliseconds = min(sum(shard.audio_milliseconds for shard in found), total_milliseconds)
    if done == plan.total:
        heard_milliseconds = total_milliseconds
    return StageProgress("Process", done, plan.total, heard_milliseconds, total_milliseconds)


def _planned_milliseconds(plan: FrozenPlan) -> int:
    return round(float(plan.found.audio_seconds) * 1000)


def _untold(done: int, total: int, audio_milliseconds: int = 0) -> None:
    """Finalize is over in a moment."""


async def _working() -> None:
    """Does nothing: a run without a cluster meters no machine time."""
