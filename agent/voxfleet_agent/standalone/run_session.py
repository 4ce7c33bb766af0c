"""Runs one job on this machine: opens the services, runs the stages, makes the summary, and closes in order."""

from __future__ import annotations

import asyncio
import shutil
from bisect import bisect_right
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path

from voxfleet_agent.addresses import AllowList
from voxfleet_agent.config import ConfigError
from voxfleet_agent.confinement.confinement import in_words
from voxfleet_agent.finished_runs.row_statistics import RowStatistics, row_statistics
from voxfleet_agent.finished_runs.run_files import PACE_NAME, RunFiles, RunPace, UnreadableRun
from voxfleet_agent.folder_lock import FolderInUseError, make_private
from voxfleet_agent.journal.journal import JournalError
from voxfleet_agent.lane_protocol.lane_lock import LaneBusyError
from voxfleet_agent.lanes.lane_user import LaneUserError
from voxfleet_agent.local_services import (
    LocalServices,
    NoFreeLanesError,
    ServiceSettings,
    VolumeMissingError,
    open_services,
    require_volumes,
)
from voxfleet_agent.scratch import ATTEMPTS
from voxfleet_agent.standalone.attempt_specs import AttemptSpecs, FrozenPlan
from voxfleet_agent.standalone.fleet_fields import remarks
from voxfleet_agent.standalone.job_runner import JobRunner, RunResult
from voxfleet_agent.standalone.output_owner import OutputOwner, OutputTaken, claim_output, owner_of
from voxfleet_agent.standalone.progress import ProgressReporter
from voxfleet_agent.standalone.run_journal import RunJournal
from voxfleet_agent.standalone.run_limit import run_limit
from voxfleet_agent.standalone.run_paths import FILE_SCHEME, RunPaths, remove_empty, remove_plan_traces
from voxfleet_agent.standalone.run_verdict import RunEnding, RunVerdict, judge, refused
from voxfleet_agent.standalone.stopwatch import SAVE_SECONDS, Stopwatch, replace_text
from voxfleet_agent.standalone.summary import RunSummary, run_anew
from voxfleet_agent.storage import Mounts, Storage
from voxfleet_api.digest import canonical_json
from voxfleet_api.failures import VoxFleetError
from voxfleet_api.kinds.audio_shard import Stage
from voxfleet_api.protocol import S3Credentials
from voxfleet_api.results import INDEX_NAME, Counts
from voxfleet_api.rows import ResultRow

MAX_PLAN_FILES = 10_000


class RunRefused(Exception):
    """The run cannot begin; the message says what to change."""


async def run_job(
    specs: AttemptSpecs,
    paths: RunPaths,
    credentials: S3Credentials | None,
    reporter: ProgressReporter,
    *,
    retry_failed: bool = False,
) -> RunSummary:
    """Runs the whole job. Cancelling it parks the run, and the summary says so.

    Raises RunRefused or OSError before anything runs.
    """
    refuse_unmounted(paths.settings)
    make_private(paths.state)
    try:
        async with open_run(paths, credentials, reporter) as (local, storage, run_journal):
            is_new = run_journal.is_new
            try:
                summary = await _run(specs, paths, local, storage, run_journal, reporter, retry_failed)
            except RunRefused:
                if is_new:
                    await _remove_traces(specs, paths, storage)
                raise
            if is_new and summary.verdict.ending is RunEnding.REFUSED:
                await _remove_traces(specs, paths, storage)
            return summary
    finally:
        if paths.settings.of_one_run:
            remove_empty(paths.settings.scratch / ATTEMPTS, paths.settings.scratch)


async def _remove_traces(specs: AttemptSpecs, paths: RunPaths, storage: Storage) -> None:
    """A job that was refused before anything ran leaves no folder. Call it while this process holds the run's locks."""
    shutil.rmtree(paths.state, ignore_errors=True)
    remove_empty(paths.state.parent)
    if specs.output_folder.startswith(FILE_SCHEME):
        folder = Path(specs.output_folder.removeprefix(FILE_SCHEME))
        with suppress(OSError, VoxFleetError):  # the refusal matters more
            await storage.call_at(str(folder), lambda: remove_plan_traces(folder))


async def _run(
    specs: AttemptSpecs,
    paths: RunPaths,
    local: LocalServices,
    storage: Storage,
    run_journal: RunJournal,
    reporter: ProgressReporter,
    retry_failed: bool,
) -> RunSummary:
    if run_journal.is_new:
        await _require_no_results(specs, paths, storage)
    owner = owner_of(paths.state)
    await _claim_output(specs, paths, storage, owner, write=False)
    _require_same(specs, paths, run_journal)
    lanes = min(len(local.pools.lanes), specs.job.spec.parallelism)
    stopwatch = Stopwatch(paths.state / "elapsed.json", lanes)
    limit = run_limit(specs.job.spec, lanes, stopwatch.before.machine_milliseconds / 1000)
    runner = JobRunner(specs, local, storage, run_journal, reporter, stopwatch, limit)
    for remark in remarks(specs.job.spec, local.machine.chip, local.machine.memory_bytes):
        reporter.say(remark)
    result = RunResult(None, (), ())
    saving = asyncio.create_task(_save_forever(stopwatch))
    try:
        plan = await runner.plan(retry_failed=retry_failed)
        if isinstance(plan, FrozenPlan):
            # Only now, because a job that Plan refuses leaves nothing behind.
            await _claim_output(specs, paths, storage, owner, write=True)
            result = await runner.run(plan)
        else:
            result = plan
        verdict = _verdict(specs, result)
    except asyncio.CancelledError:
        verdict = RunVerdict(RunEnding.PARKED, "interrupted")
    finally:
        saving.cancel()
        elapsed = stopwatch.stop()
    found, ladder_milliseconds, inherited = None, 0, 0
    if result.index_sha256 is not None:
        inheritance = InheritedResults(specs, run_journal, result)
        found, ladder_milliseconds = await _statistics(specs, storage, inheritance, reporter)
        inherited = inheritance.clips
        if not stopwatch.worked and found is None:
            raise RunRefused(
                f"{specs.job.metadata.name} finished at {elapsed.ended_at}, but its results cannot be read;"
                f" {run_anew(specs.output_folder, str(paths.state))}"
            )
    all_inherited = found is not None and 0 < found.counts.total == inherited
    if stopwatch.worked and found is not None and not all_inherited:
        wall_milliseconds = None if inherited else elapsed.milliseconds
        await _write_pace(specs, storage, RunPace(wall_milliseconds=wall_milliseconds, lanes=lanes), reporter)
    high_water_bytes, residue_bytes = run_journal.scratch_bytes()
    return RunSummary(
        job=specs.job.metadata.name,
        namespace=specs.job.metadata.namespace,
        uid=specs.uid,
        verdict=verdict,
        output=specs.output_folder,
        index_sha256=result.index_sha256,
        selection=None if result.plan is None else result.plan.found.selection,
        figures=found,
        shards=0 if result.plan is None else result.plan.shards,
        shards_committed=len(result.committed),
        lanes=lanes,
        wall_milliseconds=elapsed.milliseconds,
        ladder_milliseconds=ladder_milliseconds,
        ran=stopwatch.worked and not all_inherited,
        inherited=inherited,
        ended_at=elapsed.ended_at,
        scratch_high_water_bytes=high_water_bytes,
        scratch_residue_bytes=residue_bytes,
        state=str(paths.state),
        log=str(paths.log),
    )


async def _save_forever(stopwatch: Stopwatch) -> None:
    while True:
        await asyncio.sleep(SAVE_SECONDS)
        stopwatch.save()


async def _statistics(
    specs: AttemptSpecs, storage: Storage, inheritance: InheritedResults, reporter: ProgressReporter
) -> tuple[RowStatistics | None, int]:
    """Returns (what the rows add up to, milliseconds of lane time that measured batch sizes)."""
    files = RunFiles(specs.output_folder, storage)
    try:
        index = await files.index()
        measured = sum(run.ladder_milliseconds for run in (await files.bundle(index)).runs)
        return row_statistics(inheritance.counted(await files.rows(index))), measured
    except UnreadableRun as error:
        reporter.say(f"the results are written, but cannot be read back: {error}")
        return None, 0


async def _write_pace(specs: AttemptSpecs, storage: Storage, pace: RunPace, reporter: ProgressReporter) -> None:
    """Writes the run's wall time beside its results. index.json does not list it, because a fleet has no such time."""
    try:
        await storage.put(f"{specs.output_folder}/{PACE_NAME}", canonical_json(pace.dump()))
    except VoxFleetError as error:
        reporter.say(f"{PACE_NAME} could not be written: {error.message}")


def _verdict(specs: AttemptSpecs, result: RunResult) -> RunVerdict:
    if result.plan is None:
        return refused(result.failures, result.stopped)
    return judge(
        result.counts or Counts(), result.committed, result.failures, specs.contract.quarantine, result.stopped
    )


@asynccontextmanager
async def open_run(
    paths: RunPaths, credentials: S3Credentials | None, reporter: ProgressReporter
) -> AsyncIterator[tuple[LocalServices, Storage, RunJournal]]:
    """Opens what the run's stages run with. Raises RunRefused, OSError."""
    async with AsyncExitStack() as stack:
        local = await _open_services(stack, paths.settings)
        if not local.machine.runtime_compatible:
            raise RunRefused(f"{local.machine.runtime_message}; `voxfleet-agent doctor` says how to mend it")
        if paths.settings.of_one_run:
            make_private(paths.settings.quarantine)
        storage = await stack.enter_async_context(_storage(paths, credentials))
        await local.quarantine.expire()
        if local.confinement.reached:
            reporter.say(
                f"lanes are not fully confined on this machine ({in_words(local.confinement.guards)}): decoding a"
                f" hostile clip could reach {', '.join(local.confinement.reached)}"
            )
        yield local, storage, await RunJournal.load(local.journal)


def refuse_unmounted(settings: ServiceSettings) -> None:
    """Raises RunRefused. Call it before anything makes a folder of the run."""
    try:
        require_volumes(settings)
    except VolumeMissingError as error:
        raise RunRefused(str(error)) from error


async def _open_services(stack: AsyncExitStack, settings: ServiceSettings) -> LocalServices:
    refuse_unmounted(settings)
    try:
        if settings.of_one_run:
            make_private(settings.scratch)
        return await stack.enter_async_context(open_services(settings))
    except (ConfigError, LaneUserError, LaneBusyError, NoFreeLanesError) as error:
        raise RunRefused(str(error)) from error
    except JournalError as error:
        raise RunRefused(f"{error}; or this very run goes on in another process") from error
    except FolderInUseError as error:
        if error.folder != settings.scratch:
            raise RunRefused(f"{error}; or this very run goes on in another process") from error
        if settings.of_one_run:
            raise RunRefused(f"this very run goes on in another process: {error}") from error
        raise RunRefused(
            f"the agent of this configuration is running and holds its scratch folder ({settings.scratch}); stop it"
            " first, give the job to it, or run without -c"
        ) from error


def _storage(paths: RunPaths, credentials: S3Credentials | None) -> Storage:
    try:
        mounts = Mounts(AllowList(paths.allow).folders, paths.file_timeout_seconds)
        return Storage(paths.allow, credentials, paths.https, mounts=mounts)
    except VoxFleetError as error:
        message = f"{error.message}; write prefixes such as file:///data/ or s3://bucket/ with --allow"
        raise RunRefused(message) from error


async def _claim_output(
    specs: AttemptSpecs, paths: RunPaths, storage: Storage, owner: OutputOwner, *, write: bool
) -> None:
    """Raises RunRefused when another state folder began what is in the output."""
    try:
        await claim_output(storage, specs.output_folder, owner, paths.settings.journal.name, write=write)
    except OutputTaken as error:
        raise RunRefused(str(error)) from error
    except VoxFleetError as error:
        raise RunRefused(f"{specs.output_folder}: {error.message}") from error


async def _require_no_results(specs: AttemptSpecs, paths: RunPaths, storage: Storage) -> None:
    """Refuses to write over a finished run that another state folder knows, and over a cluster's results.

    Also refuses a job that was copied from a cluster: its UID leads to the folder with the cluster's results.
    """
    try:
        finished = await storage.exists(f"{specs.output_folder}/{INDEX_NAME}")
        foreign = specs.job.metadata.uid and await storage.list_names(f"{specs.output_folder}/plan/", MAX_PLAN_FILES)
    except VoxFleetError as error:
        raise RunRefused(f"{specs.output_folder}: {error.message}") from error
    if finished and not foreign:
        raise RunRefused(
            f"nothing ran: {specs.output_folder} holds this job's finished run, and {paths.state} knows nothing of"
            f" it; {run_anew(specs.output_folder, 'the state folder of that run, which -c decides')}"
        )
    if foreign:
        raise RunRefused(
            f"metadata.uid: {specs.output_folder} holds the results of the job with this UID, and this machine did not"
            " write them; leave metadata.uid out, and the run gets a folder of its own"
        )


def _require_same(specs: AttemptSpecs, paths: RunPaths, run_journal: RunJournal) -> None:
    """Refuses a changed job that has the UID of an earlier run, because it would get that run's results."""
    file = paths.state / "identity"
    if run_journal.is_new:
        replace_text(file, specs.identity)
        return
    try:
        begun_with = file.read_text()
    except (FileNotFoundError, UnicodeDecodeError):
        begun_with = ""
    if not begun_with:
        raise RunRefused(
            f"{file} is missing or damaged, so nobody knows what this run was begun with;"
            f" {run_anew(specs.output_folder, str(paths.state))}"
        )
    if begun_with != specs.identity:
        raise RunRefused(
            "metadata.uid: the run with this UID was begun here with other documents or other MLX_AUDIO_ names; write"
            " and set what it was begun with, or leave metadata.uid out for a run of its own"
        )


class InheritedResults:
    """Counts clips whose rows were in the output before this run began; their wall time is unknown."""

    def __init__(self, specs: AttemptSpecs, run_journal: RunJournal, result: RunResult) -> None:
        self._run_journal = run_journal
        self._boundaries = () if result.plan is None else result.plan.found.boundaries
        self._uids = [specs.shard_uid(Stage.PROCESS, ordinal) for ordinal in range(len(self._boundaries))]
        self.clips = 0

    def counted(self, rows: Iterable[ResultRow]) -> Iterator[ResultRow]:
        """Yields the same rows and counts the inherited ones."""
        for row in rows:
            uid = self._uids[bisect_right(self._boundaries, row.index) - 1]
            self.clips += self._run_journal.inherited(uid, row.attempt)
            yield row
