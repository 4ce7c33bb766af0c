"""What the lanes of one agent may reach, and the command that starts a worker within those bounds."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import voxfleet_agent
import voxfleet_api
import voxfleet_shared
from voxfleet_agent.confinement import launch, seatbelt
from voxfleet_agent.confinement.guards import UNGUARDED, FileGuard, Guards

_OWN_PACKAGES = (voxfleet_agent, voxfleet_api, voxfleet_shared)
_PACKAGE_FOLDERS = ("site-packages", "dist-packages")
_LIBRARY_FOLDERS = ("lib", "lib64", "lib32")
_STATE_OF_SERVICES = Path("/var/lib")
_LIBRARY = re.compile(r"\.so(\.|$)")


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
    """What the loader reads beside the interpreter's own: see `needed_libraries`."""
    drops_rights: bool = sys.platform == "linux"
    """Whether a child has no capabilities (of root: CAP_DAC_READ_SEARCH alone) and gets none from set-user-id programs,
    even where there is no guard."""
    keeps_undroppable_rights: bool = False
    """Whether a child starts with the capabilities that the system does not let it drop, and not at all else."""

    def command(self, worker: Sequence[str], lane_folder: Path, model_folder: Path | None) -> tuple[str, ...]:
        """The command that starts `worker` in these bounds.

        `model_folder`: its real name, as nothing is asked here of its file system, which may be dead by now.
        """
        models = () if model_folder is None else (model_folder,)
        if FileGuard.SEATBELT in (self.guards.files, self.guards.network):
            text = seatbelt.profile(
                hidden=_with_targets(self.hidden),
                read_only=_with_targets((self.clips, *self.read_only)),
                readable=[*_with_targets((*interpreter_files(worker), self.clips)), *models],
                writable=_with_targets((lane_folder,)),
                home=Path.home(),
            )
            return (seatbelt.SANDBOX_EXEC, "-p", text, *worker)
        if self.guards == UNGUARDED and not self.drops_rights:
            return tuple(worker)
        order = {
            "files": self.guards.files,
            "network": self.guards.network,
            "keeps_undroppable_rights": self.keeps_undroppable_rights,
            "readable": [str(path) for path in (*interpreter_files(worker), *self.libraries, self.clips, *models)],
            "writable": [str(lane_folder)],
        }
        return (worker[0], "-I", "-S", str(Path(launch.__file__)), json.dumps(order), *worker)

    @property
    def bounds_models(self) -> bool:
        """Whether a child can read only the model that it was started for."""
        return self.guards.files is not FileGuard.NONE


def _with_targets(paths: Iterable[Path]) -> list[Path]:
    """The paths, and what they lead to where they are links."""
    return [spelled for path in paths for spelled in (path.absolute(), path.resolve())]


def unconfined() -> Confinement:
    """No bounds, for tests and measurements of one lane."""
    return Confinement(UNGUARDED, Path("/nonexistent"), drops_rights=False)


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


def needed_libraries(environment: Mapping[str, str]) -> list[Path]:
    """What the loader reads in every process because of LD_PRELOAD (ld.so(8)), and where this one's libraries lie."""
    preloaded = [Path(name) for name in re.split("[: ]", environment.get("LD_PRELOAD", "")) if name.startswith("/")]
    try:
        maps = Path("/proc/self/maps").read_text(errors="surrogateescape")
    except OSError:
        return preloaded
    return [*preloaded, *library_folders(maps)]


def library_folders(maps: str) -> list[Path]:
    """Folders of the mapped libraries, sorted; the library alone where its folder is not one of libraries. Pure.

    Package managers keep an interpreter's libraries in places of their own, as Homebrew and Guix do, and libraries that
    are loaded later lie beside those that are. `maps`: as in /proc/<pid>/maps.
    """
    found: set[Path] = set()
    for line in maps.splitlines():
        _, slash, rest = line.partition("/")
        library = Path(slash + rest.removesuffix(" (deleted)"))
        if _LIBRARY.search(library.name):
            folder = library.parent
            found.add(folder if folder.name in _LIBRARY_FOLDERS and folder != _STATE_OF_SERVICES else library)
    return sorted(found)


def in_words(guards: Guards) -> str:
    """For people and logs."""
    return f"network: {guards.network}, files: {guards.files}"
