"""Reads and writes the files of a job's folder by their relative names."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from voxfleet_agent.stages.manifest import ManifestStream
from voxfleet_agent.stages.mismatch import mismatch, require_sha256
from voxfleet_agent.stages.retry import Retrier
from voxfleet_agent.storage import RangeReader, Storage
from voxfleet_agent.storage.upload_content import Content
from voxfleet_api.failures import FailureClass, VoxFleetError
from voxfleet_api.results import PlanFile, plan_folder

FILE_LIMIT_BYTES = 2**30
SMALL_FILE_BYTES = 16 * 2**20
"""More than a plan of any size: who serves the output may answer what they like."""
MAX_FILES = 1_000_000


@dataclass(frozen=True, slots=True)
class JobFiles:
    """The job's own folder below its output prefix. Every call retries what the contract lists, and raises
    VoxFleetError naming the file."""

    storage: Storage
    folder: str
    retrier: Retrier

    def uri(self, name: str) -> str:
        return f"{self.folder}/{name}"

    async def exists(self, name: str) -> bool:
        with _named(name):
            return await self.retrier(lambda: self.storage.exists(self.uri(name)))

    async def read(self, name: str, limit_bytes: int = FILE_LIMIT_BYTES) -> bytes:
        with _named(name):
            return await self.retrier(lambda: self.storage.get(self.uri(name), limit_bytes))

    async def read_verified(self, name: str, sha256: str) -> bytes:
        """Raises VoxFleetError(PLAN_MISMATCH) when the content has another sha256."""
        content = await self.read(name)
        require_sha256(name, content, sha256)
        return content

    async def size_bytes(self, name: str) -> int:
        with _named(name):
            return (await self.retrier(lambda: self.storage.head(self.uri(name)))).size_bytes

    async def write(self, name: str, content: bytes | Content) -> None:
        """Whether the file exists or not."""
        with _named(name):
            await self.retrier(lambda: self.storage.put(self.uri(name), content))

    async def write_once(self, name: str, content: bytes) -> None:
        """Raises VoxFleetError(MACHINE_LOST) when the file exists with other content."""
        with _named(name):
            await self.retrier(lambda: self.storage.put_once(self.uri(name), content))

    async def write_file(self, name: str, path: Path) -> None:
        """From a local file. Raises VoxFleetError(MACHINE_LOST) when the file exists with other content."""
        with _named(name):
            await self.retrier(lambda: self.storage.put_file(self.uri(name), path))

    async def reader(self, name: str) -> RangeReader:
        """Blocks: its reads belong into a thread."""
        with _named(name):
            _, reader = await self.retrier(lambda: self.storage.open_reader(self.uri(name)))
        return reader

    async def names_below(self, name: str) -> list[str]:
        with _named(name):
            return await self.retrier(lambda: self.storage.list_names(f"{self.uri(name)}/", MAX_FILES))


@contextmanager
def _named(name: str) -> Iterator[None]:
    """Tells which of the job's own files an error is about; their names hold no clip's."""
    try:
        yield
    except VoxFleetError as error:
        raise VoxFleetError(error.failure_class, f"{name}: {error.message}") from error


async def read_plan(files: JobFiles, attempt: int, manifest_sha256: str) -> PlanFile:
    """The plan that the job froze. Raises VoxFleetError(OUTPUT_NOT_SHARED | PLAN_MISMATCH)."""
    await require_shared_output(files, attempt)
    plan_name = f"{plan_folder(attempt)}/plan.json"
    try:
        plan = PlanFile.model_validate_json(await files.read(plan_name, SMALL_FILE_BYTES))
    except ValidationError as error:
        raise mismatch(f"{plan_name} is not a plan that this agent understands") from error
    if plan.manifest_sha256 != manifest_sha256:
        raise mismatch(f"{plan_name} is of another manifest than the one that the job's status froze")
    return plan


async def open_manifest(files: JobFiles, attempt: int) -> ManifestStream:
    return ManifestStream(await files.reader(f"{plan_folder(attempt)}/manifest.jsonl"), files.retrier)


def nonce_name(plan_attempt: int) -> str:
    return f"{plan_folder(plan_attempt)}/nonce"


async def require_shared_output(files: JobFiles, plan_attempt: int) -> None:
    """Raises VoxFleetError(OUTPUT_NOT_SHARED) when this Mac does not see what Plan wrote into a local folder."""
    try:
        await files.read(nonce_name(plan_attempt), SMALL_FILE_BYTES)
    except VoxFleetError as error:
        if error.failure_class is not FailureClass.INPUT_NOT_FOUND:
            raise
        if files.folder.startswith("file:"):
            raise VoxFleetError(
                FailureClass.OUTPUT_NOT_SHARED,
                "this Mac does not see the output folder that Plan wrote on another one; use an s3:// output, a folder"
                " that every Mac mounts at the same path, or select one Mac with macSelector",
            ) from error
        raise mismatch("the plan's files are gone from the output; apply the job again under another name") from error
