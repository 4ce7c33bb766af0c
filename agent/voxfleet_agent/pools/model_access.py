"""Lets the lanes' account read the models that the agent has fetched."""

from __future__ import annotations

import asyncio
import os
import stat
from pathlib import Path

from voxfleet_agent.models.resolved_model import ModelResolver, ResolvedModel
from voxfleet_agent.pools.account import LaneAccount
from voxfleet_agent.storage import Storage
from voxfleet_api.kinds.job_model import ModelSource


class ReadableModels:
    """A ModelResolver whose models the account can read, and no others of the cache."""

    def __init__(self, models: ModelResolver, account: LaneAccount, cache: Path) -> None:
        self._models = models
        self._account = account
        self._cache = cache.resolve()

    async def resolve(self, source: ModelSource, storage: Storage) -> ResolvedModel:
        model = await self._models.resolve(source, storage)
        await asyncio.to_thread(self._open, model.path)
        return model

    def _open(self, folder: Path) -> None:
        """What lies outside the cache has the rights that its owner gave it."""
        for name in sorted(path.name for path in folder.iterdir()):
            file = (folder / name).resolve()  # the hub's layout links to its blobs
            if file.is_relative_to(self._cache) and file.is_file():
                self._let(file, stat.S_IRGRP)
                self._let_pass(file.parent)
        self._let_pass(folder)

    def _let_pass(self, folder: Path) -> None:
        for place in (folder, *folder.parents):
            if not place.is_relative_to(self._cache):
                return
            self._let(place, stat.S_IRGRP | stat.S_IXGRP if place == folder else stat.S_IXGRP)

    def _let(self, place: Path, rights: int) -> None:
        facts = place.stat()
        if facts.st_gid != self._account.gid:
            os.chown(place, -1, self._account.gid)
        if facts.st_mode & rights != rights:
            place.chmod(stat.S_IMODE(facts.st_mode) | rights)
