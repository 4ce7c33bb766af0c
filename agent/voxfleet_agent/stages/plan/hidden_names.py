"""Which names below a prefix are hidden or belong to a system, and so are never clips. Pure."""

from __future__ import annotations

_SYSTEM_NAMES = frozenset(
    {
        # macOS: an unpacked zip's resource forks, what file servers keep beside shares, a folder's own icon
        "__macosx",
        "network trash folder",
        "temporary items",
        "thevolumesettingsfolder",
        "icon\r",
        # Windows
        "$recycle.bin",
        "recycler",
        "found.000",
        "system volume information",
        "desktop.ini",
        "thumbs.db",
        # Linux
        "lost+found",
        # Synology, QNAP and NetApp: indexes, recycle bins, snapshots, unfinished uploads
        "@eadir",
        "@recently-snapshot",
        "@recycle",
        "#recycle",
        "#snapshot",
        "@tmp",
        "~snapshot",
    }
)
"""In lower case."""


def is_hidden(part: str) -> bool:
    """Whether a file's or folder's own name hides it: `.Trashes`, `._call.wav`, `@eaDir`.

    Two dots hide nothing: `...And Justice for All.wav` is a title. Nor does one alone, which may be a part of a key.
    """
    return (part.startswith(".") and part != "." and not part.startswith("..")) or part.lower() in _SYSTEM_NAMES


def is_below_hidden(name: str) -> bool:
    """Whether a folder in the name's path is hidden."""
    return any(is_hidden(part) for part in name.split("/")[:-1])
