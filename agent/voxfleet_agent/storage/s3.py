"""The buckets of one S3 endpoint. Endpoint and credentials come with the job; nothing is read from this machine."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import UTC, datetime
from typing import Literal
from urllib.parse import unquote_plus
from xml.sax.saxutils import escape

from voxfleet_agent.addresses import Address, parse_authority
from voxfleet_agent.storage.http_client import HttpClient, HttpResponse, Trust
from voxfleet_agent.storage.http_errors import error_code
from voxfleet_agent.storage.http_objects import HttpObjects
from voxfleet_agent.storage.listing import EnterFolder, Listing
from voxfleet_agent.storage.object_store import CLEANUP_SECONDS
from voxfleet_agent.storage.object_version import check_count, check_name
from voxfleet_agent.storage.s3_signing import EMPTY_SHA256, encode_path, encode_query, sign_request
from voxfleet_agent.storage.upload_content import BytesContent, Content
from voxfleet_agent.storage.xml_documents import DOCUMENT_BYTES, read_document, text_of
from voxfleet_api.failures import FailureClass, VoxFleetError
from voxfleet_api.protocol import S3Credentials

ONE_REQUEST_BYTES = 64 * 2**20
"""A larger object is uploaded in parts."""
PART_BYTES = 32 * 2**20
MAX_PARTS = 10_000
DEFAULT_REGION = "us-east-1"
MAX_EMPTY_PAGES = 100
"""The most empty pages in one listing; a page is empty when it has only deleted objects and folders."""

_ENDPOINT = re.compile(r"(?P<scheme>https?)://(?P<authority>[^/?#]+)/?")
_REGION = re.compile(r"[a-z0-9-]{1,32}")
_HEADER_VALUE = re.compile(r"[\x21-\x7e]+")
_REFUSED = (400, 401, 403, 404)
"""How endpoints refuse a key that has ended: ExpiredToken is a 400, and to some an unknown key is a 404."""
_IF_ABSENT = {"If-None-Match": "*"}


class S3Endpoint(HttpObjects):
    """All buckets of one endpoint, with path-style addresses."""

    def __init__(self, credentials: S3Credentials, trust: Trust) -> None:
        """Raises VoxFleetError(ACCESS_DENIED) for an invalid endpoint, region or key."""
        self._credentials = credentials
        self._region = _region(credentials)
        _check_keys(credentials)
        scheme, self.authority = _endpoint(credentials)
        self._client = HttpClient(scheme, self.authority, trust)
        self._scheme = scheme

    def renew_credentials(self, credentials: S3Credentials) -> bool:
        """Signs every later request with these; returns False, and changes nothing, when they are of another endpoint.

        Raises VoxFleetError(ACCESS_DENIED) like the constructor.
        """
        _check_keys(credentials)
        if (_region(credentials), _endpoint(credentials)) != (self._region, (self._scheme, self.authority)):
            return False
        self._credentials = credentials
        return True

    async def aclose(self) -> None:
        await self._client.aclose()

    def get(self, address: Address, headers: Mapping[str, str]) -> AbstractAsyncContextManager[HttpResponse]:
        return self._request("GET", address, headers)

    async def put(self, address: Address, content: Content) -> None:
        await self._upload(address, content, {})

    async def create(self, address: Address, content: Content) -> bool:
        return await self._upload(address, content, _IF_ABSENT)

    async def list_objects(self, address: Address, limit: int, enter: EnterFolder) -> Listing:
        """S3 has no folders, so `enter` is never asked."""
        above = f"{address.key}/" if address.key else ""
        bucket = Address(address.scheme, address.authority, "")
        query = [("list-type", "2"), ("encoding-type", "url"), ("prefix", above)]
        names: list[str] = []
        token, empty_pages, exists = "", 0, False
        while True:
            page_query = [*query, ("continuation-token", token)] if token else query
            async with self._request("GET", bucket, query=page_query) as response:
                if response.status != 200:
                    raise await response.error()
                page = await read_document(response)
            url_encoded = text_of(page, "EncodingType") == "url"
            found = [
                (unquote_plus(text_of(item, "Key")) if url_encoded else text_of(item, "Key"), text_of(item, "Size"))
                for item in page.iterfind("{*}Contents")
            ]
            keys = [key for key, _ in found if key.startswith(above)]
            # Consoles create an empty object, whose key ends in a slash, for an empty folder.
            page_names = [
                key.removeprefix(above)
                for key, size in found
                if key.startswith(above) and not (key.endswith("/") and size in ("", "0"))
            ]
            for name in page_names:
                check_name(name)
            names.extend(page_names)
            exists = exists or bool(keys)
            check_count(len(names), limit)
            empty_pages += not page_names
            if empty_pages > MAX_EMPTY_PAGES:
                raise _endless_listing()
            last, token = token, text_of(page, "NextContinuationToken")
            if text_of(page, "IsTruncated") != "true" or not token:
                return Listing(names, exists=exists)
            if token == last:
                raise _endless_listing()

    async def _upload(self, address: Address, content: Content, condition: Mapping[str, str]) -> bool:
        """Returns False when the condition did not hold."""
        if any(part in ("", ".", "..") for part in address.key.split("/")):
            # Some servers keep keys as paths: there, such a key would lead out of the allowed prefix.
            raise VoxFleetError(FailureClass.ACCESS_DENIED, "an output's name has an empty part, `.` or `..`")
        if content.size_bytes > ONE_REQUEST_BYTES:
            return await self._upload_in_parts(address, content, condition)
        async with self._request("PUT", address, condition, content=content) as response:
            if response.status == 412 and condition:
                return False
            if response.status != 200:
                raise await response.error()
        return True

    async def _upload_in_parts(self, address: Address, content: Content, condition: Mapping[str, str]) -> bool:
        async with self._request("POST", address, query=[("uploads", "")]) as response:
            if response.status != 200:
                raise await response.error()
            upload = text_of(await read_document(response), "UploadId")
        if not upload:
            raise VoxFleetError(FailureClass.TRANSPORT, "the storage began an upload in parts and did not name it")
        part_bytes = max(PART_BYTES, -(-content.size_bytes // MAX_PARTS))
        etags: list[str] = []
        completed = False
        try:
            for number, start in enumerate(range(0, content.size_bytes, part_bytes), start=1):
                part = (start, min(start + part_bytes, content.size_bytes))
                etags.append(await self._upload_part(address, content, upload, number, part))
            completed = await self._complete(address, upload, etags, condition)
        finally:
            if not completed:
                await self._abort(address, upload)
        return completed

    async def _upload_part(
        self, address: Address, content: Content, upload: str, number: int, part: tuple[int, int]
    ) -> str:
        query = [("partNumber", str(number)), ("uploadId", upload)]
        async with self._request("PUT", address, query=query, content=content, part=part) as response:
            if response.status != 200:
                raise await response.error()
            return response.headers.get("etag", "")

    async def _complete(
        self, address: Address, upload: str, etags: Sequence[str], condition: Mapping[str, str]
    ) -> bool:
        parts = "".join(
            f"<Part><PartNumber>{number}</PartNumber><ETag>{escape(etag)}</ETag></Part>"
            for number, etag in enumerate(etags, start=1)
        )
        document = f"<CompleteMultipartUpload>{parts}</CompleteMultipartUpload>".encode()
        async with self._request(
            "POST", address, condition, query=[("uploadId", upload)], content=BytesContent(document)
        ) as response:
            if response.status == 412 and condition:
                return False
            if response.status != 200:
                raise await response.error()
            # S3 sends 200 before it has finished, then spaces; the body reports an error.
            body = await response.read_delayed(DOCUMENT_BYTES)
            code = error_code(body)
            if code == "PreconditionFailed" and condition:
                return False
            if code is not None:
                raise response.error_in(body)
        return True

    async def _abort(self, address: Address, upload: str) -> None:
        """Removes the uploaded parts, which cost money. Errors are ignored: the one that led here matters more."""
        try:
            async with asyncio.timeout(CLEANUP_SECONDS), self._request("DELETE", address, query=[("uploadId", upload)]):
                pass
        except (VoxFleetError, TimeoutError):
            return

    @asynccontextmanager
    async def _request(
        self,
        method: str,
        address: Address,
        headers: Mapping[str, str] | None = None,
        *,
        query: Sequence[tuple[str, str]] = (),
        content: Content | None = None,
        part: tuple[int, int] | None = None,
    ) -> AsyncIterator[HttpResponse]:
        try:
            path = encode_path(f"/{address.authority}/{address.key}" if address.key else f"/{address.authority}")
        except UnicodeEncodeError:
            raise VoxFleetError(FailureClass.ACCESS_DENIED, "the address is not text that S3 can hold") from None
        start, stop = part or (0, 0 if content is None else content.size_bytes)
        body_sha256 = EMPTY_SHA256 if content is None else await content.sha256(start, stop)
        encoded_query = encode_query(query)
        target = f"{path}?{encoded_query}" if encoded_query else path
        while True:
            credentials = self._credentials
            signed = sign_request(
                method,
                path,
                encoded_query,
                {"Host": self._client.host_header, **(headers or {})},
                body_sha256,
                credentials,
                self._region,
                datetime.now(UTC),
            )
            async with self._client.request(method, target, signed, content, part) as response:
                if response.status not in _REFUSED or credentials == self._credentials:
                    yield response
                    return
            # The credentials were renewed while the request was under way: what it was signed with may have ended.


def _endless_listing() -> VoxFleetError:
    return VoxFleetError(FailureClass.INVALID_INPUT, "the storage's list of the prefix does not end")


def _region(credentials: S3Credentials) -> str:
    region = credentials.region or DEFAULT_REGION
    if not _REGION.fullmatch(region):
        raise VoxFleetError(FailureClass.ACCESS_DENIED, "AWS_REGION of the job's Secret is not the name of a region")
    return region


def _check_keys(credentials: S3Credentials) -> None:
    token = credentials.session_token
    in_headers = [credentials.access_key_id.get_secret_value(), *([token.get_secret_value()] if token else [])]
    if not all(map(_HEADER_VALUE.fullmatch, in_headers)):  # later errors would quote them
        raise VoxFleetError(
            FailureClass.ACCESS_DENIED,
            "AWS_ACCESS_KEY_ID or AWS_SESSION_TOKEN of the job's Secret has a character that no such key has",
        )


def _endpoint(credentials: S3Credentials) -> tuple[Literal["http", "https"], str]:
    match = _ENDPOINT.fullmatch(credentials.endpoint_url or f"https://s3.{_region(credentials)}.amazonaws.com")
    if match is None:
        raise VoxFleetError(
            FailureClass.ACCESS_DENIED, "AWS_ENDPOINT_URL of the job's Secret is not https://host or https://host:port"
        )
    scheme: Literal["http", "https"] = "https" if match["scheme"] == "https" else "http"
    return scheme, parse_authority(match["authority"], 443 if scheme == "https" else 80)
