"""Opens a ledger archive by its address."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from urllib.parse import unquote, urlsplit

from voxfleet_billing.archive_access import ArchiveError, ArchiveStore, ObjectMissing
from voxfleet_billing.archive_folder import ArchiveFolder

__all__ = ["ArchiveError", "ArchiveStore", "ObjectMissing", "open_archive", "opened"]


def open_archive(uri: str) -> ArchiveStore:
    """`file:///folder` or `s3://bucket/prefix`. Reads nothing yet. Raises ArchiveError for any other address."""
    parts = urlsplit(uri)
    if parts.scheme == "file" and parts.netloc in ("", "localhost") and len(parts.path) > 1 and not parts.query:
        return ArchiveFolder(Path(unquote(parts.path)))
    if parts.scheme == "s3" and parts.netloc and not parts.query and "@" not in parts.netloc:
        from voxfleet_billing.archive_bucket import ArchiveBucket  # 15 MB, which an archive in a folder does without

        return ArchiveBucket(parts.netloc, unquote(parts.path).strip("/"))
    raise ArchiveError(f"{uri}: is no address of an archive; write file:///folder or s3://bucket/prefix")


@cache
def opened(uri: str) -> ArchiveStore:
    """The same for each Mac that a process works on. Raises ArchiveError."""
    return open_archive(uri)
