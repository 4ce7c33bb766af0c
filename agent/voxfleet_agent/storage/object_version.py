"""The version of an object, and the checks and errors that all kinds of storage share."""

from __future__ import annotations

from dataclasses import dataclass

from voxfleet_api.failures import FailureClass, VoxFleetError


@dataclass(frozen=True, slots=True)
class ObjectVersion:
    size_bytes: int
    etag: str | None
    """For a local file, built from its time and size, not from its inode, which differs between Macs. For an https
    object without ETag, `modified ` and its Last-Modified. None: versions differ only by size."""


def changed() -> VoxFleetError:
    return VoxFleetError(FailureClass.INPUT_CHANGED, "the object is not the version that Plan saw")


def too_few_bytes() -> VoxFleetError:
    return VoxFleetError(FailureClass.TRANSPORT, "the storage sent less of the object than there is")


def check_size(size_bytes: int, limit_bytes: int) -> None:
    """Raises VoxFleetError(INVALID_INPUT)."""
    if size_bytes > limit_bytes:
        raise VoxFleetError(FailureClass.INVALID_INPUT, f"has {size_bytes} bytes; at most {limit_bytes} are read")


MAX_NAME_CHARACTERS = 1024
"""The longest key that S3 allows, and the longest address that any field of a job allows."""


def check_name(name: str) -> None:
    """Raises VoxFleetError(INVALID_INPUT) for a listed name that is too long."""
    if len(name) > MAX_NAME_CHARACTERS:
        raise VoxFleetError(
            FailureClass.INVALID_INPUT,
            f"the prefix holds an object whose name has more than {MAX_NAME_CHARACTERS} characters; rename it",
        )


def check_count(count: int, limit: int) -> None:
    """Raises VoxFleetError(INVALID_INPUT)."""
    if count > limit:
        raise VoxFleetError(FailureClass.INVALID_INPUT, f"the prefix holds more than {limit} objects; split the job")
