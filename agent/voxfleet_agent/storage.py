"""Objects by address, `file:///…` and `s3://…` alike, and nothing outside the agent's allow-list."""

from __future__ import annotations

import asyncio
import hashlib
import os
import stat
import urllib.parse
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import obstore
from obstore.exceptions import (
    AlreadyExistsError,
    BaseError,
    PermissionDeniedError,
    PreconditionError,
    UnauthenticatedError,
)
from obstore.store import LocalStore, ObjectStore, S3Store

from voxfleet_api.failures import FailureClass, VoxFleetError
from voxfleet_api.protocol import S3Credentials

CHUNK_BYTES = 1 << 20
_THROTTLED = ("429", "503", "slow down", "slowdown", "too many requests")


@dataclass(frozen=True, slots=True)
class StoredObject:
    uri: str
    size_bytes: int
    etag: str | None


@dataclass(frozen=True, slots=True)
class _Place:
    """An address, taken apart: the store's root and the object's key in it."""

    scheme: str
    bucket: str
    key: str

    @property
    def uri(self) -> str:
        return f"{self.scheme}://{self.bucket}/{self.key}"


class Storage:
    """Reads and writes below the allowed prefixes. Every failing call raises VoxFleetError."""

    def __init__(self, allow: Sequence[str], credentials: S3Credentials | None) -> None:
        """`allow`: prefixes, each with a slash at its end. `credentials` stay in memory."""
        self._allowed = tuple(_place(prefix) for prefix in allow)
        self._credentials = credentials
        self._stores: dict[tuple[str, str], ObjectStore] = {}

    def check(self, uri: str) -> None:
        """Raises VoxFleetError(ACCESS_DENIED) for an address outside the allow-list, links resolved."""
        self._resolve(uri)

    async def head(self, uri: str) -> StoredObject:
        store, key = self._open(uri)
        async with _errors(uri):
            meta = await obstore.head_async(store, key)
        return StoredObject(uri, meta["size"], meta["e_tag"])

    async def get(self, uri: str, limit_bytes: int) -> bytes:
        """The whole object. Raises VoxFleetError(INVALID_INPUT) when it is larger than the limit."""
        store, key = self._open(uri)
        async with _errors(uri):
            answer = await obstore.get_async(store, key)
            if answer.meta["size"] > limit_bytes:
                raise VoxFleetError(FailureClass.INVALID_INPUT, f"an object is larger than {limit_bytes} bytes")
            return bytes(await answer.bytes_async())

    async def read_range(self, uri: str, offset: int, size_bytes: int, etag: str | None) -> bytes:
        """Some bytes of the object; an etag names the version, as in `download`."""
        store, key = self._open(uri)
        async with _errors(uri):
            options: obstore.GetOptions = {"range": (offset, offset + size_bytes)}
            if etag is not None:
                options["if_match"] = etag
            answer = await obstore.get_async(store, key, options=options)
            return bytes(await answer.bytes_async())

    async def download(self, uri: str, target: Path, *, size_bytes: int, etag: str | None) -> str:
        """Writes the object to a new file and returns its sha256 in hex.

        Raises VoxFleetError(INPUT_CHANGED) when it is not the version that the etag names, or not that long.
        """
        store, key = self._open(uri)
        digest = hashlib.sha256()
        written_bytes = 0
        async with _errors(uri):
            options: obstore.GetOptions = {} if etag is None else {"if_match": etag}
            answer = await obstore.get_async(store, key, options=options)
            with target.open("xb") as file:
                async for chunk in answer.stream(min_chunk_size=CHUNK_BYTES):
                    written_bytes += len(chunk)
                    if written_bytes > size_bytes:
                        break
                    digest.update(chunk)
                    await asyncio.to_thread(file.write, chunk)
        if written_bytes != size_bytes:
            raise VoxFleetError(
                FailureClass.INPUT_CHANGED, f"the clip has not the {size_bytes} bytes that it had when it was planned"
            )
        return digest.hexdigest()

    async def put(self, uri: str, content: bytes) -> None:
        """Writes the object, whether it exists or not."""
        store, key = self._open(uri)
        async with _errors(uri):
            await obstore.put_async(store, key, content)

    async def put_once(self, uri: str, content: bytes) -> None:
        """Creates the object. The same bytes again are fine; raises VoxFleetError(PLAN_MISMATCH) for others."""
        store, key = self._open(uri)
        async with _errors(uri):
            try:
                await obstore.put_async(store, key, content, mode="create")
            except AlreadyExistsError:
                if bytes(await (await obstore.get_async(store, key)).bytes_async()) != content:
                    raise VoxFleetError(
                        FailureClass.PLAN_MISMATCH, "an output file of this very attempt exists with other content"
                    ) from None

    async def list(self, prefix: str) -> list[StoredObject]:
        """All objects below a prefix that ends with a slash, by address."""
        place = self._resolve(prefix)
        store, key = self._store(place), place.key
        async with _errors(prefix):
            found = await obstore.list(store, key.rstrip("/")).collect_async()
        names = [(meta, _Place(place.scheme, place.bucket, meta["path"])) for meta in found]
        listed = [StoredObject(_quoted(at), meta["size"], meta["e_tag"]) for meta, at in names]
        return sorted(listed, key=lambda item: item.uri)

    def _open(self, uri: str) -> tuple[ObjectStore, str]:
        place = self._resolve(uri)
        return self._store(place), place.key

    def _resolve(self, uri: str) -> _Place:
        place = _place(uri)
        if not any(_below(place, prefix) for prefix in self._allowed):
            raise VoxFleetError(
                FailureClass.ACCESS_DENIED,
                "an address lies outside this agent's `allow` list; add its prefix there, or use another address",
            )
        return place

    def _store(self, place: _Place) -> ObjectStore:
        name = (place.scheme, place.bucket)
        if name not in self._stores:
            self._stores[name] = _open_local() if place.scheme == "file" else _open_s3(place.bucket, self._credentials)
        return self._stores[name]


def _place(uri: str) -> _Place:
    """Takes an address apart; raises VoxFleetError(ACCESS_DENIED) for one that could mean another than it seems."""
    parts = urllib.parse.urlsplit(uri)
    key = urllib.parse.unquote(uri.removeprefix(f"{parts.scheme}://{parts.netloc}").lstrip("/"))
    segments = key.rstrip("/").split("/") if key.strip("/") else []
    plain = not any(segment in ("", ".", "..") or "\0" in segment for segment in segments)
    known = (parts.scheme == "file" and not parts.netloc) or (parts.scheme == "s3" and bool(parts.netloc))
    if not known or not plain:
        raise VoxFleetError(
            FailureClass.ACCESS_DENIED,
            "an address is neither file:///folder/name nor s3://bucket/name without empty, `.` and `..` parts",
        )
    return _Place(parts.scheme, parts.netloc, key)


def _quoted(place: _Place) -> str:
    return f"{place.scheme}://{place.bucket}/{urllib.parse.quote(place.key)}"


def _below(place: _Place, prefix: _Place) -> bool:
    if (place.scheme, place.bucket) != (prefix.scheme, prefix.bucket):
        return False
    if place.scheme != "file":
        return place.key.startswith(prefix.key)
    # A link below the prefix must not lead out of it.
    real, root = os.path.realpath(f"/{place.key}"), os.path.realpath(f"/{prefix.key}")
    return real == root or real.startswith(root.rstrip("/") + "/")


def _open_local() -> LocalStore:
    return LocalStore("/", mkdir=False)


def _open_s3(bucket: str, credentials: S3Credentials | None) -> S3Store:
    if credentials is None:
        raise VoxFleetError(
            FailureClass.ACCESS_DENIED, "s3:// needs the job's credentialsRef: this agent has no credentials of its own"
        )
    token, endpoint = credentials.session_token, credentials.endpoint_url
    return S3Store(
        bucket,
        access_key_id=credentials.access_key_id.get_secret_value(),
        secret_access_key=credentials.secret_access_key.get_secret_value(),
        session_token=None if token is None else token.get_secret_value(),
        region=credentials.region or "us-east-1",
        endpoint=endpoint,
        client_options={"allow_http": True} if endpoint is not None and endpoint.startswith("http://") else None,
    )


@asynccontextmanager
async def _errors(uri: str) -> AsyncIterator[None]:
    """Turns what a store raises into the taxonomy. Messages leave the object's name out: it may be a clip's."""
    if uri.startswith("file:"):
        await asyncio.to_thread(_refuse_special_file, uri)
    try:
        yield
    except VoxFleetError:
        raise
    except FileNotFoundError as error:
        raise VoxFleetError(FailureClass.INPUT_NOT_FOUND, "the object does not exist") from error
    except PreconditionError as error:
        raise VoxFleetError(
            FailureClass.INPUT_CHANGED, "the clip is another version than when it was planned"
        ) from error
    except (PermissionError, PermissionDeniedError, UnauthenticatedError) as error:
        raise VoxFleetError(FailureClass.ACCESS_DENIED, "the store denies access to the object") from error
    except (BaseError, OSError) as error:
        text = str(error).lower()
        if any(word in text for word in _THROTTLED):
            raise VoxFleetError(FailureClass.THROTTLED, "the store asks to slow down") from error
        if "permission denied" in text:
            raise VoxFleetError(FailureClass.ACCESS_DENIED, "the store denies access to the object") from error
        raise VoxFleetError(FailureClass.TRANSPORT, f"the store failed ({type(error).__name__})") from error


def _refuse_special_file(uri: str) -> None:
    """A FIFO would block a reader for ever."""
    try:
        mode = Path(f"/{_place(uri).key}").stat().st_mode
    except OSError:
        return  # absent or out of reach: the store says so itself
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
        raise VoxFleetError(FailureClass.ACCESS_DENIED, "the object is not a regular file")
