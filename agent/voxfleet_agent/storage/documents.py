"""XML of storages, read without what XML can do to a reader."""

from __future__ import annotations

from xml.etree import ElementTree

from voxfleet_api.failures import FailureClass, VoxFleetError

DOCUMENT_BYTES = 32 * 2**20


def parse(content: bytes) -> ElementTree.Element:
    """The root. Raises VoxFleetError(TRANSPORT) for what is no XML, or XML that declares types or entities."""
    try:
        text = content.decode()
        if "<!DOCTYPE" in text or len(content) >= DOCUMENT_BYTES:
            raise ValueError("not a storage's answer")
        return ElementTree.fromstring(text)  # noqa: S314 -- no DOCTYPE, so no entities
    except (ValueError, ElementTree.ParseError):
        # The cause would quote the document.
        raise VoxFleetError(FailureClass.TRANSPORT, "the storage's answer is not the XML that it should be") from None


def text_of(element: ElementTree.Element, name: str) -> str:
    """Of a child, whatever its namespace; empty when there is none."""
    return element.findtext(f"{{*}}{name}") or ""
