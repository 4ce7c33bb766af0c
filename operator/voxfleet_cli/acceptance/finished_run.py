"""Reads a finished run's folder, of a laptop or of a fleet; every file is checked against index.json."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from pydantic import ValidationError

from voxfleet_api.digest import sha256_hex
from voxfleet_api.results import ERRORS_NAME, INDEX_NAME, RESULTS_NAME, PlanFile, ResultIndex
from voxfleet_api.rows import ResultRow
from voxfleet_billing.archive_store import ArchiveError, open_archive

BUNDLE_NAME = "repro/bundle.json"


class UnreadableRun(Exception):
    """There is no finished run in a folder; the message says what is missing."""


class RunFiles(Protocol):
    def get(self, path: str) -> bytes:
        """Raises ArchiveError."""
        ...

    def names(self, path: str) -> Iterable[str]:
        """What lies right below a path."""
        ...


@dataclass(frozen=True, slots=True)
class LocalFolder:
    """A run's folder on this machine, whose files may be of any size."""

    folder: Path

    def get(self, path: str) -> bytes:
        try:
            return (self.folder / path).read_bytes()
        except OSError as error:
            raise ArchiveError(
                f"{self.folder / path}: {error.strerror}; give the folder <output.uri>/<job>-<uid8> of a run that has"
                " ended"
            ) from error

    def names(self, path: str) -> Iterable[str]:
        folder = self.folder / path
        return sorted(entry.name for entry in folder.iterdir()) if folder.is_dir() else []


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


def run_at(index_uri: str) -> RunFiles:
    """The folder of the index.json that a job names: file:///, or s3:// with the AWS_ names of the environment.

    Raises UnreadableRun.
    """
    try:
        return open_archive(index_uri.removesuffix(f"/{INDEX_NAME}"))
    except ArchiveError as error:
        raise _elsewhere(error) from error


def read_run(files: RunFiles, index_sha256: str | None = None) -> FinishedRun:
    """`index_sha256`: what index.json has to be. Raises UnreadableRun."""
    try:
        content = _checked(files, INDEX_NAME, index_sha256)
        index = ResultIndex.model_validate_json(content)
        digests = {file.path: file.sha256 for file in index.files}
        rows = {
            whole_index(row): row
            for name in (RESULTS_NAME, ERRORS_NAME)
            for row in _rows(_checked(files, name, digests.get(name)))
        }
        plan = _plan(files, index.manifest_sha256)
        bundle_sha256 = digests.get(BUNDLE_NAME)
        if bundle_sha256 is not None:
            _checked(files, BUNDLE_NAME, bundle_sha256)
    except ArchiveError as error:
        raise _elsewhere(error) from error
    except ValidationError as error:
        raise UnreadableRun(f"the run holds files of a kind that this version does not understand: {error}") from error
    if len(rows) != index.total:
        raise UnreadableRun(f"the run does not hold one row for each of its {index.total} clips")
    return FinishedRun(sha256_hex(content), index.manifest_sha256, plan, bundle_sha256, rows)


def _elsewhere(error: ArchiveError) -> UnreadableRun:
    return UnreadableRun(f"{error}. Of a job whose output this machine cannot read, name a copy with --results")


def _rows(content: bytes) -> Iterator[ResultRow]:
    return (ResultRow.model_validate_json(line) for line in content.splitlines())


def _plan(files: RunFiles, manifest_sha256: str) -> PlanFile:
    for name in files.names("plan"):
        plan = PlanFile.model_validate_json(files.get(f"plan/{name}/plan.json"))
        if plan.manifest_sha256 == manifest_sha256:
            return plan
    raise UnreadableRun(f"the run has no plan.json of the manifest that its {INDEX_NAME} names")


def _checked(files: RunFiles, name: str, sha256: str | None) -> bytes:
    content = files.get(name)
    if sha256 is not None and sha256_hex(content) != sha256:
        raise UnreadableRun(f"{name} was changed: it has another sha256 than the run recorded")
    return content
