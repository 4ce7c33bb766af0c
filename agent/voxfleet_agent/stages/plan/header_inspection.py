"""Inspects a recording's header for Plan: its format, its length, and whether the contract refuses it."""

from __future__ import annotations

import asyncio

from voxfleet_agent.audio.header_facts import ClipReader, HeaderFacts, damaged
from voxfleet_agent.audio.headers import contract_violation, sniff
from voxfleet_agent.stages.failure_scope import SCOPE_OF, FailureScope
from voxfleet_agent.stages.plan.input_clip import InputClip
from voxfleet_agent.stages.result_rows import row_error, row_error_of
from voxfleet_agent.storage import RangeReader, Storage, in_reader_thread
from voxfleet_api.failures import FailureClass, VoxFleetError
from voxfleet_api.kinds.voice_contract import VoiceContractSpec
from voxfleet_api.quantities import quantity_bytes
from voxfleet_api.rows import ManifestRow, RowError

MAX_HEADER_RANGES = 1024
"""Ranges that are read for one header. A fragmented m4a needs one for every few seconds of audio."""
CHANGED = "the object has changed since the earlier job planned it; a job with spec.input reads it as it is now"
HEADER_TIMEOUT_SECONDS = 600.0
"""The limit for all ranges of one header together, because each of them may take long."""


async def inspect_clip(storage: Storage, contract: VoiceContractSpec, index: int, source: InputClip) -> ManifestRow:
    """The recording's manifest row, with a refusal when the header shows something wrong.

    Raises VoxFleetError for a failure that other clips might meet too: an outage must not be frozen as a refusal.
    """
    row = ManifestRow(index=index, custom_id=source.custom_id, uri=source.uri, sha256=source.sha256)
    try:
        version, reader = await storage.open_reader(source.uri or "")
        row = row.model_copy(update={"size_bytes": version.size_bytes, "etag": version.etag})
        if source.etag not in (None, version.etag):
            return row.model_copy(update={"refusal": row_error(FailureClass.INPUT_CHANGED, CHANGED)})
        header = HeaderReader(reader)
        try:
            async with asyncio.timeout(HEADER_TIMEOUT_SECONDS):
                facts, refusal = await in_reader_thread(lambda: _parse_and_check(header, version.size_bytes, contract))
        except TimeoutError:
            raise VoxFleetError(
                FailureClass.TRANSPORT,
                f"the storage does not send the header's parts within {HEADER_TIMEOUT_SECONDS:g} s",
            ) from None
        finally:
            header.close()
    except VoxFleetError as error:
        # Plan reads each clip before any other stage does, so a clip whose access is denied here was never readable.
        if SCOPE_OF[error.failure_class] is FailureScope.CLIP or error.failure_class is FailureClass.ACCESS_DENIED:
            return row.model_copy(update={"refusal": row_error_of(error)})
        raise
    if facts is not None:
        copy_bytes = facts.copy_bytes(version.size_bytes)
        row = row.model_copy(
            update={"audio_milliseconds": facts.audio_milliseconds, "decode_scratch_bytes": copy_bytes}
        )
    return row.model_copy(update={"refusal": refusal})


def _parse_and_check(
    header: HeaderReader, size_bytes: int, contract: VoiceContractSpec
) -> tuple[HeaderFacts | None, RowError | None]:
    """(header facts, refusal). Of a file that is too large, only the first bytes are read; its facts are None.

    Raises what the reader raises, and VoxFleetError(DECODE_ERROR) for any other error.
    """
    clip = ClipReader(header, size_bytes)
    try:
        parse = sniff(clip)
        refusal = refuse_size(size_bytes, contract)
        if refusal is not None:
            return None, refusal
        facts = parse(clip)
        refusal = contract_violation(facts, size_bytes, contract) or refuse_copy(facts, size_bytes, contract)
    except (VoxFleetError, MemoryError):
        raise
    except Exception as error:  # strangers' bytes must not fail the others; the refusal names the type
        if header.failed:
            raise  # the storage is at fault, not the clip
        raise damaged(f"has a header that raises {type(error).__name__} in its parser") from error
    return facts, refusal


class HeaderReader:
    """Limits how many ranges of a file are read for its header."""

    def __init__(self, reader: RangeReader) -> None:
        self._reader = reader
        self._closed = False
        self.failed = False
        """Whether the storage raised an error."""

    def seek(self, offset: int, /) -> int:
        return self._reader.seek(offset)

    def read(self, size: int, /) -> bytes:
        """Raises VoxFleetError(DECODE_ERROR) when the header needs more than MAX_HEADER_RANGES."""
        if self._closed:
            raise ValueError("the reader is closed")
        if self._reader.ranges > MAX_HEADER_RANGES:
            raise damaged(f"its header is scattered over more than {MAX_HEADER_RANGES} places")
        try:
            return self._reader.read(size)
        except BaseException:
            self.failed = True
            raise

    def close(self) -> None:
        """Makes the next read fail, to end a reader thread whose caller timed out."""
        self._closed = True


def refuse_copy(facts: HeaderFacts, size_bytes: int, contract: VoiceContractSpec) -> RowError | None:
    """The refusal of a file that does not fit into scratch together with the copy that its decoder needs. Pure."""
    copy_bytes = facts.copy_bytes(size_bytes)
    if size_bytes + copy_bytes <= quantity_bytes(contract.scratch.max_bytes):
        return None
    reason = (
        f"has {size_bytes} bytes, and its decoder needs a copy of the {copy_bytes} that are audio; the contract's"
        f" scratch.maxBytes is {contract.scratch.max_bytes}"
    )
    return row_error(FailureClass.CONTRACT_VIOLATION, reason)


def refuse_size(size_bytes: int, contract: VoiceContractSpec) -> RowError | None:
    """The refusal of a file that is too large for the contract, else None. Pure."""
    if size_bytes > quantity_bytes(contract.input.max_clip_bytes):
        reason = f"has {size_bytes} bytes; the contract accepts at most {contract.input.max_clip_bytes}"
    elif size_bytes > quantity_bytes(contract.scratch.max_bytes):
        reason = f"has {size_bytes} bytes; the contract's scratch.maxBytes is {contract.scratch.max_bytes}"
    else:
        return None
    return row_error(FailureClass.CONTRACT_VIOLATION, reason)
