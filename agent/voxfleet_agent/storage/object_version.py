"""What identifies the bytes of an object, and the errors that all kinds of storage share."""

from __future__ import annotations

from dataclasses import dataclass

from voxfleet_api.failures import FailureClass, VoxFleetError


@dataclass(frozen=True, slots=True)
class ObjectVersion:
    size_bytes: int
    etag: str | None
    """A local file's holds its time and size, not its inode, which differs between Macs. Of an https object without
    ETag: `modified ` and its Last-Modified. None: only the size tells versions apart."""


def changed() -> VoxFleetError:
    return VoxFleetError(FailureClass.INPUT_CHANGED, "the object is not the version that Plan saw")


def sent_too_little() -> VoxFleetError:
    return VoxFleetError(FailureClass.TRANSPORT, "the storage sent less of the object than there is")


def check_size(size_bytes: int, limit_bytes: int) -> None:
    """Raises VoxFleetError(INVALID_INPUT)."""
    if size_bytes > limit_bytes:
        raise VoxFleetError(FailureClass.INVALID_INPUT, f"has {size_bytes} bytes; at most {limit_bytes} are read")


MAX_NAME_CHARACTERS = 1024
"""S3 has no longer keys, and no field of a job holds a longer address."""


def check_name(name: str) -> None:
    """Raises VoxFleetError(INVALID_INPUT) for what a listing calls a name and is none."""
    if len(name) > MAX_NAME_CHARACTERS:
        raise VoxFleetError(
            FailureClass.INVALID_INPUT,
            f"the prefix holds an object whose name has more than {MAX_NAME_CHARACTERS} characters; rename it",
        )


def check_count(count: int, limit: int) -> None:
    """Raises VoxFleetError(INVALID_INPUT)."""
    if count > limit:
        raise VoxFleetError(FailureClass.INVALID_INPUT, f"the prefix holds more than {limit} objects; split the job")
