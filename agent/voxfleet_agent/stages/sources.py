"""The clips that a job's input names, in their order."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from voxfleet_agent.stages.retry import with_retries
from voxfleet_agent.storage import Storage
from voxfleet_api.base import Sha256Hex
from voxfleet_api.failures import FailureClass, VoxFleetError
from voxfleet_api.kinds.audio_batch_job import JobInput, PrefixInput
from voxfleet_api.ranges import MAX_INDEXES

MANIFEST_LIMIT_BYTES = 256 * 2**20


@dataclass(frozen=True, slots=True)
class Source:
    """One clip as the input names it."""

    custom_id: str
    uri: str
    sha256: str | None = None


class ManifestLine(BaseModel):
    """A line of the input's manifest."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str = Field(min_length=1, max_length=128)
    uri: str = Field(min_length=1, max_length=1024)
    sha256: Sha256Hex | None = None


async def gather_sources(storage: Storage, job_input: JobInput, output_folder: str) -> list[Source]:
    """Raises VoxFleetError(INVALID_INPUT) naming the line, or what is missing."""
    if job_input.clips is not None:
        sources = [Source(clip.id, clip.uri, clip.sha256) for clip in job_input.clips]
    elif job_input.manifest is not None:
        sources = parse_manifest(job_input.manifest.uri, await _read_manifest(storage, job_input.manifest.uri))
    elif job_input.prefix is not None:
        prefix = job_input.prefix
        names = await with_retries(lambda: storage.list_names(prefix.uri, MAX_INDEXES))
        sources = select(prefix, names, output_folder)
    else:
        raise _invalid("spec.input names no clips, no manifest and no prefix")
    if not sources:
        raise _invalid("the input has no clips; check spec.input and, for a prefix, its include patterns")
    if len(sources) > MAX_INDEXES:
        raise _invalid(f"the input has {len(sources)} clips; at most {MAX_INDEXES} are possible, split the job")
    return sources


def parse_manifest(manifest_uri: str, content: bytes) -> list[Source]:
    """Lines of `{"id", "uri", "sha256"}`; a `uri` without a scheme is relative to the manifest. Pure."""
    folder = manifest_uri.rpartition("/")[0]
    sources: list[Source] = []
    lines: dict[str, int] = {}
    for number, line in enumerate(content.splitlines(), start=1):
        if not line.strip():
            continue
        try:
            row = ManifestLine.model_validate_json(line)
        except ValidationError as error:
            wrong = "; ".join(f"{'.'.join(map(str, item['loc']))} {item['msg']}".strip() for item in error.errors()[:3])
            raise _invalid(
                f'line {number} of the manifest: {wrong}; write {{"id": …, "uri": …, "sha256": …}}'
            ) from error
        if row.id in lines:
            raise _invalid(f"line {number} of the manifest has the id of line {lines[row.id]}; give each clip its own")
        lines[row.id] = number
        uri = row.uri if "://" in row.uri else f"{folder}/{row.uri}"
        sources.append(Source(row.id, uri, row.sha256))
    return sources


def select(prefix: PrefixInput, names: Iterable[str], output_folder: str) -> list[Source]:
    """The names that a pattern matches, but none that the job wrote itself. Pure.

    A pattern is about the last part of a name. As in a shell, a name that begins with a dot is meant only by a pattern
    that does too: no `.DS_Store` becomes a clip. Raises VoxFleetError(INVALID_INPUT) for a name that is not UTF-8.
    """
    uris = {name: f"{prefix.uri}{name}" for name in names}
    sources = [
        Source(name, uri)
        for name, uri in sorted(uris.items())
        if _included(name.rpartition("/")[2], prefix.include) and not uri.startswith(f"{output_folder}/")
    ]
    if any(not _is_text(source.uri) for source in sources):
        raise _invalid("a file below the prefix has a name that is not UTF-8, so no row can name it; rename the file")
    return sources


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


async def _read_manifest(storage: Storage, uri: str) -> bytes:
    try:
        return await with_retries(lambda: storage.get(uri, MANIFEST_LIMIT_BYTES))
    except VoxFleetError as error:
        raise VoxFleetError(error.failure_class, f"spec.input.manifest.uri: {error.message}") from error


def _invalid(message: str) -> VoxFleetError:
    return VoxFleetError(FailureClass.INVALID_INPUT, message[:1024])
