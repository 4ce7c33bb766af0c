"""The cache of fetched models, with a quota and least-recently-used eviction. Does not import MLX.

    models/<sha256>/             a model from model.uri, by its digest
    hub/models--<owner>--<name>/ a hub model, in the layout of the Hugging Face cache, so it can be filled beforehand
    origins/<sha256 of the uri>.json   the versions of the files at a uri when they were fetched
    incoming/                    models being fetched; emptied when the cache is opened

The modification time of a model's folder says when the model was last used.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
import threading
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from voxfleet_agent.durable_files import sync_file_at, sync_folder
from voxfleet_agent.models.model_files import unavailable
from voxfleet_agent.models.resolved_model import ResolvedModel
from voxfleet_api.failures import FailureClass, VoxFleetError


class PinnedModel(ResolvedModel):
    """A cached model that is not evicted while this object lives.

    It is a class of its own because its base class has slots and so does not support weak references.
    """


class ModelCache:
    """Thread-safe. Its calls block: use it in a thread."""

    def __init__(self, path: Path, quota_bytes: int) -> None:
        self._path = path
        self._quota_bytes = quota_bytes
        self._lock = threading.RLock()
        self._lock_file: int | None = None
        self._reserved: dict[str, int] = {}
        self._pinned: dict[str, list[weakref.ref[PinnedModel]]] = {}

    @property
    def hub(self) -> Path:
        return self._path / "hub"

    def origin(self, name: str) -> Path:
        return self._path / "origins" / f"{name}.json"

    def open(self) -> None:
        """Locks the cache, creates its folders and empties `incoming`.

        Raises VoxFleetError(MODEL_UNAVAILABLE) when another agent uses the cache, and OSError.
        """
        with self._lock:
            if self._lock_file is not None:
                return
            for name in ("models", "hub", "origins", "incoming"):
                (self._path / name).mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor = os.open(self._path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                os.close(descriptor)
                raise unavailable(
                    f"the model cache {self._path} is used by another agent; give each its own modelCache.path"
                ) from error
            self._lock_file = descriptor
            for leftover in (self._path / "incoming").iterdir():
                shutil.rmtree(leftover)

    def close(self) -> None:
        """Unlocks the cache, so that another agent can open it."""
        with self._lock:
            if self._lock_file is not None:
                os.close(self._lock_file)
                self._lock_file = None

    def find(self, name: str) -> Path | None:
        """The folder of a model; `name` is for example `models/<sha256>`. None when it is not cached."""
        folder = self._path / name
        return folder if folder.is_dir() else None

    def pin(self, name: str, model: PinnedModel) -> None:
        """Updates the model's time of last use, and keeps it in the cache while `model` lives."""
        with self._lock:
            os.utime(self._path / name)
            alive = [reference for reference in self._pinned.get(name, ()) if reference() is not None]
            self._pinned[name] = [*alive, weakref.ref(model)]

    @contextmanager
    def reserve(self, name: str, needed_bytes: int) -> Iterator[None]:
        """Reserves bytes for a new model until the block ends, evicting others. Raises as `choose_evictions` does."""
        with self._lock:
            reserved_bytes = sum(self._reserved.values())
            for evicted in choose_evictions(
                self._cached(name), needed_bytes, max(0, self._quota_bytes - reserved_bytes)
            ):
                self.remove(evicted)
            self._reserved[name] = needed_bytes
        try:
            yield
        finally:
            with self._lock:
                del self._reserved[name]

    @contextmanager
    def incoming_folder(self) -> Iterator[Path]:
        """A temporary folder to fetch into, removed with its contents at the end."""
        folder = Path(tempfile.mkdtemp(dir=self._path / "incoming"))
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def adopt(self, folder: Path, name: str) -> Path:
        """Moves a complete folder from `incoming` to its name, durably and atomically."""
        target = self._path / name
        for path in (*folder.rglob("*"), folder):
            sync_file_at(path)
        with self._lock:
            if not target.exists():
                folder.rename(target)
                sync_folder(target.parent)
        return target

    def remove(self, name: str) -> None:
        with self._lock, self.incoming_folder() as trash:
            (self._path / name).rename(trash / "model")  # renamed first, so that no partial model has the name

    def _cached(self, incoming: str) -> list[CachedModel]:
        cached: list[CachedModel] = []
        for kind in ("models", "hub"):
            for folder in (self._path / kind).iterdir():
                name = f"{kind}/{folder.name}"
                if not folder.is_dir() or folder.name.startswith("."):
                    continue
                size_bytes = sum(
                    path.lstat().st_size for path in folder.rglob("*") if path.is_file() and not path.is_symlink()
                )
                pinned = any(reference() is not None for reference in self._pinned.get(name, ()))
                in_use = pinned or name == incoming or name in self._reserved
                cached.append(CachedModel(name, size_bytes, folder.stat().st_mtime, in_use))
        return cached


@dataclass(frozen=True, slots=True)
class CachedModel:
    name: str
    size_bytes: int
    last_used_seconds: float
    """In seconds of the wall clock."""
    in_use: bool


def choose_evictions(cached: Sequence[CachedModel], needed_bytes: int, quota_bytes: int) -> tuple[str, ...]:
    """The names of the models to evict, least recently used first; those in use stay.

    Raises VoxFleetError(MODEL_UNAVAILABLE) when the new model is larger than the quota,
    VoxFleetError(SCRATCH_EXHAUSTED) when models in use leave too little.
    """
    if needed_bytes > quota_bytes:
        raise unavailable(
            f"the model has {needed_bytes} bytes and modelCache.quota is {quota_bytes}, {needed_bytes - quota_bytes}"
            " too few; raise the quota, or put the model on the Mac and use model.path"
        )
    excess_bytes = sum(model.size_bytes for model in cached) + needed_bytes - quota_bytes
    evicted: list[str] = []
    for model in sorted(cached, key=lambda model: (model.last_used_seconds, model.name)):
        if excess_bytes <= 0:
            break
        if not model.in_use:
            evicted.append(model.name)
            excess_bytes -= model.size_bytes
    if excess_bytes > 0:
        used_bytes = sum(model.size_bytes for model in cached if model.in_use)
        raise VoxFleetError(
            FailureClass.SCRATCH_EXHAUSTED,
            f"the model needs {needed_bytes} bytes of the cache, {used_bytes} are in use and modelCache.quota is"
            f" {quota_bytes}: {excess_bytes} too few; raise the quota, or let the running attempts end",
        )
    return tuple(evicted)
