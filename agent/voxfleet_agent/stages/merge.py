"""Finalize's decision: a job's result files from its rows. Pure: no clock, no host, no order of arrival."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from voxfleet_agent.stages.job_files import mismatch
from voxfleet_agent.stages.outcome import counts
from voxfleet_agent.stages.rows import not_run_row
from voxfleet_api.digest import canonical_json, sha256_hex
from voxfleet_api.ranges import encode
from voxfleet_api.results import ClipStatus, FileRef, Index, ManifestRow, ResultRow

RESULTS_NAME = "results.jsonl"
ERRORS_NAME = "errors.jsonl"
INDEX_NAME = "index.json"


@dataclass(frozen=True, slots=True)
class Merged:
    rows: tuple[ResultRow, ...]
    """All of them, by index."""
    results: bytes
    """results.jsonl: the succeeded rows, by index."""
    errors: bytes
    """errors.jsonl: all other rows, by index."""
    index: bytes
    """index.json."""


def merge(
    job_uid: str,
    manifest_sha256: str,
    manifest: Sequence[ManifestRow],
    rows: Iterable[ResultRow],
    not_run: Iterable[int],
) -> Merged:
    """Raises VoxFleetError(PLAN_MISMATCH) unless every clip of the manifest has exactly one row or did not run."""
    delivered, absent = list(rows), list(not_run)
    _require_one_each(len(manifest), [row.index for row in delivered] + absent)
    for row in delivered:
        if (row.custom_id, row.etag) != (manifest[row.index].custom_id, manifest[row.index].etag):
            raise mismatch(f"the row of index {row.index} is of another clip, or of another version of it")
    delivered.extend(not_run_row(manifest[index]) for index in absent)
    ordered = tuple(sorted(delivered, key=lambda row: row.index))
    results = b"".join(row.line() for row in ordered if row.status is ClipStatus.SUCCEEDED)
    errors = b"".join(row.line() for row in ordered if row.status is not ClipStatus.SUCCEEDED)
    index = Index(
        job_uid=job_uid,
        manifest_sha256=manifest_sha256,
        total=len(ordered),
        counts=counts(ordered),
        files=(_file_ref(RESULTS_NAME, results), _file_ref(ERRORS_NAME, errors)),
    )
    return Merged(ordered, results, errors, canonical_json(index.dump()))


def _require_one_each(total: int, indexes: Sequence[int]) -> None:
    seen, clips = Counter(indexes), range(total)
    problems = {
        "more than one row": [index for index, count in seen.items() if count > 1],
        "no row": [index for index in clips if index not in seen],
        "a row but no clip": [index for index in seen if index not in clips],
    }
    found = "; ".join(f"{problem} for {encode(wrong)[:200]}" for problem, wrong in problems.items() if wrong)
    if found:
        raise mismatch(f"the commits do not hold one row a clip: {found}")


def _file_ref(path: str, content: bytes) -> FileRef:
    return FileRef(path=path, sha256=sha256_hex(content), size_bytes=len(content))
