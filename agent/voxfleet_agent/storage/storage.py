"""What one attempt may read and write, in any kind of storage."""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import Callable, Iterable
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from typing import Self, TypeVar

from voxfleet_agent.addresses import Address, AllowList, Scheme, parse_address
from voxfleet_agent.config import HttpsConfig
from voxfleet_agent.scratch_errors import scratch_errors
from voxfleet_agent.storage.blocking_calls import in_thread
from voxfleet_agent.storage.egress_policy import PublicNetworks
from voxfleet_agent.storage.http_client import Timeouts, Trust
from voxfleet_agent.storage.http_objects import resumable
from voxfleet_agent.storage.listing import EnterFolder, Listing, every_folder
from voxfleet_agent.storage.local_files import LocalFiles
from voxfleet_agent.storage.local_paths import require_mounted
from voxfleet_agent.storage.mounts import Mounts
from voxfleet_agent.storage.object_store import ObjectStore, RangeReader
from voxfleet_agent.storage.object_version import ObjectVersion, changed, check_size, too_few_bytes
from voxfleet_agent.storage.owned_file import OwnedFile
from voxfleet_agent.storage.s3 import S3Endpoint
from voxfleet_agent.storage.staged_file import write_all
from voxfleet_agent.storage.upload_content import BytesContent, Content, open_file
from voxfleet_agent.storage.web_objects import WebObjects
from voxfleet_api.failures import FailureClass, VoxFleetError
from voxfleet_api.protocol import S3Credentials

T = TypeVar("T")

DOWNLOAD_FLAGS = (
    os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
)  # O_NONBLOCK: never wait for a pipe


@dataclass(slots=True)
class _PartialDownload:
    """How far an interrupted download got."""

    address: Address
    version: ObjectVersion
    size_bytes: int
    digest: hashlib._Hash


class Storage:
    """Keeps connections open until `aclose`."""

    def __init__(
        self,
        allow: Iterable[str],
        credentials: S3Credentials | None = None,
        https: HttpsConfig | None = None,
        timeouts: Timeouts | None = None,
        mounts: Mounts | None = None,
        namespace: Iterable[str] | None = None,
    ) -> None:
        """`allow`: prefixes. `credentials`: None refuses s3:// addresses, because there are no ambient credentials.
        `https`: how to reach hosts, including an S3 endpoint; None: public hosts only. `mounts`: the file systems of
        the whole process; None: as if nothing else in it touched one. `namespace`: the prefixes that are open to the
        job's namespace; an address must lie below one of each. None: `allow` alone counts."""
        self._allowed = AllowList(allow)
        self._namespace = None if namespace is None else AllowList.of_namespace(namespace)
        self._credentials = credentials
        https = https or HttpsConfig()
        self._trust = Trust(PublicNetworks(https.private_networks), https.ca_bundle, timeouts or Timeouts())
        self._mounts = mounts or Mounts(self._allowed.folders)
        self._local = LocalFiles(
            self._allowed.folders, self._mounts, None if self._namespace is None else self._namespace.folders
        )
        self._web = WebObjects(self._resolve, self._trust)
        self._s3: S3Endpoint | None = None
        self._retired: list[S3Endpoint] = []
        self._partials: dict[Path, _PartialDownload] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Closes the connections; a later call opens new ones."""
        await self._web.aclose()
        for endpoint in (*self._retired, *([] if self._s3 is None else [self._s3])):
            await endpoint.aclose()

    def renew_credentials(self, credentials: S3Credentials) -> None:
        """Signs every later request with these, also those of calls that go on.

        Invalid ones fail the next call, as they fail the first one of a new Storage.
        """
        self._credentials = credentials
        if self._s3 is None:
            return
        try:
            renewed = self._s3.renew_credentials(credentials)
        except VoxFleetError:
            renewed = False  # opening the next endpoint says what is wrong with them
        if not renewed:
            self._retired.append(self._s3)  # calls that go on still use it
            self._s3 = None

    def renew_namespace(self, prefixes: Iterable[str] | None) -> None:
        """Bounds every later call by these, as `namespace` of a new Storage does."""
        self._namespace = None if prefixes is None else AllowList.of_namespace(prefixes)
        self._local.renew_namespace(None if self._namespace is None else self._namespace.folders)

    @property
    def allow_lists(self) -> tuple[AllowList, ...]:
        """An address must lie below a prefix of each."""
        return (self._allowed,) if self._namespace is None else (self._allowed, self._namespace)

    def check(self, uri: str) -> None:
        """Raises VoxFleetError(ACCESS_DENIED) for an address outside one of the allow-lists."""
        self._resolve(uri)

    def is_open_to_namespace(self, uri: str) -> bool:
        return self._namespace is None or self._namespace.covers(uri)

    def _resolve(self, uri: str) -> Address:
        address, *_ = [allowed.resolve(uri) for allowed in self.allow_lists]
        return address

    def origin(self, uri: str) -> str:
        """Identifies the object globally: an s3:// address names a different object at each endpoint.

        Raises VoxFleetError(ACCESS_DENIED).
        """
        address = self._resolve(uri)
        store = self._store(address)
        return f"{store.authority} {uri}" if isinstance(store, S3Endpoint) else uri

    def outage_domain(self, uri: str) -> str:
        """Names what fails together with this object: a bucket, a web server or a mounted file system.

        Raises VoxFleetError(ACCESS_DENIED) for what is no address.
        """
        address = parse_address(uri)
        where = self._mounts.of(address.path).folder if address.scheme is Scheme.FILE else address.authority
        return f"{address.scheme}://{where}"

    async def call_at(self, path: str, work: Callable[[], T]) -> T:
        """Runs blocking work on files below an absolute path that no address names, such as a model's folder.

        Raises what `work` raises, and VoxFleetError(TRANSPORT) when their file system does not answer or is not
        mounted.
        """

        def mounted_work() -> T:
            require_mounted(path)
            return work()

        return await self._mounts.of(path).run(mounted_work)

    async def head(self, uri: str) -> ObjectVersion:
        address = self._resolve(uri)
        return await self._store(address).head(address)

    async def exists(self, uri: str) -> bool:
        try:
            await self.head(uri)
        except VoxFleetError as error:
            if error.failure_class is FailureClass.INPUT_NOT_FOUND:
                return False
            raise
        return True

    async def get(self, uri: str, limit_bytes: int) -> bytes:
        """Returns the whole object. Raises INVALID_INPUT when it exceeds the limit."""
        address = self._resolve(uri)
        async with self._store(address).open(address) as opened:
            check_size(opened.version.size_bytes, limit_bytes)
            content = bytearray()
            async with aclosing(opened.blocks) as blocks:
                async for block in blocks:
                    content += block
                    check_size(len(content), limit_bytes)
        if (
            len(content) != opened.version.size_bytes
        ):  # a chunked response that is too short, or a file that is being written
            raise VoxFleetError(FailureClass.TRANSPORT, "the storage sent another number of bytes than it told")
        return bytes(content)

    async def download(self, uri: str, target: Path, version: ObjectVersion) -> str:
        """Writes exactly this version of the object into a file; returns its sha256 in hex.

        After a failure, another call resumes where it stopped, if the storage can and the version is the same. Raises
        INPUT_CHANGED when ETag or size differ, SCRATCH_EXHAUSTED when the file cannot be written.
        """
        address = self._resolve(uri)
        partial = self._partials.pop(target, None)
        if partial is None or (partial.address, partial.version) != (address, version) or not resumable(version):
            partial = _PartialDownload(address, version, 0, hashlib.sha256())
        with scratch_errors():
            opened = OwnedFile(os.open(target, DOWNLOAD_FLAGS, 0o600))
        try:
            if address.scheme is Scheme.FILE:
                return await self._local.copy(address, opened, version)
            await self._download(partial, opened)
        except VoxFleetError as error:
            if error.failure_class in (FailureClass.TRANSPORT, FailureClass.THROTTLED):
                self._partials[target] = partial
            raise
        finally:
            opened.close()
        return partial.digest.hexdigest()

    async def _download(self, partial: _PartialDownload, target: OwnedFile) -> None:
        with target.use() as descriptor:
            written_bytes = os.fstat(descriptor).st_size
        if written_bytes < partial.size_bytes:
            partial.size_bytes, partial.digest = 0, hashlib.sha256()  # the file was truncated meanwhile
        if 0 < partial.size_bytes == partial.version.size_bytes:
            return  # only the end of the response was missing, and no server has a range there
        store = self._store(partial.address)
        async with store.open(partial.address, partial.version, partial.size_bytes) as opened:
            if opened.start != partial.size_bytes:
                partial.size_bytes, partial.digest = 0, hashlib.sha256()
            with scratch_errors(), target.use() as descriptor:
                _truncate(descriptor, partial.size_bytes)
                os.lseek(descriptor, partial.size_bytes, os.SEEK_SET)
            async with aclosing(opened.blocks) as blocks:
                async for block in blocks:
                    if partial.size_bytes + len(block) > partial.version.size_bytes:
                        raise changed()
                    await in_thread(lambda block=block: _append(partial, target, block))  # type: ignore[misc] # bound here
        if partial.size_bytes < partial.version.size_bytes:
            raise too_few_bytes()

    async def put(self, uri: str, content: bytes | Content) -> None:
        """Writes or replaces the whole object atomically; it is durable when the call returns."""
        address = self._resolve(uri)
        whole = BytesContent(content) if isinstance(content, bytes) else content
        await self._store(address).put(address, whole)

    async def put_once(self, uri: str, content: bytes) -> None:
        """Creates the object, unless it already exists with the same content.

        Raises MACHINE_LOST for other content: only an agent that lost its journal finds an earlier object of its own.
        """
        await self._create(uri, BytesContent(content))

    async def put_file(self, uri: str, path: Path) -> None:
        """Like `put_once`, for a file of any size in scratch. Raises SCRATCH_EXHAUSTED when it cannot be read."""
        with open_file(path) as content:
            await self._create(uri, content)

    async def _create(self, uri: str, content: Content) -> None:
        address = self._resolve(uri)
        store = self._store(address)
        if not await store.create(address, content) and not await _has_content(store, address, content):
            raise VoxFleetError(
                FailureClass.MACHINE_LOST,
                "exists with other content: this agent's journal does not know what the attempt did before;"
                " the next attempt inherits what was uploaded",
            )

    async def list_names(self, prefix: str, limit: int) -> list[str]:
        """The names of all objects below a prefix, relative to it and sorted; empty when there are none.

        Raises INVALID_INPUT for more than `limit` names and for an https:// address, and ACCESS_DENIED when a folder
        below the prefix is a link or may not be read: `list_objects` tells about such folders instead.
        """
        listing = await self.list_objects(prefix, limit)
        listing.require_complete()
        return sorted(listing.names)

    async def list_objects(self, prefix: str, limit: int, enter: EnterFolder = every_folder) -> Listing:
        """Everything below a prefix that can be listed, and the folders that were skipped.

        `enter`: which local folders are looked into. Raises INVALID_INPUT for more than `limit` names and for an
        https:// address.
        """
        address = self._resolve(prefix)
        seconds = self._trust.timeouts.listing_seconds
        try:
            async with asyncio.timeout(seconds):
                return await self._store(address).list_objects(address, limit, enter)
        except TimeoutError:
            raise VoxFleetError(
                FailureClass.TRANSPORT, f"the storage does not list the prefix within {seconds:g} s"
            ) from None

    async def remove_unfinished(self, uri: str) -> int:
        """Removes what killed writers left below a local folder of outputs; returns how many files. S3 keeps none."""
        address = self._resolve(uri)
        return await self._local.remove_unfinished(address) if address.scheme is Scheme.FILE else 0

    async def open_reader(self, uri: str) -> tuple[ObjectVersion, RangeReader]:
        """The object's version and a reader of any range; the reader blocks, so use it with `in_reader_thread`."""
        address = self._resolve(uri)
        return await self._store(address).open_reader(address)

    def _store(self, address: Address) -> ObjectStore:
        if address.scheme is Scheme.FILE:
            return self._local
        if address.scheme is Scheme.HTTPS:
            return self._web
        if self._credentials is None:
            raise VoxFleetError(
                FailureClass.ACCESS_DENIED,
                "s3:// needs the job's credentialsSecretRef: this agent has no credentials of its own",
            )
        if self._s3 is None:
            self._s3 = S3Endpoint(self._credentials, self._trust)
        return self._s3


def _truncate(descriptor: int, size_bytes: int) -> None:
    if os.fstat(descriptor).st_size > size_bytes:
        os.ftruncate(descriptor, size_bytes)


def _append(partial: _PartialDownload, target: OwnedFile, block: bytes) -> None:
    with scratch_errors(), target.use() as descriptor:
        write_all(descriptor, block)
    partial.digest.update(block)
    partial.size_bytes += len(block)


async def _has_content(store: ObjectStore, address: Address, content: Content) -> bool:
    """Whether the object has exactly this content."""
    digest, size_bytes = hashlib.sha256(), 0
    async with store.open(address) as opened:
        if opened.version.size_bytes != content.size_bytes:
            return False
        async with aclosing(opened.blocks) as blocks:
            async for block in blocks:
                size_bytes += len(block)
                if size_bytes > content.size_bytes:  # the size that the server stated may be wrong
                    return False
                digest.update(block)
    return digest.hexdigest() == await content.sha256(0, content.size_bytes)
