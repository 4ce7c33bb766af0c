"""Reads a JSON Lines file of a job's output once, in blocks of whole lines, and verifies it at its end."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator

from voxfleet_agent.stages.job_files import JobFiles, plan_mismatch
from voxfleet_agent.storage import in_reader_thread
from voxfleet_api.results import FileRef

BLOCK_BYTES = 2**18


async def verified_lines(files: JobFiles, file: FileRef) -> AsyncIterator[list[bytes]]:
    """Whole lines, some at a time; the file itself does not stay in memory.

    Raises VoxFleetError(PLAN_MISMATCH) behind the last line when the file is not the one that `file` describes: use
    what was read only when the iteration has ended.
    """
    digest, rest = hashlib.sha256(), b""
    if file.size_bytes:
        reader = await files.reader(file.path)
        while block := await files.retrier(lambda: in_reader_thread(lambda: reader.read(BLOCK_BYTES))):
            digest.update(block)
            *lines, rest = (rest + block).split(b"\n")
            yield lines
    if rest or digest.hexdigest() != file.sha256:
        raise plan_mismatch(f"{file.path} has sha256 {digest.hexdigest()[:12]}…, expected {file.sha256[:12]}…")
