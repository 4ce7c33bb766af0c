"""The guards of a lane: which there are, which is preferred, and which comes next where one cannot be had. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum


class FileGuard(StrEnum):
    """What keeps a lane from files that it has no business with."""

    LANDLOCK = "landlock"
    SEATBELT = "seatbelt"
    NONE = "none"


class NetworkGuard(StrEnum):
    """What keeps a lane from the network."""

    SECCOMP = "seccomp"
    NAMESPACE = "namespace"
    SEATBELT = "seatbelt"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class Guards:
    files: FileGuard
    network: NetworkGuard


UNGUARDED = Guards(FileGuard.NONE, NetworkGuard.NONE)
_WEAKER_NETWORK = {NetworkGuard.SECCOMP: NetworkGuard.NAMESPACE, NetworkGuard.NAMESPACE: NetworkGuard.NONE}


def preferred(platform: str) -> Guards:
    """The guards to try first. `platform`: as in sys.platform."""
    match platform:
        case "linux":
            return Guards(FileGuard.LANDLOCK, NetworkGuard.SECCOMP)
        case "darwin":
            return Guards(FileGuard.SEATBELT, NetworkGuard.SEATBELT)
    return UNGUARDED


def weaker(guards: Guards, refused: str) -> Guards:
    """The guards to try next when the system refused the guard of that name. Raises ValueError for one not in use."""
    if refused not in (guards.files, guards.network) or refused == FileGuard.NONE:
        raise ValueError(f"no guard {refused} is in use")
    files = FileGuard.NONE if guards.files == refused else guards.files
    if guards.network != refused:
        return replace(guards, files=files)
    return Guards(files, _WEAKER_NETWORK.get(guards.network, NetworkGuard.NONE))
