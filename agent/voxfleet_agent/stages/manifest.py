"""The frozen manifest, read clip by clip: whole, as objects, 100,000 clips would fill hundreds of megabytes."""

from __future__ import annotations

import hashlib
import io
from array import array
from collections.abc import Iterator, Mapping

from pydantic import ValidationError

from voxfleet_agent.audio.header_facts import Reader
from voxfleet_agent.stages.mismatch import mismatch
from voxfleet_agent.stages.retry import Retrier
from voxfleet_agent.storage import in_reader_thread
from voxfleet_api.results import ManifestRow

BLOCK_BYTES = 2**18


class ManifestLines(Mapping[int, ManifestRow]):
    """A stretch's rows by index, parsed when they are asked for.

    Raises VoxFleetError(PLAN_MISMATCH) for a line that is not the row of its place.
    """

    def __init__(self, content: bytes, first: int = 0) -> None:
        """`content`: whole lines; the first one is clip `first`."""
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
        place = index - self._first
        if not 0 <= place < len(self):
            raise KeyError(index)
        try:
            row = ManifestRow.model_validate_json(self._content[self._starts[place] : self._starts[place + 1]])
        except ValidationError as error:
            raise mismatch(f"manifest.jsonl does not hold the clip {index} in its place") from error
        if row.index != index:
            raise mismatch("manifest.jsonl is not in the order of its indexes")
        return row

    def __contains__(self, index: object) -> bool:
        return isinstance(index, int) and 0 <= index - self._first < len(self)

    def __iter__(self) -> Iterator[int]:
        return iter(range(self._first, self._first + len(self)))

    def __len__(self) -> int:
        return len(self._starts) - 1


class ManifestStream:
    """manifest.jsonl from its first line to its last; of what was passed over nothing stays in memory."""

    def __init__(self, reader: Reader, retrier: Retrier) -> None:
        """`reader` blocks; each of its reads may be tried again."""
        self._reader = reader
        self._retrier = retrier
        self._digest = hashlib.sha256()
        self._block = b""
        self._position = 0
        self._taken = 0

    async def take(self, stop: int) -> ManifestLines:
        """The clips from the first one not taken yet up to, without, `stop`; fewer where the manifest ends."""
        content, first = io.BytesIO(), self._taken
        await self._pass(stop, content)
        return ManifestLines(content.getvalue(), first)

    async def skip(self, stop: int) -> None:
        await self._pass(stop, None)

    async def require_sha256(self, expected: str) -> None:
        """Reads what is left. Raises VoxFleetError(PLAN_MISMATCH) when the manifest is another one."""
        while await self._fill():
            self._position = len(self._block)
        if self._digest.hexdigest() != expected:
            raise mismatch(f"manifest.jsonl has sha256 {self._digest.hexdigest()[:12]}…, expected {expected[:12]}…")

    async def _pass(self, stop: int, kept: io.BytesIO | None) -> None:
        while self._taken < stop and await self._fill():
            start = self._position
            while self._taken < stop and (end := self._block.find(b"\n", self._position)) >= 0:
                self._position = end + 1
                self._taken += 1
            if self._taken < stop:  # the block ends inside a line, or with one
                self._position = len(self._block)
            if kept is not None:
                kept.write(memoryview(self._block)[start : self._position])

    async def _fill(self) -> bool:
        """Whether there is a byte left in the block, another one read if need be."""
        if self._position == len(self._block):
            self._block = await self._retrier(lambda: in_reader_thread(lambda: self._reader.read(BLOCK_BYTES)))
            self._position = 0
            self._digest.update(self._block)
        return bool(self._block)
