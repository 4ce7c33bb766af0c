"""Runs clips of a finished run again: the worst ones, or a sample, and checks everything that its bundle names."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path

import psutil

from voxfleet_agent import blas
from voxfleet_agent.aws_environment import from_environment, https_of
from voxfleet_agent.config import ModelCacheConfig
from voxfleet_agent.finished_runs.comparison import RowPair
from voxfleet_agent.finished_runs.repro_check import (
    DTYPE,
    ReproCheck,
    changed_files,
    model_differences,
    model_of,
    nothing_to_run_again,
    setup_of,
    version_differences,
)
from voxfleet_agent.finished_runs.run_files import RunFiles, open_run
from voxfleet_agent.folder_lock import make_private
from voxfleet_agent.machine import read_machine
from voxfleet_agent.models.model_access import ModelAccess
from voxfleet_agent.models.store import ModelStore
from voxfleet_agent.stages.finalize.repro import ReproBundle
from voxfleet_agent.standalone.mlx_audio_settings import settle_settings
from voxfleet_agent.standalone.progress import ProgressReporter
from voxfleet_agent.standalone.rerun_clips import Host, rerun_clips, sample, worst
from voxfleet_agent.standalone.run_paths import cache_home, state_home
from voxfleet_agent.standalone.run_session import RunRefused
from voxfleet_agent.storage import Storage
from voxfleet_api.digest import digest_of
from voxfleet_api.failures import VoxFleetError
from voxfleet_api.kinds.job_model import ModelSource
from voxfleet_api.rows import ManifestRow, ResultRow


async def replay(
    location: str, count: int, model: str | None, environment: Mapping[str, str], home: Path, reporter: ProgressReporter
) -> list[RowPair]:
    """Raises UnreadableRun, RunRefused, ModelNotNamed, CredentialsMissing, SettingsConflict."""
    async with open_run(location, environment) as files:
        run = await files.finished()
        bundle = await files.bundle(run.index)
        manifest = await files.manifest(bundle.manifest_sha256)
    rows = worst(run.rows, count)
    if not rows:
        raise RunRefused(f"{run.folder}: no clip of this run reached the model, so there is none to run again")
    return await _pairs(bundle, model_of(bundle, model), manifest, rows, environment, home, reporter)


async def verify(
    location: str,
    count: int,
    seed: int,
    model: str | None,
    environment: Mapping[str, str],
    home: Path,
    reporter: ProgressReporter,
) -> ReproCheck:
    """Raises UnreadableRun, RunRefused, ModelNotNamed, CredentialsMissing, SettingsConflict."""
    async with open_run(location, environment) as files:
        run = await files.finished()
        bundle = await files.bundle(run.index)
        changed = await _changed_files(files, bundle)
        manifest = await files.manifest(bundle.manifest_sha256)
    reporter.say(f"{len(bundle.files)} files of the bundle checked, {len(changed)} differ")
    not_verified = nothing_to_run_again(bundle, run.index.counts) if count else None
    if not bundle.model_files:
        return ReproCheck(tuple(changed), (), (), (), not_verified)
    source = model_of(bundle, model)
    model_problems = await _model_problems(bundle, source, environment, home)
    pairs: list[RowPair] = []
    if not model_problems:
        pairs = await _pairs(bundle, source, manifest, sample(run.rows, count, seed), environment, home, reporter)
    here = await _local_versions(environment, home)
    dtypes = sorted({pair.after.dtype for pair in pairs if pair.after.dtype is not None})
    if dtypes:
        here[DTYPE] = ", ".join(dtypes)
    versions = tuple(version_differences(bundle, here))
    return ReproCheck(tuple(changed), tuple(model_problems), versions, tuple(pairs), not_verified)


async def _changed_files(files: RunFiles, bundle: ReproBundle) -> list[str]:
    changed = changed_files(bundle, {file.path: await files.sha256_of(file.path) for file in bundle.files})
    if digest_of(bundle.contract) != bundle.contract_digest:
        changed.append("contract: does not have the digest that the bundle names")
    return changed


async def _model_problems(
    bundle: ReproBundle, source: ModelSource, environment: Mapping[str, str], home: Path
) -> list[str]:
    credentials = from_environment(environment) if (source.uri or "").startswith("s3://") else None
    named = source.address
    allow = [] if named is None else [named]
    cache = ModelCacheConfig(path=cache_home(environment, home) / "models")
    access = ModelAccess(hub=() if source.hub is None else (source.hub.id,))
    models = ModelStore(cache.path, cache.quota_bytes, access)
    try:
        async with Storage(allow, credentials, https_of(credentials)) as storage:
            resolved = await models.resolve(source, storage)
    except VoxFleetError as error:
        return [f"{error}; name the run's model with --model"]
    problems = model_differences(bundle, resolved.files)
    if not problems and resolved.digest != bundle.model_digest:
        problems = [f"digests to {resolved.digest}, the bundle names {bundle.model_digest}"]
    return problems


async def _local_versions(environment: Mapping[str, str], home: Path) -> dict[str, str]:
    state = state_home(environment, home)
    make_private(state)
    machine = await asyncio.to_thread(read_machine, state)
    return {**machine.versions, "chip": machine.chip, "os": machine.os, "blas": blas.in_use()}


async def _pairs(
    bundle: ReproBundle,
    source: ModelSource,
    manifest: Sequence[ManifestRow],
    rows: Sequence[ResultRow],
    environment: Mapping[str, str],
    home: Path,
    reporter: ProgressReporter,
) -> list[RowPair]:
    addresses = [manifest[row.index].uri or "" for row in rows] + [source.uri or ""]
    needs_s3 = any(address.startswith("s3://") for address in addresses)
    host = Host(
        settings=settle_settings(environment, home),
        cache=cache_home(environment, home),
        memory_bytes=psutil.virtual_memory().total,
        credentials=from_environment(environment) if needs_s3 else None,
    )
    named = source.model_copy(update={"digest": bundle.model_digest})
    return await rerun_clips(setup_of(bundle, named), manifest, rows, host, reporter)
