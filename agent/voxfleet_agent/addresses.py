"""Object addresses, and which of them an agent may touch."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import unquote

from voxfleet_api.failures import FailureClass, VoxFleetError

FILE_SCHEME = "file:///"
S3_SCHEME = "s3://"


@dataclass(frozen=True, slots=True)
class Address:
    """Where an object lies. `key` has no slash at its beginning or end; for a local file it is its real path."""

    bucket: str | None
    """None for a local file."""
    key: str

    @property
    def path(self) -> str:
        """A local file's absolute path."""
        return f"/{self.key}"


class AllowList:
    """The prefixes below which attempts may read and write."""

    def __init__(self, prefixes: Iterable[str]) -> None:
        parsed = [_parse(prefix) for prefix in prefixes]
        self._folders = [os.path.realpath(address.path) for address in parsed if address.bucket is None]
        self._buckets = [(address.bucket, address.key) for address in parsed if address.bucket is not None]

    def resolve(self, uri: str) -> Address:
        """The address behind a URI. Raises VoxFleetError(ACCESS_DENIED).

        URIs are taken literally, as S3 keys are: `%20` is three characters of a name. Links of a local path are
        resolved, so that none can lead out of the allowed folders.
        """
        address = _parse(uri)
        if address.bucket is None:
            path = os.path.realpath(address.path)
            if any(os.path.commonpath((folder, path)) == folder for folder in self._folders):
                return Address(None, path.lstrip("/"))
        elif any(address.bucket == bucket and _below(address.key, prefix) for bucket, prefix in self._buckets):
            return address
        raise _denied(
            "the address lies outside what this agent may touch; add its prefix to `allow` in the agent's file"
        )


def _parse(uri: str) -> Address:
    """Raises VoxFleetError(ACCESS_DENIED) for what is not an absolute, normal address."""
    if uri.startswith(FILE_SCHEME):
        bucket, key = None, uri.removeprefix(FILE_SCHEME)
    elif uri.startswith(S3_SCHEME):
        bucket, _, key = uri.removeprefix(S3_SCHEME).partition("/")
        if not bucket:
            raise _denied("the address names no bucket; write s3://bucket/name")
    else:
        raise _denied("the address is neither file:///folder/name nor s3://bucket/name")
    key = key.removesuffix("/")
    if key:
        for segment in key.split("/"):
            _check_segment(segment)
    return Address(bucket, key)


def _check_segment(segment: str) -> None:
    # Nothing here decodes percent signs; what would mean another place to somebody who does is refused all the same.
    decoded = unquote(segment)
    if segment == "" or decoded in (".", "..") or "\0" in decoded or decoded.count("/") > 0:
        raise _denied("the address has an empty part, `.`, `..` or a hidden slash; write it in its shortest form")


def _below(key: str, prefix: str) -> bool:
    return prefix == "" or key == prefix or key.startswith(f"{prefix}/")


def _denied(message: str) -> VoxFleetError:
    return VoxFleetError(FailureClass.ACCESS_DENIED, message)
