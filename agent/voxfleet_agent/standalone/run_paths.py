"""Where a run keeps its files on this machine."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from voxfleet_agent.config import AgentConfig, HttpsConfig, ModelCacheConfig, PoolConfig, checked_prefix
from voxfleet_agent.local_services import ServiceSettings
from voxfleet_agent.models.model_access import ModelAccess
from voxfleet_agent.standalone.attempt_specs import AttemptSpecs, named_addresses
from voxfleet_agent.standalone.job_documents import DocumentError
from voxfleet_agent.standalone.mlx_audio_settings import MlxAudioSettings
from voxfleet_agent.storage import CALL_SECONDS, Mounts, require_mounted
from voxfleet_api.failures import VoxFleetError

POOL_NAME = "local"
JOURNAL_NAME = "journal.sqlite3"
MIN_FREE_BYTES = 2**30
QUARANTINE_QUOTA_BYTES = 2**30
DEFAULT_MEMORY_CAP_BYTES = 8 * 2**30
MAX_LANES = 16
FILE_SCHEME = "file://"


class OptionError(Exception):
    """An option cannot be used; the message names it and what to write."""


@dataclass(frozen=True, slots=True)
class RunPaths:
    settings: ServiceSettings
    """`settings.state` holds the journal and the log of this run alone."""
    allow: tuple[str, ...]
    https: HttpsConfig
    file_timeout_seconds: float = CALL_SECONDS

    @property
    def state(self) -> Path:
        return self.settings.state

    @property
    def log(self) -> Path:
        return self.state / "log.jsonl"


def state_home(environment: Mapping[str, str], home: Path) -> Path:
    return _xdg(environment, "XDG_STATE_HOME", home / ".local" / "state") / "voxfleet"


def cache_home(environment: Mapping[str, str], home: Path) -> Path:
    return _xdg(environment, "XDG_CACHE_HOME", home / ".cache") / "voxfleet"


def _xdg(environment: Mapping[str, str], name: str, default: Path) -> Path:
    named = Path(environment.get(name, ""))
    return named if named.is_absolute() else default  # the XDG specification ignores relative paths


def without_agent(
    specs: AttemptSpecs,
    settings: MlxAudioSettings,
    state: Path,
    cache: Path,
    memory_bytes: int,
    lanes: int | None = None,
    allow: Sequence[str] = (),
    https: HttpsConfig | None = None,
) -> RunPaths:
    """`state`, `cache`: this user's folders of all runs. `allow`: prefixes beside those that the job names."""
    for prefix in allow:
        try:
            checked_prefix(prefix)
        except ValueError as error:
            raise OptionError(f"--allow {prefix}: {error}") from error
    count = 1 if lanes is None else lanes
    if not 1 <= count <= MAX_LANES:
        raise OptionError(f"--lanes {count}: write a number from 1 to {MAX_LANES}")
    cap = specs.contract.batching.memory_cap or str(min(DEFAULT_MEMORY_CAP_BYTES, memory_bytes * 3 // 4 // count))
    pool = PoolConfig(name=POOL_NAME, lanes=count, memory_cap=cap, batch_size=settings.batch_size)
    run_state = state / "runs" / specs.name
    hub = specs.job.spec.model.hub
    return RunPaths(
        settings=ServiceSettings(
            state=run_state,
            journal=run_state / JOURNAL_NAME,
            # A folder for this run alone: TMPDIR may be shared, while scratch is locked and swept.
            scratch=settings.scratch / f"voxfleet-{specs.name}",
            scratch_quota_bytes=2**62,  # the contract's scratch.maxBytes and the volume's free bytes are the limits
            scratch_min_free_bytes=MIN_FREE_BYTES,
            lanes=cache / "lanes",
            models=ModelCacheConfig(path=cache / "models"),
            model_access=ModelAccess(hub=() if hub is None else (hub.id,)),
            ladders=state / "ladders",
            quarantine=settings.quarantine,
            quarantine_quota_bytes=QUARANTINE_QUOTA_BYTES,
            pools=(pool,),
            of_one_run=True,
        ),
        allow=(*named_addresses(specs.job), *allow),
        https=https or HttpsConfig(),
    )


def with_agent(specs: AttemptSpecs, config: AgentConfig, lanes: int | None = None) -> RunPaths:
    """The folders of an agent's configuration; only the run's journal and log have a folder of their own."""
    count = sum(pool.lanes for pool in config.offline_pools)
    if not count:
        raise OptionError(
            "--config: all of its pools are Interactive, and a run works on lanes of Offline pools; add one"
        )
    if lanes is not None and not 1 <= lanes <= count:
        raise OptionError(
            f"--lanes {lanes}: the configuration has {count}; write at most as many, or add lanes to its Offline pools"
        )
    run_state = config.state_dir / "runs" / specs.name
    return RunPaths(
        settings=replace(ServiceSettings.of(config), state=run_state, journal=run_state / JOURNAL_NAME),
        allow=config.allow,
        https=config.https,
        file_timeout_seconds=config.file_timeout_seconds,
    )


def make_output_folder(uri: str) -> tuple[Path, ...]:
    """Creates the folder of a file:// address, because storage makes folders only below an existing one.

    Returns the folders that did not exist, the innermost first. Raises DocumentError when this account cannot write
    there.
    """
    if not uri.startswith(FILE_SCHEME):
        return ()
    folder = Path(uri.removeprefix(FILE_SCHEME))
    calls = Mounts().of(str(folder))
    try:
        calls.run_blocking(lambda: require_mounted(str(folder)))
        missing = calls.run_blocking(lambda: tuple(path for path in (folder, *folder.parents) if not path.exists()))
        calls.run_blocking(lambda: folder.mkdir(parents=True, exist_ok=True))
        writable = calls.run_blocking(lambda: os.access(folder, os.W_OK | os.X_OK))
    except VoxFleetError as error:
        raise DocumentError(f"spec.output.uri: {error.message}") from error
    except OSError as error:
        raise DocumentError(
            f"spec.output.uri: {folder} cannot be created ({error.strerror}); write a folder that this account may"
            " write to"
        ) from error
    if not writable:
        raise DocumentError(
            f"spec.output.uri: this account may not write to {folder}; correct its permissions, or write another folder"
        )
    return missing


def remove_plan_traces(folder: Path) -> None:
    """Removes what a refused Plan wrote into a local output folder: its nonces, and the folders around them.

    A folder with anything else in it stays as it is. Raises OSError.
    """
    plans = [*(folder / "plan").iterdir()] if (folder / "plan").is_dir() else []
    only_plans = {path.name for path in folder.iterdir()} <= {"plan"} if folder.is_dir() else False
    if not only_plans or any({path.name for path in plan.iterdir()} != {"nonce"} for plan in plans):
        return
    for plan in plans:
        (plan / "nonce").unlink(missing_ok=True)
        plan.rmdir()
    remove_empty(folder / "plan", folder)


def remove_empty(*folders: Path) -> None:
    """Removes those of the folders that are empty, in this order."""
    for folder in folders:
        with suppress(OSError):  # it is not empty, or it was never made
            folder.rmdir()
