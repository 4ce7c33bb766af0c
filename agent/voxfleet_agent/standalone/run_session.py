"""Opens what a run needs, runs it, and closes it in order."""

from __future__ import annotations

import asyncio
import contextlib
import os
from bisect import bisect_right
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

from voxfleet_agent.clock import SystemClock
from voxfleet_agent.failure_budget import MacFailureBudgets
from voxfleet_agent.finished_runs.row_statistics import RowStatistics, row_statistics
from voxfleet_agent.finished_runs.run_files import PACE_NAME, RunFiles, RunPace, UnreadableRun
from voxfleet_agent.folder_lock import FolderInUseError, lock_folder
from voxfleet_agent.journal.journal import Journal, JournalError
from voxfleet_agent.ladder.ladder_book import MacLadderBook
from voxfleet_agent.lane_protocol.lane_lock import LaneBusyError
from voxfleet_agent.lanes.lane_user import LaneUser, LaneUserError
from voxfleet_agent.lanes.pools import LanePools
from voxfleet_agent.machine import LocalMachine, read_machine
from voxfleet_agent.models.store import ModelStore
from voxfleet_agent.quarantine import QuarantineStore
from voxfleet_agent.scratch import ATTEMPTS, Scratch
from voxfleet_agent.stages.context import Provenance
from voxfleet_agent.stages.finalize.finalize_stage import run_finalize
from voxfleet_agent.stages.plan.plan_stage import run_plan
from voxfleet_agent.stages.process.process_stage import run_process
from voxfleet_agent.standalone.attempt_specs import AttemptSpecs
from voxfleet_agent.standalone.job_runner import JobRunner, RunResult, RunServices
from voxfleet_agent.standalone.progress import ProgressReporter
from voxfleet_agent.standalone.run_journal import RunJournal
from voxfleet_agent.standalone.run_paths import RunPaths
from voxfleet_agent.standalone.run_verdict import RunEnding, RunVerdict, judge, refused
from voxfleet_agent.standalone.stopwatch import Stopwatch, replace_text
from voxfleet_agent.standalone.summary import RunSummary, run_anew
from voxfleet_agent.storage import Storage
from voxfleet_api.digest import canonical_json
from voxfleet_api.failures import VoxFleetError
from voxfleet_api.kinds.audio_shard import Stage
from voxfleet_api.protocol import S3Credentials
from voxfleet_api.results import INDEX_NAME, Counts, ResultRow

STAGES = {Stage.PLAN: run_plan, Stage.PROCESS: run_process, Stage.FINALIZE: run_finalize}
MAX_RUNS_AT_A_TIME = 16
MAX_PLAN_FILES = 10_000


class RunRefused(Exception):
    """The run cannot begin; the message says what to change."""


async def run_job(
    orders: AttemptSpecs, places: RunPaths, credentials: S3Credentials | None, reporter: ProgressReporter
) -> RunSummary:
    """The whole job. Cancelling it parks the run, and the summary says so.

    Raises Unusable and OSError before anything runs.
    """
    make_private(places.state)
    try:
        async with _opened(places, credentials) as (equipment, attempts):
            return await _run(orders, places, equipment, attempts, reporter)
    finally:
        if places.owns_scratch:
            _remove_empty(places.scratch / ATTEMPTS, places.scratch)


async def _run(
    orders: AttemptSpecs, places: RunPaths, equipment: RunServices, attempts: RunJournal, reporter: ProgressReporter
) -> RunSummary:
    await _require_own_output(orders, places, equipment.storage, attempts)
    _require_same(orders, places, attempts)
    stopwatch = Stopwatch(places.state / "elapsed.json")
    runner = JobRunner(orders, equipment, attempts, reporter)
    ended = RunResult(None, (), ())
    try:
        ended = await runner.run()
        verdict = _verdict(orders, ended)
    except asyncio.CancelledError:
        verdict = RunVerdict(RunEnding.PARKED, "interrupted")
    finally:
        elapsed = stopwatch.stop(runner.worked)
    lanes = min(len(equipment.lanes), orders.job.spec.parallelism)
    found, inherited = None, 0
    if ended.index_sha256 is not None:
        inheritance = InheritedResults(orders, attempts, ended)
        found = await _figures(orders, equipment.storage, inheritance, reporter)
        inherited = inheritance.clips
        if not runner.worked and found is None:
            raise RunRefused(
                f"{orders.job.metadata.name} finished at {elapsed.ended_at}, but its results cannot be read;"
                f" {run_anew(orders.output_folder, str(places.state))}"
            )
    all_inherited = found is not None and 0 < found.counts.total == inherited
    if runner.worked and found is not None and not all_inherited:
        wall_milliseconds = None if inherited else elapsed.milliseconds
        await _note(orders, equipment.storage, RunPace(wall_milliseconds=wall_milliseconds, lanes=lanes), reporter)
    high_water_bytes, residue_bytes = attempts.scratch_bytes()
    return RunSummary(
        job=orders.job.metadata.name,
        namespace=orders.job.metadata.namespace,
        uid=orders.uid,
        verdict=verdict,
        output=orders.output_folder,
        index_sha256=ended.index_sha256,
        figures=found,
        shards=0 if ended.plan is None else ended.plan.shards,
        shards_committed=len(ended.committed),
        lanes=lanes,
        wall_milliseconds=elapsed.milliseconds,
        ran=runner.worked and not all_inherited,
        inherited=inherited,
        ended_at=elapsed.ended_at,
        scratch_high_water_bytes=high_water_bytes,
        scratch_residue_bytes=residue_bytes,
        state=str(places.state),
        log=str(places.log),
    )


async def _figures(
    orders: AttemptSpecs, storage: Storage, inheritance: InheritedResults, reporter: ProgressReporter
) -> RowStatistics | None:
    files = RunFiles(orders.output_folder, storage)
    try:
        return row_statistics(inheritance.counted(await files.rows(await files.index())))
    except UnreadableRun as error:
        reporter.say(f"the results are written, but cannot be read back: {error}")
        return None


async def _note(orders: AttemptSpecs, storage: Storage, pace: RunPace, reporter: ProgressReporter) -> None:
    """Beside the results and not among them: on a fleet nobody's watch says how long a job took."""
    try:
        await storage.put(f"{orders.output_folder}/{PACE_NAME}", canonical_json(pace.dump()))
    except VoxFleetError as error:
        reporter.say(f"{PACE_NAME} could not be written: {error.message}")


def _verdict(orders: AttemptSpecs, ended: RunResult) -> RunVerdict:
    if ended.plan is None:
        return refused(ended.failures)
    return judge(ended.counts or Counts(), ended.committed, ended.failures, orders.contract.quarantine)


@asynccontextmanager
async def _opened(places: RunPaths, credentials: S3Credentials | None) -> AsyncIterator[tuple[RunServices, RunJournal]]:
    async with contextlib.AsyncExitStack() as stack:
        scratch = _scratch(places)
        stack.callback(scratch.close)
        if places.owns_scratch:
            await scratch.sweep(())
            make_private(places.quarantine)
        try:
            journal = await Journal.open(places.state, places.journal)
        except (FolderInUseError, JournalError) as error:
            raise RunRefused(f"{error}; or this very run goes on in another process") from error
        stack.push_async_callback(journal.close)
        machine = await asyncio.to_thread(read_machine, places.state)
        if not machine.runtime_compatible:
            raise RunRefused(f"{machine.runtime_message}; `voxfleet-agent doctor` says how to mend it")
        lanes = places.lanes
        if places.owns_scratch:
            lanes, lock = _free_lanes(places.lanes)
            stack.callback(os.close, lock)
        pools = LanePools(places.pools, lanes, quarantine=places.quarantine, lane_user=_account(places))
        stack.push_async_callback(pools.close)
        try:
            await pools.reap_stale()
        except LaneBusyError as error:
            raise RunRefused(str(error)) from error
        storage = await stack.enter_async_context(_storage(places, credentials))
        quarantine = QuarantineStore(places.quarantine, places.quarantine_quota_bytes, SystemClock())
        await quarantine.expire()
        equipment = _equip(places, journal, scratch, machine, pools, storage, quarantine)
        yield equipment, await RunJournal.load(journal)


def _scratch(places: RunPaths) -> Scratch:
    make_private(places.scratch)
    try:
        return Scratch(places.scratch, places.scratch_quota_bytes, places.scratch_min_free_bytes)
    except FolderInUseError as error:
        if places.owns_scratch:
            raise RunRefused(f"this very run goes on in another process: {error}") from error
        raise RunRefused(
            f"the agent of this configuration is running and holds its scratch folder ({places.scratch}); stop it"
            " first, give the job to it, or run without -c"
        ) from error


def _free_lanes(folder: Path) -> tuple[Path, int]:
    """(a folder for lanes that no other run uses now, its lock)."""
    make_private(folder)
    for number in range(MAX_RUNS_AT_A_TIME):
        with contextlib.suppress(FolderInUseError):  # another run holds it
            return folder / str(number), lock_folder(folder / str(number))
    raise RunRefused(f"{MAX_RUNS_AT_A_TIME} runs go on at this moment; wait for one of them")


def _account(places: RunPaths) -> LaneUser | None:
    try:
        return None if places.lane_user is None else LaneUser.from_name(places.lane_user)
    except LaneUserError as error:
        raise RunRefused(str(error)) from error


def _storage(places: RunPaths, credentials: S3Credentials | None) -> Storage:
    try:
        return Storage(places.allow, credentials, places.https)
    except VoxFleetError as error:
        raise RunRefused(
            f"{error.message}; write prefixes such as file:///data/ or s3://bucket/ with --allow"
        ) from error


def _equip(
    places: RunPaths,
    journal: Journal,
    scratch: Scratch,
    machine: LocalMachine,
    pools: LanePools,
    storage: Storage,
    quarantine: QuarantineStore,
) -> RunServices:
    least_memory = min(pool.memory_cap_bytes for pool in places.pools)
    return RunServices(
        journal=journal,
        scratch=scratch,
        storage=storage,
        lanes=pools.lanes,
        models=ModelStore(places.models.path, places.models.quota_bytes),
        ladders=MacLadderBook(places.ladders, machine.chip, machine.versions, least_memory),
        open_quarantine=quarantine.open,
        open_budget=MacFailureBudgets(SystemClock()).open,
        stages=STAGES,
        provenance=Provenance(
            chip=machine.chip, versions=machine.versions, memory_bytes=machine.memory_bytes, os=machine.os
        ),
    )


async def _require_own_output(orders: AttemptSpecs, places: RunPaths, storage: Storage, attempts: RunJournal) -> None:
    """A finished run that another state folder knows is not written over.

    Nor is any run of a job that was copied from a cluster: it names its UID, and with it the folder that the cluster
    wrote.
    """
    if not attempts.is_new:
        return
    try:
        finished = await storage.exists(f"{orders.output_folder}/{INDEX_NAME}")
        foreign = orders.job.metadata.uid and await storage.list_names(f"{orders.output_folder}/plan/", MAX_PLAN_FILES)
    except VoxFleetError as error:
        raise RunRefused(f"{orders.output_folder}: {error.message}") from error
    if finished and not foreign:
        raise RunRefused(
            f"nothing ran: {orders.output_folder} holds this job's finished run, and {places.state} knows nothing of"
            f" it; {run_anew(orders.output_folder, 'the state folder of that run, which -c decides')}"
        )
    if foreign:
        raise RunRefused(
            f"metadata.uid: {orders.output_folder} holds the results of the job with this UID, and this machine did not"
            " write them; leave metadata.uid out, and the run gets a folder of its own"
        )


def _require_same(orders: AttemptSpecs, places: RunPaths, attempts: RunJournal) -> None:
    """A job that names its UID is the same run whatever else changed in it, and would get the old run's results."""
    file = places.state / "identity"
    if attempts.is_new:
        replace_text(file, orders.identity)
        return
    try:
        begun_with = file.read_text()
    except (FileNotFoundError, UnicodeDecodeError):
        begun_with = ""
    if not begun_with:
        raise RunRefused(
            f"{file} is missing or damaged, so nobody knows what this run was begun with;"
            f" {run_anew(orders.output_folder, str(places.state))}"
        )
    if begun_with != orders.identity:
        raise RunRefused(
            "metadata.uid: the run with this UID was begun here with other documents or other MLX_AUDIO_ names; write"
            " and set what it was begun with, or leave metadata.uid out for a run of its own"
        )


def make_private(folder: Path) -> None:
    """Creates the folder and every missing one above it, each 0700; leaves what is there as it is."""
    for path in reversed((folder, *folder.parents)):
        with contextlib.suppress(FileExistsError):
            path.mkdir(mode=0o700)


def _remove_empty(*folders: Path) -> None:
    for folder in folders:
        with contextlib.suppress(OSError):  # something else lies in it, or it was never made
            folder.rmdir()


class InheritedResults:
    """Clips whose rows were in the output before this run: no watch of this run saw them made."""

    def __init__(self, orders: AttemptSpecs, attempts: RunJournal, ended: RunResult) -> None:
        self._attempts = attempts
        self._boundaries = () if ended.plan is None else ended.plan.found.boundaries
        self._uids = [orders.shard_uid(Stage.PROCESS, ordinal) for ordinal in range(len(self._boundaries))]
        self.clips = 0

    def counted(self, rows: Iterable[ResultRow]) -> Iterator[ResultRow]:
        """The same rows."""
        for row in rows:
            uid = self._uids[bisect_right(self._boundaries, row.index) - 1]
            self.clips += self._attempts.inherited(uid, row.attempt)
            yield row
