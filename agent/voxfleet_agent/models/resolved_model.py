"""A model on this Mac, and the interface that finds it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from voxfleet_agent.storage import Storage
from voxfleet_api.kinds.job_model import ModelSource


@dataclass(frozen=True, slots=True)
class ResolvedModel:
    """A model folder on this Mac."""

    path: Path
    digest: str
    """`sha256:<hex>` over the folder's files."""
    revision: str | None = None
    """The commit of a hub model."""
    files: Mapping[str, str] = field(default_factory=dict)
    """sha256 by file name below the folder."""
    links_stay_in: Path | None = None
    """The folder that holds what its links lead to; None: `path`."""

    @property
    def readable(self) -> Path:
        """The folder that a lane must be able to read. Asks no file system, which may be dead by now."""
        return self.links_stay_in or self.path


class ModelResolver(Protocol):
    async def resolve(self, source: ModelSource, storage: Storage) -> ResolvedModel:
        """Finds or fetches the model and computes its digest.

        `storage` reads model.uri. Raises VoxFleetError(MODEL_UNAVAILABLE | MODEL_MISMATCH).
        """
        ...
