"""A form with one file, read as it comes: nothing of the file is held, or written anywhere."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable
from dataclasses import dataclass
from typing import TypeVar

from aiohttp import BodyPartReader, MultipartReader, web
from aiohttp.http_exceptions import HttpProcessingError

from voxfleet_gateway.http_api.form_body import shared_body
from voxfleet_gateway.loop_share import LoopShare
from voxfleet_gateway.refusals import CallRefused

T = TypeVar("T")

MAX_FIELD_BYTES = 64 * 1024
"""Of all fields that are no file."""
MAX_FIELDS = 64
CHUNK_BYTES = 64 * 1024
_HEADER_BYTES = 4096
"""Of one header of a part."""
_HEADERS = 16
"""Of a part."""


@dataclass(frozen=True, slots=True)
class FormField:
    name: str
    value: str


@dataclass(frozen=True, slots=True)
class FileBegins:
    extension: str
    """Of its name, in lower case and without the dot; the rest of the name is nobody's matter."""


FormPart = FormField | FileBegins | bytes
"""`bytes`: the next ones of the file, which began before."""


async def form_parts(
    request: web.Request, *, max_file_bytes: int, idle_seconds: float
) -> AsyncGenerator[FormPart, None]:
    """Raises CallRefused: 400 for what is no such form, 408 for one that comes too slowly, 413 for a larger file.

    Too slow is less than CHUNK_BYTES, or the rest of a part, in `idle_seconds`.
    """
    try:
        form = _multipart(request)
        parts, value_bytes, has_file = 0, 0, False
        while (part := await _in_time(form.next(), idle_seconds)) is not None:
            parts += 1
            if parts > MAX_FIELDS:
                raise _malformed(f"the form has more than {MAX_FIELDS} fields")
            if not isinstance(part, BodyPartReader) or not part.name:
                raise _malformed("each part of the form needs a name, and holds no further parts")
            if part.name != "file":
                value = await _in_time(_value(part, MAX_FIELD_BYTES - value_bytes), idle_seconds)
                value_bytes += len(value)
                yield FormField(part.name, value.decode())
                continue
            if has_file:
                raise _malformed("the form has more than one file; send one a call")
            has_file = True
            yield FileBegins(extension_of(part.filename or ""))
            async for chunk in _chunks(part, idle_seconds, max_file_bytes):
                yield chunk
    except (ValueError, LookupError, RuntimeError, HttpProcessingError) as error:  # what aiohttp raises for bad forms
        raise _malformed("the form's multipart encoding is damaged") from error


def extension_of(name: str) -> str:
    """Of a file's name as a client writes it, which may be anything."""
    found = re.search(r"\.([A-Za-z0-9]{1,16})$", name)
    return found[1].lower() if found else ""


def _multipart(request: web.Request) -> MultipartReader:
    if request.content_type != "multipart/form-data":
        raise CallRefused(
            400, "invalid_content_type", "send the recording as multipart/form-data, as curl -F file=@FILE does"
        )
    body = shared_body(request.content, LoopShare(time.monotonic))
    return MultipartReader(request.headers, body, max_field_size=_HEADER_BYTES, max_headers=_HEADERS)


async def _value(part: BodyPartReader, most_bytes: int) -> bytes:
    """UTF-8."""
    read = bytearray()
    while not part.at_eof():
        read += await part.read_chunk(CHUNK_BYTES)
        if len(read) > most_bytes:
            raise _malformed(f"the form's fields are longer than {MAX_FIELD_BYTES} bytes together")
    try:
        read.decode()
    except UnicodeDecodeError:
        raise _malformed("a field of the form is no UTF-8") from None
    return bytes(read)


async def _chunks(part: BodyPartReader, idle_seconds: float, max_file_bytes: int) -> AsyncIterator[bytes]:
    taken = 0
    while not part.at_eof():
        chunk = await _in_time(_chunk(part), idle_seconds)
        taken += len(chunk)
        if taken > max_file_bytes:
            raise too_large(max_file_bytes)
        if chunk:
            yield chunk


async def _chunk(part: BodyPartReader) -> bytes:
    """CHUNK_BYTES at least, or what is left of the part: whoever sends a byte at a time is slow, too."""
    read = bytearray()
    while not part.at_eof() and len(read) < CHUNK_BYTES:
        read += await part.read_chunk(CHUNK_BYTES)
    return bytes(read)


async def _in_time(step: Awaitable[T], idle_seconds: float) -> T:
    try:
        async with asyncio.timeout(idle_seconds):
            return await step
    except TimeoutError:
        raise CallRefused(
            408, "upload_too_slow", f"less than {CHUNK_BYTES} bytes of the upload came in {idle_seconds:g} s; try again"
        ) from None


def too_large(max_file_bytes: int) -> CallRefused:
    return CallRefused(
        413,
        "file_too_large",
        f"the file is larger than the {max_file_bytes} bytes that session.maxUploadBytes of the endpoint allows",
        param="file",
    )


def _malformed(what: str) -> CallRefused:
    return CallRefused(400, "invalid_form", what)
