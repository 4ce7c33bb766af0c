"""Objects behind one interface: plain files and S3, through obstore. The only module that imports obstore.

Every call takes an absolute URI, checks it against the allow-list and raises VoxFleetError: ACCESS_DENIED,
INPUT_NOT_FOUND, INPUT_CHANGED, INVALID_INPUT (too large), TRANSPORT, THROTTLED. No message holds an address.
"""

from __future__ import annotations

import asyncio
import errno
import hashlib
import os
import re
import stat
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import obstore
from obstore.exceptions import (
    AlreadyExistsError,
    BaseError,
    PermissionDeniedError,
    PreconditionError,
    UnauthenticatedError,
)
from obstore.store import LocalStore, S3Store

from voxfleet_agent.addresses import Address, AllowList
from voxfleet_api.failures import FailureClass, VoxFleetError
from voxfleet_api.protocol import S3Credentials

if TYPE_CHECKING:
    from obstore import GetResult, ObjectMeta
    from obstore.store import S3Credential

_CHUNK_BYTES = 2**18
_BLOCK_BYTES = 2**16


@dataclass(frozen=True, slots=True)
class ObjectVersion:
    size_bytes: int
    etag: str | None
    """A local file's holds its time and size, not its inode, which differs between Macs."""


class Storage:
    """What one attempt may read and write."""

    def __init__(self, allow: Iterable[str], credentials: S3Credentials | None = None) -> None:
        """`allow`: prefixes. `credentials`: None refuses s3:// addresses, for there are no ambient ones."""
        self._allowed = AllowList(allow)
        self._credentials = credentials
        self._local = LocalStore("/")
        self._buckets: dict[str, S3Store] = {}

    def check(self, uri: str) -> None:
        """Raises VoxFleetError(ACCESS_DENIED) for an address outside the allow-list."""
        self._allowed.resolve(uri)

    async def head(self, uri: str) -> ObjectVersion:
        address = await self._resolve_object(uri)
        with _translated():
            return _version(address, await obstore.head_async(self._store(address), address.key))

    async def exists(self, uri: str) -> bool:
        try:
            await self.head(uri)
        except VoxFleetError as error:
            if error.failure_class is FailureClass.INPUT_NOT_FOUND:
                return False
            raise
        return True

    async def get(self, uri: str, limit_bytes: int) -> bytes:
        """The whole object. Raises INVALID_INPUT when it is larger than the limit."""
        address = await self._resolve_object(uri)
        with _translated():
            result = await obstore.get_async(self._store(address), address.key)
            size_bytes = result.meta["size"]
            if size_bytes > limit_bytes:
                raise VoxFleetError(
                    FailureClass.INVALID_INPUT, f"has {size_bytes} bytes; at most {limit_bytes} are read"
                )
            return bytes(await result.bytes_async())

    async def download(self, uri: str, target: Path, version: ObjectVersion) -> str:
        """Writes exactly this version of the object into a file; returns its sha256 in hex.

        Raises INPUT_CHANGED when ETag or size differ.
        """
        address = await self._resolve_object(uri)
        with _translated():
            # obstore's own ETag of a local file holds the inode, so those are compared below, in our form.
            conditional = address.bucket is not None and version.etag is not None
            result = await obstore.get_async(
                self._store(address), address.key, options={"if_match": version.etag} if conditional else None
            )
        if _version(address, result.meta) != version:
            raise _changed()
        digest, size_bytes = hashlib.sha256(), 0
        descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            async for chunk in _chunks(result):
                size_bytes += len(chunk)
                if size_bytes > version.size_bytes:
                    break
                digest.update(chunk)
                file.write(chunk)
        if size_bytes != version.size_bytes:
            raise _changed()
        return digest.hexdigest()

    async def put(self, uri: str, content: bytes) -> None:
        """Writes the whole object at once, whether it exists or not; it is durable when the call returns."""
        address = await asyncio.to_thread(self._allowed.resolve, uri)
        with _translated():
            await obstore.put_async(self._store(address), address.key, content)
            await self._make_durable(address)

    async def put_once(self, uri: str, content: bytes) -> None:
        """Creates the object; one with these very bytes is left as it is.

        Raises MACHINE_LOST for other bytes: only an agent that lost its journal meets an earlier object of its own.
        """
        address = await asyncio.to_thread(self._allowed.resolve, uri)
        with _translated():
            try:
                await obstore.put_async(self._store(address), address.key, content, mode="create")
            except AlreadyExistsError as error:
                result = await obstore.get_async(self._store(address), address.key)
                if bytes(await result.bytes_async()) != content:
                    raise VoxFleetError(
                        FailureClass.MACHINE_LOST,
                        "exists with other content: this agent's journal does not know what the attempt did before;"
                        " the next attempt inherits what was uploaded",
                    ) from error
            await self._make_durable(address)

    async def list_names(self, prefix: str, limit: int) -> list[str]:
        """Names of all objects below a prefix, relative to it and sorted; empty when there are none.

        Raises INVALID_INPUT beyond `limit`, ACCESS_DENIED for a link to a folder, which is neither followed nor
        passed over.
        """
        address = await asyncio.to_thread(self._allowed.resolve, prefix)
        with _translated():
            if address.bucket is None:
                return await asyncio.to_thread(_walk, address.path, limit)
            above = f"{address.key}/" if address.key else ""
            names: list[str] = []
            async for page in obstore.list(self._store(address), address.key or None, chunk_size=1000):
                names.extend(meta["path"].removeprefix(above) for meta in page)
                _check_limit(len(names), limit)
            return sorted(names)

    async def open_reader(self, uri: str) -> tuple[ObjectVersion, RangeReader]:
        """The object's version and a reader of its parts; the reader blocks, so use it in a thread."""
        address = await self._resolve_object(uri)
        with _translated():
            version = _version(address, await obstore.head_async(self._store(address), address.key))
        return version, RangeReader(self._store(address), address.key, version.size_bytes)

    async def _resolve_object(self, uri: str) -> Address:
        address = await asyncio.to_thread(self._allowed.resolve, uri)
        if address.bucket is None:
            with _translated():
                await asyncio.to_thread(_require_regular, address.path)
        return address

    def _store(self, address: Address) -> LocalStore | S3Store:
        if address.bucket is None:
            return self._local
        if self._credentials is None:
            raise VoxFleetError(
                FailureClass.ACCESS_DENIED,
                "s3:// needs the job's credentialsRef: this agent has no credentials of its own",
            )
        if address.bucket not in self._buckets:
            self._buckets[address.bucket] = _open_bucket(address.bucket, self._credentials)
        return self._buckets[address.bucket]

    async def _make_durable(self, address: Address) -> None:
        if address.bucket is None:
            await asyncio.to_thread(_sync, address.path)


class RangeReader:
    """A seekable, read-only view of an object; each read asks for one range."""

    def __init__(self, store: LocalStore | S3Store, key: str, size_bytes: int) -> None:
        self._store = store
        self._key = key
        self._size_bytes = size_bytes
        self._position = 0
        self._block_start = 0
        self._block = b""

    def seek(self, offset: int, /) -> int:
        self._position = offset
        return offset

    def read(self, size: int, /) -> bytes:
        start, end = self._position, min(self._position + size, self._size_bytes)
        if start >= end:
            return b""
        if start < self._block_start or end > self._block_start + len(self._block):
            stop = min(max(end, start + _BLOCK_BYTES), self._size_bytes)
            with _translated():
                self._block = bytes(obstore.get_range(self._store, self._key, start=start, end=stop))
            self._block_start = start
        data = self._block[start - self._block_start : end - self._block_start]
        self._position = start + len(data)
        return data


def _open_bucket(bucket: str, credentials: S3Credentials) -> S3Store:
    """Names everything, because obstore reads what is absent from the process's environment."""
    region = credentials.region or "us-east-1"
    endpoint = credentials.endpoint_url or f"https://s3.{region}.amazonaws.com"
    token = credentials.session_token

    def provide() -> S3Credential:
        return {
            "access_key_id": credentials.access_key_id.get_secret_value(),
            "secret_access_key": credentials.secret_access_key.get_secret_value(),
            "token": token.get_secret_value() if token else None,
            "expires_at": None,
        }

    return S3Store(
        bucket,
        endpoint=endpoint,
        region=region,
        credential_provider=provide,
        skip_signature=False,
        virtual_hosted_style_request=False,
        client_options={
            "allow_http": endpoint.startswith("http://"),
            "connect_timeout": timedelta(seconds=10),
            "read_timeout": timedelta(seconds=60),
            "timeout": timedelta(hours=1),
        },
        retry_config={"max_retries": 0},  # retries are counted in one place, stages/retry.py
    )


async def _chunks(result: GetResult) -> AsyncIterator[bytes]:
    with _translated():
        async for chunk in result.stream(min_chunk_size=_CHUNK_BYTES):
            yield chunk


def _version(address: Address, meta: ObjectMeta) -> ObjectVersion:
    etag = meta["e_tag"]
    if address.bucket is None and etag is not None:
        _, _, etag = etag.strip('"').partition("-")
    return ObjectVersion(meta["size"], etag)


def _require_regular(path: str) -> None:
    # obstore would wait for ever on a pipe.
    if not stat.S_ISREG(Path(path).stat().st_mode):
        raise VoxFleetError(
            FailureClass.ACCESS_DENIED, "is not a regular file; folders, pipes and devices are not read"
        )


_STAGING = re.compile(r"#[0-9]+$")
"""Of the files that obstore renames once they are complete."""


def _walk(folder: str, limit: int) -> list[str]:
    found: list[str] = []
    pending = [folder]
    while pending:
        try:
            entries = list(os.scandir(pending.pop()))
        except FileNotFoundError:
            continue  # no folder is no object, as in S3
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                pending.append(entry.path)
            elif entry.is_dir():
                raise VoxFleetError(
                    FailureClass.ACCESS_DENIED, "the prefix holds a link to a folder; name that folder itself"
                )
            elif not _STAGING.search(entry.name):
                found.append(os.path.relpath(entry.path, folder))
        _check_limit(len(found), limit)
    return sorted(found)


def _check_limit(count: int, limit: int) -> None:
    if count > limit:
        raise VoxFleetError(FailureClass.INVALID_INPUT, f"the prefix holds more than {limit} objects; split the job")


def _sync(path: str) -> None:
    """obstore leaves what it wrote in the system's cache."""
    for target in (path, str(Path(path).parent)):
        descriptor = os.open(target, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except (BaseError, OSError, ValueError) as error:
        raise _classified(error) from error


_HTTP_STATUS = re.compile(r"status code: ([0-9]{3})")
_OS_ERROR = re.compile(r"\(os error ([0-9]+)\)")
_NO_ACCESS = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})
_NO_OBJECT = frozenset({errno.ENOENT, errno.ENOTDIR, errno.EISDIR})


def _classified(error: Exception) -> VoxFleetError:
    """obstore tells many errors only in the text of a GenericError."""
    text = str(error)
    os_error = error.errno if isinstance(error, OSError) and error.errno else _number(_OS_ERROR, text)
    http_status = _number(_HTTP_STATUS, text)
    if isinstance(error, PreconditionError):
        return _changed()
    if isinstance(error, PermissionDeniedError | UnauthenticatedError) or os_error in _NO_ACCESS:
        return VoxFleetError(
            FailureClass.ACCESS_DENIED, "the storage denies access; check the credentials and the object's permissions"
        )
    if "ExpiredToken" in text:
        return VoxFleetError(FailureClass.ACCESS_DENIED, "the storage credentials have expired; renew the job's Secret")
    if isinstance(error, FileNotFoundError) or os_error in _NO_OBJECT:
        return VoxFleetError(FailureClass.INPUT_NOT_FOUND, "the object does not exist, or this Mac does not see it")
    if http_status in (429, 503):
        return VoxFleetError(FailureClass.THROTTLED, f"the storage asks to slow down (HTTP {http_status})")
    if http_status is not None:
        return VoxFleetError(FailureClass.TRANSPORT, f"the storage answered HTTP {http_status}")
    if os_error is not None:
        return VoxFleetError(FailureClass.TRANSPORT, f"the file system answered: {os.strerror(os_error)}")
    if isinstance(error, ValueError):
        return VoxFleetError(FailureClass.ACCESS_DENIED, "the address is not one that the storage can hold")
    return VoxFleetError(FailureClass.TRANSPORT, "the storage cannot be reached; check endpoint and network")


def _number(pattern: re.Pattern[str], text: str) -> int | None:
    match = pattern.search(text)
    return int(match.group(1)) if match else None


def _changed() -> VoxFleetError:
    return VoxFleetError(FailureClass.INPUT_CHANGED, "the object is not the version that Plan saw")
