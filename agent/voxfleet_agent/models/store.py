"""Finds a job's model on this Mac or fetches it, and computes its digest. Does not import MLX."""

from __future__ import annotations

import asyncio
import errno
import sys
from collections import defaultdict
from importlib.resources import files
from pathlib import Path

from voxfleet_agent.access_advice import denial
from voxfleet_agent.models.hub_models import cache_name, fetched_snapshot
from voxfleet_agent.models.model_access import ModelAccess
from voxfleet_agent.models.model_cache import ModelCache, PinnedModel
from voxfleet_agent.models.model_files import (
    FileDigests,
    check_contents,
    check_names,
    link_root,
    list_files,
    model_digest,
    unavailable,
)
from voxfleet_agent.models.object_models import ObjectModels
from voxfleet_agent.models.resolved_model import ResolvedModel
from voxfleet_agent.storage import Storage
from voxfleet_agent.storage.blocking_calls import in_own_thread
from voxfleet_agent.volumes import unmounted_volume
from voxfleet_api.failures import FailureClass, VoxFleetError
from voxfleet_api.kinds.job_model import BuiltinName, HubModel, ModelSource


class ModelStore:
    """The packaged models, folders by path, and cached models from the hub or from object storage."""

    def __init__(self, cache_path: Path, quota_bytes: int, access: ModelAccess | None = None) -> None:
        """`access`: None allows the shipped model and what the storage allows."""
        self._access = access or ModelAccess()
        self._cache_path = cache_path
        self._cache = ModelCache(cache_path, quota_bytes)
        self._digests = FileDigests()
        self._objects = ObjectModels(self._cache, self._digests)
        self._locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def resolve(self, source: ModelSource, storage: Storage) -> ResolvedModel:
        """Finds or fetches the model and computes its digest.

        Raises VoxFleetError: MODEL_UNAVAILABLE, MODEL_MISMATCH, SCRATCH_EXHAUSTED when disk or cache are full, and the
        storage's TRANSPORT and THROTTLED, which can be retried.
        """
        if source.builtin is not None:
            return await asyncio.to_thread(self._resolve_builtin, source.builtin.name, source.digest)
        if source.path is not None:
            path, digest = source.path, source.digest
            return await storage.call_at(path, lambda: self._resolve_path(path, digest, storage))
        if source.hub is not None:
            self._access.require_hub(source.hub.id)
        await asyncio.to_thread(self._open)
        if source.hub is not None:
            async with self._locks[source.hub.id]:
                hub, digest = source.hub, source.digest
                return await in_own_thread(lambda: self._resolve_hub(hub, digest))
        if source.uri is not None:
            return await self._objects.resolve(source.uri, source.digest, storage)
        raise unavailable("the job names no model; write model.builtin, model.path, model.uri or model.hub")

    def close(self) -> None:
        """Unlocks the cache, so that another process can open it."""
        self._cache.close()

    def _open(self) -> None:
        try:
            if (volume := unmounted_volume(self._cache_path)) is not None:
                raise VoxFleetError(
                    FailureClass.SCRATCH_EXHAUSTED,
                    f"modelCache.path: the volume {volume} is not mounted; mount it and restart the agent",
                )
            self._cache.open()
        except OSError as error:
            raise VoxFleetError(
                FailureClass.SCRATCH_EXHAUSTED,
                f"the model cache cannot be used: {error.strerror}; check modelCache.path and its permissions",
            ) from error

    def _resolve_builtin(self, name: BuiltinName, digest: str | None) -> ResolvedModel:
        folder = builtin_model_folder(name)
        actual, sha256s = self._examine(folder, digest, f"the built-in model {name}")
        return ResolvedModel(folder, actual, files=sha256s, links_stay_in=link_root(folder))

    def _resolve_path(self, path: str, digest: str | None, storage: Storage) -> ResolvedModel:
        folder = Path(path)
        if not folder.is_absolute():
            raise unavailable(f"model.path {path} is not absolute; write a folder that every Mac has")
        if folder.resolve().is_relative_to(self._cache_path.resolve()):
            raise unavailable(
                "model.path lies in the model cache; name what it was fetched from: model.hub or model.uri"
            )
        self._access.require_folder(folder, storage)
        actual, sha256s = self._examine(folder, digest, "the job's model.path")
        return ResolvedModel(folder, actual, files=sha256s, links_stay_in=link_root(folder))

    def _resolve_hub(self, hub: HubModel, digest: str | None) -> ResolvedModel:
        with fetched_snapshot(hub, self._cache) as (folder, revision):
            actual, sha256s = self._examine(folder, digest, f"the hub model {hub.id}")
            model = PinnedModel(folder, actual, revision, sha256s, link_root(folder))
            self._cache.pin(cache_name(hub), model)
            return model

    def _examine(self, folder: Path, digest: str | None, what: str) -> tuple[str, dict[str, str]]:
        """Returns (the folder's digest, sha256 by file name)."""
        where = f"the model folder {folder}"
        try:
            names = list_files(folder)
            check_names(where, names)
            check_contents(where, folder, names)
            digests = self._digests.of(folder, names)
        except OSError as error:
            if error.errno in (errno.EACCES, errno.EPERM, errno.ELOOP):
                raise unavailable(f"{where} cannot be read: {denial(error.errno, sys.platform)}") from error
            raise unavailable(f"{where} cannot be read: {error.strerror}; check model.path") from error
        actual = model_digest(digests)
        if digest is not None and digest != actual:
            raise VoxFleetError(
                FailureClass.MODEL_MISMATCH,
                f"{what} digests to {actual} on this Mac and not to {digest}; correct model.digest, or put the same"
                " files on every Mac",
            )
        return actual, {name: file.sha256 for name, file in digests.items()}


def builtin_model_folder(name: BuiltinName) -> Path:
    """The folder of a model that ships with the agent."""
    return Path(str(files("voxfleet_agent.models") / "builtin" / name))
