"""What the lanes of one agent may reach, and the command that starts a worker within those bounds."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import voxfleet_agent
import voxfleet_api
import voxfleet_shared
from voxfleet_agent.confinement import launch, seatbelt
from voxfleet_agent.confinement.guards import UNGUARDED, FileGuard, Guards

_OWN_PACKAGES = (voxfleet_agent, voxfleet_api, voxfleet_shared)
_PACKAGE_FOLDERS = ("site-packages", "dist-packages")


@dataclass(frozen=True, slots=True)
class Confinement:
    """A lane writes to its own folder; it reads that folder, its model, the clips, and its interpreter's files."""

    guards: Guards
    clips: Path
    """Holds the clips of all attempts."""
    hidden: tuple[Path, ...] = ()
    """The agent's own files and folders, named where a guard refuses by name."""
    read_only: tuple[Path, ...] = ()
    """What lanes may read and not write, named where a guard refuses by name."""
    libraries: tuple[Path, ...] = ()
    """What the loader reads beside the interpreter's own: see `preloaded_libraries`."""

    def command(self, worker: Sequence[str], lane_folder: Path, model_folder: Path | None) -> tuple[str, ...]:
        """The command that starts `worker` in these bounds."""
        models = () if model_folder is None else (model_folder,)
        if FileGuard.SEATBELT in (self.guards.files, self.guards.network):
            text = seatbelt.profile(
                hidden=self.hidden,
                read_only=(self.clips, *self.read_only),
                readable=(self.clips, *models),
                writable=(lane_folder,),
                home=Path.home(),
            )
            return (seatbelt.SANDBOX_EXEC, "-p", text, *worker)
        if self.guards == UNGUARDED:
            return tuple(worker)
        order = {
            "files": self.guards.files,
            "network": self.guards.network,
            "readable": [str(path) for path in (*interpreter_files(worker), *self.libraries, self.clips, *models)],
            "writable": [str(lane_folder)],
        }
        return (worker[0], "-I", "-S", str(Path(launch.__file__)), json.dumps(order), *worker)

    @property
    def bounds_models(self) -> bool:
        """Whether a child can read only the model that it was started for."""
        return self.guards.files is not FileGuard.NONE


def unconfined() -> Confinement:
    """No bounds, for tests and measurements of one lane."""
    return Confinement(UNGUARDED, Path("/nonexistent"))


def interpreter_files(worker: Sequence[str]) -> list[Path]:
    """What a worker's interpreter reads beside the system's own files: its environment and this one's packages.

    Not all of sys.path: it begins with the folder that the agent was started in, which for a service is the root.
    """
    environment = Path(worker[0]).parent.parent
    named = [Path(word) for word in worker if word.startswith("/")]
    return [
        *([environment] if (environment / "pyvenv.cfg").exists() else []),
        Path(sys.prefix),
        Path(sys.base_prefix),
        *(Path(path) for path in sys.path if Path(path).name in _PACKAGE_FOLDERS),
        *(Path(path).parent for package in _OWN_PACKAGES for path in package.__path__),
        *(path for path in named if path.is_file()),
    ]


def preloaded_libraries(environment: Mapping[str, str]) -> list[Path]:
    """The libraries of LD_PRELOAD, which the loader reads in every process (ld.so(8))."""
    return [Path(name) for name in re.split("[: ]", environment.get("LD_PRELOAD", "")) if name.startswith("/")]


def in_words(guards: Guards) -> str:
    """For people and logs."""
    return f"network: {guards.network}, files: {guards.files}"
