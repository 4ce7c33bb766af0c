"""Finds a job's model on this Mac and digests it. Does not import MLX."""

from __future__ import annotations

import asyncio
import hashlib
import os
import stat
import threading
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path

from voxfleet_agent.stages.stage import ResolvedModel
from voxfleet_api.failures import FailureClass, VoxFleetError
from voxfleet_api.kinds.audio_batch_job import HubModel, ModelSource

DEFAULT_MODEL = "default"
HUB_PATTERNS = ("*.json", "*.safetensors", "*.txt", "*.model")
_PICKLE_SUFFIXES = frozenset({".bin", ".pt", ".pth", ".ckpt", ".npz", ".pkl"})
_CHUNK_BYTES = 4 * 2**20


class LocalModels:
    """Model folders of this Mac: the packaged default, a folder by path, or a snapshot of the Hugging Face hub."""

    def __init__(self) -> None:
        self._file_digests: dict[tuple[str, int, int], str] = {}
        self._lock = threading.Lock()

    async def resolve(self, source: ModelSource) -> ResolvedModel:
        """Finds and digests the model. Raises VoxFleetError(MODEL_UNAVAILABLE)."""
        return await asyncio.to_thread(self._resolve, source)

    def _resolve(self, source: ModelSource) -> ResolvedModel:
        if source.hub is not None:
            folder, revision = _download(source.hub)
            return ResolvedModel(folder, self._digest(folder), revision)
        if source.path is None:
            raise _unavailable("the job names no model; write model.path or model.hub")
        folder = default_model_folder() if source.path == DEFAULT_MODEL else Path(source.path)
        if not folder.is_absolute():
            raise _unavailable(f"model.path {source.path} is not absolute; write a folder that every Mac has")
        return ResolvedModel(folder, self._digest(folder))

    def _digest(self, folder: Path) -> str:
        """`sha256:<hex>` over the sorted (relative path, size, sha256) of the folder's files."""
        try:
            names = sorted(_files(folder))
            _check(folder, names)
            whole = hashlib.sha256()
            with self._lock:
                for name in names:
                    size_bytes, sha256 = self._file_digest(folder / name)
                    whole.update(f"{name}\0{size_bytes}\0{sha256}\n".encode())
        except OSError as error:
            raise _unavailable(
                f"the model folder {folder} cannot be read: {error.strerror}; check model.path and its permissions"
            ) from error
        return f"sha256:{whole.hexdigest()}"

    def _file_digest(self, path: Path) -> tuple[int, str]:
        with path.open("rb") as file:
            facts = os.fstat(file.fileno())
            key = (str(path), facts.st_size, facts.st_mtime_ns)
            if key not in self._file_digests:
                digest = hashlib.sha256()
                while chunk := file.read(_CHUNK_BYTES):
                    digest.update(chunk)
                self._file_digests[key] = digest.hexdigest()
        return facts.st_size, self._file_digests[key]


def default_model_folder() -> Path:
    """The model that ships with the agent."""
    return Path(str(files("voxfleet_agent.engine") / "default_model"))


def _files(folder: Path) -> Iterator[str]:
    """Relative paths of regular files; hidden ones are left out, because a Mac adds .DS_Store to folders it shows."""
    if not folder.is_dir():
        raise _unavailable(f"the model folder {folder} does not exist on this Mac; put the model there on every Mac")
    for parent, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in names:
            path = Path(parent) / name
            # A hub snapshot consists of links to files.
            if not name.startswith(".") and stat.S_ISREG(path.stat().st_mode):
                yield path.relative_to(folder).as_posix()


def _check(folder: Path, names: list[str]) -> None:
    if "config.json" not in names:
        raise _unavailable(f"the model folder {folder} has no config.json; give a folder of an MLX speech model")
    if not any(name.endswith(".safetensors") for name in names):
        pickles = [name for name in names if Path(name).suffix in _PICKLE_SUFFIXES]
        found = f"only {pickles[0]}, which may hold code" if pickles else "none"
        raise _unavailable(
            f"the model folder {folder} needs weights as .safetensors and has {found}; convert the model for mlx-audio"
        )
    # Some of mlx-audio's models ask transformers to run a folder's own code.
    code = [name for name in names if name.endswith(".py")]
    if code:
        raise _unavailable(f"the model folder {folder} holds {code[0]}; code from a model folder never runs, remove it")


def _download(hub: HubModel) -> tuple[Path, str]:
    """The snapshot's folder and its commit."""
    from huggingface_hub import snapshot_download  # slow to import, and most jobs do not need it

    try:
        folder = Path(snapshot_download(hub.id, revision=hub.revision, allow_patterns=list(HUB_PATTERNS)))
    # The hub's errors share no base class; what they have in common is that the model did not come.
    except Exception as error:
        raise _unavailable(
            f"the hub model {hub.id} at {hub.revision} could not be fetched ({type(error).__name__});"
            " check its name and revision and that this Mac reaches the hub, or use model.path"
        ) from error
    return folder, folder.name


def _unavailable(message: str) -> VoxFleetError:
    return VoxFleetError(FailureClass.MODEL_UNAVAILABLE, message[:1024])
