"""What a measured ladder holds for: a Mac's chip, packages, memory cap and the like, then a model and a contract."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

from voxfleet_agent import blas
from voxfleet_api.digest import digest_of
from voxfleet_api.ladder_table import LadderTable

KEY_PACKAGES = ("mlx", "mlx-audio", "mlx-audio-io")


@dataclass(frozen=True, slots=True)
class LadderProfile:
    """All that a measurement depends on besides model and contract. Macs of one profile share their ladders."""

    chip: str
    versions: Mapping[str, str]
    """Of KEY_PACKAGES."""
    memory_cap_bytes: int
    """The cap per lane."""
    dtype_rule: str
    """What models compute in on this Mac (engine.compute_dtype)."""

    @classmethod
    def of(cls, chip: str, versions: Mapping[str, str], memory_cap_bytes: int, dtype_rule: str) -> LadderProfile:
        """`versions`: those of all packages."""
        kept = {name: versions.get(name, "missing") for name in KEY_PACKAGES}
        return cls(chip, kept, memory_cap_bytes, dtype_rule)

    def digest(self) -> str:
        return digest_of(self._parts())

    def key(self, model_digest: str, contract_digest: str) -> str:
        """Names the file of a table."""
        parts = {"model": model_digest, "contract": contract_digest, **self._parts()}
        return digest_of(parts).removeprefix("sha256:")

    def holds_for(self, table: LadderTable, model_digest: str, contract_digest: str) -> bool:
        """Whether the content matches the key: a file may have been copied from another Mac."""
        return (table.model_digest, table.contract_digest, table.chip, table.versions) == (
            model_digest,
            contract_digest,
            self.chip,
            self.versions,
        )

    def _parts(self) -> dict[str, object]:
        return {
            "chip": self.chip,
            "versions": dict(self.versions),
            "poolMemoryCapBytes": self.memory_cap_bytes,
            "dtype": self.dtype_rule,
            "blasThreads": blas.threads_per_lane(os.environ),
        }
