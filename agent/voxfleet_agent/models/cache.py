"""The folder of fetched models: a quota, the least recently used leave first. Does not import MLX.

    models/<sha256>/             a model from model.uri, named by its digest
    hub/models--<owner>--<name>/ in the layout of the Hugging Face cache, so that it can be filled beforehand
    origins/<sha256 of the uri>.json   what the files at a uri were when they were fetched
    incoming/                    what is being fetched; emptied at the start

The time of last use is the time stamp of a model's folder.
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

from voxfleet_agent.models.model_files import unavailable
from voxfleet_agent.models.resolved_model import ResolvedModel
from voxfleet_api.failures import FailureClass, VoxFleetError


class HeldModel(ResolvedModel):
    """A cached model stays while one of these is referred to (its base class has no room for weak references)."""


class ModelCache:
    """Thread-safe. Its calls block: use it in a thread."""

    def __init__(self, path: Path, quota_bytes: int) -> None:
        self._path = path
        self._quota_bytes = quota_bytes
        self._lock = threading.RLock()
        self._lock_file: int | None = None
        self._arriving: dict[str, int] = {}
        self._held: dict[str, list[weakref.ref[HeldModel]]] = {}

    @property
    def hub(self) -> Path:
        return self._path / "hub"

    def origin(self, name: str) -> Path:
        return self._path / "origins" / f"{name}.json"

    def open(self) -> None:
        """Makes the folders and empties `incoming`. Raises VoxFleetError(MODEL_UNAVAILABLE) when another agent uses
        the cache, OSError."""
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
            for left in (self._path / "incoming").iterdir():
                shutil.rmtree(left)

    def close(self) -> None:
        """Leaves the cache to another agent."""
        with self._lock:
            if self._lock_file is not None:
                os.close(self._lock_file)
                self._lock_file = None

    def find(self, name: str) -> Path | None:
        """The folder of a model, for example `models/<sha256>`."""
        folder = self._path / name
        return folder if folder.is_dir() else None

    def hold(self, name: str, model: HeldModel) -> None:
        """Marks the model as used now, and as in use for as long as the object lives."""
        with self._lock:
            os.utime(self._path / name)
            alive = [held for held in self._held.get(name, ()) if held() is not None]
            self._held[name] = [*alive, weakref.ref(model)]

    @contextmanager
    def room(self, name: str, needed_bytes: int) -> Iterator[None]:
        """Bytes for a model to come, which count until the block ends. Raises as `make_room` does."""
        with self._lock:
            arriving_bytes = sum(self._arriving.values())
            for leaving in make_room(self._cached(name), needed_bytes, max(0, self._quota_bytes - arriving_bytes)):
                self.remove(leaving)
            self._arriving[name] = needed_bytes
        try:
            yield
        finally:
            with self._lock:
                del self._arriving[name]

    @contextmanager
    def incoming(self) -> Iterator[Path]:
        """A folder to fetch into; what is left in it at the end is removed."""
        folder = Path(tempfile.mkdtemp(dir=self._path / "incoming"))
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def adopt(self, folder: Path, name: str) -> Path:
        """Makes a complete folder out of `incoming` a model, at once and for good."""
        target = self._path / name
        for path in (*folder.rglob("*"), folder):
            _sync(path)
        with self._lock:
            if not target.exists():
                folder.rename(target)
                _sync(target.parent)
        return target

    def remove(self, name: str) -> None:
        with self._lock, self.incoming() as trash:
            (self._path / name).rename(trash / "model")  # never half a model under its name

    def _cached(self, arriving: str) -> list[CachedModel]:
        found: list[CachedModel] = []
        for kind in ("models", "hub"):
            for folder in (self._path / kind).iterdir():
                name = f"{kind}/{folder.name}"
                if not folder.is_dir() or folder.name.startswith("."):
                    continue
                size_bytes = sum(
                    path.lstat().st_size for path in folder.rglob("*") if path.is_file() and not path.is_symlink()
                )
                held = any(model() is not None for model in self._held.get(name, ()))
                in_use = held or name == arriving or name in self._arriving
                found.append(CachedModel(name, size_bytes, folder.stat().st_mtime, in_use))
        return found


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@dataclass(frozen=True, slots=True)
class CachedModel:
    name: str
    size_bytes: int
    last_used_seconds: float
    """Wall clock."""
    in_use: bool


def make_room(cached: Sequence[CachedModel], needed_bytes: int, quota_bytes: int) -> tuple[str, ...]:
    """Names of the models to remove, the least recently used first; those in use stay.

    Raises VoxFleetError(MODEL_UNAVAILABLE) when the new model is larger than the quota,
    VoxFleetError(SCRATCH_EXHAUSTED) when models in use leave too little.
    """
    if needed_bytes > quota_bytes:
        raise unavailable(
            f"the model has {needed_bytes} bytes and modelCache.quota is {quota_bytes}, {needed_bytes - quota_bytes}"
            " too few; raise the quota, or put the model on the Mac and use model.path"
        )
    excess_bytes = sum(model.size_bytes for model in cached) + needed_bytes - quota_bytes
    leaving: list[str] = []
    for model in sorted(cached, key=lambda model: (model.last_used_seconds, model.name)):
        if excess_bytes <= 0:
            break
        if not model.in_use:
            leaving.append(model.name)
            excess_bytes -= model.size_bytes
    if excess_bytes > 0:
        used_bytes = sum(model.size_bytes for model in cached if model.in_use)
        raise VoxFleetError(
            FailureClass.SCRATCH_EXHAUSTED,
            f"the model needs {needed_bytes} bytes of the cache, {used_bytes} are in use and modelCache.quota is"
            f" {quota_bytes}: {excess_bytes} too few; raise the quota, or let the running attempts end",
        )
    return tuple(leaving)
