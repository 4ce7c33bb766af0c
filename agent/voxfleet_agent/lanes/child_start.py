"""How the children of one lane start: their command, their environment, and how much memory they may take."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path

from voxfleet_agent.confinement.confinement import Confinement
from voxfleet_agent.lanes.child_environment import child_environment, runbook_names
from voxfleet_agent.lanes.child_process import ChildProcess
from voxfleet_agent.lanes.lane_types import LaneSpec
from voxfleet_agent.lanes.lane_user import LaneUser
from voxfleet_api.quantities import quantity_bytes

WORKER = (sys.executable, "-m", "voxfleet_agent.worker.main")


@dataclass(frozen=True, slots=True)
class ChildStart:
    folder: Path
    """The lane's own, for its lock and temporary files."""
    worker: tuple[str, ...]
    confinement: Confinement
    lane_user: LaneUser | None
    quarantine: Path | None
    pool_cap_bytes: int

    async def start(self, spec: LaneSpec, model_folder: Path, batch_size: int, memory_cap_bytes: int) -> ChildProcess:
        """Starts a child that can read `model_folder`; it has loaded nothing yet."""
        environment = child_environment(os.environ, self.folder) | self.names(spec, batch_size)
        command = self.confinement.command(self.worker, self.folder, model_folder)
        return await ChildProcess.start(command, self.folder, environment, memory_cap_bytes, self.lane_user)

    def names(self, spec: LaneSpec, batch_size: int) -> dict[str, str]:
        """The runbook's names, as a child sees them."""
        return runbook_names(spec, batch_size, self.folder, self.quarantine)

    def memory_cap_bytes(self, spec: LaneSpec) -> int:
        declared = spec.contract.batching.memory_cap
        return self.pool_cap_bytes if declared is None else min(self.pool_cap_bytes, quantity_bytes(declared))
