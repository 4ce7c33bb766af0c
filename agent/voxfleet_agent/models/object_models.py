"""Models at an object address, fetched into the cache once and verified. Does not import MLX."""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from urllib.parse import quote

from voxfleet_agent.durable_files import replace_file
from voxfleet_agent.models.model_cache import ModelCache, PinnedModel
from voxfleet_agent.models.model_files import (
    MAX_FILES,
    FileDigest,
    FileDigests,
    check_contents,
    check_names,
    link_root,
    model_digest,
    unavailable,
)
from voxfleet_agent.storage import ObjectVersion, Storage
from voxfleet_api.failures import FailureClass, VoxFleetError

SUMS_NAME = "SHA256SUMS"
"""The list of files at an https:// address, as web servers list no folders: `<sha256>  <name>` lines of sha256sum."""
_SUMS_LIMIT_BYTES = 2**20
_MAX_NAME_CHARACTERS, _MAX_PARTS, _MAX_PART_BYTES = 512, 16, 255
"""Limits that every file system allows below the cache's folder."""
_SUMS_LINE = re.compile(r"([0-9a-f]{64}) [ *](.+)")
_WHERE = "the model at model.uri"
_ADDRESS_CLASSES = frozenset({FailureClass.ACCESS_DENIED, FailureClass.INPUT_NOT_FOUND, FailureClass.INVALID_INPUT})


class ObjectModels:
    """Never fetches an address twice at once: concurrent callers wait and then find the model in the cache."""

    def __init__(self, cache: ModelCache, digests: FileDigests) -> None:
        self._cache = cache
        self._digests = digests
        self._locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def resolve(self, uri: str, digest: str | None, storage: Storage) -> PinnedModel:
        """The cached model. Always asks the storage first: the cache must not serve a model that the job may not read.

        Raises VoxFleetError: MODEL_UNAVAILABLE, MODEL_MISMATCH when `digest` differs or the objects change meanwhile,
        SCRATCH_EXHAUSTED when the disk or the cache is full, and the storage's TRANSPORT and THROTTLED.
        """
        try:
            origin = storage.origin(uri)
        except VoxFleetError as error:
            raise unavailable(f"{_WHERE}: {error.message}") from error
        async with self._locks[origin]:
            try:
                objects = await _list(uri, storage)
                cached = await asyncio.to_thread(self._find, origin, digest, objects.versions)
                return cached or await self._fetch(uri, origin, digest, objects, storage)
            except OSError as error:
                raise VoxFleetError(
                    FailureClass.SCRATCH_EXHAUSTED,
                    f"the model cache cannot be written: {error.strerror}; check modelCache.path and its free space",
                ) from error
            except VoxFleetError as error:
                if error.failure_class in _ADDRESS_CLASSES:
                    raise unavailable(f"{_WHERE}: {error.message}") from error
                if error.failure_class is FailureClass.INPUT_CHANGED:
                    raise _mismatch("its objects changed while they were read; let the upload end first") from error
                raise

    def _find(self, origin: str, requested: str | None, versions: dict[str, ObjectVersion]) -> PinnedModel | None:
        digest = self._recorded_digest(origin, versions)
        # A digest is no secret, so naming one grants no access to its model.
        if digest is None or requested not in (None, digest):
            return None
        name = _cache_name(digest)
        folder = self._cache.find(name)
        if folder is None:
            return None
        pinned = PinnedModel(folder, digest)
        self._cache.pin(name, pinned)  # it cannot be evicted from here on
        files = self._digests.of(folder, _names_below(folder))
        if model_digest(files) != digest:
            self._cache.remove(name)  # the cached files were changed or damaged
            return None
        del pinned
        return self._pin(folder, digest, files)

    async def _fetch(
        self, uri: str, origin: str, digest: str | None, objects: _Objects, storage: Storage
    ) -> PinnedModel:
        size_bytes = sum(version.size_bytes for version in objects.versions.values())
        with self._cache.reserve(f"fetch/{origin}", size_bytes), self._cache.incoming_folder() as folder:
            files: dict[str, FileDigest] = {}
            for name, version in objects.versions.items():
                target = folder / "model" / name
                target.parent.mkdir(parents=True, exist_ok=True)
                sha256 = await storage.download(uri + objects.suffixes[name], target, version)
                if objects.sums.get(name, sha256) != sha256:
                    raise _mismatch(f"{name} is not the file that {SUMS_NAME} lists; upload both again")
                files[name] = FileDigest(version.size_bytes, sha256)
            actual = model_digest(files)
            if digest is not None and digest != actual:
                raise _mismatch(f"its files digest to {actual} and not to {digest}; correct model.digest or the files")
            return await asyncio.to_thread(self._keep, origin, actual, objects.versions, folder / "model", files)

    def _keep(
        self, origin: str, digest: str, versions: dict[str, ObjectVersion], folder: Path, files: dict[str, FileDigest]
    ) -> PinnedModel:
        check_contents(_WHERE, folder, files)
        kept = self._cache.adopt(folder, _cache_name(digest))
        record = json.dumps({"digest": digest, "versions": _record(versions)})
        replace_file(self._cache.origin(_key(origin)), record.encode())
        return self._pin(kept, digest, files)

    def _pin(self, folder: Path, digest: str, files: dict[str, FileDigest]) -> PinnedModel:
        sha256s = {name: file.sha256 for name, file in files.items()}
        model = PinnedModel(folder, digest, files=sha256s, links_stay_in=link_root(folder))
        self._cache.pin(_cache_name(digest), model)
        return model

    def _recorded_digest(self, origin: str, versions: dict[str, ObjectVersion]) -> str | None:
        """The digest of the files at the address, if they are still the versions that were fetched."""
        if any(version.etag is None for version in versions.values()):
            return None
        try:
            record: object = json.loads(self._cache.origin(_key(origin)).read_bytes())
        except (FileNotFoundError, ValueError):
            return None
        if not isinstance(record, dict) or record.get("versions") != _record(versions):
            return None
        digest = record.get("digest")
        return digest if isinstance(digest, str) else None


@dataclass(frozen=True, slots=True)
class _Objects:
    """The objects at the address."""

    versions: dict[str, ObjectVersion]
    """By file name, sorted."""
    suffixes: dict[str, str]
    """By file name: the suffix of its address."""
    sums: dict[str, str]
    """sha256 by file name, as far as SHA256SUMS lists them."""


async def _list(uri: str, storage: Storage) -> _Objects:
    """Raises VoxFleetError."""
    if uri.startswith("https://"):
        sums = await _read_sums(uri, storage)
        suffixes = {name: quote(name) for name in sums}
    else:
        sums = {}
        suffixes = {name: name for name in await storage.list_names(uri, MAX_FILES)}
    parts = {name: PurePosixPath(name).parts for name in suffixes}
    if any(".." in split or PurePosixPath(name).is_absolute() or "\0" in name for name, split in parts.items()):
        raise unavailable(f"{_WHERE} holds a name that leads out of it; rename the object")
    if any(len(name) > _MAX_NAME_CHARACTERS or len(split) > _MAX_PARTS for name, split in parts.items()) or any(
        len(part.encode(errors="replace")) > _MAX_PART_BYTES for split in parts.values() for part in split
    ):
        raise unavailable(f"{_WHERE} holds a name that is too long for a file; rename the object")
    if any(str(folder) in suffixes for name in suffixes for folder in PurePosixPath(name).parents):
        raise unavailable(f"{_WHERE} holds a file and a folder of one name; rename one of them")
    visible = sorted(name for name, split in parts.items() if not any(part.startswith(".") for part in split))
    check_names(_WHERE, visible)
    return _Objects({name: await storage.head(uri + suffixes[name]) for name in visible}, suffixes, sums)


async def _read_sums(uri: str, storage: Storage) -> dict[str, str]:
    """sha256 by name from SHA256SUMS."""
    try:
        content = await storage.get(f"{uri}{SUMS_NAME}", _SUMS_LIMIT_BYTES)
    except VoxFleetError as error:
        if error.failure_class is FailureClass.INPUT_NOT_FOUND:
            raise unavailable(
                f"{_WHERE} has no {SUMS_NAME}, which a web address needs; make it with `sha256sum *`"
            ) from error
        raise
    lines = [_SUMS_LINE.fullmatch(line) for line in content.decode(errors="replace").splitlines() if line.strip()]
    sums = {line.group(2).removeprefix("./"): line.group(1) for line in lines if line is not None}
    if len(sums) != len(lines) or len(sums) > MAX_FILES:
        raise unavailable(f"{_WHERE}: {SUMS_NAME} is not what sha256sum writes; make it with `sha256sum *`")
    return sums


def _names_below(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def _record(versions: dict[str, ObjectVersion]) -> dict[str, list[object]]:
    return {name: [version.size_bytes, version.etag] for name, version in versions.items()}


def _cache_name(digest: str) -> str:
    return f"models/{digest.removeprefix('sha256:')}"


def _key(origin: str) -> str:
    return hashlib.sha256(origin.encode()).hexdigest()


def _mismatch(what: str) -> VoxFleetError:
    return VoxFleetError(FailureClass.MODEL_MISMATCH, f"{_WHERE}: {what}")
