"""Checks the files of a model folder and computes its digest. Does not import MLX."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import stat
import threading
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from voxfleet_agent.storage.mount_calls import progress
from voxfleet_api.failures import FailureClass, VoxFleetError

PATTERNS = (
    "*.json",
    "*.jsonl",
    "*.safetensors",
    "*.txt",
    "*.model",
    "*.tiktoken",
    "*.jinja",
    "*.yaml",
    "*.mvn",
)
"""The files to fetch: weights, settings and tokenizers, but no code and no pickles."""
MAX_FILES = 1000

# Compared in lower case, because a Mac's file system opens MODEL.BIN for model.bin.
_PICKLE_SUFFIXES = frozenset({".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle"})
_CODE_SUFFIXES = frozenset({".py", ".pyc", ".so", ".dylib"})
_SETTINGS_LIMIT_BYTES = 64 * 2**20
"""The largest known tokenizer.json has 34 MB."""
_CONFIG_LIMIT_BYTES = 2**20
_SHARD_INDEX = ".safetensors.index.json"
_REMOTE_CODE = "auto_map"
_OTHER_MODEL = "--"
"""Separates the name of a hub model from that of a class in it."""
_CHUNK_BYTES = 4 * 2**20
_LOCK_WAIT_SECONDS = 0.2
_SETTLED_SECONDS = 2.0
"""A file that changed more recently than this may change again within the same time stamp."""


@dataclass(frozen=True, slots=True)
class FileDigest:
    size_bytes: int
    sha256: str


def unavailable(message: str) -> VoxFleetError:
    return VoxFleetError(FailureClass.MODEL_UNAVAILABLE, message[:1024])


def check_names(where: str, names: Iterable[str]) -> None:
    """Raises VoxFleetError(MODEL_UNAVAILABLE) unless the names are those of a model without code and pickles.

    `where` begins the message, for example `the model folder /models/x`.
    """
    present = sorted(names)
    if any(not name.isprintable() for name in present):  # for example not UTF-8
        raise unavailable(f"{where} holds a file whose name is not plain text; rename it")
    if "config.json" not in present:
        raise unavailable(f"{where} has no config.json; give a folder of an MLX speech model")
    # Some of mlx-audio's models make transformers run the code in a folder.
    code = [name for name in present if Path(name).suffix.lower() in _CODE_SUFFIXES]
    if code:
        raise unavailable(f"{where} holds {code[0]}; code from a model folder never runs, remove it")
    pickles = [name for name in present if Path(name).suffix.lower() in _PICKLE_SUFFIXES]
    if not any(name.endswith(".safetensors") for name in present):
        weights = f"only {pickles[0]}" if pickles else "none"
        raise unavailable(f"{where} needs weights as .safetensors and has {weights}; convert the model for mlx-audio")
    if pickles:
        raise unavailable(f"{where} holds {pickles[0]}, which may hold code; remove it")


def check_contents(where: str, folder: Path, names: Iterable[str]) -> None:
    """Raises VoxFleetError(MODEL_UNAVAILABLE) for missing weights and for settings that name code of another model.

    mlx-audio would fill missing weights with random numbers.
    """
    present = frozenset(names)
    for name in sorted(present):
        if name.endswith(_SHARD_INDEX):
            weights = _read_settings(where, folder / name).get("weight_map")
            files = sorted({str(file) for file in weights.values()}) if isinstance(weights, Mapping) else []
            missing = [file for file in files if (Path(name).parent / file).as_posix() not in present]
            if missing:
                raise unavailable(f"{where} lacks {missing[0]}, which {name} lists; fetch the whole model")
        elif name.endswith(".json") and "/" not in name:
            remote_code = json.dumps(_read_settings(where, folder / name).get(_REMOTE_CODE))
            if _OTHER_MODEL in remote_code:
                raise unavailable(f"{where} asks for code of another model in {name}; remove its {_REMOTE_CODE}")


def least_weight_bytes(folder: Path) -> int:
    """The least memory that the model's weights take: the largest file of weights, or all files of one split model.

    A folder may hold more weights than its model uses. Raises OSError, and VoxFleetError(MODEL_UNAVAILABLE) for an
    index that cannot be read.
    """
    sizes = {file.name: file.stat().st_size for file in folder.glob("*.safetensors")}
    split = [
        sum(sizes.get(name, 0) for name in set(map(str, weights.values())))
        for index in folder.glob(f"*{_SHARD_INDEX}")
        if isinstance(weights := _read_settings(f"the model folder {folder}", index).get("weight_map"), Mapping)
    ]
    return max([*sizes.values(), *split], default=0)


def list_files(folder: Path) -> list[str]:
    """The sorted names of the folder's regular files, without hidden ones such as a Mac's .DS_Store.

    Raises VoxFleetError(MODEL_UNAVAILABLE) for links that lead out of the model, OSError for unreadable files.
    """
    if not folder.is_dir():
        raise unavailable(f"the model folder {folder} does not exist on this Mac; put the model there on every Mac")
    root = link_root(folder)
    listed: list[str] = []
    for parent, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        links = [name for name in folders if (Path(parent) / name).is_symlink()]
        if links:
            raise unavailable(f"the model folder {folder} holds a link to a folder, {links[0]}; copy the files instead")
        for name in names:
            path = Path(parent) / name
            if name.startswith("."):
                continue
            if path.is_symlink() and not path.resolve(strict=True).is_relative_to(root):
                raise unavailable(f"the model folder {folder} holds a link out of it, {name}; copy the file instead")
            if stat.S_ISREG(path.stat().st_mode):
                listed.append(path.relative_to(folder).as_posix())
            if len(listed) > MAX_FILES:
                raise unavailable(f"the model folder {folder} holds more than {MAX_FILES} files; give the model alone")
    return sorted(listed)


def model_digest(files: Mapping[str, FileDigest]) -> str:
    """`sha256:<hex>` over the sorted (name, size, sha256) of all files."""
    whole = hashlib.sha256()
    for name in sorted(files):
        whole.update(f"{name}\0{files[name].size_bytes}\0{files[name].sha256}\n".encode())
    return f"sha256:{whole.hexdigest()}"


class FileDigests:
    """Digests of files, cached while a file's identity, size and times stay the same."""

    def __init__(self) -> None:
        self._known: dict[tuple[int, ...], str] = {}
        self._locks: defaultdict[Path, threading.Lock] = defaultdict(threading.Lock)
        """By folder: one on a file system that hangs must not stop the others."""

    def of(self, folder: Path, names: Iterable[str]) -> dict[str, FileDigest]:
        """The files' digests by name. Raises OSError."""
        lock = self._locks[folder]
        while not lock.acquire(timeout=_LOCK_WAIT_SECONDS):
            progress()  # whoever holds it may read for minutes, and is watched by its own caller
        try:
            return {name: self._of(folder / name) for name in names}
        finally:
            lock.release()

    def _of(self, path: Path) -> FileDigest:
        with open_regular(path) as file:
            before = os.fstat(file.fileno())
            key = (before.st_dev, before.st_ino, before.st_size, before.st_mtime_ns, before.st_ctime_ns)
            if key not in self._known:
                digest = hashlib.sha256()
                while chunk := file.read(_CHUNK_BYTES):
                    progress()
                    digest.update(chunk)
                after = os.fstat(file.fileno())
                if (after.st_size, after.st_ctime_ns) != (before.st_size, before.st_ctime_ns):
                    raise OSError(None, f"{path.name} changed while it was read")
                if time.time() - before.st_ctime < _SETTLED_SECONDS:
                    return FileDigest(before.st_size, digest.hexdigest())
                self._known[key] = digest.hexdigest()
        return FileDigest(before.st_size, self._known[key])


def link_root(folder: Path) -> Path:
    """The folder that links must stay in. A snapshot in a hub cache consists of links to the blobs of its model."""
    real = folder.resolve()
    if real.parent.name == "snapshots" and real.parent.parent.name.startswith("models--"):
        return real.parent.parent
    return real


def open_regular(path: Path) -> BinaryIO:
    """Opens a regular file. Raises OSError, also for a file that was replaced by a pipe, which would block forever."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, f"{path.name} is not a regular file")
    return os.fdopen(descriptor, "rb")


def read_config(folder: Path) -> dict[str, object]:
    """The content of config.json; empty when the file cannot be read or is not a JSON object."""
    try:
        with open_regular(folder / "config.json") as opened:
            config = json.loads(opened.read(_CONFIG_LIMIT_BYTES))
    except (OSError, ValueError):
        return {}
    return config if isinstance(config, dict) else {}


def _read_settings(where: str, path: Path) -> dict[str, object]:
    with open_regular(path) as file:
        text = file.read(_SETTINGS_LIMIT_BYTES + 1)
    if len(text) > _SETTINGS_LIMIT_BYTES:
        raise unavailable(f"{where} holds {path.name} of more than {_SETTINGS_LIMIT_BYTES} bytes; remove it")
    try:
        content: object = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise unavailable(f"{where} holds {path.name}, which is not JSON; fetch the model again") from error
    return content if isinstance(content, dict) else {}
