"""Finds a missing object under another spelling of its name.

`é` is one character (NFC) or two (NFD). People see no difference; object stores and most file systems do.
Many programs write `%20` for a blank (Python's `Path.as_uri`, say), but addresses of files and keys are literal.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from itertools import product
from typing import Literal
from urllib.parse import unquote

from voxfleet_agent.storage import Storage
from voxfleet_api.failures import FailureClass, VoxFleetError

_Form = Literal["NFC", "NFD"]
_FORMS: tuple[_Form, ...] = ("NFC", "NFD")
_ACCENTS: dict[_Form, str] = {
    "NFC": "it exists with composed (NFC) accents: write them so, or rename it",
    "NFD": "it exists with decomposed (NFD) accents: write them so, or rename it",
}
_UNESCAPED = "it exists without the percent escapes: addresses are literal, so write its name as it is"

MAX_LOOKED_UP = 1000
"""How many of a job's missing clips are looked up, each with at most five requests."""


class SpellingLookup:
    """Gives hints for the missing clips of one job."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._left = MAX_LOOKED_UP

    async def hint(self, uri: str) -> str:
        if self._left == 0 or (uri.isascii() and "%" not in uri):
            return ""
        self._left -= 1
        return await spelling_hint(self._storage, uri)


async def spelling_hint(storage: Storage, uri: str) -> str:
    """A sentence to append to `does not exist`; empty unless another spelling of the address exists.

    Raises nothing: the failure that led here matters more.
    """
    for advice, candidate in other_spellings(uri):
        try:
            if await _exists(storage, candidate):
                return f"; {advice}"
        except VoxFleetError:
            return ""
    return ""


def other_spellings(uri: str) -> Iterator[tuple[str, str]]:
    """(what to do if it exists, address) for each other spelling of an address, at most five. Pure.

    Folder and name are spelled apart, because they are often made on different machines.
    """
    folder, slash, name = uri.removesuffix("/").rpartition("/")
    end = "/" if uri.endswith("/") else ""
    seen = {uri}
    for form, folder_form in product(_FORMS, _FORMS):
        other_name = unicodedata.normalize(form, name)
        spelled = unicodedata.normalize(folder_form, folder) + slash + other_name + end
        if spelled not in seen:
            seen.add(spelled)
            yield _ACCENTS[form if other_name != name else folder_form], spelled
    if (plain := _without_escapes(uri)) not in seen:
        yield _UNESCAPED, plain


def _without_escapes(uri: str) -> str:
    """The address itself where a web server reads the escapes, and where they stand for no text."""
    if uri.startswith("https://"):
        return uri
    try:
        plain = unquote(uri, errors="strict")
    except UnicodeDecodeError:
        return uri
    return plain if plain.isprintable() else uri


async def _exists(storage: Storage, uri: str) -> bool:
    if not uri.endswith("/"):
        return await storage.exists(uri)
    try:
        listing = await storage.list_objects(uri, 1, lambda folder: False)
    except VoxFleetError as error:
        if error.failure_class is FailureClass.INVALID_INPUT:
            return True  # it holds more than one object
        raise
    return listing.exists
