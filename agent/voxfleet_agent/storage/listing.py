"""What a listing found below a prefix."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from voxfleet_api.failures import FailureClass, VoxFleetError
from voxfleet_api.input_selection import SkipReason

EnterFolder = Callable[[str], bool]
"""Tells by a folder's own name whether a listing goes into it."""


def every_folder(name: str) -> bool:
    return True


@dataclass(frozen=True, slots=True)
class SkippedFolder:
    """A folder whose files were not listed."""

    name: str
    """Relative to the prefix, without a slash at its end."""
    reason: SkipReason


@dataclass(frozen=True, slots=True)
class Listing:
    """The objects below a prefix. Names are relative to it; a local name that is not UTF-8 holds surrogates."""

    names: list[str] = field(default_factory=list)
    skipped: list[SkippedFolder] = field(default_factory=list)
    """Only local folders can be skipped."""
    exists: bool = True
    """False: there is no such folder, or no key begins with the prefix."""

    def require_complete(self) -> None:
        """Raises VoxFleetError(ACCESS_DENIED) when a folder was skipped."""
        for folder in self.skipped:
            raise VoxFleetError(FailureClass.ACCESS_DENIED, _COMPLAINTS[folder.reason])


_COMPLAINTS = {
    SkipReason.LINKED_FOLDER: "the prefix holds a link to a folder; name that folder itself",
    SkipReason.NOT_READABLE: "the prefix holds a folder that this account may not read; check owner and permissions",
    SkipReason.HIDDEN: "the prefix holds a folder that was not listed",
}
