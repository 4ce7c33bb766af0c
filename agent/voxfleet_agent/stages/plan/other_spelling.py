"""Finds a missing object under the other Unicode spelling of its name.

`é` is one character (NFC) or two (NFD). People see no difference; object stores and most file systems do.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from itertools import product
from typing import Literal

from voxfleet_agent.storage import Storage
from voxfleet_api.failures import FailureClass, VoxFleetError

_Form = Literal["NFC", "NFD"]
_FORMS: tuple[_Form, ...] = ("NFC", "NFD")
_WORDS: dict[_Form, str] = {"NFC": "composed (NFC)", "NFD": "decomposed (NFD)"}


MAX_LOOKED_UP = 1000
"""How many of a job's missing clips are looked up, each with at most four requests."""


class SpellingLookup:
    """Gives hints for the missing clips of one job."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._left = MAX_LOOKED_UP

    async def hint(self, uri: str) -> str:
        if self._left == 0 or uri.isascii():
            return ""
        self._left -= 1
        return await spelling_hint(self._storage, uri)


async def spelling_hint(storage: Storage, uri: str) -> str:
    """A sentence to append to `does not exist`; empty unless another spelling of the address exists.

    Raises nothing: the failure that led here matters more.
    """
    for form, candidate in other_spellings(uri):
        try:
            if await _exists(storage, candidate):
                return f"; it exists with {_WORDS[form]} accents: write them so, or rename it"
        except VoxFleetError:
            return ""
    return ""


def other_spellings(uri: str) -> Iterator[tuple[_Form, str]]:
    """(the form of what differs, address) for each other spelling of an address, at most four. Pure.

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
            yield (form if other_name != name else folder_form), spelled


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
