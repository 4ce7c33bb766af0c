"""Reads a storage's XML safely: without entities, and bounded in size."""

from __future__ import annotations

from xml.etree import ElementTree

from voxfleet_agent.storage.blocking_calls import in_thread
from voxfleet_agent.storage.http_client import HttpResponse
from voxfleet_api.failures import FailureClass, VoxFleetError

DOCUMENT_BYTES = 32 * 2**20
_MAX_TAGS = 2_000_000
"""A limit, as an element takes 25 times the memory of the shortest tag. A listing of 100,000 files has half as many."""
_PIECE_CHARACTERS = 2**16


async def read_document(response: HttpResponse) -> ElementTree.Element:
    """The response's body as XML, parsed in a thread. Raises VoxFleetError(TRANSPORT)."""
    content = await response.read(DOCUMENT_BYTES)
    return await in_thread(lambda: parse_xml(content))


def parse_xml(content: bytes) -> ElementTree.Element:
    """The root element. Raises VoxFleetError(TRANSPORT) for invalid XML and for XML with types or entities."""
    try:
        text = content.decode()
        if "<!DOCTYPE" in text or len(content) >= DOCUMENT_BYTES or text.count("<") > _MAX_TAGS:
            raise ValueError("not a storage's answer")
        parser = ElementTree.XMLParser()  # noqa: S314 -- no DOCTYPE, so no entities
        for start in range(0, len(text), _PIECE_CHARACTERS):  # lets other threads run in between
            parser.feed(text[start : start + _PIECE_CHARACTERS])
        root: ElementTree.Element = parser.close()
        return root
    except (ValueError, ElementTree.ParseError):
        # The cause would quote the document.
        raise VoxFleetError(FailureClass.TRANSPORT, "the storage's answer is not the XML that it should be") from None


def text_of(element: ElementTree.Element, name: str) -> str:
    """The text of a child, whatever its namespace; empty without such a child."""
    return element.findtext(f"{{*}}{name}") or ""
