"""Reads a finished run's folder, of a laptop or of a fleet; every file is checked against index.json."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from voxfleet_api.digest import sha256_hex
from voxfleet_api.results import ERRORS_NAME, INDEX_NAME, RESULTS_NAME, PlanFile, ResultIndex
from voxfleet_api.rows import ResultRow

BUNDLE_NAME = "repro/bundle.json"
LOCAL = "file://"


class UnreadableRun(Exception):
    """There is no finished run in a folder; the message says what is missing."""


@dataclass(frozen=True, slots=True)
class FinishedRun:
    index_sha256: str
    manifest_sha256: str
    plan: PlanFile
    bundle_sha256: str | None
    rows: Mapping[int, ResultRow]
    """All rows, by the clip's index in the whole input."""

    @property
    def chips(self) -> tuple[str, ...]:
        return tuple(sorted({row.chip for row in self.rows.values() if row.chip is not None}))


def whole_index(row: ResultRow) -> int:
    """The clip's index in the whole input, also where the job chose some of its clips."""
    return row.index if row.source_index is None else row.source_index


def folder_of(index_uri: str) -> Path:
    """The folder of a results address that this machine can read. Raises UnreadableRun."""
    if not index_uri.startswith(f"{LOCAL}/"):
        raise UnreadableRun(
            f"{index_uri} is not on this machine; copy its folder here and name the copy with --results"
        )
    return Path(index_uri.removeprefix(LOCAL)).parent


def read_run(folder: Path, index_sha256: str | None = None) -> FinishedRun:
    """`index_sha256`: what index.json has to be. Raises UnreadableRun."""
    content = _read(folder, INDEX_NAME, index_sha256)
    try:
        index = ResultIndex.model_validate_json(content)
        digests = {file.path: file.sha256 for file in index.files}
        rows = {
            whole_index(row): row
            for name in (RESULTS_NAME, ERRORS_NAME)
            for row in _rows(_read(folder, name, digests.get(name)))
        }
        plan = _plan(folder, index.manifest_sha256)
    except ValidationError as error:
        raise UnreadableRun(f"{folder} holds files of a kind that this version does not understand: {error}") from error
    if len(rows) != index.total:
        raise UnreadableRun(f"{folder} does not hold one row for each of its {index.total} clips")
    bundle_sha256 = digests.get(BUNDLE_NAME)
    if bundle_sha256 is not None:
        _read(folder, BUNDLE_NAME, bundle_sha256)
    return FinishedRun(sha256_hex(content), index.manifest_sha256, plan, bundle_sha256, rows)


def _rows(content: bytes) -> Iterator[ResultRow]:
    return (ResultRow.model_validate_json(line) for line in content.splitlines())


def _plan(folder: Path, manifest_sha256: str) -> PlanFile:
    for path in sorted((folder / "plan").glob("*/plan.json")):
        plan = PlanFile.model_validate_json(path.read_bytes())
        if plan.manifest_sha256 == manifest_sha256:
            return plan
    raise UnreadableRun(f"{folder} has no plan.json of the manifest that its {INDEX_NAME} names")


def _read(folder: Path, name: str, sha256: str | None) -> bytes:
    try:
        content = (folder / name).read_bytes()
    except OSError as error:
        raise UnreadableRun(
            f"{folder / name}: {error.strerror}; give the folder <output.uri>/<job>-<uid8> of a run that has ended"
        ) from error
    if sha256 is not None and sha256_hex(content) != sha256:
        raise UnreadableRun(f"{folder / name} was changed: it has another sha256 than the run recorded")
    return content
