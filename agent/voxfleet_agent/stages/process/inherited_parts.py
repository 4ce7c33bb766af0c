"""The parts that an attempt inherits from earlier attempts of its shard, and of those that the shard was split from."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field

from pydantic import ValidationError

from voxfleet_agent.stages.job_files import JobFiles, plan_mismatch, require_sha256
from voxfleet_agent.stages.result_rows import RowTally, is_row_of
from voxfleet_api.attempt_spec import AttemptSpec, ProcessSpec
from voxfleet_api.failures import FailureClass, VoxFleetError
from voxfleet_api.ranges import encode
from voxfleet_api.results import AttemptBase, PartRef, attempt_folder
from voxfleet_api.rows import ClipStatus, ManifestRow, ResultRow

_BASE = re.compile(r"([1-9][0-9]*)/base\.json")
_PART = re.compile(r"part-[0-9]{6}-([0-9a-f]{64})\.jsonl")


@dataclass(frozen=True, slots=True)
class Part:
    """A part file and its rows."""

    ref: PartRef
    rows: tuple[ResultRow, ...]


class DeliveredParts:
    """Parts that together hold at most one row per clip.

    Of the rows, only their indexes, attempts and tally stay in memory.
    """

    def __init__(self) -> None:
        self.refs: list[PartRef] = []
        self.indexes: set[int] = set()
        self.inferring_attempts: set[int] = set()
        """The attempts that ran the model for any of the rows."""
        self.tally = RowTally()

    def add(self, part: Part) -> None:
        """Adds a part. Raises VoxFleetError(PLAN_MISMATCH) when a clip of the part already has a row."""
        indexes = {row.index for row in part.rows}
        if len(indexes) != len(part.rows) or not indexes.isdisjoint(self.indexes):
            raise plan_mismatch(f"{part.ref.path} holds a clip that has a row already")
        self.indexes |= indexes
        self.inferring_attempts |= {
            row.attempt for row in part.rows if row.attempt is not None and row.batch_size is not None
        }
        self.refs.append(part.ref)
        self.tally.add(part.rows)


def parse_part(path: str, sha256: str, content: bytes) -> Part:
    """Raises VoxFleetError(PLAN_MISMATCH) when the sha256 differs or a line is not a row. Pure."""
    require_sha256(path, content, sha256)
    try:
        rows = tuple(ResultRow.model_validate_json(line) for line in content.splitlines())
    except ValidationError as error:
        raise plan_mismatch(f"{path} holds a row that this agent does not understand") from error
    return Part(PartRef(path=path, sha256=sha256, indexes=encode(row.index for row in rows)), rows)


async def read_part(files: JobFiles, path: str, sha256: str) -> Part:
    return parse_part(path, sha256, await files.read(path))


@dataclass(slots=True)
class Inheritance:
    """What an attempt takes over from the attempts before it."""

    delivered: DeliveredParts = field(default_factory=DeliveredParts)
    kept_rows: list[ResultRow] = field(default_factory=list)
    """Rows of parts that cannot be taken over whole."""

    def add(
        self, part: Part, clips: Mapping[int, ManifestRow], *, same_plan: bool, of_split_shard: bool = False
    ) -> None:
        """Takes over what is usable of a part.

        Rows of an earlier Plan are taken over one by one, and those that failed are not: somebody planned the job again
        because the cause is mended. Rows of a shard that was split are taken over one by one, too, where the part also
        holds clips of the other half.
        """
        if usable(part, clips, self.delivered.indexes | {row.index for row in self.kept_rows}) and (
            same_plan or not any(row.status is ClipStatus.FAILED for row in part.rows)
        ):
            self.delivered.add(part)
        elif of_split_shard or not same_plan:
            known = self.delivered.indexes | {row.index for row in self.kept_rows}
            for row in part.rows:
                clip = clips.get(row.index)
                if clip is None or row.index in known or not is_row_of(row, clip):
                    continue
                if row.status is ClipStatus.FAILED and not same_plan:
                    continue
                known.add(row.index)
                self.kept_rows.append(row)


def usable(part: Part, clips: Mapping[int, ManifestRow], delivered: Set[int]) -> bool:
    """Whether a part has rows, all for these clips in their planned versions, and only one for each clip.

    `delivered`: indexes that have a row already. Pure.
    """
    indexes = {row.index for row in part.rows}
    return (
        bool(indexes)
        and len(indexes) == len(part.rows)
        and indexes.isdisjoint(delivered)
        and all(row.index in clips and is_row_of(row, clips[row.index]) for row in part.rows)
    )


async def collect_inherited_parts(
    files: JobFiles, spec: AttemptSpec, process_spec: ProcessSpec, clips: Mapping[int, ManifestRow]
) -> Inheritance:
    """Collects parts from the latest earlier attempt that froze a base: first the parts of that base, then its own.

    Attempts of the shards that this one was split from count as earlier ones; its own are later than theirs. Attempts
    with another model than the planned one count for nothing: a job's results have one model. The storage is listed
    once a shard. A part that is missing from the listing, damaged, or made from other versions of its clips is left
    out, and its clips run again; so nothing here can make a result wrong.
    """
    inheritance = Inheritance()
    for shard_uid in (spec.shard_uid, *process_spec.inherits):
        names = await files.names_below(f"parts/{shard_uid}")
        for attempt in earlier_attempts(names, spec.attempt):
            base = await _read_base(files, shard_uid, attempt)
            if base is None or not has_planned_model(base, process_spec):
                continue
            same_plan = base.plan_attempt == process_spec.plan_attempt
            for path, sha256 in [(ref.path, ref.sha256) for ref in base.parts] + uploaded_parts(
                names, shard_uid, attempt
            ):
                part = await _read_part_if_intact(files, path, sha256)
                if part is not None:
                    inheritance.add(part, clips, same_plan=same_plan, of_split_shard=shard_uid != spec.shard_uid)
            return inheritance
    return inheritance


def has_planned_model(base: AttemptBase, process_spec: ProcessSpec) -> bool:
    """Whether the planned model gave the rows of a base's parts. One Plan has one model. Pure."""
    if base.model_digest is None:
        return base.plan_attempt == process_spec.plan_attempt
    return base.model_digest == process_spec.model_digest


def earlier_attempts(names: Iterable[str], attempt: int) -> list[int]:
    """Attempts before this one that have a base.json among the shard's files, the latest first. Pure."""
    attempts = [int(match[1]) for name in names if (match := _BASE.fullmatch(name)) is not None]
    return sorted((number for number in attempts if number < attempt), reverse=True)


def uploaded_parts(names: Sequence[str], shard_uid: str, attempt: int) -> list[tuple[str, str]]:
    """(path below the job's folder, sha256) of each part that the attempt uploaded itself, without its base. Pure."""
    folder = f"{attempt}/"
    matches = [_PART.fullmatch(name.removeprefix(folder)) for name in sorted(names) if name.startswith(folder)]
    return [(f"{attempt_folder(shard_uid, attempt)}/{match[0]}", match[1]) for match in matches if match is not None]


async def _read_base(files: JobFiles, shard_uid: str, attempt: int) -> AttemptBase | None:
    try:
        base = AttemptBase.model_validate_json(await files.read(f"{attempt_folder(shard_uid, attempt)}/base.json"))
    except ValidationError:
        return None
    return base if (base.shard_uid, base.attempt) == (shard_uid, attempt) else None


async def _read_part_if_intact(files: JobFiles, path: str, sha256: str) -> Part | None:
    try:
        return await read_part(files, path, sha256)
    except VoxFleetError as error:
        if error.failure_class in (FailureClass.INPUT_NOT_FOUND, FailureClass.PLAN_MISMATCH):
            return None
        raise
