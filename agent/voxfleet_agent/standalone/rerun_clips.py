"""Runs some clips of a finished run through the same stages again, and leaves no files behind."""

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
from voxfleet_agent.finished_runs.row_statistics import OWN, timing
from voxfleet_agent.finished_runs.run_files import RunFiles
from voxfleet_agent.folder_lock import make_private
from voxfleet_agent.standalone.attempt_specs import AttemptSpecs
from voxfleet_agent.standalone.job_documents import DEFAULT_NAMESPACE
from voxfleet_agent.standalone.mlx_audio_settings import MlxAudioSettings
from voxfleet_agent.standalone.progress import ProgressReporter
from voxfleet_agent.standalone.run_paths import without_agent
from voxfleet_agent.standalone.run_session import RunRefused, run_job
from voxfleet_agent.storage import Storage
from voxfleet_agent.volumes import unmounted_volume
from voxfleet_api.kinds import AudioBatchJob
from voxfleet_api.kinds.audio_batch_job import AudioBatchJobSpec, JobOutput, Sharding
from voxfleet_api.kinds.contract_limits import FailureBudget
from voxfleet_api.kinds.job_input import ClipInput, JobInput
from voxfleet_api.kinds.resource import LocalRef, ObjectMeta
from voxfleet_api.kinds.voice_contract import VoiceContractSpec
from voxfleet_api.protocol import S3Credentials
from voxfleet_api.rows import ClipStatus, ManifestRow, ResultRow

FOLDER_PREFIX = "voxfleet-again-"
_FOLDER_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
MAX_TRIES = 16
_ONE_SHARD = Sharding(target_audio="10000h")


@dataclass(frozen=True, slots=True)
class Host:
    """What this machine offers to a rerun."""

    settings: MlxAudioSettings
    cache: Path
    """The folder in which this user's fetched models lie."""
    memory_bytes: int
    credentials: S3Credentials | None
    allow: tuple[str, ...] = ()
    """Prefixes that a rerun may touch beside those of the clips."""


async def rerun_clips(
    setup: RunSetup, manifest: Sequence[ManifestRow], rows: Sequence[ResultRow], host: Host, reporter: ProgressReporter
) -> list[RowPair]:
    """Pairs each row with the row that its clip gets now, in the order of `rows`.

    `manifest`: the manifest of the finished run. A clip whose bytes have changed since fails with ChecksumMismatch.
    Raises RunRefused when nothing can run.
    """
    if len(rows) > MAX_CLIPS:
        raise RunRefused(f"{len(rows)} clips are too many at once; at most {MAX_CLIPS} are possible")
    if not rows:
        return []
    with private_folder(host.settings.scratch) as folder:
        output = folder / "out"
        output.mkdir()
        job = rerun_job(setup, [(row, manifest[row.index]) for row in rows], f"file://{output}/")
        specs = AttemptSpecs.of(job, rerun_contract(setup.contract))
        settings = replace(
            host.settings, scratch=folder, quarantine=folder / "quarantine", batch_size=usual_batch_size(rows)
        )
        paths = without_agent(
            specs,
            settings,
            folder / "state",
            host.cache,
            host.memory_bytes,
            lanes=1,
            allow=host.allow,
            https=https_of(host.credentials),
        )
        summary = await run_job(specs, paths, host.credentials, reporter)
        if summary.index_sha256 is None:
            raise RunRefused(f"the clips could not be run again: {summary.verdict.reason}")
        async with Storage(paths.allow) as storage:
            after = (await RunFiles(specs.output_folder, storage).finished()).rows
    return [RowPair(row, after[number]) for number, row in enumerate(rows)]


def rerun_job(setup: RunSetup, clips: Sequence[tuple[ResultRow, ManifestRow]], output_uri: str) -> AudioBatchJob:
    """Builds a job of one shard that holds these clips in their order. Pure."""
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
    """Returns the run's contract without its ladder, failure budget and quarantine actions. Pure.

    Only a whole job measures a ladder, spends a budget, halts its fan-out or retains clips.
    """
    kept = contract.quarantine.model_copy(update={"halt_fan_out_percent": None, "retain_for": None})
    batching = contract.batching.model_copy(update={"ladder": None})
    return contract.model_copy(update={"quarantine": kept, "batching": batching, "failure_budget": FailureBudget()})


def usual_batch_size(rows: Sequence[ResultRow]) -> int:
    """Returns the batch size that most of the rows had. Pure."""
    return Counter(row.batch_size or 1 for row in rows).most_common(1)[0][0]


@contextmanager
def private_folder(scratch: Path) -> Iterator[Path]:
    """Makes a new 0700 folder and removes it afterwards; after a kill, the next call removes it. Raises RunRefused."""
    if (volume := unmounted_volume(scratch)) is not None:
        raise RunRefused(f"the volume {volume} is not mounted, and {scratch} would fill the start disk; mount it")
    make_private(scratch)
    resolved = scratch.resolve()
    _remove_abandoned(resolved)
    folder, lock = _locked_folder(resolved)
    try:
        yield folder
    finally:
        try:
            shutil.rmtree(folder)
        finally:
            os.close(lock)


def _locked_folder(scratch: Path) -> tuple[Path, int]:
    """Returns (a new folder, its lock). Raises RunRefused."""
    for _ in range(MAX_TRIES):
        folder = Path(tempfile.mkdtemp(prefix=FOLDER_PREFIX, dir=scratch))
        # Until it is locked, another process may take it for an abandoned folder and remove it.
        with suppress(BlockingIOError, FileNotFoundError):
            return folder, _lock(folder)
    raise RunRefused(f"{scratch}: other runs took each new folder away; try again")


def _remove_abandoned(scratch: Path) -> None:
    """Removes this user's folders whose process is dead, because they hold speech; keeps all others."""
    for folder in scratch.glob(f"{FOLDER_PREFIX}*"):
        with suppress(OSError):
            if folder.lstat().st_uid == os.geteuid():
                lock = _lock(folder)
                try:
                    shutil.rmtree(folder)
                finally:
                    os.close(lock)


def _lock(folder: Path) -> int:
    """Locks the folder without waiting.

    Raises OSError when another process holds it, when it is gone, and when it is not a folder.
    """
    descriptor = os.open(folder, _FOLDER_FLAGS)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        folder.lstat()
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


MAX_CLIPS = 200
"""The most clips that one job may list."""


def worst(rows: Sequence[ResultRow], count: int) -> list[ResultRow]:
    """Returns the slowest and the longest clips in turn, the worst first; only clips that reached the model.

    A clip's waiting time does not make it slow: it was spent on other clips.
    """
    own_milliseconds = {row.index: timing(row.timings, OWN) for row in rows if row.timings is not None}
    ran = [row for row in rows if row.timings is not None and row.timings.infer_milliseconds > 0]
    slowest = sorted(ran, key=lambda row: (-own_milliseconds[row.index], row.index))
    longest = sorted(ran, key=lambda row: (-row.audio_milliseconds, row.index))
    in_turn = chain.from_iterable(zip_longest(slowest, longest))
    return list({row.index: row for row in in_turn if row is not None}.values())[:count]


def sample(rows: Sequence[ResultRow], count: int, seed: int) -> list[ResultRow]:
    """Returns random clips that have a result, by index; the same seed chooses the same clips."""
    succeeded = [row for row in rows if row.status is ClipStatus.SUCCEEDED]
    chosen = random.Random(seed).sample(succeeded, min(count, len(succeeded)))  # noqa: S311 -- must be repeatable
    return sorted(chosen, key=lambda row: row.index)
