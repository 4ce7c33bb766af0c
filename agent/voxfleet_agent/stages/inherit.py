"""What an attempt takes over from the attempts of its shard before it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pydantic import ValidationError

from voxfleet_agent.stages.retry import with_retries
from voxfleet_agent.stages.stage import StageContext
from voxfleet_agent.storage import Storage, StoredObject
from voxfleet_api.digest import sha256_hex
from voxfleet_api.failures import FailureClass, VoxFleetError
from voxfleet_api.ranges import encode
from voxfleet_api.results import Base, ManifestRow, PartRef, ResultRow, attempt_folder

PART_LIMIT_BYTES = 256 << 20
_PART = re.compile(r"/(?P<attempt>[0-9]+)/(?P<name>part-[0-9]{6}-(?P<sha256>[0-9a-f]{64})\.jsonl)$")
_BASE = re.compile(r"/(?P<attempt>[0-9]+)/base\.json$")


@dataclass(frozen=True, slots=True)
class Part:
    """A part and the rows that it holds."""

    ref: PartRef
    rows: tuple[ResultRow, ...]


def parse_part(path: str, content: bytes) -> Part:
    """Raises VoxFleetError(PLAN_MISMATCH) when the content is not what the name says."""
    sha256 = sha256_hex(content)
    if sha256 not in path:
        raise VoxFleetError(FailureClass.PLAN_MISMATCH, f"{path}: its content is not what its name says")
    try:
        rows = tuple(ResultRow.model_validate_json(line) for line in content.splitlines())
    except ValidationError as error:
        raise VoxFleetError(FailureClass.PLAN_MISMATCH, f"{path}: holds a line that is no row") from error
    return Part(PartRef(path=path, sha256=sha256, indexes=encode(row.index for row in rows)), rows)


def usable(parts: Sequence[Part], clips: Mapping[int, ManifestRow]) -> list[Part]:
    """Parts whose rows are all of this shard's clips in the planned version, each clip once. Pure."""
    taken: set[int] = set()
    kept = []
    for part in parts:
        indexes = [row.index for row in part.rows]
        fits = all(
            row.index in clips and row.etag == clips[row.index].etag and row.custom_id == clips[row.index].custom_id
            for row in part.rows
        )
        if fits and indexes and len(set(indexes)) == len(indexes) and taken.isdisjoint(indexes):
            taken.update(indexes)
            kept.append(part)
    return kept


async def inherit(ctx: StageContext, clips: Mapping[int, ManifestRow]) -> list[Part]:
    """The parts of the latest earlier attempt that froze a base: that base's parts, then its own, listed once.

    Nothing here can make a result wrong: a part that is missed, damaged or of other versions is left out, and its
    clips are worked on again.
    """
    spec = ctx.spec
    prefix = f"{spec.output_folder}/parts/{spec.shard_uid}/"
    listing = await with_retries(lambda: ctx.storage.list(prefix))
    attempts = [int(found["attempt"]) for item in listing if (found := _BASE.search(item.uri)) is not None]
    for attempt in sorted((number for number in attempts if number < spec.attempt), reverse=True):
        folder = attempt_folder(spec.shard_uid, attempt)
        base = await _read_base(ctx.storage, f"{spec.output_folder}/{folder}/base.json")
        if base is None or (base.shard_uid, base.attempt) != (spec.shard_uid, attempt):
            continue
        paths = [part.path for part in base.parts] + _own_parts(listing, folder, attempt)
        found_parts = [part for path in paths if (part := await _read_part(ctx, path)) is not None]
        return usable(found_parts, clips)
    return []


def _own_parts(listing: Sequence[StoredObject], folder: str, attempt: int) -> list[str]:
    found = [_PART.search(item.uri) for item in listing]
    names = [match["name"] for match in found if match is not None and int(match["attempt"]) == attempt]
    return [f"{folder}/{name}" for name in sorted(names)]


async def _read_base(storage: Storage, uri: str) -> Base | None:
    try:
        return Base.model_validate_json(await with_retries(lambda: storage.get(uri, PART_LIMIT_BYTES)))
    except ValidationError:
        return None


async def _read_part(ctx: StageContext, path: str) -> Part | None:
    try:
        content = await with_retries(lambda: ctx.storage.get(f"{ctx.spec.output_folder}/{path}", PART_LIMIT_BYTES))
        return parse_part(path, content)
    except VoxFleetError as error:
        if error.failure_class in (FailureClass.INPUT_NOT_FOUND, FailureClass.PLAN_MISMATCH):
            return None
        raise
