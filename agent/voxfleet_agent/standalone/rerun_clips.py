"""Runs some clips of a finished run again, through the very same stages, and leaves nothing behind."""

from __future__ import annotations

import fcntl
import os
import random
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from itertools import chain, zip_longest
from pathlib import Path

from voxfleet_agent.aws_environment import https_of
from voxfleet_agent.finished_runs.comparison import RowPair
from voxfleet_agent.finished_runs.repro_check import RunSetup
from voxfleet_agent.finished_runs.row_statistics import work_milliseconds
from voxfleet_agent.finished_runs.run_files import RunFiles
from voxfleet_agent.standalone.attempt_specs import AttemptSpecs
from voxfleet_agent.standalone.job_documents import DEFAULT_NAMESPACE
from voxfleet_agent.standalone.mlx_audio_settings import MlxAudioSettings
from voxfleet_agent.standalone.progress import ProgressReporter
from voxfleet_agent.standalone.run_paths import without_agent
from voxfleet_agent.standalone.run_session import RunRefused, make_private, run_job
from voxfleet_agent.storage import Storage
from voxfleet_api.kinds import AudioBatchJob
from voxfleet_api.kinds.audio_batch_job import AudioBatchJobSpec, JobOutput, Sharding
from voxfleet_api.kinds.contract_limits import FailureBudget
from voxfleet_api.kinds.job_input import ClipInput, JobInput
from voxfleet_api.kinds.resource import LocalRef, ObjectMeta
from voxfleet_api.kinds.voice_contract import VoiceContractSpec
from voxfleet_api.protocol import S3Credentials
from voxfleet_api.results import ClipStatus, ManifestRow, ResultRow

FOLDER_PREFIX = "voxfleet-again-"
_FOLDER_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
MAX_TRIES = 16
_ONE_SHARD = Sharding(target_audio="100000h")


@dataclass(frozen=True, slots=True)
class Host:
    """What this machine offers."""

    runbook: MlxAudioSettings
    cache: Path
    """This user's folder of fetched models."""
    memory_bytes: int
    credentials: S3Credentials | None
    allow: tuple[str, ...] = ()
    """Prefixes beside those of the clips."""


async def rerun_clips(
    setup: RunSetup, manifest: Sequence[ManifestRow], rows: Sequence[ResultRow], host: Host, reporter: ProgressReporter
) -> list[RowPair]:
    """Each of these rows beside the row that its clip gets now, in their order. `manifest`: of the finished run.

    Bytes that are no longer those of the run are ChecksumMismatch. Raises Unusable when nothing can run.
    """
    if len(rows) > MAX_CLIPS:
        raise RunRefused(f"{len(rows)} clips are too many at once; at most {MAX_CLIPS} are possible")
    if not rows:
        return []
    with own_folder(host.runbook.scratch) as folder:
        output = folder / "out"
        output.mkdir()
        job = rerun_job(setup, [(row, manifest[row.index]) for row in rows], f"file://{output}/")
        orders = AttemptSpecs.of(job, rerun_contract(setup.contract))
        runbook = replace(
            host.runbook, scratch=folder, quarantine=folder / "quarantine", batch_size=usual_batch_size(rows)
        )
        places = without_agent(
            orders,
            runbook,
            folder / "state",
            host.cache,
            host.memory_bytes,
            lanes=1,
            allow=host.allow,
            https=https_of(host.credentials),
        )
        summary = await run_job(orders, places, host.credentials, reporter)
        if summary.index_sha256 is None:
            raise RunRefused(f"the clips could not be run again: {summary.verdict.reason}")
        async with Storage(places.allow) as storage:
            after = (await RunFiles(orders.output_folder, storage).finished()).rows
    return [RowPair(row, after[number]) for number, row in enumerate(rows)]


def rerun_job(setup: RunSetup, clips: Sequence[tuple[ResultRow, ManifestRow]], output_uri: str) -> AudioBatchJob:
    """One shard of these clips, in their order. Pure."""
    listed = tuple(
        ClipInput(id=f"clip-{row.index}", uri=clip.uri, text=clip.text, sha256=row.sha256 or clip.sha256)
        for row, clip in clips
    )
    spec = AudioBatchJobSpec(
        contract_ref=LocalRef(name="again"),
        task=setup.task,
        model=setup.model,
        input=JobInput(clips=listed),
        output=JobOutput(uri=output_uri),
        transcription=setup.transcription,
        synthesis=setup.synthesis,
        parallelism=1,
        sharding=_ONE_SHARD,
    )
    return AudioBatchJob(metadata=ObjectMeta(name="again", namespace=DEFAULT_NAMESPACE), spec=spec)


def rerun_contract(contract: VoiceContractSpec) -> VoiceContractSpec:
    """The run's own, but for what only a whole job needs: its ladder is not measured, its budget not spent. Pure."""
    kept = contract.quarantine.model_copy(update={"halt_fan_out_percent": None, "retain_for": None})
    batching = contract.batching.model_copy(update={"ladder": None})
    return contract.model_copy(update={"quarantine": kept, "batching": batching, "failure_budget": FailureBudget()})


def usual_batch_size(rows: Sequence[ResultRow]) -> int:
    """What most of them were worked on with. Pure."""
    return Counter(row.batch_size or 1 for row in rows).most_common(1)[0][0]


@contextmanager
def own_folder(scratch: Path) -> Iterator[Path]:
    """A new 0700 folder that goes when its use ends, or after a kill when the next one is made."""
    make_private(scratch)
    whole = scratch.resolve()
    _remove_left(whole)
    folder, lock = _locked_folder(whole)
    try:
        yield folder
    finally:
        try:
            shutil.rmtree(folder)
        finally:
            os.close(lock)


def _locked_folder(scratch: Path) -> tuple[Path, int]:
    """(a new folder, its lock). Raises Unusable."""
    for _ in range(MAX_TRIES):
        folder = Path(tempfile.mkdtemp(prefix=FOLDER_PREFIX, dir=scratch))
        # Until it is locked, another process may take it for one that was left.
        with suppress(BlockingIOError, FileNotFoundError):
            return folder, _lock(folder)
    raise RunRefused(f"{scratch}: other runs took each new folder away; try again")


def _remove_left(scratch: Path) -> None:
    """What a process of this user left that lives no more: it holds speech. Whatever else has such a name stays."""
    for folder in scratch.glob(f"{FOLDER_PREFIX}*"):
        with suppress(OSError):
            if folder.lstat().st_uid == os.geteuid():
                lock = _lock(folder)
                try:
                    shutil.rmtree(folder)
                finally:
                    os.close(lock)


def _lock(folder: Path) -> int:
    """Raises OSError: at once when another process holds it, when it is gone, and when it is no folder."""
    descriptor = os.open(folder, _FOLDER_FLAGS)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        folder.lstat()
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


MAX_CLIPS = 200
"""As many as one job may list."""


def worst(rows: Sequence[ResultRow], count: int) -> list[ResultRow]:
    """The slowest and the longest clips in turn, the worst first; only those that reached the model.

    Slow is what took long itself: the time that a clip waited was others'.
    """
    ran = [row for row in rows if row.timings is not None and row.timings.infer_milliseconds > 0]
    slowest = sorted(ran, key=lambda row: (-work_milliseconds(row), row.index))
    longest = sorted(ran, key=lambda row: (-row.audio_milliseconds, row.index))
    in_turn = chain.from_iterable(zip_longest(slowest, longest))
    return list({row.index: row for row in in_turn if row is not None}.values())[:count]


def sample(rows: Sequence[ResultRow], count: int, seed: int) -> list[ResultRow]:
    """Clips with a result, by index; the same seed chooses the same ones."""
    succeeded = [row for row in rows if row.status is ClipStatus.SUCCEEDED]
    chosen = random.Random(seed).sample(succeeded, min(count, len(succeeded)))  # noqa: S311 -- to be repeated
    return sorted(chosen, key=lambda row: row.index)
