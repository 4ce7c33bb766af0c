"""Why a file system denies access, and what a person does about it. Pure."""

from __future__ import annotations

import errno


def denial(number: int | None, platform: str) -> str:
    """The reason for an errno that means no access; `platform` as sys.platform.

    macOS answers EPERM where its privacy protection (TCC) stands before Documents, Desktop, Downloads, network volumes
    or removable ones, whatever owner and mode say; owner and mode themselves give EACCES.
    """
    if number == errno.EROFS:
        return "the file system is read-only; mount it for writing"
    if number == errno.ELOOP:
        return "the path leads through links in a circle, or through more than are followed; name the real folder"
    if number == errno.EPERM and platform == "darwin":
        return (
            "macOS's privacy protection denies access; in System Settings, Privacy & Security, give the program that"
            " runs the agent Full Disk Access, or the folder under Files and Folders"
        )
    if number == errno.EPERM:
        return "the system forbids it whatever the owner is; look for an immutable flag or a security policy"
    return "the file system denies access; check the owner and the permissions"
