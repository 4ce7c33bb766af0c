"""Reads a finished run from its output folder; every file is checked against index.json."""

from __future__ import annotations

import io
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError

from voxfleet_agent.aws_environment import from_environment, https_of
from voxfleet_agent.stages.finalize.repro import BUNDLE_NAME, ReproBundle
from voxfleet_agent.storage import Storage
from voxfleet_api.base import StatusModel
from voxfleet_api.digest import sha256_hex
from voxfleet_api.failures import FailureClass, VoxFleetError
from voxfleet_api.results import ERRORS_NAME, INDEX_NAME, RESULTS_NAME, ResultIndex
from voxfleet_api.rows import ManifestRow, ResultRow

FILE_LIMIT_BYTES = 2**30
MAX_PLANS = 1000
PACE_NAME = "local.json"
_SCHEMES = ("file:///", "s3://", "https://")

T = TypeVar("T")


class RunPace(StatusModel):
    """local.json: how long a run without a cluster took, by its own clock."""

    wall_milliseconds: int | None = None
    """Wall time, including the interrupted runs that it resumed; None: some results were not timed."""
    lanes: int


class UnreadableRun(Exception):
    """There is no finished run at an address; the message says what is missing."""


@dataclass(frozen=True, slots=True)
class FinishedRun:
    folder: str
    """The address of the job's folder, without a slash at the end."""
    index: ResultIndex
    rows: tuple[ResultRow, ...]
    """All rows, by index."""
    pace: RunPace | None
    """None: the run was on a fleet."""


@asynccontextmanager
async def open_run(location: str, environment: Mapping[str, str]) -> AsyncIterator[RunFiles]:
    """Opens the run at `location`: an address or a path of its folder, of its bundle, or of another file in it.

    Raises UnreadableRun, and CredentialsMissing for an s3:// address.
    """
    if "://" in location and not location.startswith(_SCHEMES):
        raise UnreadableRun(f"{location}: write a path, or an address that begins with {', '.join(_SCHEMES)}")
    folder = _address_folder(location) if location.startswith(_SCHEMES) else _local_folder(Path(location))
    credentials = from_environment(environment) if folder.startswith("s3://") else None
    try:
        storage = Storage([f"{folder}/"], credentials, https_of(credentials))
    except VoxFleetError as error:
        raise UnreadableRun(f"{location}: {error.message}") from error
    async with storage:
        yield RunFiles(folder, storage)


class RunFiles:
    """The files of one run's folder."""

    def __init__(self, folder: str, storage: Storage) -> None:
        self.folder = folder
        self.storage = storage

    async def read(self, name: str, sha256: str | None = None) -> bytes:
        """Raises UnreadableRun when the file is missing or its digest is not `sha256`."""
        try:
            content = await self.storage.get(f"{self.folder}/{name}", FILE_LIMIT_BYTES)
        except VoxFleetError as error:
            if error.failure_class is FailureClass.INPUT_NOT_FOUND:
                raise UnreadableRun(
                    f"{self.folder} has no {name}; give the folder <output.uri>/<job>-<uid8> of a run that has ended"
                ) from error
            raise UnreadableRun(f"{self.folder}/{name}: {error.message}") from error
        if sha256 is not None and sha256_hex(content) != sha256:
            raise UnreadableRun(f"{self.folder}/{name} was changed: it has another sha256 than the run recorded")
        return content

    async def index(self) -> ResultIndex:
        """Raises UnreadableRun."""
        return self._parsed(INDEX_NAME, ResultIndex.model_validate_json, await self.read(INDEX_NAME))

    async def rows(self, index: ResultIndex) -> Iterator[ResultRow]:
        """Iterates over the rows, those with a result first; parses each on demand, because a run may have very many.

        Raises UnreadableRun.
        """
        digests = {file.path: file.sha256 for file in index.files}
        contents = [(name, await self.read(name, digests.get(name))) for name in (RESULTS_NAME, ERRORS_NAME)]
        return (
            self._parsed(name, ResultRow.model_validate_json, line)
            for name, content in contents
            for line in io.BytesIO(content)
        )

    async def finished(self) -> FinishedRun:
        """Raises UnreadableRun."""
        index = await self.index()
        rows = sorted(await self.rows(index), key=lambda row: row.index)
        if [row.index for row in rows] != list(range(index.total)):
            raise UnreadableRun(f"{self.folder} does not hold one row for each of its {index.total} clips")
        pace = None
        if await self.sha256_of(PACE_NAME) is not None:
            pace = self._parsed(PACE_NAME, RunPace.model_validate_json, await self.read(PACE_NAME))
        return FinishedRun(self.folder, index, tuple(rows), pace)

    async def manifest(self, sha256: str) -> tuple[ManifestRow, ...]:
        """Reads the manifest that the run froze. Raises UnreadableRun."""
        try:
            names = await self.storage.list_names(f"{self.folder}/plan/", MAX_PLANS)
        except VoxFleetError as error:
            raise UnreadableRun(f"{self.folder}/plan: {error.message}") from error
        for name in sorted(name for name in names if name.endswith("/manifest.jsonl")):
            content = await self.read(f"plan/{name}")
            if sha256_hex(content) == sha256:
                parse = ManifestRow.model_validate_json
                return tuple(self._parsed(f"plan/{name}", parse, line) for line in content.splitlines())
        raise UnreadableRun(f"{self.folder} has no manifest.jsonl with the sha256 that its index.json names")

    async def bundle(self, index: ResultIndex) -> ReproBundle:
        """Raises UnreadableRun."""
        sha256 = next((file.sha256 for file in index.files if file.path == BUNDLE_NAME), None)
        return self._parsed(BUNDLE_NAME, ReproBundle.load_json, await self.read(BUNDLE_NAME, sha256))

    async def sha256_of(self, name: str) -> str | None:
        """Returns None when the file does not exist. Raises UnreadableRun."""
        try:
            exists = await self.storage.exists(f"{self.folder}/{name}")
        except VoxFleetError as error:
            raise UnreadableRun(f"{self.folder}/{name}: {error.message}") from error
        return sha256_hex(await self.read(name)) if exists else None

    def _parsed(self, name: str, parse: Callable[[bytes], T], content: bytes) -> T:
        try:
            return parse(content)
        except ValidationError as error:
            raise UnreadableRun(f"{self.folder}/{name} is not of a kind that this version understands") from error


def _address_folder(location: str) -> str:
    for name in (BUNDLE_NAME, INDEX_NAME):
        location = location.removesuffix(f"/{name}")
    return location.rstrip("/")


def _local_folder(location: Path) -> str:
    """Finds the run's folder from a path to it, or to a file in it or in its repro/. Raises UnreadableRun."""
    resolved = location.resolve()
    try:
        if not resolved.exists():
            raise UnreadableRun(
                f"{location} does not exist; give the folder <output.uri>/<job>-<uid8> of a run that has ended, or its"
                f" {BUNDLE_NAME}"
            )
        for folder in (resolved, *resolved.parents[:2]):
            if (folder / INDEX_NAME).is_file():
                return f"file://{folder}"
    except OSError as error:
        raise UnreadableRun(f"{location}: {error.strerror}") from error
    raise UnreadableRun(
        f"{location} is no finished run: it has no index.json; give the folder <output.uri>/<job>-<uid8> of a run that"
        " has ended"
    )
