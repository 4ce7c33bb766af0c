"""Finalize's decision: a job's result files from its rows. Pure: no clock, no host, no order of arrival."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from voxfleet_agent.stages.outcome import counts
from voxfleet_api.failures import FailureClass, VoxFleetError
from voxfleet_api.ranges import encode
from voxfleet_api.results import ClipStatus, Counts, ManifestRow, ResultRow, RowError

NOT_RUN_REASON = "the job ended before this clip's shard was done"


@dataclass(frozen=True, slots=True)
class Merged:
    results: bytes
    """results.jsonl: the succeeded rows, by index."""
    errors: bytes
    """errors.jsonl: all other rows, by index."""
    counts: Counts
    rows: tuple[ResultRow, ...]


def merge(manifest: Sequence[ManifestRow], rows: Sequence[ResultRow], not_run: Sequence[int]) -> Merged:
    """Raises VoxFleetError(PLAN_MISMATCH) unless every clip of the manifest has exactly one row."""
    stand_ins = [
        ResultRow(
            index=index,
            custom_id=manifest[index].custom_id,
            status=ClipStatus.NOT_RUN,
            error=RowError(reason=NOT_RUN_REASON),
        )
        for index in not_run
        if index < len(manifest)
    ]
    ordered = sorted([*rows, *stand_ins], key=lambda row: row.index)
    _require_one_each(manifest, ordered)
    return Merged(
        results=b"".join(row.line() for row in ordered if row.status is ClipStatus.SUCCEEDED),
        errors=b"".join(row.line() for row in ordered if row.status is not ClipStatus.SUCCEEDED),
        counts=counts(ordered),
        rows=tuple(ordered),
    )


def _require_one_each(manifest: Sequence[ManifestRow], ordered: Sequence[ResultRow]) -> None:
    indexes = [row.index for row in ordered]
    expected = range(len(manifest))
    if indexes != list(expected):
        missing = sorted(set(expected) - set(indexes))
        twice = (
            sorted({index for index in indexes if indexes.count(index) > 1}) if len(set(indexes)) < len(indexes) else []
        )
        foreign = sorted(set(indexes) - set(expected))
        raise VoxFleetError(
            FailureClass.PLAN_MISMATCH,
            f"not one row a clip: missing [{encode(missing)}], twice [{encode(twice)}], unknown [{encode(foreign)}]"[
                :1024
            ],
        )
    wrong = [row.index for row, clip in zip(ordered, manifest, strict=True) if row.custom_id != clip.custom_id]
    if wrong:
        raise VoxFleetError(FailureClass.PLAN_MISMATCH, f"rows [{encode(wrong)}] carry another clip's id"[:1024])
