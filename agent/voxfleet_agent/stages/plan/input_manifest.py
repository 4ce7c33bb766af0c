"""The clips that an input manifest names, in order."""

from __future__ import annotations

import posixpath
import re
from array import array
from collections.abc import Sequence
from typing import overload

from voxfleet_agent.stages.plan.input_clip import InputClip, invalid_input, require_task_input
from voxfleet_agent.stages.plan.manifest_lines import Place, read_lines
from voxfleet_agent.stages.plan.packed_clips import PackedClips
from voxfleet_api.failures import VoxFleetError
from voxfleet_api.kinds.job_task import Task
from voxfleet_api.ranges import MAX_INDEXES

_SHARES = 16
_WINDOWS_PATH = re.compile(r"[A-Za-z]:[\\/]|\\\\")
_NO_SLASHES = re.compile(r"(file|s3|https):(?!//)", re.IGNORECASE)


class InputManifest(Sequence[InputClip]):
    """Lines of `{"id", "uri", "sha256"}`, or of `{"id", "text"}` for Synthesize, or CSV with such a header.

    Empty lines are skipped. A `uri` without a scheme is relative to the manifest. The constructor checks every line.
    """

    def __init__(self, manifest_uri: str, content: bytes, task: Task) -> None:
        """Raises VoxFleetError(INVALID_INPUT) naming line and column."""
        self._clips = PackedClips()
        self._lines = array("Q")
        self._id_columns = array("Q")
        ids = array("q")
        example = '{"id": …, "text": …}' if task is Task.SYNTHESIZE else '{"id": …, "uri": …, "sha256": …}'
        for place, row in read_lines(content, example):
            uri = None if row.uri is None else absolute_uri(manifest_uri, row.uri, place)
            clip = InputClip(row.id, uri, row.sha256, row.text)
            require_task_input(clip, task, lambda place=place: place.of("text"), example)  # type: ignore[misc] # bound here
            self._clips.append(clip)
            self._lines.append(place.line)
            self._id_columns.append(place.columns.get("id", 1))
            ids.append(hash(row.id))
            if len(self) > MAX_INDEXES:
                raise invalid_input(f"the manifest has more than {MAX_INDEXES} clips; split the job")
        self._check_unique(ids)

    @overload
    def __getitem__(self, index: int) -> InputClip: ...
    @overload
    def __getitem__(self, index: slice) -> list[InputClip]: ...

    def __getitem__(self, index: int | slice) -> InputClip | list[InputClip]:
        return self._clips[index]

    def __len__(self) -> int:
        return len(self._clips)

    def _check_unique(self, hashes: array[int]) -> None:
        """Checks one share of the hashes at a time, because a dictionary of all would be larger than the manifest."""
        for share in range(_SHARES):
            seen: dict[int, int] = {}
            for index, id_hash in enumerate(hashes):
                if id_hash % _SHARES == share:
                    first = seen.setdefault(id_hash, index)
                    if first != index and self[first].custom_id == self[index].custom_id:
                        raise invalid_input(
                            f"line {self._lines[index]}, column {self._id_columns[index]} of the manifest has the id of"
                            f" line {self._lines[first]}; give each clip its own"
                        )


def absolute_uri(manifest_uri: str, uri: str, place: Place) -> str:
    """The address of a clip. Pure.

    A `uri` with a scheme is literal. One without is relative to the manifest, and `./` and `../` at its beginning have
    their usual meaning; a path of this machine, such as `/data/a.wav`, is taken in a manifest that is itself a local
    file. Raises VoxFleetError(INVALID_INPUT).
    """
    if "://" in uri:
        return uri
    local = manifest_uri.startswith("file:")
    if _WINDOWS_PATH.match(uri):
        raise _wrong_uri(place, "is a path of Windows; write file:///folder/name or a name relative to the manifest")
    if _NO_SLASHES.match(uri):
        raise _wrong_uri(place, "has a scheme without ://; write file:///folder/name or s3://bucket/name")
    if uri.startswith("~"):
        raise _wrong_uri(place, "names somebody's home; write the whole path, or a name relative to the manifest")
    if uri.startswith("/"):
        if not local:
            raise _wrong_uri(
                place, "is a path of a machine, and the manifest is not; write s3://bucket/name or leave out the slash"
            )
        return f"file://{_normal_path(uri)}"
    folder = manifest_uri.partition("?")[0].rpartition("/")[0]
    if local:
        path = f"{folder.removeprefix('file://')}/{uri}"
        return f"file://{_normal_path(path)}"
    return _below(folder, uri, place)


def _below(folder: str, uri: str, place: Place) -> str:
    """In an object store only the dots at the beginning are steps; behind them, every name is literal."""
    while uri.startswith(("./", "../")):
        step, _, uri = uri.partition("/")
        if step == "..":
            folder, slash, _ = folder.rpartition("/")
            if not slash or folder.endswith(":/"):
                raise _wrong_uri(place, "climbs out of the manifest's bucket; write s3://bucket/name")
    return f"{folder}/{uri}"


def _normal_path(path: str) -> str:
    return "/" + posixpath.normpath(path).lstrip("/")


def _wrong_uri(place: Place, what: str) -> VoxFleetError:
    return invalid_input(f"{place.of('uri')}: uri {what}")
