"""What a model folder may hold, and its digest. Does not import MLX."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import stat
import threading
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

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
"""Files that are fetched: weights, settings, tokenizers. Code and pickles are not among them."""
MAX_FILES = 1000

# In lower case: a Mac's file system opens MODEL.BIN for model.bin.
_PICKLE_SUFFIXES = frozenset({".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle"})
_CODE_SUFFIXES = frozenset({".py", ".pyc", ".so", ".dylib"})
_SETTINGS_LIMIT_BYTES = 64 * 2**20
"""The largest known tokenizer.json has 34 MB."""
_SHARD_INDEX = ".safetensors.index.json"
_REMOTE_CODE = "auto_map"
_OTHER_MODEL = "--"
"""Between the name of a hub model and that of a class in it."""
_CHUNK_BYTES = 4 * 2**20
_SETTLED_SECONDS = 2.0
"""A file that changed later than this before it was read may change again within the same time stamp."""


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
    held = sorted(names)
    if any(not name.isprintable() for name in held):  # a local name of other bytes than UTF-8 is none
        raise unavailable(f"{where} holds a file whose name is not plain text; rename it")
    if "config.json" not in held:
        raise unavailable(f"{where} has no config.json; give a folder of an MLX speech model")
    # Some of mlx-audio's models ask transformers to run a folder's own code.
    code = [name for name in held if Path(name).suffix.lower() in _CODE_SUFFIXES]
    if code:
        raise unavailable(f"{where} holds {code[0]}; code from a model folder never runs, remove it")
    pickles = [name for name in held if Path(name).suffix.lower() in _PICKLE_SUFFIXES]
    if not any(name.endswith(".safetensors") for name in held):
        found = f"only {pickles[0]}" if pickles else "none"
        raise unavailable(f"{where} needs weights as .safetensors and has {found}; convert the model for mlx-audio")
    if pickles:
        raise unavailable(f"{where} holds {pickles[0]}, which may hold code; remove it")


def check_contents(where: str, folder: Path, names: Iterable[str]) -> None:
    """Raises VoxFleetError(MODEL_UNAVAILABLE) for missing weights, and settings that name code elsewhere.

    mlx-audio itself fills missing weights with random numbers.
    """
    held = frozenset(names)
    for name in sorted(held):
        if name.endswith(_SHARD_INDEX):
            weights = _settings(where, folder / name).get("weight_map")
            files = sorted({str(file) for file in weights.values()}) if isinstance(weights, Mapping) else []
            missing = [file for file in files if (Path(name).parent / file).as_posix() not in held]
            if missing:
                raise unavailable(f"{where} lacks {missing[0]}, which {name} lists; fetch the whole model")
        elif name.endswith(".json") and "/" not in name:
            elsewhere = json.dumps(_settings(where, folder / name).get(_REMOTE_CODE))
            if _OTHER_MODEL in elsewhere:
                raise unavailable(f"{where} asks for code of another model in {name}; remove its {_REMOTE_CODE}")


def list_files(folder: Path) -> list[str]:
    """Sorted names of the folder's regular files; hidden ones are left out, because a Mac adds .DS_Store.

    Raises VoxFleetError(MODEL_UNAVAILABLE) for links that lead out of the model, OSError for what cannot be read.
    """
    if not folder.is_dir():
        raise unavailable(f"the model folder {folder} does not exist on this Mac; put the model there on every Mac")
    root = _root(folder)
    found: list[str] = []
    for parent, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        linked = [name for name in folders if (Path(parent) / name).is_symlink()]
        if linked:
            raise unavailable(
                f"the model folder {folder} holds a link to a folder, {linked[0]}; copy the files instead"
            )
        for name in names:
            path = Path(parent) / name
            if name.startswith("."):
                continue
            if path.is_symlink() and not path.resolve(strict=True).is_relative_to(root):
                raise unavailable(f"the model folder {folder} holds a link out of it, {name}; copy the file instead")
            if stat.S_ISREG(path.stat().st_mode):
                found.append(path.relative_to(folder).as_posix())
            if len(found) > MAX_FILES:
                raise unavailable(f"the model folder {folder} holds more than {MAX_FILES} files; give the model alone")
    return sorted(found)


def model_digest(files: Mapping[str, FileDigest]) -> str:
    """`sha256:<hex>` over the sorted (name, size, sha256) of the files."""
    whole = hashlib.sha256()
    for name in sorted(files):
        whole.update(f"{name}\0{files[name].size_bytes}\0{files[name].sha256}\n".encode())
    return f"sha256:{whole.hexdigest()}"


class FileDigests:
    """Digests of files, computed once for as long as a file's identity, size and times stay."""

    def __init__(self) -> None:
        self._known: dict[tuple[int, ...], str] = {}
        self._lock = threading.Lock()

    def of(self, folder: Path, names: Iterable[str]) -> dict[str, FileDigest]:
        """By name. Raises OSError."""
        with self._lock:
            return {name: self._of(folder / name) for name in names}

    def _of(self, path: Path) -> FileDigest:
        with open_regular(path) as file:
            facts = os.fstat(file.fileno())
            key = (facts.st_dev, facts.st_ino, facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns)
            if key not in self._known:
                digest = hashlib.sha256()
                while chunk := file.read(_CHUNK_BYTES):
                    digest.update(chunk)
                after = os.fstat(file.fileno())
                if (after.st_size, after.st_ctime_ns) != (facts.st_size, facts.st_ctime_ns):
                    raise OSError(None, f"{path.name} changed while it was read")
                if time.time() - facts.st_ctime < _SETTLED_SECONDS:
                    return FileDigest(facts.st_size, digest.hexdigest())
                self._known[key] = digest.hexdigest()
        return FileDigest(facts.st_size, self._known[key])


def _root(folder: Path) -> Path:
    """Links may not lead out of this. A snapshot in a hub cache consists of links to its model's blobs."""
    real = folder.resolve()
    if real.parent.name == "snapshots" and real.parent.parent.name.startswith("models--"):
        return real.parent.parent
    return real


def open_regular(path: Path) -> BinaryIO:
    """Raises OSError; also for what became a pipe since it was listed, which would block for ever."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, f"{path.name} is not a regular file")
    return os.fdopen(descriptor, "rb")


def _settings(where: str, path: Path) -> dict[str, object]:
    with open_regular(path) as file:
        text = file.read(_SETTINGS_LIMIT_BYTES + 1)
    if len(text) > _SETTINGS_LIMIT_BYTES:
        raise unavailable(f"{where} holds {path.name} of more than {_SETTINGS_LIMIT_BYTES} bytes; remove it")
    try:
        content: object = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise unavailable(f"{where} holds {path.name}, which is not JSON; fetch the model again") from error
    return content if isinstance(content, dict) else {}
