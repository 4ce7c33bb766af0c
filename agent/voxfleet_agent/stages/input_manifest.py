"""The manifest that a job's input names. Pure."""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from typing import overload

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from voxfleet_agent.stages.source import Source, check_kind, invalid
from voxfleet_api.base import Sha256Hex
from voxfleet_api.kinds.job_task import Task

_SHARES = 16


class ManifestLine(BaseModel):
    """A line of the input's manifest."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str = Field(min_length=1, max_length=128)
    uri: str | None = Field(min_length=1, max_length=1024, default=None)
    text: str | None = None
    sha256: Sha256Hex | None = None


class InputManifest(Sequence[Source]):
    """Lines of `{"id", "uri", "sha256"}`, or of `{"id", "text"}` for Synthesize; empty ones do not count.

    A `uri` without a scheme is relative to the manifest. Every line is checked at the beginning and read again when it
    is asked for: as objects, 100,000 of them would fill tens of megabytes.
    """

    def __init__(self, manifest_uri: str, content: bytes, task: Task) -> None:
        """Raises VoxFleetError(INVALID_INPUT) naming the line."""
        self._content = content
        self._folder = manifest_uri.rpartition("/")[0]
        self._task = task
        self._starts = array("Q")
        ids = array("q")
        for start in _starts(content):
            self._starts.append(start)
            ids.append(hash(self._read(len(self) - 1).custom_id))
        self._check_unique(ids)

    @overload
    def __getitem__(self, place: int) -> Source: ...
    @overload
    def __getitem__(self, place: slice) -> list[Source]: ...

    def __getitem__(self, place: int | slice) -> Source | list[Source]:
        if isinstance(place, slice):
            return [self._read(index) for index in range(*place.indices(len(self)))]
        return self._read(range(len(self))[place])

    def __len__(self) -> int:
        return len(self._starts)

    def _read(self, index: int) -> Source:
        form = '{"id": …, "text": …}' if self._task is Task.SYNTHESIZE else '{"id": …, "uri": …, "sha256": …}'
        start = self._starts[index]
        end = self._content.find(b"\n", start)
        try:
            row = ManifestLine.model_validate_json(self._content[start : end if end >= 0 else None])
        except ValidationError as error:
            wrong = "; ".join(f"{'.'.join(map(str, item['loc']))} {item['msg']}".strip() for item in error.errors()[:3])
            raise invalid(f"line {self._number(index)} of the manifest: {wrong}; write {form}") from error
        uri = row.uri if row.uri is None or "://" in row.uri else f"{self._folder}/{row.uri}"
        source = Source(row.id, uri, row.sha256, row.text)
        check_kind(source, self._task, lambda: f"line {self._number(index)} of the manifest", form)
        return source

    def _number(self, index: int) -> int:
        """Of the line, from 1."""
        return self._content.count(b"\n", 0, self._starts[index]) + 1

    def _check_unique(self, hashes: array[int]) -> None:
        """A share of the hashes at a time: a dictionary of all of them would be larger than the manifest."""
        for share in range(_SHARES):
            seen: dict[int, int] = {}
            for index, found in enumerate(hashes):
                if found % _SHARES == share:
                    first = seen.setdefault(found, index)
                    if first != index and self._read(first).custom_id == self._read(index).custom_id:
                        raise invalid(
                            f"line {self._number(index)} of the manifest has the id of line {self._number(first)}; give"
                            " each clip its own"
                        )


def _starts(content: bytes) -> Iterator[int]:
    """Of each line that is not empty."""
    start = 0
    while start < len(content):
        end = content.find(b"\n", start)
        stop = end if end >= 0 else len(content)
        if content[start:stop].strip():
            yield start
        start = stop + 1
