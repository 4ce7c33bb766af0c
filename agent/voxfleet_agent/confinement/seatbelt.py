"""The seatbelt profile of a lane on macOS, as text. Pure. Not tested on a Mac.

Writing is denied but for named places. Reading and services are denied by name and allowed else, because Metal needs
services that Apple documents nowhere. The last rule that matches wins; the language is described in the Apple Sandbox
Guide 1.0 (reverse.put.as, 2011).
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

SANDBOX_EXEC = "/usr/bin/sandbox-exec"
_SECRETS_OF_AN_ACCOUNT = (".ssh", ".aws", ".config", ".netrc", ".gnupg", ".kube", "Library/Keychains")


_CACHE_AND_TEMPORARY_FOLDERS = r'(regex #"^(/private)?/var/folders/[^/]+/[^/]+/(C|T)(/|$)")'
"""Each account's own, which the system gives to it alone; Metal keeps compiled kernels there (confstr(3))."""
_DEVICES = ("/dev/null", "/dev/zero", "/dev/random", "/dev/urandom", "/dev/dtracehelper")
_LINKED_TO_PRIVATE = ("/var", "/tmp", "/etc")  # noqa: S108 -- names of links, and no file is made there


def profile(
    *, hidden: Iterable[Path], read_only: Iterable[Path], readable: Iterable[Path], writable: Iterable[Path], home: Path
) -> str:
    """The paths must be absolute.

    `hidden`: neither read nor written, except for what of it is `readable` or `writable`. `read_only`: not written even
    where the account keeps temporary files. A path that is a link is given beside what it leads to.
    """
    own_secrets = [home / name for name in _SECRETS_OF_AN_ACCOUNT]
    devices = " ".join(f'(literal "{device}")' for device in _DEVICES)
    lines = [
        "(version 1)",
        "(allow default)",
        "(deny network*)",
        "(deny process-info*)",
        "(allow process-info* (target self))",
        "(deny signal)",
        "(allow signal (target self))",
        # Other programs would act for the lane, outside of its bounds.
        "(deny lsopen)",
        "(deny appleevent-send)",
        "(deny job-creation)",
        "(deny file-write*)",
        f"(allow file-write* {_CACHE_AND_TEMPORARY_FOLDERS})",
        f"(allow file-write-data {devices})",
        *_rules("deny file-write*", read_only),
        *_rules("deny file-read-data file-write*", (*own_secrets, *hidden)),
        *_rules("allow file-read-data", readable),
        *_rules("allow file-read-data file-write*", writable),
    ]
    return "\n".join(lines) + "\n"


def _rules(action: str, paths: Iterable[Path]) -> list[str]:
    """One rule for each path and all below it, in both spellings; the same path is named once."""
    return [f"({action} {' '.join(_below(text) for text in _spellings(path))})" for path in dict.fromkeys(paths)]


def _spellings(path: Path) -> list[str]:
    """macOS links /var, /tmp and /etc to /private. Seatbelt compares real paths, and some rules what was asked for."""
    text = os.path.normpath(path)
    below_private = text.removeprefix("/private")
    if not any(below_private == link or below_private.startswith(f"{link}/") for link in _LINKED_TO_PRIVATE):
        return [text]
    return [below_private, f"/private{below_private}"]


def _below(path: str) -> str:
    quoted = path.replace("\\", "\\\\").replace('"', '\\"')
    return f'(subpath "{quoted}")'
