"""Which models an agent may load. What no rule allows is refused before anything of it is read."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from voxfleet_agent.addresses import AllowList
from voxfleet_agent.storage import Storage
from voxfleet_api.failures import FailureClass, VoxFleetError


@dataclass(frozen=True, slots=True)
class ModelAccess:
    """The shipped model is always allowed, and model.uri is bounded by the storage as clips are."""

    folders: Sequence[Path] = ()
    """Folders that model.path may name or lie below, beside the storage's own allowed folders."""
    hub: Sequence[str] = ()
    """Hub models, `owner/name` or `owner/*`."""
    own_folders: Sequence[Path] = ()
    """The agent's own, which no model may contain or lie in."""

    def require_folder(self, folder: Path, storage: Storage) -> None:
        """Raises VoxFleetError(RUNTIME_MISMATCH). Links are followed, and nothing in the folder is looked at."""
        real = os.path.realpath(folder)
        # The likeliest first: another folder's mount may be dead, and resolving it would hang.
        folders = sorted(self.folders, key=lambda allowed: not folder.is_relative_to(allowed))
        of_agent = any(_below(real, os.path.realpath(allowed)) for allowed in folders)
        if not of_agent and not all(_reaches(allowed, folder, real) for allowed in storage.allow_lists):
            raise _refused_here(
                f"model.path {folder} lies outside what this agent may load models from; add its folder to"
                " models.folders in the agent's file, or write model.hub or model.uri"
            )
        for own in self.own_folders:
            own_real = os.path.realpath(own)
            if _below(real, own_real) or _below(own_real, real):
                raise _refused_here(
                    f"model.path {folder} overlaps folders of the agent itself; put the model elsewhere"
                )

    def require_hub(self, hub_id: str) -> None:
        """Raises VoxFleetError(RUNTIME_MISMATCH)."""
        if not any(fnmatchcase(hub_id, pattern) for pattern in self.hub):
            owner = hub_id.partition("/")[0]
            raise _refused_here(
                f"the hub model {hub_id} is none that this agent may load; add {hub_id} or {owner}/* to models.hub in"
                " the agent's file"
            )


def _refused_here(message: str) -> VoxFleetError:
    """The lists are those of one Mac, and another Mac's may allow the model: the job must not fail for them."""
    return VoxFleetError(FailureClass.RUNTIME_MISMATCH, message)


def _below(path: str, folder: str) -> bool:
    return os.path.commonpath((path, folder)) == folder


def _reaches(allowed: AllowList, folder: Path, real: str) -> bool:
    """Whether the folder, whose real path is `real`, lies below a prefix, which may be a link itself.

    All folders below /var and /tmp are links on macOS.
    """
    named = [prefix for prefix in allowed.folders if folder.is_relative_to(prefix)]
    return any(_below(real, os.path.realpath(prefix)) for prefix in named) or allowed.covers(f"file://{real}")
