"""What Plan learns of a recording from its header."""

from __future__ import annotations

import asyncio

from voxfleet_agent.audio.header_facts import ClipReader, HeaderFacts, damaged
from voxfleet_agent.audio.headers import contract_violation, sniff
from voxfleet_agent.stages.failure_scope import SCOPE_OF, FailureScope
from voxfleet_agent.stages.plan.input_clips import InputClip
from voxfleet_agent.stages.result_rows import row_error, row_error_of
from voxfleet_agent.storage import RangeReader, Storage, in_reader_thread
from voxfleet_api.failures import FailureClass, VoxFleetError
from voxfleet_api.kinds.voice_contract import VoiceContractSpec
from voxfleet_api.quantities import quantity_bytes
from voxfleet_api.results import ManifestRow, RowError

MAX_PLACES = 1024
"""Of one header. A fragmented m4a has one for each few seconds of audio."""
HEADER_SECONDS = 600.0
"""For all places of one header together: each may wait long for its answer."""


async def inspect_clip(storage: Storage, contract: VoiceContractSpec, index: int, source: InputClip) -> ManifestRow:
    """The recording's manifest row; what its header shows to be wrong is its refusal.

    Raises VoxFleetError for what another clip might meet too: an outage must not be frozen as a refusal.
    """
    row = ManifestRow(index=index, custom_id=source.custom_id, uri=source.uri, sha256=source.sha256)
    try:
        version, reader = await storage.open_reader(source.uri or "")
        row = row.model_copy(update={"size_bytes": version.size_bytes, "etag": version.etag})
        header = HeaderReader(reader)
        try:
            async with asyncio.timeout(HEADER_SECONDS):
                facts, refusal = await in_reader_thread(lambda: _examine(header, version.size_bytes, contract))
        except TimeoutError:
            raise VoxFleetError(
                FailureClass.TRANSPORT, f"the storage does not send the header's parts within {HEADER_SECONDS:g} s"
            ) from None
        finally:
            header.close()
    except VoxFleetError as error:
        # Nobody but Plan reads a clip for the first time: what it may not read then, it never could.
        if SCOPE_OF[error.failure_class] is FailureScope.CLIP or error.failure_class is FailureClass.ACCESS_DENIED:
            return row.model_copy(update={"refusal": row_error_of(error)})
        raise
    audio_milliseconds = 0 if facts is None else facts.audio_milliseconds
    return row.model_copy(update={"audio_milliseconds": audio_milliseconds, "refusal": refusal})


def _examine(
    header: HeaderReader, size_bytes: int, contract: VoiceContractSpec
) -> tuple[HeaderFacts | None, RowError | None]:
    """(what the header says, why the contract refuses it); of a file that is too large, its first bytes alone."""
    clip = ClipReader(header, size_bytes)
    parse = sniff(clip)
    refusal = refuse_size(size_bytes, contract)
    if refusal is not None:
        return None, refusal
    facts = parse(clip)
    return facts, contract_violation(facts, size_bytes, contract)


class HeaderReader:
    """Reads a header from a few places at most."""

    def __init__(self, reader: RangeReader) -> None:
        self._reader = reader
        self._closed = False

    def seek(self, offset: int, /) -> int:
        return self._reader.seek(offset)

    def read(self, size: int, /) -> bytes:
        """Raises VoxFleetError(DECODE_ERROR) for a header without end."""
        if self._closed:
            raise ValueError("the reader is closed")
        if self._reader.ranges > MAX_PLACES:
            raise damaged(f"its header is scattered over more than {MAX_PLACES} places")
        return self._reader.read(size)

    def close(self) -> None:
        """Ends the work of a thread that nobody waits for any more."""
        self._closed = True


def refuse_size(size_bytes: int, contract: VoiceContractSpec) -> RowError | None:
    """Why the contract refuses a file of this size. Pure."""
    if size_bytes > quantity_bytes(contract.input.max_clip_bytes):
        reason = f"has {size_bytes} bytes; the contract accepts at most {contract.input.max_clip_bytes}"
    elif size_bytes > quantity_bytes(contract.scratch.max_bytes):
        reason = f"has {size_bytes} bytes; the contract's scratch.maxBytes is {contract.scratch.max_bytes}"
    else:
        return None
    return row_error(FailureClass.CONTRACT_VIOLATION, reason)
