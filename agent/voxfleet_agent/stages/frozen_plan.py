"""The frozen plan of a job: plan.json, and manifest.jsonl, which is read clip by clip.

As objects, the rows of 100,000 clips would fill hundreds of megabytes.
"""

from __future__ import annotations

import hashlib
import io
from array import array
from collections.abc import Iterator, Mapping

from pydantic import ValidationError

from voxfleet_agent.audio.header_facts import Reader
from voxfleet_agent.stages.job_files import SMALL_FILE_BYTES, JobFiles, plan_mismatch
from voxfleet_agent.stages.request_retries import Retrier
from voxfleet_agent.storage import in_reader_thread
from voxfleet_api.failures import FailureClass, VoxFleetError
from voxfleet_api.results import PlanFile, plan_folder
from voxfleet_api.rows import ManifestRow

BLOCK_BYTES = 2**18


class ManifestSlice(Mapping[int, ManifestRow]):
    """The rows of consecutive clips by index, each parsed when it is looked up.

    A lookup raises VoxFleetError(PLAN_MISMATCH) when the line is not a row, or is another clip's row.
    """

    def __init__(self, content: bytes, first: int = 0) -> None:
        """`content`: whole lines, of which the first belongs to clip `first`."""
        self._content = content
        self._first = first
        self._starts = array("Q", [0])
        position = 0
        while (end := content.find(b"\n", position)) >= 0:
            position = end + 1
            self._starts.append(position)
        if position < len(content):
            self._starts.append(len(content))

    def __getitem__(self, index: int) -> ManifestRow:
        position = index - self._first
        if not 0 <= position < len(self):
            raise KeyError(index)
        try:
            row = ManifestRow.model_validate_json(self._content[self._starts[position] : self._starts[position + 1]])
        except ValidationError as error:
            raise plan_mismatch(f"manifest.jsonl does not hold the clip {index} in its place") from error
        if row.index != index:
            raise plan_mismatch("manifest.jsonl is not in the order of its indexes")
        return row

    def __contains__(self, index: object) -> bool:
        return isinstance(index, int) and 0 <= index - self._first < len(self)

    def __iter__(self) -> Iterator[int]:
        return iter(range(self._first, self._first + len(self)))

    def __len__(self) -> int:
        return len(self._starts) - 1


class ManifestStream:
    """Reads manifest.jsonl once, from first line to last. Lines already read or skipped do not stay in memory."""

    def __init__(self, reader: Reader, retrier: Retrier) -> None:
        """`reader` blocks; each of its reads may be retried."""
        self._reader = reader
        self._retrier = retrier
        self._digest = hashlib.sha256()
        self._block = b""
        self._position = 0
        self._next_index = 0

    async def read_to(self, stop: int) -> ManifestSlice:
        """The rows from the first unread clip up to, not including, `stop`; fewer when the manifest ends first."""
        content, first = io.BytesIO(), self._next_index
        await self._advance(stop, content)
        return ManifestSlice(content.getvalue(), first)

    async def skip_to(self, stop: int) -> None:
        await self._advance(stop, None)

    async def require_sha256(self, expected: str) -> None:
        """Reads to the end. Raises VoxFleetError(PLAN_MISMATCH) when the whole manifest has another sha256."""
        while await self._fill():
            self._position = len(self._block)
        if self._digest.hexdigest() != expected:
            raise plan_mismatch(
                f"manifest.jsonl has sha256 {self._digest.hexdigest()[:12]}…, expected {expected[:12]}…"
            )

    async def _advance(self, stop: int, target: io.BytesIO | None) -> None:
        while self._next_index < stop and await self._fill():
            start = self._position
            while self._next_index < stop and (end := self._block.find(b"\n", self._position)) >= 0:
                self._position = end + 1
                self._next_index += 1
            if self._next_index < stop:  # the block ends inside a line, or at the end of one
                self._position = len(self._block)
            if target is not None:
                target.write(memoryview(self._block)[start : self._position])

    async def _fill(self) -> bool:
        """Reads the next block when this one is used up; returns False at the end of the manifest."""
        if self._position == len(self._block):
            self._block = await self._retrier(lambda: in_reader_thread(lambda: self._reader.read(BLOCK_BYTES)))
            self._position = 0
            self._digest.update(self._block)
        return bool(self._block)


async def read_plan(files: JobFiles, attempt: int, manifest_sha256: str, *, one_machine: bool = False) -> PlanFile:
    """The job's frozen plan. Raises VoxFleetError(OUTPUT_NOT_SHARED | PLAN_MISMATCH)."""
    await require_shared_output(files, attempt, one_machine=one_machine)
    plan_name = f"{plan_folder(attempt)}/plan.json"
    try:
        plan = PlanFile.model_validate_json(await files.read(plan_name, SMALL_FILE_BYTES))
    except ValidationError as error:
        raise plan_mismatch(f"{plan_name} is not a plan that this agent understands") from error
    if plan.manifest_sha256 != manifest_sha256:
        raise plan_mismatch(f"{plan_name} is of another manifest than the one that the job's status froze")
    return plan


async def open_manifest(files: JobFiles, attempt: int) -> ManifestStream:
    return ManifestStream(await files.reader(f"{plan_folder(attempt)}/manifest.jsonl"), files.retrier)


def nonce_name(plan_attempt: int) -> str:
    return f"{plan_folder(plan_attempt)}/nonce"


async def require_shared_output(files: JobFiles, plan_attempt: int, *, one_machine: bool = False) -> None:
    """Checks that this Mac sees the nonce that Plan wrote.

    Raises VoxFleetError: OUTPUT_NOT_SHARED when the output is a local folder of one Mac among several, else
    PLAN_MISMATCH.
    """
    try:
        await files.read(nonce_name(plan_attempt), SMALL_FILE_BYTES)
    except VoxFleetError as error:
        if error.failure_class is not FailureClass.INPUT_NOT_FOUND:
            raise
        if files.folder.startswith("file:") and not one_machine:
            raise VoxFleetError(
                FailureClass.OUTPUT_NOT_SHARED,
                "this Mac does not see the output folder that Plan wrote, perhaps on another one; use an s3://"
                " output, a folder that every Mac mounts at the same path, or select one Mac with macSelector",
            ) from error
        raise plan_mismatch(
            "the plan's files are gone from the output; apply the job again under another name"
        ) from error
