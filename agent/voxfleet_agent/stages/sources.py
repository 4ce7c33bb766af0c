"""The clips that a job's input names, in their order."""

from __future__ import annotations

import asyncio
import fnmatch
from collections.abc import Iterable, Sequence
from typing import overload

from voxfleet_agent.stages.input_manifest import InputManifest
from voxfleet_agent.stages.retry import Retrier
from voxfleet_agent.stages.source import Source, check_kind, invalid
from voxfleet_agent.storage import Storage
from voxfleet_api.failures import VoxFleetError
from voxfleet_api.kinds.job_input import JobInput, PrefixInput
from voxfleet_api.kinds.job_task import Task
from voxfleet_api.ranges import MAX_INDEXES

MANIFEST_LIMIT_BYTES = 256 * 2**20


class BelowPrefix(Sequence[Source]):
    """Sources that are made when they are asked for: a prefix may hold a hundred thousand."""

    def __init__(self, prefix_uri: str, names: Sequence[str]) -> None:
        self._prefix_uri = prefix_uri
        self._names = names

    @overload
    def __getitem__(self, place: int) -> Source: ...
    @overload
    def __getitem__(self, place: slice) -> BelowPrefix: ...

    def __getitem__(self, place: int | slice) -> Source | BelowPrefix:
        if isinstance(place, slice):
            return BelowPrefix(self._prefix_uri, self._names[place])
        return Source(self._names[place], f"{self._prefix_uri}{self._names[place]}")

    def __len__(self) -> int:
        return len(self._names)


async def gather_sources(
    storage: Storage, retrier: Retrier, job_input: JobInput, task: Task, output_folder: str
) -> Sequence[Source]:
    """Raises VoxFleetError(INVALID_INPUT) naming the line, or what is missing."""
    sources: Sequence[Source]
    if job_input.clips is not None:
        sources = [Source(clip.id, clip.uri, clip.sha256, clip.text) for clip in job_input.clips]
        for source in sources:
            check_kind(source, task, lambda: "a clip of spec.input.clips")
    elif job_input.manifest is not None:
        uri = job_input.manifest.uri
        content = await _read_manifest(storage, retrier, uri)
        sources = await asyncio.to_thread(InputManifest, uri, content, task)
    elif job_input.prefix is not None:
        prefix = job_input.prefix
        if task is Task.SYNTHESIZE:
            raise invalid("task Synthesize speaks texts; write input.clips with text, or an input.manifest of texts")
        names = await retrier(lambda: storage.list_names(prefix.uri, MAX_INDEXES))
        sources = await asyncio.to_thread(select, prefix, names, output_folder)  # patterns may be slow on purpose
    else:
        raise invalid("spec.input names no clips, no manifest and no prefix")
    if not sources:
        raise invalid("the input has no clips; check spec.input and, for a prefix, its include patterns")
    if len(sources) > MAX_INDEXES:
        raise invalid(f"the input has {len(sources)} clips; at most {MAX_INDEXES} are possible, split the job")
    return sources


def select(prefix: PrefixInput, names: Iterable[str], output_folder: str) -> BelowPrefix:
    """The names that a pattern matches, but none that the job wrote itself. Pure.

    A pattern is about the last part of a name. As in a shell, a name that begins with a dot is meant only by a pattern
    that does too: no `.DS_Store` becomes a clip. Raises VoxFleetError(INVALID_INPUT) for a name that is not UTF-8.
    """
    selected = sorted(
        name
        for name in set(names)
        if _included(name.rpartition("/")[2], prefix.include)
        and not f"{prefix.uri}{name}".startswith(f"{output_folder}/")
    )
    if not all(map(_is_text, selected)):
        raise invalid("a file below the prefix has a name that is not UTF-8, so no row can name it; rename the file")
    return BelowPrefix(prefix.uri, selected)


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:  # how Python shows a local file's name of other bytes
        return False
    return True


def _included(name: str, patterns: Sequence[str]) -> bool:
    return any(
        fnmatch.fnmatchcase(name, pattern) and (pattern.startswith(".") or not name.startswith("."))
        for pattern in patterns
    )


async def _read_manifest(storage: Storage, retrier: Retrier, uri: str) -> bytes:
    try:
        return await retrier(lambda: storage.get(uri, MANIFEST_LIMIT_BYTES))
    except VoxFleetError as error:
        raise VoxFleetError(error.failure_class, f"spec.input.manifest.uri: {error.message}") from error
