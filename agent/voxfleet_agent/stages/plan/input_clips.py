"""Lists the clips of a job's input, in order: from input.clips, a manifest or a prefix."""

from __future__ import annotations

import asyncio
import fnmatch
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import overload

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from voxfleet_agent.stages.request_retries import Retrier
from voxfleet_agent.storage import Storage
from voxfleet_api.base import Sha256Hex
from voxfleet_api.failures import FailureClass, VoxFleetError
from voxfleet_api.kinds.job_input import JobInput, PrefixInput
from voxfleet_api.kinds.job_task import Task
from voxfleet_api.ranges import MAX_INDEXES

MANIFEST_LIMIT_BYTES = 256 * 2**20

_SHARES = 16


@dataclass(frozen=True, slots=True)
class InputClip:
    """A recording to transcribe, or a text to synthesize."""

    custom_id: str
    uri: str | None = None
    sha256: str | None = None
    text: str | None = None


def require_task_input(source: InputClip, task: Task, location: Callable[[], str], example: str = "") -> None:
    """Raises VoxFleetError(INVALID_INPUT), naming the `location`, unless the clip is of the task's kind."""
    advice = f"; write {example}" if example else ""
    if (source.uri is None) == (source.text is None):
        raise invalid_input(f"{location()} needs either uri or text, and not both{advice}")
    if (source.text is not None) != (task is Task.SYNTHESIZE):
        actual, wanted = ("a text", "recordings") if source.text is not None else ("a recording", "texts")
        raise invalid_input(f"{location()} is {actual}, but task {task.value} needs {wanted}{advice}")
    if source.text is not None and source.sha256 is not None:
        raise invalid_input(f"{location()} has a sha256, but a text has none{advice}")


def invalid_input(message: str) -> VoxFleetError:
    return VoxFleetError(FailureClass.INVALID_INPUT, message[:1024])


class InputManifestLine(BaseModel):
    """A line of the input's manifest."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str = Field(min_length=1, max_length=128)
    uri: str | None = Field(min_length=1, max_length=1024, default=None)
    text: str | None = None
    sha256: Sha256Hex | None = None


class InputManifest(Sequence[InputClip]):
    """Lines of `{"id", "uri", "sha256"}`, or of `{"id", "text"}` for Synthesize; empty lines are skipped.

    A `uri` without a scheme is relative to the manifest. The constructor checks every line; each line is parsed again
    when it is used, because 100,000 parsed lines would fill tens of megabytes.
    """

    def __init__(self, manifest_uri: str, content: bytes, task: Task) -> None:
        """Raises VoxFleetError(INVALID_INPUT) naming the line."""
        self._content = content
        self._folder = manifest_uri.rpartition("/")[0]
        self._task = task
        self._starts = array("Q")
        ids = array("q")
        for start in _line_starts(content):
            self._starts.append(start)
            ids.append(hash(self._read_line(len(self) - 1).custom_id))
        self._check_unique(ids)

    @overload
    def __getitem__(self, index: int) -> InputClip: ...
    @overload
    def __getitem__(self, index: slice) -> list[InputClip]: ...

    def __getitem__(self, index: int | slice) -> InputClip | list[InputClip]:
        if isinstance(index, slice):
            return [self._read_line(line) for line in range(*index.indices(len(self)))]
        return self._read_line(range(len(self))[index])

    def __len__(self) -> int:
        return len(self._starts)

    def _read_line(self, index: int) -> InputClip:
        example = '{"id": …, "text": …}' if self._task is Task.SYNTHESIZE else '{"id": …, "uri": …, "sha256": …}'
        start = self._starts[index]
        end = self._content.find(b"\n", start)
        try:
            row = InputManifestLine.model_validate_json(self._content[start : end if end >= 0 else None])
        except ValidationError as error:
            wrong = "; ".join(f"{'.'.join(map(str, item['loc']))} {item['msg']}".strip() for item in error.errors()[:3])
            raise invalid_input(f"line {self._line_number(index)} of the manifest: {wrong}; write {example}") from error
        uri = row.uri if row.uri is None or "://" in row.uri else f"{self._folder}/{row.uri}"
        source = InputClip(row.id, uri, row.sha256, row.text)
        require_task_input(source, self._task, lambda: f"line {self._line_number(index)} of the manifest", example)
        return source

    def _line_number(self, index: int) -> int:
        """The number of the clip's line in the file, counted from 1."""
        return self._content.count(b"\n", 0, self._starts[index]) + 1

    def _check_unique(self, hashes: array[int]) -> None:
        """Checks one share of the hashes at a time, because a dictionary of all would be larger than the manifest."""
        for share in range(_SHARES):
            seen: dict[int, int] = {}
            for index, id_hash in enumerate(hashes):
                if id_hash % _SHARES == share:
                    first = seen.setdefault(id_hash, index)
                    if first != index and self._read_line(first).custom_id == self._read_line(index).custom_id:
                        raise invalid_input(
                            f"line {self._line_number(index)} of the manifest has the id of line"
                            f" {self._line_number(first)}; give each clip its own"
                        )


def _line_starts(content: bytes) -> Iterator[int]:
    """The start offset of each line that is not empty."""
    start = 0
    while start < len(content):
        end = content.find(b"\n", start)
        stop = end if end >= 0 else len(content)
        if content[start:stop].strip():
            yield start
        start = stop + 1


class PrefixClips(Sequence[InputClip]):
    """The clips of a prefix. Each is made when it is used, because there may be a hundred thousand."""

    def __init__(self, prefix_uri: str, names: Sequence[str]) -> None:
        self._prefix_uri = prefix_uri
        self._names = names

    @overload
    def __getitem__(self, index: int) -> InputClip: ...
    @overload
    def __getitem__(self, index: slice) -> PrefixClips: ...

    def __getitem__(self, index: int | slice) -> InputClip | PrefixClips:
        if isinstance(index, slice):
            return PrefixClips(self._prefix_uri, self._names[index])
        return InputClip(self._names[index], f"{self._prefix_uri}{self._names[index]}")

    def __len__(self) -> int:
        return len(self._names)


async def list_input_clips(
    storage: Storage, retrier: Retrier, job_input: JobInput, task: Task, output_folder: str
) -> Sequence[InputClip]:
    """The job's clips in order. Raises VoxFleetError(INVALID_INPUT) naming the line, or what is missing."""
    sources: Sequence[InputClip]
    if job_input.clips is not None:
        sources = [InputClip(clip.id, clip.uri, clip.sha256, clip.text) for clip in job_input.clips]
        for source in sources:
            require_task_input(source, task, lambda: "a clip of spec.input.clips")
    elif job_input.manifest is not None:
        uri = job_input.manifest.uri
        content = await _read_manifest(storage, retrier, uri)
        sources = await asyncio.to_thread(InputManifest, uri, content, task)
    elif job_input.prefix is not None:
        prefix = job_input.prefix
        if task is Task.SYNTHESIZE:
            raise invalid_input(
                "task Synthesize speaks texts; write input.clips with text, or an input.manifest of texts"
            )
        names = await retrier(lambda: storage.list_names(prefix.uri, MAX_INDEXES))
        # In a thread, because a malicious pattern may be slow to match.
        sources = await asyncio.to_thread(select_names, prefix, names, output_folder)
    else:
        raise invalid_input("spec.input names no clips, no manifest and no prefix")
    if not sources:
        raise invalid_input("the input has no clips; check spec.input and, for a prefix, its include patterns")
    if len(sources) > MAX_INDEXES:
        raise invalid_input(f"the input has {len(sources)} clips; at most {MAX_INDEXES} are possible, split the job")
    return sources


def select_names(prefix: PrefixInput, names: Iterable[str], output_folder: str) -> PrefixClips:
    """The names that match a pattern, except those that the job wrote itself. Pure.

    A pattern applies to the last part of a name. As in a shell, only a pattern that begins with a dot matches a name
    that begins with one, so that no `.DS_Store` becomes a clip. Raises VoxFleetError(INVALID_INPUT) for a name that is
    not UTF-8.
    """
    selected = sorted(
        name
        for name in set(names)
        if _matches(name.rpartition("/")[2], prefix.include)
        and not f"{prefix.uri}{name}".startswith(f"{output_folder}/")
    )
    if not all(map(_is_text, selected)):
        raise invalid_input(
            "a file below the prefix has a name that is not UTF-8, so no row can name it; rename the file"
        )
    return PrefixClips(prefix.uri, selected)


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:  # Python decodes other bytes in a local file name to surrogates
        return False
    return True


def _matches(name: str, patterns: Sequence[str]) -> bool:
    return any(
        fnmatch.fnmatchcase(name, pattern) and (pattern.startswith(".") or not name.startswith("."))
        for pattern in patterns
    )


async def _read_manifest(storage: Storage, retrier: Retrier, uri: str) -> bytes:
    try:
        return await retrier(lambda: storage.get(uri, MANIFEST_LIMIT_BYTES))
    except VoxFleetError as error:
        raise VoxFleetError(error.failure_class, f"spec.input.manifest.uri: {error.message}") from error
